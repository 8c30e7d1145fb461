"""How the tensors of a model lie in memory while it is trained; its numbers stay what they are.

The delta that is stored holds trained tensors: they stay in float32, and are written in the usual
order, whatever lies last in memory. Exports and predictions start from the weights' file again.
"""

from __future__ import annotations

from collections.abc import Set

import torch
from torch import nn

from benchmark.training.head import Model
from methods import families

# By class, not by kind: what a method has extended may read its weight in another way.
CAST = (nn.Linear, nn.Conv2d)  # autocast casts the weight and the bias of these, and nothing else
CONVOLUTIONAL = ("convnext", "resnet")


def lay_out(model: Model, bare: Set[nn.Module], precision: str, device: torch.device) -> None:
    """Lay out `model` for training in `precision` on `device`; memory shared with others stays.

    `bare` are the modules that its body had before a method was attached.
    """
    if precision == "bf16":
        cast_frozen(model.body, bare)
    if device.type == "cuda" and is_convolutional(model.body):
        model.to(memory_format=torch.channels_last)


def cast_frozen(body: nn.Module, bare: Set[nn.Module]) -> None:
    """Hold the frozen weights that autocast would cast in each pass in bfloat16.

    The same numbers go into the same products, so logits are equal bit for bit. Autocast would copy
    a frozen weight anew in each pass, and keep every copy until the backward pass is done.

    A module that is not in `bare` was put there by a method, and may do other things with the
    weights below it: DoRA of `peft` takes the norm of that of the layer it wraps.
    """
    added = {part for module in body.modules() if module not in bare for part in module.modules()}
    for module in body.modules():
        if type(module) not in CAST or module in added:
            continue
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad and parameter.dtype == torch.float32:
                setattr(module, name, nn.Parameter(parameter.bfloat16(), requires_grad=False))


def is_convolutional(body: nn.Module) -> bool:
    """Return whether most work of `body` is convolution, for which channels are best kept last."""
    family = families.find(body)
    return families.is_instance(body, "UNet") or (
        family is not None and family.name in CONVOLUTIONAL
    )
