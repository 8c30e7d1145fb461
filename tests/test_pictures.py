"""Figures: the numbers behind each by hand, and every kind drawn from tiny cells."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_html import make_page_runs
from test_run import flags, made  # noqa: F401 - a fixture

from benchmark.__main__ import main
from benchmark.core.registry import InputError
from benchmark.scores import METRICS, Predictions
from benchmark.trained import load, panels
from methods import families
from methods.parts.bottlenecks import AttendBottleneck, RowsBottleneck, quick_gelu
from results import figures, frame, tables
from results.figures import attention, confusion, heatmap, reliability, style, training
from results.figures import panels as drawn
from results.figures.shown import Shown
from results.statistics import stats
from results.tables.naming import brief


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    runs = tmp_path_factory.mktemp("table")
    make_page_runs(runs)
    (found,) = tables.build(frame.load([runs]))
    return found


def test_the_heat_map_colours_the_distance_to_the_best(table):
    columns = [(c.dataset, c.share) for c in table.columns]
    behind = heatmap.gaps(table, table.methods)
    place = columns.index(("a", "10%"))
    gaps = dict(zip(table.methods, behind[:, place], strict=True))
    assert gaps == pytest.approx({"lora": 0, "full": 6, "linear": 16})  # 21.0, 15.0 and 5.0
    lacking = dict(zip(table.methods, np.isnan(behind).sum(1), strict=True))
    assert lacking == {"full": 0, "lora": 1, "linear": 2}
    order = [table.methods[i] for i in heatmap.order(behind)]
    assert order == ["full", "lora", "linear"]  # complete rows first


def test_the_heat_map_says_why_there_is_no_number(table):
    figure = heatmap.draw(Shown(table, pd.DataFrame()), table.methods)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"failed", "n/a", "--"} <= set(texts)
    assert {"21.0", "45.0¹"} <= set(texts)
    assert any("¹ one run" in text.get_text() for text in figure.texts)


def test_a_metric_of_lengths_is_coloured_by_share_of_its_column(tmp_path):
    make_page_runs(tmp_path)
    (found,) = tables.build(frame.load([tmp_path]), "loss")  # all 1.0
    behind = heatmap.gaps(found, found.methods)
    assert set(behind[~np.isnan(behind)]) == {0.0}


def test_the_mean_curve_leaves_out_steps_that_a_seed_lacks():
    one = [{"step": 10, "val_kappa": 0.2}, {"step": 20, "val_kappa": 0.4}]
    two = [{"step": 10, "val_kappa": 0.4}, {"step": 20, "val_kappa": None}]
    assert training.mean_curve([one, two], "val_kappa") == [(10, pytest.approx(0.3))]


def test_nearest_neighbours_have_no_training_curve():
    """They are evaluated once, at the last step of the others."""
    study = Path(__file__).parents[1] / "results" / "reference"
    (found,) = tables.build(frame.load([study]))
    (_, figure), *_ = training.figures(Shown(found, pd.DataFrame()))
    drawn = {text.get_text() for text in figure.axes[1].get_legend().get_texts()}
    assert "lora" in drawn
    assert "knn" not in drawn


def test_confusion_is_added_over_seeds_and_shown_by_true_class():
    eye = np.eye(3)
    seeds = [
        {"test_probs": eye[[0, 1, 1]], "test_labels": np.array([0, 0, 1])},
        {"test_probs": eye[[0, 2, 1]], "test_labels": np.array([0, 0, 1])},
    ]
    matrix = confusion.added(seeds)
    assert matrix.tolist() == [[2, 1, 1], [0, 2, 0], [0, 0, 0]]
    shares = confusion.shares(matrix)
    assert shares[0].tolist() == [50, 25, 25]
    assert np.isnan(shares[2]).all()  # no image of this class


def test_reliability_points_carry_the_expected_calibration_error():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 1, 1], 400)
    labels = rng.integers(0, 3, 400)
    found = reliability.measure([(probs, labels)])
    confidence, accuracy, share = found.points.T
    share = share / share.sum()
    by_points = float((share * abs(confidence - accuracy)).sum())
    assert (
        found.ece
        == pytest.approx(by_points)
        == pytest.approx(
            METRICS["ece"].scores(Predictions((), {"probs": probs, "labels": labels}))["ece"]
        )
    )


def test_the_temperature_is_fitted_on_validation_only():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 500)
    sure = np.where(rng.random(500) < 0.7, truth, 1 - truth)  # right 7 times in 10, sure of 0.99
    probs = np.where(np.arange(2) == sure[:, None], 0.99, 0.01)
    seed = {
        "val_probs": probs,
        "val_labels": truth,
        "test_probs": probs[:5],
        "test_labels": 1 - sure[:5],
    }
    ((scaled, labels),) = reliability.scaled([seed])
    assert scaled.max(1) == pytest.approx(0.7, abs=0.05)
    assert (labels == seed["test_labels"]).all()


def test_errors_and_dice_of_a_panel_by_hand():
    truth = np.array([[0, 1, 1, 2, 255]])
    mask = np.array([[1, 1, 0, 1, 2]])
    assert drawn.error_map(mask, truth).tolist() == [[2, 0, 1, 3, 0]]
    # class 1: 1 hit, predicted 3, true 2: 2/5; class 2 is missed: 0; the uncounted pixel is out
    assert drawn.dice_of(mask, truth) == pytest.approx(20.0)
    assert np.isnan(drawn.dice_of(np.zeros((1, 2), int), np.zeros((1, 2), int)))


def test_images_are_picked_in_turns_of_their_labels():
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert [int(labels[i]) for i in panels.picked(labels, 4)] == [2, 1, 0, 1]
    strata = np.array([0, 4, 3, 0])  # bits: none, class 2, classes 0 and 1, none
    assert panels.picked(strata, 4, strata=True) == [2, 1]  # empty masks show nothing
    assert panels.picked(labels, 99) != []


@pytest.mark.parametrize("rows", [True, False])
def test_what_is_read_is_what_the_module_computes(rows):
    torch.manual_seed(0)
    u = torch.randn(2, 12, 16)
    if rows:
        module = RowsBottleneck(16, 4, position=1, prompts=3)
        z = quick_gelu(module.down(u))
        keys, expected = torch.cat([z[:, :1], z[:, 4:]], 1), module.mix(z, False)[:, 1:4]
    else:
        module = AttendBottleneck(16, 4, prompts=3)
        z = keys = quick_gelu(module.down(u))
        prompts = panels.looks(module, z) @ z
        back = (z @ prompts.transpose(1, 2) / 4**0.5).softmax(-1) @ prompts
        assert torch.allclose(module.mix(z, False), z + back, atol=1e-5)
        return
    weights = panels.looks(module, z)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3))
    assert torch.allclose(weights @ keys, expected, atol=1e-5)


def test_even_attention_is_one_everywhere_and_reads_everything():
    maps, shares = panels._summed(torch.full((1, 3, 5), 0.2))  # a prefix token and a 2 x 2 grid
    assert maps == pytest.approx(np.ones((1, 2, 2)))
    assert shares == pytest.approx([1.0])
    one = torch.zeros(1, 3, 5)
    one[..., 2] = 1  # all prompts read the second patch alone
    maps, shares = panels._summed(one)
    assert maps[0].tolist() == [[0, 5], [0, 0]]
    assert shares == pytest.approx([0.2])
    assert attention.limits([np.array([0.5, 1.0, 1.5])])[1] == pytest.approx(2, abs=0.05)
    assert attention.spread(11) == [0, 2, 5, 8, 10]


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):  # noqa: F811
    """Cells of both tasks, with two trials of one method, and what `--panels` reads from them."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    common = {"fractions": "1.0", "steps": "4"}
    rows = "dvpt(merge=rows),linear"
    assert main(flags(made, runs, **common, methods=rows, lr="1e-3,1e-2")) == 0
    mask = f"{made}/mask/manifest.csv"
    assert (
        main(flags(made, runs, **common, methods="dvpt(merge=attend),linear", datasets=mask)) == 0
    )
    return runs


