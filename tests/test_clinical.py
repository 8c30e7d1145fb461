"""Clinical scores against hand-made values and second implementations."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from sklearn.metrics import brier_score_loss

from benchmark.scores import calibration, metrics, stored, surfaces


def random_probs(seed, count=60, classes=3):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, classes))
    probs = calibration.softmax(logits)
    labels = np.array([generator.choice(classes, p=p) for p in probs])
    return probs, labels


def test_ece_by_hand():
    # bins of 1/15: .95 and .96 fall into the last one, .62 into the one of .6 to .667
    probs = np.array([[0.95, 0.05], [0.04, 0.96], [0.62, 0.38], [0.62, 0.38]])
    labels = np.array([0, 0, 0, 1])
    last, middle = abs(0.955 - 0.5), abs(0.62 - 0.5)
    assert calibration.ece(probs, labels) == pytest.approx((2 * last + 2 * middle) / 4)
    sure = np.eye(2)[labels]
    assert calibration.ece(sure, labels) == 0
    assert calibration.ece(sure, 1 - labels) == 1


def test_brier_with_two_classes_is_twice_that_of_scikit_learn():
    probs, _ = random_probs(0, classes=2)
    labels = np.random.default_rng(1).integers(0, 2, len(probs))
    assert calibration.brier(probs, labels) == pytest.approx(
        2 * brier_score_loss(labels, probs[:, 1])
    )


@pytest.mark.parametrize("true_value", [0.5, 1.0, 3.0])
def test_the_temperature_of_overconfident_logits_is_found(true_value):
    probs, labels = random_probs(2, count=20000)
    stretched = calibration.scaled(probs, 1 / true_value)
    found = calibration.temperature(stretched, labels)
    assert found == pytest.approx(true_value, rel=0.05)
    assert calibration.ece(calibration.scaled(stretched, found), labels) < 0.02
    assert np.array_equal(stretched.argmax(1), calibration.scaled(stretched, found).argmax(1))


@pytest.mark.parametrize("seed", range(5))
def test_sensitivity_at_a_specificity_by_all_thresholds(seed):
    generator = np.random.default_rng(seed)
    positive = generator.random(40) < 0.4
    score = (generator.random(40) + 0.5 * positive).round(1)  # with ties
    best = 0.0
    for cut in [*np.unique(score), np.inf]:
        called = score >= cut
        if (~called[~positive]).mean() >= 0.9:
            best = max(best, called[positive].mean())
    assert calibration.sensitivity_at(score, positive, 0.9) == pytest.approx(best)
    assert calibration.sensitivity_at(score, np.ones(40, bool), 0.9) is None


def brute_force(predicted, truth, spacing):
    """Return (HD95, surface Dice at the tolerance) from all distances between edge voxels."""
    edges = [m & ~binary_erosion(m) for m in (predicted, truth)]
    points = [np.argwhere(e) * np.array(spacing) for e in edges]
    distance = cdist(*points)
    there, back = distance.min(1), distance.min(0)
    far = max(np.percentile(there, 95), np.percentile(back, 95))
    close = (there <= surfaces.TOLERANCE).sum() + (back <= surfaces.TOLERANCE).sum()
    return far, close / (len(there) + len(back))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 2.5), (3.0, 0.5, 1.2)])
@pytest.mark.parametrize("seed", range(3))
def test_distances_agree_with_all_pairs_of_edge_voxels(spacing, seed):
    generator = np.random.default_rng(seed)
    shape = (14, 15) if len(spacing) == 2 else (7, 12, 11)
    truth = np.zeros(shape, np.uint8)
    truth[tuple(slice(2, n - 3) for n in shape)] = 1
    predicted = np.where(generator.random(shape) < 0.15, 1 - truth, truth).astype(np.uint8)
    unit = surfaces.Unit(predicted, truth, "g", spacing)
    found = surfaces.scores([unit], ("background", "one"), "mm")
    far, near = brute_force(predicted == 1, truth == 1, spacing)
    assert found["hd95_mm"] == pytest.approx(far)
    if len(spacing) == 2 and len(set(spacing)) == 1:
        # elsewhere MONAI weighs edge voxels by the area of their surface
        assert found["surface_dice_one"] == pytest.approx(near, abs=0.05)


def square(left, label=1, side=20):
    image = np.zeros((side, side), np.uint8)
    image[5:10, left : left + 5] = label
    return image


CLASSES = ("background", "one", "two")


def test_a_shifted_square_by_hand():
    unit = surfaces.Unit(square(8), square(5), "g", (1.0, 1.0))
    found = surfaces.scores([unit], CLASSES, "px")
    assert found["hd95_px"] == 3
    assert found["hd95_px_two"] is None  # absent from both: not counted
    half = surfaces.Unit(square(8), square(5), "g", (0.5, 0.5))
    assert surfaces.scores([half], CLASSES, "mm")["hd95_mm"] == 1.5


def test_a_missed_structure_counts_with_the_diagonal_and_never_drops_out():
    good = surfaces.Unit(square(5), square(5), "a", (1.0, 1.0))
    missed = surfaces.Unit(square(5, 0), square(5), "b", (1.0, 1.0))
    alarm = surfaces.Unit(square(5, 2), square(5, 0), "c", (1.0, 1.0))
    found = surfaces.scores([good, missed, alarm], CLASSES, "px")
    diagonal = 20 * 2**0.5
    assert found["hd95_px_one"] == pytest.approx((0 + diagonal) / 2)
    assert found["surface_dice_one"] == 0.5
    assert found["hd95_px_two"] == pytest.approx(diagonal)
    assert (found["missed"], found["missed_one"], found["false_alarms_two"]) == (1, 1, 1)


def test_slices_make_volumes_and_volumes_make_patients():
    # patient p has two volumes, q one; slices of v1 and v2 alternate in the arrays
    truth = np.stack([square(5)] * 6)
    predicted = np.stack([square(left) for left in (5, 7, 5, 7, 6, 6)])
    volumes = ["v1", "v2", "v1", "v2", "w", "w"]
    extent = np.tile([20.0, 40.0, 3.0], (6, 1))  # pixels of 1 x 2 mm, slices 3 mm apart
    found = list(surfaces.units(predicted, truth, volumes, extent))
    assert [u.truth.shape for u in found] == [(2, 20, 20)] * 3
    assert found[0].spacing == (3, 1, 2)
    scores = surfaces.scores(found, CLASSES, "mm")
    assert scores["hd95_mm_one"] == pytest.approx((0 + 4 + 2) / 3)  # shifts of 0, 2, 1 px of 2 mm
    flat = list(surfaces.units(predicted, truth, volumes, None))
    assert len(flat) == 6
    by_group = surfaces.scores(flat, CLASSES, "px")
    assert by_group["hd95_px_one"] == pytest.approx((0 + 2 + 1) / 3)


def predictions(seed=0):
    found = {}
    for split in ("val", "test"):
        probs, labels = random_probs(seed, classes=3)
        found |= {f"{split}_probs": probs, f"{split}_labels": labels}
        names = np.array([f"{split}{i}" for i in range(len(labels))])
        found |= {f"{split}_ids": names, f"{split}_groups": names}
    return found


def test_scores_of_a_classifier_hold_the_plain_ones_and_scale_on_validation():
    data = {"task": "classification", "classes": ["a", "b", "c"]}
    arrays = predictions()
    found = stored.scores(arrays, data, "test")
    plain = metrics.classification(arrays["test_probs"], arrays["test_labels"])
    assert plain.items() <= found.items()
    value = calibration.temperature(arrays["val_probs"], arrays["val_labels"])
    assert found["temperature"] == stored.scores(arrays, data, "val")["temperature"] == value
    assert found["auc"] == pytest.approx(np.mean([found[f"auc_{c}"] for c in "abc"]))
    each = [found[f"sensitivity_at_90_{c}"] for c in "abc"]
    assert found["sensitivity_at_90"] == pytest.approx(np.mean(each))
    other = arrays | {"val_labels": np.roll(arrays["val_labels"], 1)}
    assert stored.scores(other, data, "test")["temperature"] != value


def test_with_two_classes_the_second_is_the_finding():
    arrays = {}
    for split in ("val", "test"):
        probs, labels = random_probs(3, classes=2)
        arrays |= {f"{split}_probs": probs, f"{split}_labels": labels}
    found = stored.scores(arrays, {"task": "classification", "classes": ["well", "ill"]}, "test")
    assert found["sensitivity_at_95"] == found["sensitivity_at_95_ill"]
    assert "sensitivity_at_95_well" not in found


def test_old_cells_are_scored_again_without_training(tmp_path, capsys):
    from test_results import make_record
    from test_spec import make_cell

    from benchmark.__main__ import main
    from benchmark.core.record import write_record
    from results import frame, tables

    arrays = predictions(7)
    for method in ("linear", "lora"):
        cell = make_cell(method=method)
        facts = {"task": "classification", "classes": ["a", "b", "c"]}
        folder = cell.folder(tmp_path)
        write_record(folder, make_record(cell, 0.25, **facts))
        if method == "linear":
            np.savez(folder / "predictions.npz", **arrays)
    assert main(["report", "--runs", str(tmp_path), "--rescore", "--metric", "brier"]) == 0
    answer = capsys.readouterr()
    assert "1 cells below" in answer.out
    assert "not scored" in answer.err
    assert "less is better: brier" in answer.out.replace("\n", " ")
    (table,) = tables.build(frame.load([tmp_path]), "brier")
    expected = 100 * calibration.brier(arrays["test_probs"], arrays["test_labels"])
    scores = {m: table.scores[m, table.columns[0]] for m in table.methods}
    assert scores["linear"].mean == pytest.approx(expected)
    assert scores["lora"].reason == "missing"
    kept = frame.load([tmp_path]).rows.set_index("method")["test_kappa"]
    assert kept["linear"] == 0.25  # a record's own scores are never replaced


def test_where_less_is_better_the_least_is_best():
    from benchmark.scores.direction import less_is_better, scale

    names = ["hd95_mm_one", "ece", "brier_scaled", "missed", "loss"]
    assert all(less_is_better(name) for name in names)
    assert not any(less_is_better(name) for name in ("kappa", "dice", "surface_dice", "auc_a"))
    assert (scale("hd95_mm"), scale("dice"), scale("missed_one")) == (1, 100, 1)
