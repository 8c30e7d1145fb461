"""Benchmark of parameter-efficient fine-tuning methods for vision backbones on medical images."""

__version__ = "0.1.0"