def report(runs, made, *more):  # noqa: F811
    sources = [f"--source={name}={made}/{name}/manifest.csv" for name in ("class", "mask")]
    return main(["report", "--runs", str(runs), "--format", "csv", *sources, *more])


def test_every_kind_is_drawn_from_tiny_cells(trained, made, capsys):  # noqa: F811
    assert report(trained, made, "--panels", "2", "--figures", "all") == 0
    found = {path.name for path in (trained / "report").glob("*.png")}
    for kind in figures.KINDS:
        # one fraction has no label curve, one method with both columns no ranks
        drawn = any(name.endswith(f"-{kind}.png") for name in found)
        assert drawn == (kind not in ("labels", "ranks")), kind
    read = [name for name in found if name.endswith("-attention.png")]
    assert [("class" in name, "mask" in name) for name in sorted(read)] == [
        (True, False),
        (False, True),
    ]
    assert "no panels" not in capsys.readouterr().err


def test_reading_attention_leaves_the_model_as_it_was(trained):
    folder = next(p.parent for p in trained.rglob("record.json") if "/dvpt" in str(p))
    cell = load(folder)
    size = cell.record.cell.image_size
    images = np.random.default_rng(0).integers(0, 255, (2, size, size, 3), dtype=np.uint8)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        before = cell.model(batch)
        found = panels.attention(cell, images)
        assert torch.equal(before, cell.model(batch))
    assert len(found["blocks"])
    assert not any("mix" in vars(module) for module in cell.model.modules())


