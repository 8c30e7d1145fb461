"""Several findings per image: data, scores against scikit-learn, one cell from end to end."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmark.__main__ import main
from benchmark.data import datasets, open_dataset, show, split
from benchmark.data.base import Card
from benchmark.training.tasks import task_of
from results.frame import predictions

CLASSES = ("mass", "nodule", "hernia")


def archive(path, seed=0):
    """Write an archive whose findings are bright corners; the third is rare."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", 60), ("val", 30), ("test", 40)):
        labels = (rng.random((count, 3)) < [0.5, 0.3, 0.15]).astype(np.uint8)
        labels[:2] = [[1, 0, 1], [0, 1, 0]]
        images = rng.integers(0, 60, (count, 16, 16), dtype=np.uint8)
        for k, (row, column) in enumerate(((0, 0), (0, 8), (8, 8))):
            images[labels[:, k] == 1, row : row + 8, column : column + 8] += 150
        arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    np.savez(path, **arrays)
    return arrays


def test_columns_of_findings_are_kept_as_sets(tmp_path):
    arrays = archive(tmp_path / "chest.npz")
    data = open_dataset(str(tmp_path / "chest.npz"))
    assert data.card.task == "multilabel"
    assert data.labels[:2].tolist() == [0b101, 0b010]
    parts = split(data, 0.3, 0)
    for rows in (parts.train, parts.val):  # every finding in training and in validation
        assert np.bitwise_or.reduce(data.labels[rows]) == 0b111
    listed = show.listing(data, parts)["test"]
    truth = arrays["test_labels"]
    assert [row["label"] for row in listed] == [[str(k) for k in np.flatnonzero(t)] for t in truth]


def test_the_loss_is_the_mean_over_findings():
    task = task_of(Card("x", "multilabel", CLASSES, "", "", "", ""))
    logits, sets = torch.randn(5, 3), torch.tensor([0b000, 0b111, 0b001, 0b100, 0b110])
    truth = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1], [0, 1, 1.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
    assert torch.allclose(task.loss(logits, sets), expected)
    assert (task.reduce(logits, sets)["labels"] == truth).all()


def test_all_twelve_sets_of_medmnist_have_a_card():
    names = [name for name in datasets if "mnist" in name]
    assert len(names) == 12 * 4
    assert len([name for name in names if not datasets[name].card.variant_of]) == 12
    assert datasets["chestmnist"].card.task == "multilabel"
    assert len(datasets["chestmnist"].card.classes) == 14


def run(tmp_path, *flags):
    axes = "--backbones tiny_vit --fractions 1.0 --steps 6 --evaluations 2 --image-size 16"
    where = ["--datasets", str(tmp_path / "chest.npz"), "--runs", str(tmp_path / "runs")]
    return main(["run", *axes.split(), *where, *flags])


def test_a_cell_from_end_to_end(tmp_path, capsys):
    archive(tmp_path / "chest.npz")
    assert run(tmp_path, "--methods", "lora(rank=2),knn", "--seeds", "0,1") == 0
    shown = capsys.readouterr().out
    assert "AUC" in shown
    assert "n/a" in shown  # knn votes on one class per image
    paths = sorted((tmp_path / "runs").rglob("record.json"))
    assert len(paths) == 2
    record = json.loads(paths[0].read_text())
    assert record["data"]["metric"] == "auc"
    assert {"auc_0", "brier", "sensitivity_at_90", "sensitivity_at_90_2"} <= record["test"].keys()
    tested = predictions.read(paths[0].parent / "predictions.npz", "auc", ("0", "1", "2"))
    again = tested.metric(np.ones((1, len(tested.groups))))[0]
    assert again == pytest.approx(record["test"]["auc"])


def test_what_was_trained_names_findings_of_new_images(tmp_path):
    arrays = archive(tmp_path / "chest.npz")
    run(tmp_path, "--methods", "linear")
    cell = next((tmp_path / "runs").rglob("record.json")).parent
    for index, image in enumerate(arrays["test_images"][:3]):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    images = [str(tmp_path / f"{index}.png") for index in range(3)]
    out = tmp_path / "found.csv"
    assert main(["predict", str(cell), *images, "--threshold", "0.4", "--out", str(out)]) == 0
    table = pd.read_csv(out, dtype={"prediction": str}, keep_default_na=False)
    for row in table.itertuples():
        called = [name for name in "012" if getattr(row, f"prob_{name}") >= 0.4]
        assert row.prediction == "+".join(called)


def test_what_needs_one_class_per_image_is_refused(tmp_path, capsys):
    archive(tmp_path / "chest.npz")
    assert run(tmp_path, "--methods", "linear", "--balance", "loss") == 2
    assert "balance 'loss' needs one class per image" in capsys.readouterr().err
