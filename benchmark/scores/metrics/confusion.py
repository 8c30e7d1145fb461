"""Accuracy, balanced accuracy, kappa and macro F1: what counts of right and wrong answers tell.

Legend: n images, G groups, K classes, R resamples.
"""

from __future__ import annotations

import numpy as np

from benchmark.scores.metric import Metric, Predictions, Weighted, add, divide, mean_of_known

CALLED = 0.5  # a finding is called present from this probability on, as in MedMNIST


def truth_of(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return (n, K) bool from class numbers (n,), or from findings (n, K) of 0 and 1."""
    single = labels.ndim == 1
    truth: np.ndarray = labels[:, None] == np.arange(num_classes) if single else labels.astype(bool)
    return truth


def confusion(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the confusion matrix (K, K) of class numbers (n,): truth by row, answers by column."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels, predicted), 1)
    return counts


def tally(predictions: Predictions) -> np.ndarray:
    """Return counts (G, 3, K) per group: right answers, images of each class, answers of it.

    With findings an answer is that one is present.
    """
    probs, labels = predictions.arrays["probs"], predictions.arrays["labels"]
    truth = truth_of(labels, probs.shape[1])
    answers = probs >= CALLED if labels.ndim == 2 else truth_of(probs.argmax(1), probs.shape[1])
    return predictions.sum_by_group(np.stack([truth & answers, truth, answers], 1))


def _counts(predictions: Predictions, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the weighted tally: right, truth and answers, each (R, K)."""
    counts = predictions.once(tally)
    flat = counts.reshape(len(counts), -1).astype(weights.dtype)  # one matrix product for all
    drawn = (weights @ flat).reshape(len(weights), 3, -1)
    return drawn[:, 0], drawn[:, 1], drawn[:, 2]


def _accuracy(predictions: Predictions) -> Weighted:
    findings = predictions.task == "multilabel"
    sizes = predictions.sum_by_group(np.ones(len(predictions.rows)))

    def accuracy(weights: np.ndarray) -> np.ndarray:
        right, truth, answers = _counts(predictions, weights)
        if not findings:
            return divide(right.sum(1), truth.sum(1))
        asked = weights @ sizes.astype(weights.dtype) * truth.shape[1]
        wrong = (truth + answers - 2 * right).sum(1)
        return divide(asked - wrong, asked)

    return accuracy


def _balanced_accuracy(predictions: Predictions) -> Weighted:
    def balanced_accuracy(weights: np.ndarray) -> np.ndarray:
        right, truth, _ = _counts(predictions, weights)
        return mean_of_known(divide(right, truth))

    return balanced_accuracy


def _macro_f1(predictions: Predictions) -> Weighted:
    def macro_f1(weights: np.ndarray) -> np.ndarray:
        right, truth, answers = _counts(predictions, weights)
        return mean_of_known(divide(2 * right, truth + answers))

    return macro_f1


def _kappa(predictions: Predictions) -> Weighted:
    probs, labels = predictions.arrays["probs"], predictions.arrays["labels"].astype(int)
    seen = predictions.sum_by_group((labels - probs.argmax(1)) ** 2.0)
    grades = np.arange(probs.shape[1])
    penalty = np.subtract.outer(grades, grades) ** 2

    def kappa(weights: np.ndarray) -> np.ndarray:
        _, truth, answers = _counts(predictions, weights)
        # both are multiplied by n: whole numbers up to the one division, so that the answer for
        # equal counts is equal to the last bit
        chance = ((truth @ penalty.astype(weights.dtype)) * answers).sum(1)
        return 1 - divide((weights @ seen.astype(weights.dtype)) * truth.sum(1), chance)

    return kappa


# What the best answer reaches that is the same for every image. One that is drawn by lot is never
# better, and a model that learned nothing ends here: it calls everything by the largest class.


def _largest_share(counts: np.ndarray) -> float:
    return float(counts.max() / counts.sum())


def _one_of_those_present(counts: np.ndarray) -> float:
    return 1 / int((counts > 0).sum())


def _f1_of_largest(counts: np.ndarray) -> float:
    """Return the mean over classes present: precision p and recall 1 of one class, 0 of others."""
    share = _largest_share(counts)
    return _one_of_those_present(counts) * 2 * share / (1 + share)


NEEDS = ("probs", "labels")

add(
    Metric(
        name="accuracy",
        display="accuracy",
        definition="The share of images whose most probable class is the true one; with findings, "
        "the share of right yes-or-no answers at a probability of .5.",
        tasks=("classification", "multilabel"),
        needs=NEEDS,
        form=_accuracy,
        higher_is_better=True,
        chance=_largest_share,
        quick=True,
    )
)
add(
    Metric(
        name="kappa",
        display="kappa",
        definition="Cohen's kappa with quadratic weights (Cohen 1968): agreement on ordered grades "
        "beyond chance; undefined where truth and answers are all of one class.",
        tasks=("classification",),
        needs=NEEDS,
        form=_kappa,
        higher_is_better=True,
        chance=0.0,
        quick=True,
    )
)
add(
    Metric(
        name="balanced_accuracy",
        display="balanced accuracy",
        definition="The mean recall over the classes that are present.",
        tasks=("classification",),
        needs=NEEDS,
        form=_balanced_accuracy,
        higher_is_better=True,
        chance=_one_of_those_present,
        quick=True,
    )
)
add(
    Metric(
        name="macro_f1",
        display="macro F1",
        definition="The mean F1 over the classes that occur, in the truth or among the answers "
        "(until version 1 of the definitions: over all classes, absent ones counted 0).",
        tasks=("classification", "multilabel"),
        needs=NEEDS,
        form=_macro_f1,
        higher_is_better=True,
        chance=_f1_of_largest,
        quick=True,
        since=2,
    )
)
