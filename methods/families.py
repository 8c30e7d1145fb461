"""What methods must know of each family of timm backbones: the only code with timm's names.

Families are told apart by the class of the network where another one looks alike, else by
structure. `sequence` families carry tokens (B, N, C) with prefix tokens first, where prompts can be
inserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from benchmark.core.registry import InputError

Stages = list[list[nn.Module]]
Residual = Literal["norm2", "mlp", "block", "none"]
ANYWHERE = (
    "full",
    "linear",
    "knn",
    "bitfit",
    "norm",
    "ssf",
    "gps",
)  # methods that look for no block

# Blocks that normalise after the branch: x + norm1(attn(x)), then x + norm2(mlp(x)).
_POST_NORM = {"SwinTransformerV2Block", "EvaBlockPostNorm", "ResPostBlock"}


@dataclass(frozen=True)
class Family:
    """One family: how it is recognised, and where its blocks are."""

    name: str
    matches: Callable[[nn.Module], bool]
    stages: Callable[[Any], Stages]
    sequence: bool = False  # plain token sequences: prompts can be added
    windows: bool = False  # windowed attention with a relative bias that can be padded
    # whether what attention adds to is what enters the block, token for token: not where windows
    # are cut, or the stream is pooled and widened, between the two
    whole: bool = True


def is_instance(module: nn.Module, *names: str) -> bool:
    """Return whether the class of `module`, or one that it derives from, has one of the names.

    By name, because methods work without timm; by class, because structure is not enough: CspNet,
    LeViT and Swin v2-CR have stages of blocks with an attention, as PVT has.
    """
    return any(cls.__name__ in names for cls in type(module).__mro__)


def _is(*names: str) -> Callable[[nn.Module], bool]:
    return lambda model: is_instance(model, *names)


def _has(*names: str) -> Callable[[nn.Module], bool]:
    return lambda model: all(hasattr(model, name) for name in names)


def _flat(model: Any) -> Stages:
    return [list(model.blocks)]


def _layers(model: Any) -> Stages:
    return [list(layer.blocks) for layer in model.layers]


def _stages(model: Any) -> Stages:
    return [list(stage.blocks) for stage in model.stages]


def _hiera(model: Any) -> Stages:
    """Return blocks by width: the first of a stage makes its tokens fewer and wider."""
    blocks, ends = list(model.blocks), [end + 1 for end in model.stage_ends]
    return [blocks[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _resnet(model: nn.Module) -> Stages:
    return [list(getattr(model, f"layer{i}")) for i in (1, 2, 3, 4)]


def _attention(model: nn.Module, stages: Callable[[Any], Stages]) -> Any:
    """Return the attention of the first block, whose attributes tell families apart."""
    return stages(model)[0][0].attn


def _blockwise(model: nn.Module) -> bool:
    return hasattr(model, "blocks") and hasattr(_flat(model)[0][0], "attn")


FAMILIES = (
    Family("beit", lambda m: _blockwise(m) and hasattr(m, "rel_pos_bias"), _flat),
    Family(
        "vit", lambda m: _blockwise(m) and _has("norm_pre", "num_prefix_tokens")(m), _flat, True
    ),
    Family(
        "swin",
        lambda m: hasattr(m, "layers") and hasattr(_attention(m, _layers), "_get_rel_pos_bias"),
        _layers,
        windows=True,
    ),
    Family(
        "swinv2",
        lambda m: hasattr(m, "layers") and hasattr(_attention(m, _layers), "cpb_mlp"),
        _layers,
    ),
    Family("convnext", _is("ConvNeXt"), _stages),
    Family("pvt", _is("PyramidVisionTransformerV2"), _stages),
    # windows of tokens, padded, and between them blocks that see the whole map
    Family("sam", _is("VisionTransformerSAM"), _flat, whole=False),
    # Hiera (tokens by mask unit) and the encoder of SAM 2 (maps, windows)
    Family("hiera", _is("Hiera", "HieraDet"), _hiera, whole=False),
    Family("resnet", _has("layer1", "layer4", "bn1"), _resnet),
)


def find(backbone: nn.Module) -> Family | None:
    """Return the family of `backbone`, or None where it is unknown."""

    def fits(family: Family) -> bool:
        try:
            return family.matches(backbone)
        except (AttributeError, TypeError, IndexError):
            return False  # it has attributes of these names that are something else

    return next((family for family in FAMILIES if fits(family)), None)


def unknown(backbone: nn.Module) -> str:
    """Return in one sentence that the family of `backbone` is unknown, and what works anyway."""
    cls = next(c for c in type(backbone).__mro__ if not hasattr(c, "extends"))
    return (
        f"the family of {cls.__name__} is unknown, so that its blocks cannot be found (known: "
        f"{', '.join(f.name for f in FAMILIES)}); {', '.join(ANYWHERE)} work on any network"
    )


def family(backbone: nn.Module) -> Family:
    """Return the family of `backbone`; unknown ones raise InputError."""
    found = find(backbone)
    if found is None:
        raise InputError(unknown(backbone))
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
        return int(_attention(backbone, found.stages).window_area)
    return int(getattr(getattr(backbone, "patch_embed", None), "num_patches", 0))


def blocks(backbone: nn.Module) -> list[nn.Module]:
    """Return the blocks of all stages, in order."""
    return [block for stage in stages(backbone) for block in stage]


def final_norms(backbone: nn.Module) -> list[nn.Module]:
    """Return the norms between the last block and the pooled features, none where there is none."""
    stages = getattr(backbone, "stages", None)
    last = stages[-1] if isinstance(stages, nn.Sequential | nn.ModuleList) else None
    # of ViT and Swin; of a ViT that pools patches; of ConvNeXt and SAM 2; of PVT, by stage
    places = ((backbone, "norm"), (backbone, "fc_norm"), (getattr(backbone, "head", None), "norm"))
    found = [getattr(owner, name, None) for owner, name in (*places, (last, "norm"))]
    return [norm for norm in found if isinstance(norm, nn.Module)]


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


def width(block: nn.Module) -> int:
    """Return C, the width of the residual stream that leaves a block."""
    norm: Any = getattr(block, "norm2", None) or block.norm  # ConvNeXt has one norm
    return int(norm.normalized_shape[0])


def widens(backbone: nn.Module) -> bool:
    """Return whether attention in a block of `backbone` takes in another width than it gives out.

    So in Hiera, at the start of a stage.
    """

    def widths(block: nn.Module) -> set[Any]:
        norms = (getattr(block, name, None) for name in ("norm1", "norm2"))
        # batch norms and others have no such shape, and no attention between them
        return {getattr(norm, "normalized_shape", None) for norm in norms} - {None}

    return any(len(widths(block)) > 1 for block in blocks(backbone))


def residual(block: nn.Module) -> Residual:
    """Return where the residual that enters the MLP sub-layer can be read.

    The input of `norm2` (pre-norm), the input of the MLP (post-norm), or the block's own input
    (ConvNeXt: its MLP sub-layer is the whole block).
    """
    if is_instance(block, *_POST_NORM):
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
