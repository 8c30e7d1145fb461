"""CVPT: tokens read prompts by cross-attention with the block's own attention weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import OTHERS, Citation
from methods import families
from methods.base import Count, Method, register
from methods.parts import prompts, stream, targets

PAPER = Citation(
    ("Huang, Lingyun", OTHERS),
    "CVPT: Cross-Attention help Visual Prompt Tuning adapt visual task",
    2024,
    arxiv="2408.14961",
)


class CrossAttention(nn.Module):
    """`softmax(Q(x) K(P)^T / sqrt h) V(P)` with the frozen projections of the block.

    The block's attention and norms are held in tuples, so that they stay parts of their block.
    """

    def __init__(self, block: nn.Module, tokens: nn.Parameter) -> None:
        super().__init__()
        self.weights: tuple[Any, Any] = (block.norm1, block.attn)
        # norms inside of the attention, which that of Swin lacks
        names = ("q_norm", "k_norm", "norm")
        self.norms = tuple(getattr(block.attn, name, nn.Identity()) for name in names)
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the stream x (B, N, C) or (B, H, W, C)."""
        (norm, attention), (q_norm, k_norm, read_norm) = self.weights, self.norms
        qkv, proj, heads = attention.qkv, attention.proj, int(attention.num_heads)
        width = x.shape[-1]
        # rows of the layer, read and not called: keys of tokens and queries of prompts are unused
        q = F.linear(norm(x), qkv.weight[:width], _rows(qkv.bias, 0, width))
        # prompts are not normed: they can learn whatever a norm would make of them
        kv = F.linear(self.tokens, qkv.weight[width:], _rows(qkv.bias, width, 3 * width))
        k, v = (t.unflatten(-1, (heads, -1)) for t in kv.chunk(2, -1))
        k, v = k_norm(k).transpose(0, 1), v.transpose(0, 1)
        split = q_norm(q.flatten(1, -2).unflatten(-1, (heads, -1))).transpose(1, 2)
        shape = (len(x), *k.shape)
        read = F.scaled_dot_product_attention(split, k.expand(shape), v.expand(shape))
        return proj(read_norm(read.transpose(1, 2).flatten(2)).to(x.dtype)).view_as(x)


def _rows(bias: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if bias is None else bias[start:stop]


@register("cvpt")
@dataclass(frozen=True)
class CVPT(Method):
    """`x + CA(x, P)` after each self-attention, CA with its frozen weights (eq. 4, fig. 3).

    Prompts are no tokens: they do not attend, and the sequence keeps its length. Deviation: the
    weights of cross-attention are the block's own instead of copies, which is the same function.
    Where a block has LayerScale, CA adds outside of it.
    """

    prompts: Count = 10

    display = "CVPT"
    family = "Prompts"
    works = (PAPER,)
    passage = "eq. 4"
    identity = False
    lr = 2e-3

    def edit(self, backbone: nn.Module) -> None:
        """Let each block's stream read prompts of its own."""
        for block in families.blocks(backbone):
            tokens = prompts.normal(self.prompts, families.width(block), std=0.02)
            stream.change(block, CrossAttention(block, tokens), None)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks have no fused attention to borrow the weights of."""
        if reason := stream.missing(backbone) or targets.missing(backbone, "qkv+proj"):
            return reason
        blocks = families.blocks(backbone)
        if any(families.outer_qkv_bias(block) for block in blocks):
            return "its attention reads the weight of qkv and keeps the bias elsewhere"
        return None

    def count(self, backbone: nn.Module) -> int:
        """Return m d, summed over blocks."""
        return sum(self.prompts * families.width(block) for block in families.blocks(backbone))
