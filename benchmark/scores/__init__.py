"""What is measured, without torch: one `Metric` per score, found by name.

    metric_of("kappa").higher_is_better, metric_of("hd95_mm_tumour").unit
    every_score(predictions)  # {"kappa": .71, "auc": .9, "auc_melanoma": .93, ...}

A metric is one file in `benchmark/scores/metrics/`. Tables, figures, intervals and the choice of
the checkpoint ask the registry for its direction, unit, name and resampled form.
"""

from benchmark.core.registry import discover
from benchmark.scores.metric import (
    METRICS,
    VERSION,
    Metric,
    PerClass,
    Predictions,
    Rank,
    Scores,
    Weighted,
    every_score,
    is_better,
    metric_of,
    quick_scores,
)

__all__ = [
    "METRICS",
    "VERSION",
    "Metric",
    "PerClass",
    "Predictions",
    "Rank",
    "Scores",
    "Weighted",
    "every_score",
    "is_better",
    "metric_of",
    "quick_scores",
]

discover("benchmark.scores.metrics")
