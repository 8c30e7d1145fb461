"""Tasks: head, loss, scores and the metric that selects. A new task is one file here."""

from benchmark.core.registry import discover
from benchmark.training.tasks.base import Arrays, Task, task_of, tasks

__all__ = ["Arrays", "Task", "task_of", "tasks"]

discover("benchmark.training.tasks")
