"""VQT: queries of every block summarise its tokens for the head; the tokens stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.core.citation import Citation
from methods import families, seams
from methods.base import Count, Method, Share, register
from methods.parts import prompts
from methods.parts.backbone import as_backbone
from methods.parts.extensions import NetworkExtension

PAPER = Citation(
    ("Tu, Cheng-Hao", "Mai, Zheda", "Chao, Wei-Lun"),
    "Visual Query Tuning: Towards Effective Usage of Intermediate Representations for Parameter "
    "and Memory Efficient Transfer Learning",
    2023,
    "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
    "inproceedings",
    arxiv="2212.03220",
)


class Queried(NetworkExtension):
    """A ViT whose pooled features (B, D) are followed by the outputs of its queries (B, L T D).

    No gradient runs through the tokens: the queries of a block only read what enters it.
    """

    queries: nn.Parameter  # (L, T, D)
    dropout: float

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D + L T D): each part, pooled or of one block, has unit length."""
        body: Any = self
        found = super().forward_intermediates(
            x, output_fmt="NLC", return_prefix_tokens=True, output_dict=True
        )
        left = found["image_intermediates"]
        if first := found.get("image_intermediates_prefix"):
            left = [torch.cat(pair, 1) for pair in zip(first, left, strict=True)]
        # what enters a block is what left the one before it
        entering = [body.norm_pre(body._pos_embed(body.patch_embed(x))), *left[:-1]]
        parts = [body.forward_head(found["image_features"])]
        for block, tokens, rows in zip(families.blocks(self), entering, self.queries, strict=True):
            asked = F.dropout(rows.expand(len(x), -1, -1), self.dropout, self.training)
            parts.append(summary(block, asked, tokens).flatten(1))
        return torch.cat([F.normalize(part, dim=1) for part in parts], 1)


def summary(block: Any, queries: Tensor, tokens: Tensor) -> Tensor:
    """Return what a block makes of `queries` (B, T, D) that attend to `tokens` (B, N, D) alone.

    The queries go the way of a token, through both norms and residual sums.
    """
    attn = block.attn
    heads = (attn.num_heads, -1)
    asked = attn.qkv(block.norm1(queries)).chunk(3, -1)[0].unflatten(-1, heads)
    _, keys, values = attn.qkv(block.norm1(tokens)).chunk(3, -1)
    keys, values = keys.unflatten(-1, heads), values.unflatten(-1, heads)
    mixed = F.scaled_dot_product_attention(
        attn.q_norm(asked).transpose(1, 2),
        attn.k_norm(keys).transpose(1, 2),
        values.transpose(1, 2),
        scale=attn.scale,
    )
    read = attn.proj(attn.norm(mixed.transpose(1, 2).flatten(2)))
    u = queries + block.drop_path1(block.ls1(read))
    found: Tensor = u + block.drop_path2(block.ls2(block.mlp(block.norm2(u))))
    return found


@register("vqt")
@dataclass(frozen=True)
class VQT(Method):
    """T queries per block, whose outputs the head reads beside the pooled features.

    As in the authors' code the pooled features and the T outputs of each block are divided by
    their lengths, queries start like VPT's prompts, and .1 of their values are dropped.
    """

    queries: Count = 5
    dropout: Share = 0.1

    display = "VQT"
    family = "Prompts"
    works = (PAPER,)
    passage = "sec. 3"
    identity = False
    lr = 1e-3

    def edit(self, backbone: nn.Module) -> None:
        """Put the queries beside the blocks."""
        width, num = as_backbone(backbone).num_features, len(families.blocks(backbone))
        rows = prompts.drawn(backbone, "uniform", num * self.queries, width)
        queries = nn.Parameter(rows.detach().unflatten(0, (num, self.queries)))
        seams.extend(backbone, Queried, queries=queries, dropout=self.dropout)

    def num_features(self, backbone: nn.Module) -> int:
        """Return D + L T D."""
        blocks = len(families.blocks(backbone))
        return as_backbone(backbone).num_features * (1 + blocks * self.queries)

    def unsupported(self, backbone: nn.Module) -> str | None:
        """Return a reason where blocks are not those of a plain ViT."""
        if reason := prompts.no_sequence(backbone):
            return reason
        if not all(map(_is_plain, families.blocks(backbone))):
            return "its attention is not the plain one of a ViT, which queries can stand beside"
        width = as_backbone(backbone).num_features
        if families.width(families.blocks(backbone)[0]) != width:
            return "its pooled features have another width than its tokens"
        return None

    def count(self, backbone: nn.Module) -> int:
        """Return L T D."""
        blocks = len(families.blocks(backbone))
        return blocks * self.queries * as_backbone(backbone).num_features


def _is_plain(block: nn.Module) -> bool:
    """Return whether a block is x + ls1(attn(norm1(x))), then the MLP, without rotation."""
    attention = families.branch(block, "attn")
    if attention is None or getattr(attention, "gate", None) is not None:
        return False
    return families.is_instance(block, "Block") and families.is_instance(attention, "Attention")
