import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmark.scores import metrics
from benchmark.training.task import Segmentation, soft_dice


def one_hot(predicted, num_classes):
    return np.eye(num_classes)[predicted] * 0.8 + 0.2 / num_classes


def test_classification_by_hand():
    # truth 0 0 1 2, predicted 0 1 1 1: weights (i-j)^2; observed disagreement 0+1+0+1 = 2;
    # expected sum_ij (i-j)^2 r_i c_j / n with r = 2,1,1 and c = 1,3,0:
    # (2*3*1 + 1*1*1 + 1*1*4 + 1*3*1) / 4
    labels, predicted = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    scores = metrics.classification(one_hot(predicted, 3), labels)
    assert scores["accuracy"] == 0.5
    assert scores["balanced_accuracy"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert scores["kappa"] == pytest.approx(1 - 2 / ((6 + 1 + 4 + 3) / 4))
    f1 = [2 / 3, 2 / 4, 0.0]
    assert scores["macro_f1"] == pytest.approx(np.mean(f1))


def test_auc_agrees_with_scikit_learn_and_skips_absent_classes():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 1, 1], 60)
    labels = rng.integers(0, 3, 60)
    expected = roc_auc_score(labels, probs, multi_class="ovr")
    assert metrics.classification(probs, labels)["auc"] == pytest.approx(expected)
    two = labels % 2  # class 2 is absent: the mean over the two others
    both = [roc_auc_score(two == k, probs[:, k]) for k in (0, 1)]
    assert metrics.classification(probs, two)["auc"] == pytest.approx(np.mean(both))


def test_undefined_values_are_none_not_numbers():
    labels = np.zeros(5, int)
    scores = metrics.classification(one_hot(labels, 3), labels)
    assert scores["accuracy"] == 1
    assert scores["auc"] is None
    assert scores["kappa"] is None


def test_scores_do_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(1)
    probs, labels = rng.dirichlet([1] * 4, 50), rng.integers(0, 4, 50)
    order = rng.permutation(50)
    first, second = (
        metrics.classification(*x) for x in ((probs, labels), (probs[order], labels[order]))
    )
    assert first == pytest.approx(second)


def test_dice_and_iou_by_hand_with_the_empty_mask_rule():
    truth = np.array([[[0, 1], [1, 2]], [[0, 0], [0, 0]], [[0, 0], [0, 1]]], np.uint8)
    guess = np.array([[[0, 1], [0, 2]], [[0, 0], [0, 0]], [[0, 0], [2, 0]]], np.uint8)
    counts = metrics.overlap(guess, truth, 3)
    assert counts[0, 1].tolist() == [1, 0, 1]
    scores = metrics.segmentation(counts, ["a", "b", "c"], ["background", "one", "two"])
    # one: image a 2/3, b empty in both (left out), c missed 0
    # two: a 1, b left out, c false alarm 0
    assert scores["dice_one"] == pytest.approx((2 / 3 + 0) / 2)
    assert scores["dice_two"] == pytest.approx((1 + 0) / 2)
    assert scores["dice"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert scores["iou_one"] == pytest.approx((1 / 2 + 0) / 2)


def test_images_of_a_volume_are_scored_together():
    truth = np.array([[[1, 1]], [[1, 0]]], np.uint8)
    guess = np.array([[[1, 1]], [[0, 0]]], np.uint8)
    counts = metrics.overlap(guess, truth, 2)
    names = ["background", "organ"]
    assert metrics.segmentation(counts, ["v", "v"], names)["dice"] == pytest.approx(4 / 5)
    assert metrics.segmentation(counts, ["v", "w"], names)["dice"] == pytest.approx(1 / 2)


def test_ignored_pixels_do_not_count():
    truth = np.array([[[1, 255]]], np.uint8)
    assert metrics.overlap(np.array([[[1, 1]]], np.uint8), truth, 2)[0, 1].tolist() == [1, 0, 0]
    task = Segmentation(("background", "organ"))
    logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
    task.loss(logits, torch.from_numpy(truth)).backward()
    assert logits.grad[..., 0].abs().sum() > 0
    assert logits.grad[..., 1].abs().sum() == 0


def test_soft_dice_agrees_with_monai():
    losses = pytest.importorskip("monai.losses")
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 4, 8, 8), torch.randint(0, 4, (3, 8, 8))
    reference = losses.DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1, smooth_dr=1
    )(logits, targets[:, None])
    ours = soft_dice(logits, targets, torch.ones_like(targets, dtype=torch.bool))
    assert ours.item() == pytest.approx(reference.item(), abs=1e-6)
