"""`torch.compile` of a cell's model, so that the next cell of its kind finds what was compiled.

Blocks are compiled, not the model: those of one shape share what is compiled, within the model and
with the models of later cells, whose blocks have the same classes. LoRA on ViT-S, one CPU core:
50 s before the first step, 1 s in the next cell; compiled as a whole it took 29 s in each.
"""

from __future__ import annotations

import gc
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.core.cell import Cell
from benchmark.core.record import Provenance
from benchmark.core.registry import InputError
from benchmark.core.settings import Settings
from benchmark.training.head import Model

# Ways in which one block may be compiled before torch gives up and runs it as it is: by stage and
# shift of a Swin (8), with and without a gradient at its input, in evaluation, in smaller batches.
LIMIT = 64


def check(settings: Settings, device: torch.device) -> None:
    """Refuse a CUDA graph where there is no GPU.

    Raises:
        InputError: says so.
    """
    if settings.cuda_graph and device.type != "cuda":
        raise InputError("--cuda-graph needs a GPU, and there is none here; leave it out")


def limit(settings: Settings) -> AbstractContextManager[object]:
    """Return the context in which torch compiles a block in as many ways as `LIMIT`.

    Models of earlier cells are given up first: a module that was compiled refers to itself, so it
    would hold its weights and gradients on the device until Python looks for such circles.
    """
    if not settings.compiles:
        return nullcontext()
    gc.collect()
    return torch._dynamo.config.patch(cache_size_limit=LIMIT)


@dataclass
class Compiler:
    """Compiles the models of a session; what it compiled stays while cells are of one kind."""

    kind: Hashable = None

    def take(self, model: Model, cell: Cell, settings: Settings, micro_batch: int) -> Provenance:
        """Compile `model` as `settings` ask; it is compiled when it is first called, under `limit`.

        A CUDA graph holds all launches of a pass and sends them at once, which pays where kernels
        are short. It is of the whole model: one graph forward, one backward. torch records it, and
        keeps the memory of its tensors apart. Where `micro_batch` images (0: the batch) are fewer
        than the batch, there is no graph and blocks are compiled: gradients of the first pass lie
        in the graph's memory, and the next pass would write over them before they are summed.

        Returns what was done, for the record; {} where all blocks are kept features.
        """
        size = micro_batch or cell.batch_size
        kind = (cell.backbone, cell.method, cell.image_size, cell.precision, size)
        if kind != self.kind:
            torch.compiler.reset()  # else what other kinds compiled counts against the limit
            self.kind = kind
        parts = model.compilable()
        if not parts:
            return {}
        if settings.cuda_graph and size >= cell.batch_size:
            model.compile(mode="reduce-overhead", dynamic=False)
            return {"compiled": True, "cuda_graph": True}
        for part in parts:
            part.compile(dynamic=False)
        return {"compiled": True}


def filled(inputs: Tensor, size: int) -> Tensor:
    """Return `inputs` (B, ...) as (`size`, ...), the last one repeated: one shape for all batches.

    What is compiled for one number of images is no use for another.
    """
    missing = size - len(inputs)
    return torch.cat([inputs, inputs[-1:].expand(missing, *inputs.shape[1:])])
