"""What methods must know of each family of timm backbones: the only code with timm's names.

Families are told apart by their structure. `sequence` families carry tokens (B, N, C) with prefix
tokens first, where prompts can be inserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from benchmark.core.registry import InputError

Stages = list[list[nn.Module]]
Residual = Literal["norm2", "mlp", "block", "none"]

# Blocks that normalise after the branch: x + norm1(attn(x)), then x + norm2(mlp(x)).
_POST_NORM = {"SwinTransformerV2Block", "EvaBlockPostNorm", "ResPostBlock"}


@dataclass(frozen=True)
class Family:
    """One family: how it is recognised, and where its blocks are."""

    name: str
    matches: Callable[[nn.Module], bool]
    stages: Callable[[nn.Module], Stages]
    sequence: bool = False  # plain token sequences: prompts can be added
    windows: bool = False  # windowed attention with a relative bias that can be padded


def _has(*names: str) -> Callable[[nn.Module], bool]:
    return lambda model: all(hasattr(model, name) for name in names)


def _first(stages: Stages) -> nn.Module:
    return stages[0][0]


def _flat(model: nn.Module) -> Stages:
    return [list(model.blocks)]  # type: ignore[arg-type]


def _layers(model: nn.Module) -> Stages:
    return [list(layer.blocks) for layer in model.layers]  # type: ignore[union-attr]


def _stages(model: nn.Module) -> Stages:
    return [list(stage.blocks) for stage in model.stages]  # type: ignore[union-attr]


def _resnet(model: nn.Module) -> Stages:
    return [list(getattr(model, f"layer{i}")) for i in (1, 2, 3, 4)]


def _blockwise(model: nn.Module) -> bool:
    return hasattr(model, "blocks") and hasattr(_first(_flat(model)), "attn")


FAMILIES = (
    Family("beit", lambda m: _blockwise(m) and hasattr(m, "rel_pos_bias"), _flat),
    Family(
        "vit", lambda m: _blockwise(m) and _has("norm_pre", "num_prefix_tokens")(m), _flat, True
    ),
    Family(
        "swin",
        lambda m: hasattr(m, "layers") and hasattr(_first(_layers(m)).attn, "_get_rel_pos_bias"),
        _layers,
        windows=True,
    ),
    Family(
        "swinv2",
        lambda m: hasattr(m, "layers") and hasattr(_first(_layers(m)).attn, "cpb_mlp"),
        _layers,
    ),
    Family(
        "convnext",
        lambda m: hasattr(m, "stages") and hasattr(_first(_stages(m)), "conv_dw"),
        _stages,
    ),
    Family("pvt", lambda m: hasattr(m, "stages") and hasattr(_first(_stages(m)), "attn"), _stages),
    Family("resnet", _has("layer1", "layer4", "bn1"), _resnet),
)


def find(backbone: nn.Module) -> Family | None:
    """Return the family of `backbone`, or None where it is unknown."""

    def fits(family: Family) -> bool:
        try:
            return family.matches(backbone)
        except AttributeError:
            return False

    return next((family for family in FAMILIES if fits(family)), None)


def family(backbone: nn.Module) -> Family:
    """Return the family of `backbone`; unknown ones raise InputError."""
    found = find(backbone)
    if found is None:
        names = ", ".join(f.name for f in FAMILIES)
        raise InputError(f"{type(backbone).__name__} is of no known family; known: {names}")
    return found


def stages(backbone: nn.Module) -> Stages:
    """Return the blocks of `backbone`, in order, by stage; [] where the family is unknown."""
    found = find(backbone)
    return found.stages(backbone) if found else []


def num_image_tokens(backbone: nn.Module) -> int:
    """Return how many patch tokens meet in one attention of a ViT or Swin, 0 where not known."""
    found = find(backbone)
    if found is None or not (found.sequence or found.windows):
        return 0
    if found.windows:
        return int(blocks(backbone)[0].attn.window_area)  # type: ignore[union-attr,arg-type]
    return int(getattr(getattr(backbone, "patch_embed", None), "num_patches", 0))


def blocks(backbone: nn.Module) -> list[nn.Module]:
    """Return the blocks of all stages, in order."""
    return [block for stage in stages(backbone) for block in stage]


def branch(block: nn.Module, name: Literal["attn", "mlp"]) -> nn.Module | None:
    """Return the attention or MLP branch of a block, or None where it has none."""
    return getattr(block, name, None)


# Role of a linear layer -> where it may stand, below a block.
_ROLES = {
    "qkv": ("attn.qkv",),
    "q": ("attn.q_proj", "attn.q"),
    "k": ("attn.k_proj",),
    "v": ("attn.v_proj",),
    "kv": ("attn.kv",),
    "proj": ("attn.proj",),
    "fc1": ("mlp.fc1", "mlp.fc1_g", "mlp.w12"),
    "fc2": ("mlp.fc2", "mlp.w3"),
}
ROLES = tuple(_ROLES)


def linear(block: nn.Module, role: str) -> nn.Linear | None:
    """Return the linear layer of this role in a block, or None where it has none."""
    for path in _ROLES[role]:
        module: nn.Module | None = block
        for name in path.split("."):
            module = getattr(module, name, None)
        if isinstance(module, nn.Linear):
            return module
    return None


def linears(block: nn.Module) -> Iterator[nn.Linear]:
    """Yield every linear layer inside the attention and MLP branches of a block."""
    for name in ("attn", "mlp"):
        part = getattr(block, name, None)
        yield from (m for m in (part.modules() if part else ()) if isinstance(m, nn.Linear))


def width(block: nn.Module) -> int:
    """Return C, the width of the residual stream of a block."""
    norm = getattr(block, "norm2", None) or block.norm  # ConvNeXt has one norm
    return int(norm.normalized_shape[0])  # type: ignore[union-attr,index]


def residual(block: nn.Module) -> Residual:
    """Return where the residual that enters the MLP sub-layer can be read.

    The input of `norm2` (pre-norm), the input of the MLP (post-norm), or the block's own input
    (ConvNeXt: its MLP sub-layer is the whole block).
    """
    if any(cls.__name__ in _POST_NORM for cls in type(block).__mro__):
        return "mlp"
    if hasattr(block, "norm2") and hasattr(block, "mlp"):
        return "norm2"
    return "block" if hasattr(block, "conv_dw") else "none"


# What makes the input of a layer or branch, in blocks that normalise before it.
_SOURCES = {
    "attn": "norm1",
    "mlp": "norm2",
    "qkv": "norm1",
    "q": "norm1",
    "k": "norm1",
    "v": "norm1",
    "fc1": "norm2",
    "fc2": "mlp.act",
}


def source(block: nn.Module, reader: str) -> nn.Module | None:
    """Return the module that makes what a branch or a linear layer of this role reads, if any.

    A guess where something else stands between them: what reads it must look at the tensor.
    """
    module: nn.Module | None = block
    for name in _SOURCES.get(reader, "-").split("."):
        module = getattr(module, name, None)
    return module


def only_reader(block: nn.Module, role: str) -> bool:
    """Return whether this layer alone reads the input of its branch (not so in a gated MLP)."""
    return role != "fc1" or isinstance(getattr(branch(block, "mlp"), "fc1", None), nn.Linear)


def outer_qkv_bias(block: nn.Module) -> bool:
    """Return whether the bias of qkv lies outside the layer (EVA-02, BEiT, SwinV2)."""
    return getattr(getattr(block, "attn", None), "q_bias", None) is not None


def bias_owners(backbone: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield (module, attribute) of every additive bias, those outside of linear layers too."""
    for module in backbone.modules():
        for name in ("bias", "q_bias", "k_bias", "v_bias"):
            if isinstance(getattr(module, name, None), nn.Parameter):
                yield module, name
