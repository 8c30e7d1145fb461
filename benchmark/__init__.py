"""Benchmark of parameter-efficient fine-tuning methods for vision backbones on medical images.

`Sweep` trains and reports, `results` and `report` read what was trained, `load` predicts with it,
`audit` proves a method. Importing this is light: torch and pandas are imported on use.
"""

from benchmark.api import Sweep, audit, load, report, results
from benchmark.core.registry import InputError

__all__ = ["InputError", "Sweep", "audit", "load", "report", "results"]
__version__ = "0.1.0"
