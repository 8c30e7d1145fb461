"""Checkpoints as their authors wrote them, under the names of timm's networks.

A checkpoint is a network inside others (a teacher, a tower of CLIP, the encoder of SAM), often
under the names of another library. `understand` finds the network, renames its tensors, and counts
by name what it leaves out; it never fills in what the checkpoint lacks, but for `_FINAL_NORM`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark.core.registry import InputError

State = dict[str, Tensor]


@dataclass(frozen=True)
class Contents:
    """The tensors of a network under timm's names, and what else the checkpoint holds.

    `ignored` counts the tensors that are no part of the network by the first part of their names;
    `added` names what the source has no tensor for because it computes it without one.
    """

    state: State
    ignored: dict[str, int] = field(default_factory=dict)
    added: tuple[str, ...] = ()

    def __str__(self) -> str:
        groups = ", ".join(f"{name} ({count})" for name, count in self.ignored.items())
        total = sum(self.ignored.values())
        parts = [f"{len(self.state) - len(self.added)} tensors of the network"]
        parts += [f"{total} that are no part of it are left out: {groups}"] if total else []
        parts += [f"{', '.join(self.added)} set to the identity, as in the source"] * bool(
            self.added
        )
        return "; ".join(parts)


@dataclass(frozen=True)
class _Layout:
    """How another library names a network: `sign` matches one name that only it uses."""

    sign: str
    renames: tuple[tuple[str, str], ...]


# N is the first number in a name, that of a block: "N.norm1" stands for timm's "blocks.3.norm1".
# The first pattern that fits a name decides.
_LAYOUTS = (
    # transformers: ViT, ViT-MAE, DINOv2 with and without registers
    _Layout(
        r"embeddings\.patch_embeddings\.projection\.weight",
        (
            (r"embeddings\.(cls_token|mask_token|register_tokens)", r"\1"),
            (r"embeddings\.position_embeddings", "pos_embed"),
            (r"embeddings\.patch_embeddings\.projection\.(.*)", r"patch_embed.proj.\1"),
            (r"encoder\.layer\.N\.attention\.attention\.([qkv])[a-z]+\.(.*)", r"N.attn.\1.\2"),
            (r"encoder\.layer\.N\.attention\.output\.dense\.(.*)", r"N.attn.proj.\1"),
            # as version 5 of that library names them in memory
            (r"(?:encoder\.)?layers?\.N\.attention\.([qkv])_proj\.(.*)", r"N.attn.\1.\2"),
            (r"(?:encoder\.)?layers?\.N\.attention\.o_proj\.(.*)", r"N.attn.proj.\1"),
            (r"encoder\.layer\.N\.intermediate\.dense\.(.*)", r"N.mlp.fc1.\1"),
            (r"encoder\.layer\.N\.output\.dense\.(.*)", r"N.mlp.fc2.\1"),
            (r"(?:encoder\.)?layers?\.N\.layernorm_before\.(.*)", r"N.norm1.\1"),
            (r"(?:encoder\.)?layers?\.N\.layernorm_after\.(.*)", r"N.norm2.\1"),
            (r"(?:encoder\.)?layers?\.N\.layer_scale([12])\.lambda1", r"N.ls\1.gamma"),
            (r"(?:encoder\.)?layers?\.N\.mlp\.weights_in\.(.*)", r"N.mlp.fc1.\1"),
            (r"(?:encoder\.)?layers?\.N\.mlp\.weights_out\.(.*)", r"N.mlp.fc2.\1"),
            (r"(?:encoder\.)?layers?\.N\.(norm[12]|mlp\.fc[12])\.(.*)", r"N.\1.\2"),
            (r"layernorm\.(.*)", r"norm.\1"),
        ),
    ),
    # transformers: DINOv3, whose gated MLP timm makes of two layers
    _Layout(
        r"embeddings\.patch_embeddings\.weight",
        (
            (r"embeddings\.(cls_token|mask_token)", r"\1"),
            (r"embeddings\.register_tokens", "reg_token"),
            (r"embeddings\.patch_embeddings\.(.*)", r"patch_embed.proj.\1"),
            (r"(?:model\.)?layer\.N\.attention\.([qv])_proj\.bias", r"N.attn.\1_bias"),
            (r"(?:model\.)?layer\.N\.attention\.([qkv])_proj\.(.*)", r"N.attn.\1.\2"),
            (r"(?:model\.)?layer\.N\.attention\.o_proj\.(.*)", r"N.attn.proj.\1"),
            (r"(?:model\.)?layer\.N\.layer_scale([12])\.lambda1", r"N.gamma_\1"),
            (r"(?:model\.)?layer\.N\.mlp\.gate_proj\.(.*)", r"N.mlp.fc1_g.\1"),
            (r"(?:model\.)?layer\.N\.mlp\.up_proj\.(.*)", r"N.mlp.fc1.\1"),
            (r"blocks\.N\.mlp\.fc1\.(.*)", r"N.mlp.fc1_x.\1"),  # where the network has no fc1
            (r"(?:model\.)?layer\.N\.mlp\.down_proj\.(.*)", r"N.mlp.fc2.\1"),
            (r"(?:model\.)?layer\.N\.(norm[12])\.(.*)", r"N.\1.\2"),
        ),
    ),
    # transformers: the vision towers of CLIP and SigLIP
    _Layout(
        r"embeddings\.patch_embedding\.weight",
        (
            (r"embeddings\.class_embedding", "cls_token"),
            (r"embeddings\.position_embedding\.weight", "pos_embed"),
            (r"embeddings\.patch_embedding\.(.*)", r"patch_embed.proj.\1"),
            (r"encoder\.layers\.N\.self_attn\.([qkv])_proj\.(.*)", r"N.attn.\1.\2"),
            (r"encoder\.layers\.N\.self_attn\.out_proj\.(.*)", r"N.attn.proj.\1"),
            (r"encoder\.layers\.N\.layer_norm([12])\.(.*)", r"N.norm\1.\2"),
            (r"encoder\.layers\.N\.mlp\.(.*)", r"N.mlp.\1"),
            (r"pre_layrnorm\.(.*)", r"norm_pre.\1"),  # the library's own spelling
            (r"post_layernorm\.(.*)", r"norm.\1"),
            (r"head\.probe", "attn_pool.latent"),
            (r"head\.attention\.out_proj\.(.*)", r"attn_pool.proj.\1"),
            (r"head\.attention\.in_proj_(.*)", r"attn_pool.in_proj.\1"),
            (r"head\.layernorm\.(.*)", r"attn_pool.norm.\1"),
            (r"head\.mlp\.(.*)", r"attn_pool.mlp.\1"),
        ),
    ),
    # transformers: the encoder of SAM
    _Layout(
        r"patch_embed\.projection\.weight",
        (
            (r"patch_embed\.projection\.(.*)", r"patch_embed.proj.\1"),
            (r"layers\.N\.layer_norm([12])\.(.*)", r"N.norm\1.\2"),
            (r"layers\.N\.mlp\.lin([12])\.(.*)", r"N.mlp.fc\1.\2"),
            (r"layers\.N\.attn\.(.*)", r"N.attn.\1"),
            (r"neck\.conv1\.(.*)", r"neck.0.\1"),
            (r"neck\.layer_norm1\.(.*)", r"neck.1.\1"),
            (r"neck\.conv2\.(.*)", r"neck.2.\1"),
            (r"neck\.layer_norm2\.(.*)", r"neck.3.\1"),
        ),
    ),
    # OpenAI's CLIP and open_clip without a tower of timm
    _Layout(
        r"transformer\.resblocks\.0\.attn\.in_proj_weight",
        (
            (r"class_embedding", "cls_token"),
            (r"positional_embedding", "pos_embed"),
            (r"conv1\.(.*)", r"patch_embed.proj.\1"),
            (r"ln_pre\.(.*)", r"norm_pre.\1"),
            (r"ln_post\.(.*)", r"norm.\1"),
            (r"transformer\.resblocks\.N\.ln_([12])\.(.*)", r"N.norm\1.\2"),
            (r"transformer\.resblocks\.N\.attn\.in_proj_(.*)", r"N.attn.qkv.\1"),
            (r"transformer\.resblocks\.N\.attn\.out_proj\.(.*)", r"N.attn.proj.\1"),
            (r"transformer\.resblocks\.N\.mlp\.c_fc\.(.*)", r"N.mlp.fc1.\1"),
            (r"transformer\.resblocks\.N\.mlp\.c_proj\.(.*)", r"N.mlp.fc2.\1"),
        ),
    ),
    # the authors' own files of DINOv2 (blocks in chunks, SwiGLU), SAM and SAM 2
    _Layout(
        r"patch_embed\.proj\.weight",
        (
            (r"blocks\.N\.(\d+\..*)", r"blocks.\1"),  # of a chunk
            (r"blocks\.N\.mlp\.w12\.(.*)", r"N.mlp.fc1.\1"),
            (r"blocks\.N\.mlp\.w3\.(.*)", r"N.mlp.fc2.\1"),
            (r"blocks\.N\.mlp\.lin([12])\.(.*)", r"N.mlp.fc\1.\2"),
            (r"blocks\.N\.mlp\.layers\.0\.(.*)", r"N.mlp.fc1.\1"),
            (r"blocks\.N\.mlp\.layers\.1\.(.*)", r"N.mlp.fc2.\1"),
        ),
    ),
)


_Rules = tuple[tuple[re.Pattern[str], str], ...]
_RULES: tuple[tuple[re.Pattern[str], _Rules], ...] = tuple(
    (re.compile(layout.sign), tuple((re.compile(old), new) for old, new in layout.renames))
    for layout in _LAYOUTS
)
_BLOCK = re.compile(r"\.(\d+)\.")

# The first part of names that lie beside an encoder in a checkpoint and are no part of it:
# classifiers, decoders, projections of contrastive training, other towers, losses.
_BESIDE = re.compile(
    r"(.*_)?(head|heads|decoder|classifier|projection|projector|proj|predictor|loss)(_.*|\d+)?"
    r"|fc\d*|(text|logit|memory|prompt|momentum|pixel|sam|maskmem|no_mem|no_obj|obj_ptr|mask)_.*"
    r"|text|pooler|transformer|token_embedding|positional_embedding|ln_final|queue.*|prototypes"
    r"|shared_image_embedding|criterion|student|teacher|neck"
)
# Of two copies of one network, the one that was meant to be used.
_PREFERRED = ("teacher", "target_encoder", "base_encoder", "encoder_q", "backbone", "student")
# SAM 2 pools nothing, so its encoder ends without the norm before timm's pooling
_FINAL_NORM = {"head.norm.weight": torch.ones, "head.norm.bias": torch.zeros}


def understand(state: Mapping[str, Tensor], wanted: Collection[str], where: str) -> Contents:
    """Return the tensors of `state` that belong to the network with the names `wanted`.

    Raises:
        InputError: no part of the checkpoint is such a network, or two parts are.
    """
    wanted = frozenset(wanted)
    prefix = _prefix(state, wanted, where)
    inner = {name[len(prefix) :]: t for name, t in state.items() if name.startswith(prefix)}
    beside = [name for name in state if not name.startswith(prefix)]
    names = _renamed(inner, wanted)
    found = _joined({names[name]: tensor for name, tensor in inner.items()}, wanted)
    drop = [n for n in found if n not in wanted and _BESIDE.fullmatch(n.partition(".")[0])]
    kept = {name: tensor for name, tensor in found.items() if name not in drop}
    places = {name: _place(name, prefix) for name in beside}
    foreign = [n for n in beside if not _BESIDE.fullmatch(places[n].rpartition(".")[2])]
    if foreign:
        raise InputError(
            f"{where} holds the network under {prefix!r} beside {len(foreign)} tensors of unknown "
            f"use, such as {_some(foreign)}; save the network alone"
        )
    added = _with_final_norm(kept, wanted)
    counted = Counter([*(name.partition(".")[0] for name in drop), *places.values()])
    return Contents(kept | added, dict(sorted(counted.items())), tuple(sorted(added)))


def _place(name: str, prefix: str) -> str:
    """Return the start of `name` up to where it leaves the way to the network."""
    parts = name.split(".")
    way = prefix.split(".")
    same = next(i for i, (a, b) in enumerate(zip([*parts, ""], way, strict=False)) if a != b)
    return ".".join(parts[: same + 1])


def _prefix(state: Mapping[str, Tensor], wanted: frozenset[str], where: str) -> str:
    """Return what stands before the names of the network in `state`, "" where nothing does."""
    prefixes = {""}
    for name in state:
        parts = name.split(".")[:-1]
        for end in range(1, len(parts) + 1):
            if parts[end - 1].isdigit():
                break  # inside a list of blocks: no network begins there
            prefixes.add(".".join(parts[:end]) + ".")
    scores = {}
    for prefix in prefixes:
        inner = [name[len(prefix) :] for name in state if name.startswith(prefix)]
        names = set(_renamed(inner, wanted).values())
        scores[prefix] = len(wanted & (names | _whole(names)))
    best = max(scores.values())
    if not best:
        raise InputError(
            f"{where} holds no tensor of the network, such as {_some(wanted)}; it holds "
            f"{_some(state)}"
        )
    first = [prefix for prefix, score in scores.items() if score == best]
    if len(first) > 1:
        first.sort(key=lambda prefix: (_preference(prefix), prefix))
        if _preference(first[0]) == _preference(first[1]):
            raise InputError(
                f"{where} holds the network twice, under {first[0]!r} and {first[1]!r}; "
                "save one of them alone"
            )
    return first[0]


def _preference(prefix: str) -> int:
    ranks = [_PREFERRED.index(part) for part in prefix.split(".") if part in _PREFERRED]
    return min(ranks, default=len(_PREFERRED))


def _renamed(names: Iterable[str], wanted: frozenset[str]) -> dict[str, str]:
    """Return the name in timm of each of `names`; unknown ones stay as they are."""
    names = list(names)
    rules = next((r for sign, r in _RULES if any(sign.fullmatch(n) for n in names)), ())
    found = {}
    for name in names:
        once = _timm_name(name, rules, wanted)
        found[name] = _timm_name(once, rules, wanted)  # of a block in a chunk, once more
    return found


def _timm_name(name: str, rules: _Rules, wanted: frozenset[str]) -> str:
    if name in wanted:
        return name
    block = _BLOCK.search(name)
    general = _BLOCK.sub(".N.", name, count=1)
    for pattern, new in rules:
        if match := pattern.fullmatch(general):
            renamed = match.expand(new)
            return re.sub(r"^N", f"blocks.{block[1]}", renamed) if block else renamed
    return name


_PART = re.compile(r"(.*\.attn\.)[qkv](\.(?:weight|bias))")


def _whole(names: Iterable[str]) -> set[str]:
    """Return names in which the parts of a fused layer have the name of the whole."""
    return {_PART.sub(r"\1qkv\2", name) for name in names}


def _joined(state: State, wanted: frozenset[str]) -> State:
    """Return `state` with tensors joined, split and shaped as the network has them."""
    found: State = {}
    for name, tensor in state.items():
        part = _PART.fullmatch(name)
        if part and name not in wanted:
            parts = [f"{part[1]}{letter}{part[2]}" for letter in "qkv"]
            if all(other in state for other in parts):
                found[f"{part[1]}qkv{part[2]}"] = torch.cat([state[other] for other in parts])
                continue
        if name.startswith("attn_pool.in_proj."):
            # one layer makes query, key and value in torch's attention, two in timm's pooling
            kind, width = name.rpartition(".")[2], len(tensor) // 3
            found[f"attn_pool.q.{kind}"] = tensor[:width].clone()
            found[f"attn_pool.kv.{kind}"] = tensor[width:].clone()
        elif name == "cls_token" and tensor.ndim == 1:
            found[name] = tensor[None, None]
        elif name == "pos_embed" and tensor.ndim == 2:
            found[name] = tensor[None]
        else:
            found[name] = tensor
    if "register_tokens" in found and "reg_token" in wanted:
        # DINOv2 adds positions before it inserts registers; timm's network has none for the class
        # token, whose position is therefore a part of it
        position = found.pop("pos_embed")
        found["reg_token"] = found.pop("register_tokens")
        found["cls_token"] = found["cls_token"] + position[:, :1]
        found["pos_embed"] = position[:, 1:].clone()
    return found


def _with_final_norm(state: State, wanted: frozenset[str]) -> State:
    """Return the final norm of SAM 2's encoder, which is one without weights in the source."""
    if "pos_embed_window" not in state or state.keys() & _FINAL_NORM.keys():
        return {}
    width = max((len(t) for n, t in state.items() if n.endswith(".attn.proj.bias")), default=0)
    return {name: make(width) for name, make in _FINAL_NORM.items() if name in wanted}


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(repr(name) for name in listed[:3]) + (", ..." if len(listed) > 3 else "")


