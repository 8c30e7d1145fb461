"""Scores of others, read from a CSV: the same statistics, and one sentence per wrong line."""

import itertools

import numpy as np
import pytest

from benchmark.__main__ import main
from benchmark.core.registry import InputError
from results import frame, tables
from results.frame import score_table
from results.reporting import report
from results.statistics import rank_table, stats, words

HEADER = "method,dataset,seed,percent,metric\n"


def written(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return path


def statistics(path, metric=None):
    loaded = frame.Frame(score_table.read(path, metric))
    (found,) = stats.build(tables.build(loaded), [])
    return found


def test_sixteen_methods_on_nineteen_tasks_with_one_seed_are_ranked_and_tested(tmp_path):
    random, quality = np.random.default_rng(0), np.linspace(0, 3, 16)
    lines = [
        f"m{m:02},task{t},0,{50 + t + quality[m] + random.normal(0, 1):.2f},accuracy\n"
        for m, t in itertools.product(range(16), range(19))
    ]
    found = statistics(written(tmp_path, HEADER + "".join(lines)))
    assert len(found.table.columns) == 19
    assert found.tested.critical_difference == pytest.approx(5.292, abs=0.001)
    assert found.tested.friedman_p < 1e-6
    assert len(found.overall) == 120
    assert {c.interval for c in found.overall} == {None}  # one seed: tests, but no interval
    assert any(c.p_holm < 0.05 for c in found.overall)
    assert found.table.scores["m00", found.table.columns[0]].mean == pytest.approx(50, abs=4)


def test_fractions_of_a_data_set_are_no_further_blocks(tmp_path):
    # x above y in both fractions of three sets: 3 blocks, p = 2 / 2^3, not 2 / 2^6
    lines = [
        f"{method},{name},{seed},{50 + 9 * gain + seed + 20 * fraction:g},dice,{fraction}\n"
        for (gain, method), name, seed, fraction in itertools.product(
            enumerate("zyx"), "abc", range(2), (0.1, 1)
        )
    ]
    found = statistics(written(tmp_path, HEADER[:-1] + ",fraction\n" + "".join(lines)))
    assert {c.p for c in found.overall} == {0.25}
    assert (found.ranking.num_blocks, found.tested.num_blocks) == (6, 3)
    # all blocks alike: chi2 = 12 * 3 / 12 * 2 = 6 of two degrees of freedom
    assert found.tested.friedman_p == pytest.approx(np.exp(-3))
    said = " ".join(words.sentences(found))
    assert "Wilcoxon over 3 data sets, each by its mean over columns, exact" in said
    assert "Nemenyi's critical difference 1.91 of average ranks over 3 data sets, each by its" in (
        rank_table.build(found).note
    )
    assert set(words.frame([found])["test"]) == {"t", "Wilcoxon over data sets"}


def test_shares_and_millimetres_have_ranks_but_no_mean(tmp_path):
    # x is best and z worst in both: once by the highest Dice, once by the lowest distance
    text = "method,dataset,seed,score,metric\n" + "".join(
        f"{method},{name},{seed},{score + wide * seed / 100},{metric}\n"
        for name, metric, wide, scores in (
            ("a", "dice", 1, {"x": 0.9, "y": 0.8, "z": 0.7}),
            ("b", "hd95_mm", 10, {"x": 3, "y": 5, "z": 9}),
        )
        for method, score in scores.items()
        for seed in range(3)
    )
    path = written(tmp_path, text)
    found = statistics(path)
    assert dict(zip(found.ranking.methods, found.ranking.ranks, strict=True)) == {
        **{"x": 1, "y": 2, "z": 3},
    }
    assert (found.overall, found.places, found.averages) == ((), {}, {})
    assert found.tested.friedman_p == pytest.approx(np.exp(-2))  # chi2 = 12 * 2 / 12 * 2
    assert list(words.sheet(found).data.columns) == ["method", "rank", "better/tie/worse"]
    assert words.sheet(found).texts[1][2] == "0/0/2"  # against x, the best of them
    assert "have no mean" in words.text(found)
    assert report([path]).tables["scores"]["precision"].tolist() == [""] * 6


def test_seeds_of_a_table_give_intervals(tmp_path):
    lines = [
        f"{method},a,{seed},{score},accuracy\n"
        for method, scores in (("x", (70, 71, 72)), ("y", (60, 61.5, 62)))
        for seed, score in enumerate(scores)
    ]
    found = statistics(written(tmp_path, HEADER + "".join(lines)))
    (compared,) = found.blockwise
    assert abs(compared.difference) == pytest.approx(71 - 183.5 / 3)
    assert compared.verdict in ("better", "worse")


def test_a_cost_that_stands_alone_is_kept(tmp_path):
    text = "method,dataset,seed,percent,metric,trainable_params\nx,a,0,70,accuracy,1000\n"
    (table,) = tables.build(frame.Frame(score_table.read(written(tmp_path, text))))
    assert table.costs["x"].trained == 1000
    assert np.isnan(table.costs["x"].stored_mib)


def test_methods_with_other_seeds_are_tied_by_their_noise_and_told(tmp_path):
    lines = [
        f"{method},a,{seed},{score},accuracy\n"
        for method, start, scores in (("x", 0, (70, 74, 78)), ("full", 3, (71, 75, 77.5)))
        for seed, score in enumerate(scores, start)
    ]
    found = statistics(written(tmp_path, HEADER + "".join(lines)))
    (column,) = found.table.columns
    assert set(found.tied[column]) == {"x", "full"}  # half a point apart, and seeds scatter by four
    assert found.blockwise == ()
    assert found.notes == ("not compared with full, no seed and split in common: x on a 100%",)


def test_lengths_stay_what_they_are_and_shares_may_be_given_as_stored(tmp_path):
    text = "method,dataset,seed,score,metric\nx,a,0,3.5,hd95_mm\ny,a,0,4.5,hd95_mm\nx,b,0,.5,dice\n"
    rows = score_table.read(written(tmp_path, text))
    assert list(rows["test_hd95_mm"].dropna()) == [3.5, 4.5]
    assert list(rows["test_dice"].dropna()) == [0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the columns method, dataset, seed"),
        ("method,dataset,seed\n", "one of score"),
        ("method,dataset,seed,score,percent\n", "one of score"),
        ("method,dataset,seed,score,colour\n", r"columns \['colour'\]"),
        ("method,dataset,seed,seed,score\n", "a column twice"),
        (HEADER, "no score under its header"),
        (HEADER + "x,a,0,70\n", "line 2 has 4 values, the header 5"),
        (HEADER + "x,a,0,,accuracy\n", "line 2 has no percent"),
        (HEADER + "x,a,zero,70,accuracy\n", "line 2: seed 'zero' must be a whole number"),
        (HEADER + "x,a,0,nan,accuracy\n", "'nan' must be a number"),
        (HEADER + "x,a,0,170,accuracy\n", "more than 100"),
        (HEADER + "x,a,0,70,accuracy\nx,a,0,71,accuracy\n", "lines 2 and 3 are one run twice"),
        (HEADER + "x,a,-1,70,accuracy\n", "line 2: seed -1 must be a whole number of 0 or more"),
        (HEADER + "x,a,0,0.7,accuracy\n", "1 percent or less; name the column score"),
        (HEADER + "x,a,0,-7,accuracy\n", "below 0"),
        (HEADER + "x,a,0,7_1,accuracy\n", "'7_1' must be a number"),
        (HEADER + "x,a,0,70,accuracy\nX,a,1,70,accuracy\n", "methods 'x' and 'X'"),
        (HEADER + '"x\ny",a,0,70,accuracy\n', "signs that cannot be shown"),
        (HEADER.replace("\n", ",fraction\n") + "x,a,0,70,accuracy,10\n", "up to 1"),
        (HEADER.replace("\n", ",fraction\n") + "x,a,0,70,accuracy,nan\n", "'nan' must be"),
        (
            HEADER.replace("\n", ",labels\n") + "x,a,0,70,auc,5\nx,a,0,70,accuracy,6\n",
            "labels 6 is 5",
        ),
        (HEADER + "x,a,0,70,accurracy\n", "did you mean 'accuracy'"),
        (HEADER + "x,a,0,70,hd95_mm\n", "in mm, not in percent"),
        ("method,dataset,seed,score,metric\nx,a,0,70,accuracy\n", "name the column percent"),
        ("method,dataset,seed,score\nx,a,0,.7\n", "names no metric"),
        ('method,dataset,seed,score\n"x,a,0,.7\n', "cannot be read as CSV"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        score_table.read(written(tmp_path, text))


def test_a_kappa_may_be_below_chance(tmp_path):
    rows = score_table.read(written(tmp_path, HEADER + "x,a,0,-0.5,kappa\nx,a,1,0.5,kappa\n"))
    assert rows["test_kappa"].tolist() == [-0.005, 0.005]


def test_several_metrics_of_a_run_are_one_run(tmp_path):
    lines = [
        f"{method},a,{seed},{score + seed},{metric}\n"
        for method, (metric, score), seed in itertools.product(
            "xy", (("accuracy", 60), ("auc", 80)), range(3)
        )
    ]
    path = written(tmp_path, HEADER + "".join(lines))
    made = report([path], None)
    assert "runs per entry: 3" in made.text
    assert "--metric auc shows another" in " ".join(made.notes)
    (found,) = tables.build(frame.load([path], metric="auc"), "auc")
    assert found.scores["x", found.columns[0]].mean == pytest.approx(81)


def test_no_run_counts_twice(tmp_path, capsys):
    lines = [f"{m},a,{s},{60 + s},accuracy\n" for m, s in itertools.product("xy", range(3))]
    path = written(tmp_path, HEADER + "".join(lines))
    again = tmp_path / "x" / ".." / path.name  # the same file
    (tmp_path / "x").mkdir()
    assert len(frame.load([path, again]).rows) == 6
    (tmp_path / "other.csv").write_text(HEADER + lines[0])
    with pytest.raises(InputError, match="both hold x on a, seed 0"):
        frame.load([path, tmp_path / "other.csv"])
    assert main(["report", "--from", str(path), "--rescore"]) == 2
    assert "name their folder with --runs" in capsys.readouterr().err


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read as CSV"):
        score_table.read(tmp_path / "missing.csv")


def test_a_report_of_a_csv_has_tables_ranks_and_figures(tmp_path):
    lines = [
        f"{method},{dataset},{seed},{50 + 10 * place + seed},accuracy\n"
        for (place, method), dataset, seed in itertools.product(enumerate("xyz"), "ab", range(3))
    ]
    made = report([written(tmp_path, HEADER + "".join(lines))], tmp_path / "out")
    assert "rank 1 is best" in made.text
    assert list(made.tables["scores"]["method"].unique()) == ["x", "y", "z"]
    assert {"table.tex", "statistics.csv", "ranks.csv"} <= {path.name for path in made.paths}
    assert not made.faults


@pytest.mark.parametrize("fractions", [("",), ("0.1", "1")])
def test_scores_that_tell_neither_backbone_nor_labels_are_reported_without(
    tmp_path, capsys, fractions
):
    rows = [
        f"{method},a,{seed},{share},0.{80 + seed},accuracy"
        for method in ("lora", "full")
        for seed in range(2)
        for share in fractions
    ]
    path = written(tmp_path, "method,dataset,seed,fraction,score,metric\n" + "\n".join(rows))
    out = tmp_path / "out"
    assert main(["report", "--from", str(path), "--out", str(out)]) == 0
    assert "Scores on unnamed backbone\n" in capsys.readouterr().out
    written_files = [p for p in out.iterdir() if p.suffix in (".md", ".tex", ".txt", ".svg")]
    for text in (p.read_text() for p in written_files):
        assert " 0 px" not in text
        assert "(0)" not in text
    assert (out / "unnamed backbone-heatmap.svg").exists()


def test_the_command_reports_a_csv(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{m},a,{s},{60 + s},accuracy\n" for m, s in itertools.product("xy", range(3)))
    path = written(tmp_path, HEADER + lines)
    assert main(["report", "--from", str(path), "--figures", "none"]) == 0
    assert "61.0 ± 1.0" in capsys.readouterr().out
    path.write_text(HEADER + lines + "x,a,0,61,accuracy\n")
    assert main(["report", "--from", str(path)]) == 2
    assert "lines 2 and 8 are one run twice" in capsys.readouterr().err
