"""How cells are trained, where that is no part of what they are. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.core.cell import Cell
from benchmark.core.record import Earlier

Chosen = tuple[str, str, str, float, float, str]


def chosen(cell: Cell) -> Chosen:
    """Return what the trials that chose a cell's values are found by."""
    return (
        *(cell.dataset, cell.backbone, cell.method),
        *(cell.lr, cell.weight_decay, cell.tuned),
    )


@dataclass(frozen=True)
class Settings:
    """What sessions, worker processes and cluster jobs are given beside the cells themselves.

    Nothing here is in the key of a cell: a setting changes a number by rounding only, or adds
    something beside the record.

    `peek` keeps the checkpoints that were not selected, and scores them on the test set after the
    record is written (`benchmark.training.peek`). `compile` has `torch.compile` take the blocks of
    each model; it is off by default because on two CPU cores a step got 5 % faster after 46 s of
    compilation, which a cell of minutes does not pay back. `cuda_graph` sends all kernels of a pass
    to the GPU at once, which compiles the whole model; not where memory is too small for the batch
    and its parts go through one by one. `deterministic` takes only kernels that give
    the same bits each time: a GPU's usual ones add up in varying order. `earlier` holds the trials
    that chose values of cells, which their records tell. `processes_per_gpu` train on one GPU at
    once: they share its free memory out, and records tell, because their times are longer.
    """

    peek: bool = False
    compile: bool = False
    cuda_graph: bool = False
    deterministic: bool = False
    earlier: Mapping[Chosen, Earlier] = field(default_factory=dict)
    processes_per_gpu: int = 1

    @property
    def compiles(self) -> bool:
        """Whether `torch.compile` takes the models."""
        return self.compile or self.cuda_graph