# What an unexpected tensor, or a missing one, says of the arguments of the network.
_HINTS = (
    ("unexpected", r"blocks\.0\.ls1\.gamma", "init_values=1e-5"),
    ("missing", r"blocks\.0\.ls1\.gamma", "init_values=None"),
    ("unexpected", r"(reg_token|register_tokens)", "reg_tokens=NUMBER"),
    ("missing", r"reg_token", "reg_tokens=0"),
    ("unexpected", r"fc_norm\.weight", "global_pool=avg"),
    ("missing", r"fc_norm\.weight", "global_pool=token"),
    ("unexpected", r"norm_pre\.weight", "pre_norm=True"),
    ("unexpected", r"blocks\.0\.attn\.q_norm\.weight", "qk_norm=True"),
    ("unexpected", r"blocks\.0\.attn\.rel_pos_h", "use_rel_pos=True"),
    ("unexpected", r"blocks\.0\.attn\.q_bias", "qkv_bias=True"),
)


_RESIZED = ("pos_embed", "rel_pos_h", "rel_pos_w", "relative_position_bias_table")


def difference(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return in words how `state` differs from the network in names and shapes; "" where not.

    The shapes of tables of positions are left to timm, which resizes them.
    """
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & state.keys())
        if state[name].shape != wanted[name].shape and not name.endswith(_RESIZED)
    ]
    parts = [f"{len(missing)} tensors are missing ({_some(missing)})"] if missing else []
    parts += [f"{len(unexpected)} are unexpected ({_some(unexpected)})"] if unexpected else []
    parts += [f"{len(shapes)} have another shape ({'; '.join(shapes[:2])})"] if shapes else []
    sides = {"missing": missing, "unexpected": unexpected}
    hints = [
        argument
        for side, pattern, argument in _HINTS
        if any(re.fullmatch(pattern, name) for name in sides[side])
    ]
    return ", ".join(parts) + (f"; try @NAME({','.join(hints)})" if hints else "")