@pytest.mark.parametrize("merge", ["rows", "attend"])
def test_attention_is_that_of_the_residual_which_enters_the_mlp(trained, merge):
    folders = [p.parent for p in trained.rglob("record.json")]
    cell = load(next(f for f in folders if f"merge{merge}" in str(f)))
    size = cell.record.cell.image_size
    images = np.random.default_rng(0).integers(0, 255, (2, size, size, 3), dtype=np.uint8)
    (block, *_), seen = families.blocks(cell.model.body), []
    hook = block.norm2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = panels.attention(cell, images)
    hook.remove()
    with torch.no_grad():
        z = quick_gelu(block.dynamic.down(seen[0]))
        maps, shares = panels._summed(panels.looks(block.dynamic, z))
    assert found["map_0"] == pytest.approx(maps, abs=1e-4)
    assert found["share_0"] == pytest.approx(shares, abs=1e-4)


def test_images_that_are_not_there_are_told_and_the_rest_is_reported(trained, tmp_path, capsys):
    kept = shutil.ignore_patterns("cache", "panels", "report")
    shutil.copytree(trained, tmp_path / "copied", ignore=kept)
    assert (
        main(["report", "--runs", str(tmp_path / "copied"), "--format", "csv", "--panels", "1"])
        == 0
    )
    assert "no panels of class" in capsys.readouterr().err


def test_without_data_a_kind_draws_nothing(tmp_path):
    make_page_runs(tmp_path)  # no predictions, no history, one trial
    loaded = frame.load([tmp_path])
    kinds = [kind for kind in figures.KINDS if kind != "heatmap"]
    kinds = [kind for kind in kinds if kind not in figures.DEFAULT]
    drawn, reasons = figures.draw(loaded, [tmp_path], stats.build(tables.build(loaded), []), kinds)
    assert drawn == {}
    assert len(reasons) == len(kinds)
    assert any("--panels" in reason for reason in reasons)


def test_kinds_are_named_or_all():
    assert set(figures.chosen(["trials"])) == {*figures.DEFAULT, "trials"}
    assert figures.chosen(["all"]) == tuple(figures.KINDS)
    assert figures.chosen([]) == figures.DEFAULT
    with pytest.raises(InputError, match="did you mean 'heatmap'"):
        figures.chosen(["heatmp"])


@pytest.mark.parametrize(("count", "panels"), [(10, 1), (11, 2), (23, 3)])
def test_more_than_ten_methods_are_drawn_in_panels(count, panels):
    parts = style.parts([f"m{i}" for i in range(count)])
    assert len(parts) == panels
    assert max(map(len, parts)) <= style.MOST
    assert sum(map(len, parts)) == count


def test_the_data_of_the_page_figures_is_json(trained):
    record = json.loads(next(trained.rglob("record.json")).read_text())
    assert {"step", "train_loss"} <= set(record["history"][0])


def test_names_keep_only_what_tells_methods_apart():
    two = ["lora(rank=4,alpha=8.0)", "lora(rank=8,alpha=8.0)", "full"]
    assert [brief(m, two) for m in two] == ["lora(rank=4)", "lora(rank=8)", "full"]
    one_more = [*two, "lora(rank=8,alpha=4.0)"]
    assert brief(two[1], one_more) == "lora(rank=8,alpha=8.0)"
    assert len({brief(m, one_more) for m in one_more}) == 4
    older = ["ssf", "ssf(place=mlp)"]  # an argument that only one of them has
    assert len({brief(m, older) for m in older}) == 2
    foreign = ["x(1)", "x(2)"]
    assert [brief(m, foreign) for m in foreign] == foreign
    assert brief("Solo (v2)", ["Solo (v2)", "full"]) == "Solo (v2)"
