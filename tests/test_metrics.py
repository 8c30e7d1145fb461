"""Every metric of the registry: against a second implementation, and as its resampled form."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn import metrics as sk

from benchmark.core.registry import InputError
from benchmark.scores import METRICS, Predictions, every_score, is_better, metric_of, quick_scores
from benchmark.scores.metrics import calibration
from benchmark.scores.metrics.overlap import overlap
from benchmark.scores.metrics.surfaces import TOLERANCE
from benchmark.training.tasks.segmentation import Segmentation, soft_dice

CLASSES = ("background", "one", "two")
SIDE = 12


def classified(seed=0, count=60, classes=3, truth=None):
    generator = np.random.default_rng(seed)
    probs = calibration.softmax(1.5 * generator.normal(size=(count, classes))).round(2)
    probs /= probs.sum(1, keepdims=True)
    labels = np.array([generator.choice(classes, p=p) for p in probs]) if truth is None else truth
    groups = np.array([f"patient{i}" for i in generator.integers(0, count // 3, count)])
    return {"probs": probs, "labels": labels, "groups": groups, "loss": generator.random(count)}


def findings(seed=0):
    generator = np.random.default_rng(seed)
    arrays = classified(seed)
    labels = (generator.random((60, 3)) < 0.4).astype(np.uint8)
    return arrays | {"labels": labels, "probs": generator.random((60, 3)).round(2)}


def segmented(seed=0, slices=3, extent=True):
    """Ten volumes of a few slices, of five patients; some structures are absent or missed."""
    generator = np.random.default_rng(seed)
    count = 10 * slices
    truth = np.zeros((count, SIDE, SIDE), np.uint8)
    masks = np.zeros_like(truth)
    volumes = np.repeat([f"v{i}" for i in range(10)], slices)
    for i in range(count):
        for k in (1, 2):
            row, column = generator.integers(0, SIDE - 5, 2)
            if generator.random() < 0.7:
                truth[i, row : row + 4, column : column + 4] = k
            if generator.random() < 0.7:
                masks[i, row : row + 4, column + 1 : column + 5] = k
    truth[0, 0, 0] = 255
    arrays = {"masks": masks, "truth": truth, "volumes": volumes}
    arrays |= overlap(masks, truth, 3) | {"loss": generator.random(count)}
    arrays["groups"] = np.repeat([f"p{i % 5}" for i in range(10)], slices)
    if extent:
        arrays["extent"] = np.tile([12.0, 24.0, 3.0], (count, 1))
    return arrays


def with_validation(arrays):
    return Predictions(CLASSES, arrays, Predictions(CLASSES, classified(9)))


SITUATIONS = {
    "classes": with_validation(classified()),
    "two classes": Predictions(("well", "ill"), classified(1, classes=2)),
    "findings": Predictions(CLASSES, findings()),
    "volumes": Predictions(CLASSES, segmented()),
    "flat volumes": Predictions(CLASSES, segmented(slices=2)),
    "images": Predictions(CLASSES, segmented(slices=1, extent=False)),
}


def one_hot(labels, num_classes):
    return labels if labels.ndim == 2 else np.eye(num_classes, dtype=int)[labels]


def auc(a, _):
    truth = one_hot(a["labels"], a["probs"].shape[1])
    return [sk.roc_auc_score(t, p) for t, p in zip(truth.T, a["probs"].T, strict=True)]


def sensitivity(specificity):
    def at(a, _):
        truth, found = one_hot(a["labels"], a["probs"].shape[1]).astype(bool), []
        for positive, score in zip(truth.T, a["probs"].T, strict=True):
            cuts = [*np.unique(score), np.inf]
            kept = [c for c in cuts if (score[~positive] < c).mean() >= specificity]
            found.append(max((score[positive] >= c).mean() for c in kept))
        return found[1:] if a["labels"].ndim == 1 and len(found) == 2 else found

    return at


def ece(probs, labels):
    confidence, right = probs.max(1), probs.argmax(1) == labels
    bins = np.digitize(confidence, np.linspace(0, 1, 16)[1:-1])
    gaps = [abs((confidence - right)[bins == b].sum()) for b in range(15)]
    return sum(gaps) / len(labels)


def brier(a, _):
    if a["labels"].ndim == 1:  # scikit-learn halves that of two classes
        return np.square(a["probs"] - np.eye(a["probs"].shape[1])[a["labels"]]).sum(1).mean()
    pairs = zip(a["labels"].T, a["probs"].T, strict=True)
    return np.mean([sk.brier_score_loss(t, p) for t, p in pairs])


def temperature(a, validation):
    a = validation or a
    logits, labels = torch.from_numpy(np.log(np.clip(a["probs"], 1e-12, 1))), a["labels"]

    def loss(t):
        return torch.nn.functional.cross_entropy(logits / float(t[0]), torch.from_numpy(labels))

    return float(minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-8}).x[0])


def after_scaling(function):
    def measured(a, validation):
        logits = torch.from_numpy(np.log(np.clip(a["probs"], 1e-12, 1)))
        probs = (logits / temperature(a, validation)).softmax(1).numpy()
        return function(a | {"probs": probs}, None)

    return measured


def per_volume(function):
    """The mean of `function(mask, truth)` over volumes, for each foreground class."""

    def measured(a, _):
        found = []
        for k in (1, 2):
            values = []
            for name in np.unique(a["volumes"]):
                rows = (a["volumes"] == name)[:, None, None] & (a["truth"] != 255)
                mask, truth = (a[n][rows] == k for n in ("masks", "truth"))
                values += [function(truth, mask)] if mask.any() or truth.any() else []
            found.append(np.mean(values))
        return found

    return measured


def surface(kind):
    """HD95 or surface Dice from all pairs of edge voxels; failures as the definition says."""

    def one(p, t, spacing):
        if not p.any() or not t.any():
            far = np.linalg.norm(np.multiply(p.shape, spacing))
            return {"hd95": far, "dice": 0, "missed": not p.any(), "alarm": not t.any()}[kind]
        edges = [m & ~binary_erosion(m) for m in (p, t)]
        distance = cdist(*[np.argwhere(e) * np.array(spacing) for e in edges])
        there, back = distance.min(1), distance.min(0)
        if kind == "hd95":
            return max(np.percentile(there, 95), np.percentile(back, 95))
        close = (there <= TOLERANCE).sum() + (back <= TOLERANCE).sum()
        return {"dice": close / (len(there) + len(back)), "missed": 0, "alarm": 0}[kind]

    def measured(a, _):
        found, masks = [], np.where(a["truth"] == 255, 0, a["masks"])
        for k in (1, 2):
            by_volume = []
            for name in np.unique(a["volumes"]):
                rows = np.flatnonzero(a["volumes"] == name)
                flat = "extent" not in a or len(rows) < 3
                spacing = (3.0, 1.0, 2.0) if "extent" in a else (1.0, 1.0, 1.0)
                parts = rows if flat else [rows]
                pairs = [(masks[part] == k, a["truth"][part] == k) for part in parts]
                values = [one(p, t, spacing[-p.ndim :]) for p, t in pairs if p.any() or t.any()]
                by_volume += [values] if values else []
            counted = kind in ("missed", "alarm")
            found.append(
                (sum(map(sum, by_volume))) if counted else np.mean([*map(np.mean, by_volume)])
            )
        return found

    return measured


def macro_f1(a, _):
    if a["labels"].ndim == 1:
        return sk.f1_score(a["labels"], a["probs"].argmax(1), average="macro")
    return sk.f1_score(a["labels"], a["probs"] >= 0.5, average="macro")


# A second implementation of every metric; of those with values per class a list of them.
SECOND = {
    "accuracy": lambda a, _: (
        sk.accuracy_score(a["labels"], a["probs"].argmax(1))
        if a["labels"].ndim == 1
        else 1 - sk.hamming_loss(a["labels"], a["probs"] >= 0.5)
    ),
    "auc": auc,
    "balanced_accuracy": lambda a, _: sk.balanced_accuracy_score(a["labels"], a["probs"].argmax(1)),
    "brier": brier,
    "brier_scaled": after_scaling(brier),
    "dice": per_volume(sk.f1_score),
    "ece": lambda a, _: ece(a["probs"], a["labels"]),
    "ece_scaled": after_scaling(lambda a, _: ece(a["probs"], a["labels"])),
    "false_alarms": surface("alarm"),
    "hd95_mm": surface("hd95"),
    "hd95_px": surface("hd95"),
    "iou": per_volume(sk.jaccard_score),
    "kappa": lambda a, _: sk.cohen_kappa_score(
        a["labels"], a["probs"].argmax(1), weights="quadratic"
    ),
    "loss": lambda a, _: a["loss"].mean(),
    "macro_f1": macro_f1,
    "missed": surface("missed"),
    "sensitivity_at_90": sensitivity(0.9),
    "sensitivity_at_95": sensitivity(0.95),
    "surface_dice": surface("dice"),
    "temperature": temperature,
}
# In volumes MONAI weighs edge voxels by the area of their surface; all pairs do not.
LOOSE = {
    "surface_dice": 0.15,
    "hd95_mm": 1e-6,
    "temperature": 1e-4,
    "ece_scaled": 1e-4,
    "brier_scaled": 1e-4,
}
COMPUTED = [
    (name, situation)
    for name in METRICS
    for situation, predictions in SITUATIONS.items()
    if METRICS[name].applies(predictions)
]


def test_every_metric_has_a_second_implementation_and_is_computed_here():
    assert set(SECOND) == set(METRICS) == {name for name, _ in COMPUTED}


@pytest.mark.parametrize(("name", "situation"), COMPUTED)
def test_a_metric_is_that_of_a_second_implementation(name, situation):
    predictions, metric = SITUATIONS[situation], METRICS[name]
    validation = predictions.validation and predictions.validation.arrays
    expected = SECOND[name](predictions.arrays, validation)
    close = {"abs": LOOSE.get(name, 1e-9)}
    scores = metric.scores(predictions)
    if np.ndim(expected) == 0:
        assert scores == {name: pytest.approx(expected, **close)}
        return
    whole, *each = scores.values()
    assert each == pytest.approx(expected, **close)
    total = np.sum if name in ("missed", "false_alarms") else np.mean
    assert whole == pytest.approx(total(expected), **close)
    for one, value in zip([n for n in scores if n != name], each, strict=True):
        assert metric_of(one).weighted(predictions)(np.ones((1, predictions.num_groups)))[
            0
        ] == pytest.approx(value)


def repeated(predictions, weights):
    """The predictions with the images of each group so many times; a copy is another volume."""
    rows, copies = [], []
    for copy in range(int(weights.max())):
        chosen = np.flatnonzero(weights[predictions.rows] > copy)
        rows.append(chosen)
        copies += [copy] * len(chosen)
    rows = np.concatenate(rows)
    arrays = {name: values[rows] for name, values in predictions.arrays.items()}
    for name in ("volumes", "groups"):
        if name in arrays:
            arrays[name] = np.array([f"{n}-{c}" for n, c in zip(arrays[name], copies, strict=True)])
    return Predictions(predictions.classes, arrays, predictions.validation or predictions)


@pytest.mark.parametrize(("name", "situation"), COMPUTED)
def test_weighing_a_patient_twice_is_having_its_images_twice(name, situation):
    predictions, metric = SITUATIONS[situation], METRICS[name]
    generator = np.random.default_rng(3)
    weights = generator.integers(0, 4, (4, predictions.num_groups))
    weights[0] = generator.permutation([1] + [0] * (predictions.num_groups - 1))  # one patient
    weighted = metric.weighted(predictions)(weights.astype(np.float32))
    assert weighted.shape == (4,)
    for row, value in zip(weights, weighted, strict=True):
        again = metric.scores(repeated(predictions, row))[name]
        if again is None:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(again, rel=1e-5, abs=1e-5)


def perfect(predictions):
    arrays = dict(predictions.arrays)
    if predictions.task == "segmentation":
        arrays["masks"] = np.where(arrays["truth"] == 255, 0, arrays["truth"])
        arrays |= overlap(arrays["masks"], arrays["truth"], 3)
    else:
        num_classes = arrays["probs"].shape[1]
        arrays["probs"] = one_hot(arrays["labels"], num_classes).astype(float)
    arrays["loss"] = np.zeros_like(arrays["loss"])
    return Predictions(predictions.classes, arrays)


@pytest.mark.parametrize(("name", "situation"), COMPUTED)
def test_perfect_answers_are_the_best_that_there_is(name, situation):
    metric = METRICS[name]
    if metric.higher_is_better is None:
        with pytest.raises(InputError, match="ranks nothing"):
            _ = metric.sign
        return
    best = metric.scores(perfect(SITUATIONS[situation]))[name]
    assert best == pytest.approx(1.0 if metric.higher_is_better else 0.0, abs=1e-9)
    assert metric.sign * best > metric.sign * metric.scores(SITUATIONS[situation])[name]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name):
    metric = METRICS[name]
    assert metric.definition.endswith(".")
    assert metric.display
    assert metric.display.replace(" ", "_").lower() == name
    assert (metric.scale == 100) == (metric.unit == "%")


@pytest.mark.parametrize(
    "name", ["assd_mm", "nll", "fpr_at_95", "accuracy_ill", "dice_", "", "val"]
)
def test_an_unknown_metric_is_an_error(name):
    with pytest.raises(InputError, match=r"unknown metric .* known: accuracy, auc"):
        metric_of(name)


def test_the_metric_of_a_class_is_found_by_its_name():
    one = metric_of("hd95_mm_left_ventricle at_90")
    assert (one.of_class, one.unit, one.lower_is_better) == ("left_ventricle at_90", "mm", True)
    assert metric_of("sensitivity_at_90").of_class == ""
    assert metric_of("brier_scaled").of_class == ""
    assert metric_of("dice_one").weighted(Predictions(("background", "x"), segmented())) is None
    assert metric_of("dice_background").weighted(SITUATIONS["volumes"]) is None


def test_only_the_arrays_of_a_metric_are_unpacked(tmp_path):
    splits = {f"{s}_{n}": v for s in ("val", "test") for n, v in segmented().items()}
    np.savez(tmp_path / "a.npz", **splits)
    with np.load(tmp_path / "a.npz") as stored:
        read = Predictions.of_split(stored, CLASSES, "test", only=metric_of("dice"))
    assert set(read.arrays) == {"tp", "fp", "fn", "groups", "volumes", "extent"}


# Edge cases, by hand.


def answers(labels, predicted, num_classes=3):
    probs = np.eye(num_classes)[predicted] * 0.8 + 0.2 / num_classes
    arrays = {"probs": probs, "labels": np.array(labels), "loss": np.zeros(len(labels))}
    return Predictions(CLASSES[:num_classes], arrays)


def test_classification_by_hand():
    # truth 0 0 1 2, predicted 0 1 1 1: weights (i-j)^2; observed disagreement 0+1+0+1 = 2;
    # expected sum_ij (i-j)^2 r_i c_j / n with r = 2,1,1 and c = 1,3,0:
    # (2*3*1 + 1*1*1 + 1*1*4 + 1*3*1) / 4
    scores = quick_scores(answers([0, 0, 1, 2], [0, 1, 1, 1]))
    assert scores["accuracy"] == 0.5
    assert scores["balanced_accuracy"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert scores["kappa"] == pytest.approx(1 - 2 / ((6 + 1 + 4 + 3) / 4))
    assert scores["macro_f1"] == pytest.approx(np.mean([2 / 3, 2 / 4, 0.0]))


def test_macro_f1_is_over_classes_that_occur():
    assert quick_scores(answers([0, 0, 1], [0, 0, 1]))["macro_f1"] == 1  # class 2 nowhere
    # class 2 is only answered: its F1 is 0, a false alarm counts
    assert quick_scores(answers([0, 0, 1], [0, 2, 1]))["macro_f1"] == pytest.approx(5 / 9)
    none = {"probs": np.zeros((3, 2)), "labels": np.zeros((3, 2), int), "loss": np.zeros(3)}
    assert quick_scores(Predictions(("a", "b"), none))["macro_f1"] is None


def test_undefined_values_are_none_not_numbers():
    scores = every_score(answers([0] * 5, [0] * 5))
    undefined = {name for name, value in scores.items() if value is None}
    assert undefined == {
        "kappa",
        "auc",
        *(f"auc_{c}" for c in CLASSES),
        *(f"sensitivity_at_{s}{c}" for s in (90, 95) for c in ("", *(f"_{k}" for k in CLASSES))),
    }
    truth = np.zeros((2, 4, 4), np.uint8)
    arrays = overlap(truth, truth, 3) | {"masks": truth, "truth": truth, "loss": np.ones(2)}
    empty = every_score(Predictions(CLASSES, arrays))
    assert [empty[n] for n in ("dice", "iou_one", "hd95_px", "surface_dice")] == [None] * 4
    assert [empty[n] for n in ("missed", "false_alarms_two")] == [0, 0]


def test_auc_skips_classes_that_are_absent():
    arrays = classified()
    arrays["labels"] = arrays["labels"] % 2
    scores = every_score(Predictions(CLASSES, arrays))
    assert scores["auc_two"] is None
    assert scores["auc"] == pytest.approx((scores["auc_background"] + scores["auc_one"]) / 2)


def test_dice_and_iou_by_hand_with_the_empty_mask_rule():
    truth = np.array([[[0, 1], [1, 2]], [[0, 0], [0, 0]], [[0, 0], [0, 1]]], np.uint8)
    guess = np.array([[[0, 1], [0, 2]], [[0, 0], [0, 0]], [[0, 0], [2, 0]]], np.uint8)
    counts = overlap(guess, truth, 3)
    assert [counts[n][0, 1] for n in ("tp", "fp", "fn")] == [1, 0, 1]
    scores = every_score(Predictions(CLASSES, counts))
    # one: image a 2/3, b empty in both (left out), c missed 0
    # two: a 1, b left out, c false alarm 0
    assert scores["dice_one"] == pytest.approx((2 / 3 + 0) / 2)
    assert scores["dice_two"] == pytest.approx((1 + 0) / 2)
    assert scores["dice"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert scores["iou_one"] == pytest.approx((1 / 2 + 0) / 2)


def test_pixels_are_counted_some_images_at_a_time():
    generator = np.random.default_rng(0)
    guess, truth = (generator.integers(0, 3, (640, 32, 32), dtype=np.uint8) for _ in range(2))
    tracemalloc.start()
    counts = overlap(guess, truth, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # of a test set of 25,000 images of 512 px they would be 20 GB beside the masks
    assert peak < truth.nbytes
    singles = [overlap(g[None], t[None], 3) for g, t in zip(guess, truth, strict=True)]
    for name, found in counts.items():
        assert (found == np.concatenate([single[name] for single in singles])).all()


def test_images_of_a_volume_are_scored_together():
    truth = np.array([[[1, 1]], [[1, 0]]], np.uint8)
    counts = overlap(np.array([[[1, 1]], [[0, 0]]], np.uint8), truth, 2)

    def dice(*volumes):
        arrays = counts | {"volumes": np.array(volumes)}
        return every_score(Predictions(CLASSES[:2], arrays))["dice"]

    assert dice("v", "v") == pytest.approx(4 / 5)
    assert dice("v", "w") == pytest.approx(1 / 2)


def test_volumes_of_one_patient_are_drawn_together():
    # patient p has volumes 1 and 2 of Dice 2/3 and 0, patient q volume 3 of Dice 1/2
    arrays = {"groups": np.array(["p", "p", "q"]), "volumes": np.array(["1", "2", "3"])}
    for name, values in (("tp", [4, 0, 1]), ("fp", [4, 1, 1]), ("fn", [0, 1, 1])):
        arrays[name] = np.array(values)[:, None] * [[0, 1]]
    weighted = metric_of("dice").weighted(Predictions(CLASSES[:2], arrays))
    assert weighted(np.array([[3.0, 1], [0, 2]])) == pytest.approx(
        [(3 * (2 / 3 + 0) + 0.5) / 7, 0.5]
    )


def test_ignored_pixels_do_not_count():
    truth = np.array([[[1, 255]]], np.uint8)
    counts = overlap(np.array([[[1, 1]]], np.uint8), truth, 2)
    assert [counts[n][0, 1] for n in ("tp", "fp", "fn")] == [1, 0, 0]
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
    ours = soft_dice(logits, targets, torch.ones_like(targets, dtype=torch.bool)).mean()
    assert ours.item() == pytest.approx(reference.item(), abs=1e-6)


# Choosing a step.


def test_an_undefined_score_leaves_the_choice_to_the_loss():
    dice = metric_of("dice")
    silent, alarms = {"dice": None, "loss": 0.2}, {"dice": 0.0, "loss": 0.9}
    assert is_better(dice.rank(silent), dice.rank(alarms))
    assert not is_better(dice.rank(alarms), dice.rank(silent))
    assert is_better(dice.rank({"dice": None, "loss": 0.1}), dice.rank(silent))
    assert is_better(dice.rank({"dice": 0.5, "loss": 0.9}), dice.rank({"dice": 0.4, "loss": 0.1}))
    assert is_better(dice.rank({"dice": 0.5, "loss": 0.1}), dice.rank({"dice": 0.5, "loss": 0.2}))


def test_where_less_is_better_the_least_ranks_highest():
    far = metric_of("hd95_mm")
    assert is_better(far.rank({"hd95_mm": 1.0, "loss": 1}), far.rank({"hd95_mm": 2.0, "loss": 0}))


def test_scores_of_a_classifier_scale_on_validation():
    predictions = SITUATIONS["classes"]
    scores = every_score(predictions)
    assert scores["temperature"] == every_score(predictions.validation)["temperature"]
    assert scores["temperature"] != every_score(Predictions(CLASSES, classified()))["temperature"]


@pytest.mark.parametrize("true_value", [0.5, 1.0, 3.0])
def test_the_temperature_of_overconfident_logits_is_found(true_value):
    arrays = classified(2, count=20000)
    logits = true_value * np.log(np.clip(arrays["probs"], 1e-6, 1))
    stretched = Predictions(CLASSES, arrays | {"probs": calibration.softmax(logits)})
    scores = every_score(stretched)
    assert scores["temperature"] == pytest.approx(true_value, rel=0.05)
    assert scores["ece_scaled"] < 0.02
    after = calibration.scaled_probs(stretched)
    assert np.array_equal(stretched.arrays["probs"].argmax(1), after.argmax(1))


def square(left, label=1, side=20):
    image = np.zeros((side, side), np.uint8)
    image[5:10, left : left + 5] = label
    return image


def surfaces(predicted, truth, **arrays):
    found = {"masks": np.stack(predicted), "truth": np.stack(truth), **arrays}
    return every_score(Predictions(CLASSES, found | overlap(found["masks"], found["truth"], 3)))


def test_a_shifted_square_by_hand():
    found = surfaces([square(8)], [square(5)])
    assert found["hd95_px"] == 3
    assert found["hd95_px_two"] is None  # absent from both: not counted
    assert "hd95_mm" not in found


def test_a_missed_structure_counts_with_the_diagonal_and_never_drops_out():
    truth = [square(5), square(5), square(5, 0)]
    found = surfaces([square(5), square(5, 0), square(5, 2)], truth)
    diagonal = 20 * 2**0.5
    assert found["hd95_px_one"] == pytest.approx((0 + diagonal) / 2)
    assert found["surface_dice_one"] == 0.5
    assert found["hd95_px_two"] == pytest.approx(diagonal)
    assert (found["missed"], found["missed_one"], found["false_alarms_two"]) == (1, 1, 1)


def test_slices_make_volumes_and_a_flat_volume_is_scored_by_slices():
    # slices of v and w alternate; pixels of 1 x 2 mm, slices 3 mm apart; shifts of 0 and 2 pixels
    truth = [square(5)] * 6
    predicted = [square(left) for left in (5, 7, 5, 7, 5, 7)]
    volumes = np.array(["v", "w"] * 3)
    extent = np.tile([20.0, 40.0, 3.0], (6, 1))
    found = surfaces(predicted, truth, volumes=volumes, extent=extent)
    assert found["hd95_mm_one"] == pytest.approx((0 + 4) / 2)
    # every voxel of a flat volume is on the surface: those inside would all count as right
    for count in (1, 2):
        cut = {"volumes": volumes[1 : 2 * count : 2], "extent": extent[:count]}
        flat = surfaces(predicted[1 : 2 * count : 2], truth[:count], **cut)
        assert flat["hd95_mm_one"] == pytest.approx(4)
        # of 16 edge pixels 6 lie on the other edge, and 2 beside its corners 1 mm above or below
        assert flat["surface_dice_one"] == pytest.approx(8 / 16)


def test_a_warning_of_scikit_learn_or_numpy_is_none_of_ours():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        every_score(answers([0] * 5, [0] * 5))
        every_score(SITUATIONS["volumes"])


def constant(counts, k):
    """Predictions that call every image by class k, and order all images alike."""
    labels = np.repeat(np.arange(len(counts)), counts)
    probs = np.tile(np.eye(len(counts))[k] * 0.9 + 0.1 / len(counts), (len(labels), 1))
    return Predictions(tuple("abcdef"[: len(counts)]), {"probs": probs, "labels": labels})


@pytest.mark.parametrize("counts", [(5, 5), (90, 10), (8, 3, 1), (4, 0, 6)])
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "kappa", "macro_f1", "auc"])
def test_chance_is_what_the_best_constant_answer_reaches(name, counts):
    counts = np.array(counts)
    scores = [METRICS[name].scores(constant(counts, k))[name] for k in range(len(counts))]
    best = max(score for score in scores if score is not None)
    assert METRICS[name].chance_level(counts) == pytest.approx(best)


def test_chance_of_probabilities_and_operating_points():
    counts = np.array([90, 10])
    shares = np.tile(counts / 100, (100, 1))
    labels = np.repeat([0, 1], counts)
    found = METRICS["brier"].scores(Predictions(("a", "b"), {"probs": shares, "labels": labels}))
    assert METRICS["brier"].chance_level(counts) == pytest.approx(found["brier"])  # .18
    assert METRICS["sensitivity_at_90"].chance_level(None) == pytest.approx(0.1)
    assert METRICS["dice"].chance_level(None) is None
    assert METRICS["accuracy"].chance_level(None) is None
    assert metric_of("auc_melanoma").chance_level(None) == 0.5
