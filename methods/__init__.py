"""Interchangeable fine-tuning methods for timm backbones; works without the harness.

from methods import build
model = build("lora(rank=8)").attach(timm.create_model("vit_base_patch16_224", num_classes=0))
"""

from benchmark.core.registry import discover
from methods import families, seams
from methods.base import (
    Count,
    Factor,
    Method,
    OneOf,
    Range,
    Share,
    build,
    delta,
    load_delta,
    merge,
    methods,
    of_cell,
    register,
    trainable,
)

__all__ = [
    "Count",
    "Factor",
    "Method",
    "OneOf",
    "Range",
    "Share",
    "build",
    "delta",
    "families",
    "load_delta",
    "merge",
    "methods",
    "of_cell",
    "register",
    "seams",
    "trainable",
]

discover(__name__)
