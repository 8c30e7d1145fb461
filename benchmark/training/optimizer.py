"""The optimiser: the same for every method."""

from __future__ import annotations

import torch

from benchmark.core.cell import Cell
from benchmark.training.head import Model


def optimizer_of(model: Model, cell: Cell) -> torch.optim.AdamW:
    """Return AdamW on the `requires_grad` tensors only; no decay on vectors and scalars.

    A group's `share` of the cell's rate differs from 1 for the head of a cell with a `head_lr`.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    fresh = {id(p) for p in model.head.parameters()} if cell.head_lr else set()
    groups = [
        {"params": [p for p in trained if (p.ndim > 1, id(p) in fresh) == (matrix, at_head)]}
        | {"weight_decay": cell.weight_decay if matrix else 0.0}
        | {"share": cell.head_lr / cell.lr if at_head else 1.0}
        for at_head in (False, True)
        for matrix in (True, False)
    ]
    fused = bool(trained) and trained[0].is_cuda
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=cell.lr, fused=fused)
