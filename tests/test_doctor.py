"""The data doctor on planted faults, and the `data` verb on a command line."""

import csv
import json
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmark.__main__ import main
from benchmark.data import open_dataset, split
from benchmark.data.doctor import checks, examine, merged_groups, near_duplicates
from benchmark.data.doctor.coding import blockiness, jpeg_quality
from benchmark.data.doctor.duplicates import Pair

CLASSES = ("ill", "well")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path / "data"))


def texture(number, side=160):
    """Return a smooth random picture: different numbers hardly correlate."""
    noise = np.random.default_rng(number).integers(0, 255, (23, 23, 3), np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def save(folder, pictures, suffixes=(".png", ".png")):
    """Write a class-per-folder tree; `pictures` maps (class, name) to a picture."""
    for (label, name), picture in pictures.items():
        path = folder / label / f"{name}{suffixes[CLASSES.index(label)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return folder


def plain(count=12):
    return {(CLASSES[i % 2], f"i{i:02d}"): texture(i) for i in range(count)}


def findings(folder):
    found, pairs = examine(open_dataset(str(folder)))
    return {f.check: f for f in found}, pairs


def test_a_clean_set_has_no_finding(tmp_path):
    assert findings(save(tmp_path / "set", plain())) == ({}, [])


def test_planted_copies_are_found_within_and_across_classes(tmp_path):
    pictures = plain()
    pictures["ill", "copy"] = texture(0)  # the same file
    brighter = texture(2).point(lambda v: min(255, int(0.8 * v + 30)))
    pictures["ill", "near"] = brighter.resize((120, 120))  # of "ill/i02"
    pictures["well", "blur"] = texture(4).filter(ImageFilter.GaussianBlur(2))  # of "ill/i04"
    found, pairs = findings(save(tmp_path / "set", pictures))
    assert found["duplicates"].images == (("ill/copy.png", "ill/i00.png"),)
    within = {frozenset(p) for p in found["near-duplicates within a class"].images}
    assert within == {
        frozenset({"ill/copy.png", "ill/i00.png"}),
        frozenset({"ill/near.png", "ill/i02.png"}),
    }
    across = found["near-duplicates across classes"].images
    assert [set(p) for p in across] == [{"ill/i04.png", "well/blur.png"}]
    assert len(pairs) == 3


def test_pairs_are_those_of_all_comparisons(monkeypatch):
    from benchmark.data.doctor import duplicates

    images = [
        np.asarray(texture(i % 5).rotate(0.7 * (i // 5), Image.Resampling.BICUBIC))
        for i in range(15)
    ]
    slow = [
        (a, b)
        for a, b in combinations(range(15), 2)
        if np.corrcoef(*(duplicates.thumbnail(images[i], 64) for i in (a, b)))[0, 1] > 0.9
    ]
    monkeypatch.setattr(duplicates, "BLOCK", 4)
    fast = near_duplicates(images.__getitem__, 15, 0.9)
    assert slow
    assert [(p.a, p.b) for p in fast] == slow


def test_candidates_stay_bounded_where_all_images_look_alike(tmp_path, monkeypatch):
    from benchmark.data.doctor import duplicates

    monkeypatch.setattr(duplicates, "BLOCK", 16)
    base = np.asarray(texture(0, 64)).astype(int)
    noise = np.random.default_rng(1)
    thumbnails = duplicates.Thumbnails(60)
    for index in range(60):
        image = base + noise.integers(-20, 20, base.shape)
        thumbnails.add(index, image.clip(0, 255).astype(np.uint8))
    thumbnails.small[57], thumbnails.large[57] = thumbnails.small[3], thumbnails.large[3]
    pairs, crowded = thumbnails.pairs(0.9)
    assert crowded == 60
    assert len(pairs) <= 60 * duplicates.NEAREST
    assert (3, 57) in {(p.a, p.b) for p in pairs}  # the copy is the nearest of all
    (note,) = checks._crowded(1)
    assert note.text.startswith("1 image has more than 20 lookalikes")


def test_every_image_is_decoded_once(tmp_path):
    dataset = open_dataset(str(save(tmp_path / "set", plain())))
    reads = Counter()

    def read(index):
        reads[index] += 1
        return dataset.read_image(index)

    examine(replace(dataset, read_image=read))
    assert set(reads.values()) == {1}


def test_groups_of_a_chain_of_pairs_become_one():
    groups = ["p1", "p1", "p2", "p3", "p4"]
    pairs = [Pair(1, 2, 0.99), Pair(2, 3, 0.99)]
    assert merged_groups(groups, pairs) == ["p1", "p1", "p1", "p1", "p4"]
    assert merged_groups(groups, []) == groups


def test_flat_and_odd_images_and_formats_that_go_with_the_class(tmp_path):
    pictures = plain()
    pictures["ill", "flat"] = Image.new("RGB", (160, 160), (90, 92, 91))
    pictures["well", "huge"] = texture(99, 900)
    found, _ = findings(save(tmp_path / "set", pictures, (".png", ".bmp")))
    assert found["range"].images == ("ill/flat.png",)
    assert found["size"].images == ("well/huge.bmp",)
    assert "ill: .png; well: .bmp" in found["formats"].text


def test_a_file_cut_in_the_middle_is_an_error(tmp_path):
    folder = save(tmp_path / "set", plain())
    path = folder / "ill" / "i02.png"
    dataset = open_dataset(str(folder))
    path.write_bytes(path.read_bytes()[:2000])
    found, _ = examine(dataset)
    (error,) = [f for f in found if f.severity == "error"]
    assert error.images == ("ill/i02.png",)


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
def test_the_quality_of_a_jpeg_is_read_off_its_table(quality, tmp_path):
    texture(0).save(tmp_path / "a.jpg", quality=quality)
    assert jpeg_quality(tmp_path / "a.jpg") == pytest.approx(quality, abs=1.5)
    texture(0).save(tmp_path / "a.png")
    assert jpeg_quality(tmp_path / "a.png") is None


def test_blocks_are_seen_in_pictures_that_were_jpeg(tmp_path):
    texture(0).save(tmp_path / "a.jpg", quality=8)
    decoded = np.asarray(Image.open(tmp_path / "a.jpg"))
    assert blockiness(decoded) > 1.5
    assert blockiness(np.asarray(texture(0))) < 1.2
    Image.fromarray(decoded).save(tmp_path / "ill.png")
    pictures = plain() | {("ill", "was_jpeg"): Image.open(tmp_path / "ill.png")}
    found, _ = findings(save(tmp_path / "set", pictures))
    assert found["coding"].images == ("ill/was_jpeg.png",)


def test_counts_are_held_against_the_card(tmp_path):
    from trees import busi

    busi(tmp_path / "busi")
    found, _ = examine(open_dataset(f"busi@{tmp_path / 'busi'}"))
    texts = [f.text for f in found if f.check == "counts"]
    assert "1 benign; published: 437" in texts


def run(capsys, *arguments):
    code = main(["data", *map(str, arguments)])
    answer = capsys.readouterr()
    return code, answer.out, answer.err


def test_show_prints_what_a_cell_sees(tmp_path, capsys):
    folder = save(tmp_path / "set", plain(40))
    code, text, _ = run(capsys, "show", folder, "--out", tmp_path / "out")
    assert code == 0
    assert "fingerprint" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["train", "val", "test"] in lines  # a row per class: a set may have dozens
    assert ["ill", "13", "3", "4"] in lines
    assert Image.open(tmp_path / "out" / "set.png").size[0] == 896
    _, text, _ = run(capsys, "show", folder, "--fraction", "0.5", "--seed", "3", "--json")
    shown = json.loads(text)
    rows = split(open_dataset(str(folder)), 0.5, 3)
    names = open_dataset(str(folder)).ids
    assert [line["image"] for line in shown["train"]] == [names[i] for i in rows.train]
    assert shown["val"][0].keys() == {"image", "label", "group"}
    _, text, _ = run(capsys, "show", folder, "--shots", "2", "--json")
    few = json.loads(text)
    assert sorted(line["label"] for line in few["train"]) == ["ill", "ill", "well", "well"]


def test_grouped_copies_never_part(tmp_path, capsys):
    pictures = plain(40)
    for i in range(0, 40, 4):
        pictures[CLASSES[i % 2], f"copy{i}"] = texture(i).filter(ImageFilter.GaussianBlur(2))
    folder = save(tmp_path / "set", pictures)
    out = tmp_path / "grouped"
    code, text, _ = run(capsys, "prepare", folder, "--group-duplicates", "--out", out)
    assert (code, text.split(":")[0]) == (0, "10 near-duplicate pairs; 50 groups became 40")
    dataset = open_dataset(str(out))
    assert "groups (column group) are inferred" in dataset.card.group_note
    assert "which images share a patient is unknown" in dataset.card.group_note
    deeper = tmp_path / "elsewhere/down/grouped"  # what it is does not depend on where it lies
    run(capsys, "prepare", folder, "--group-duplicates", "--out", deeper)
    again = open_dataset(str(deeper))
    assert (again.fingerprint, again.ids) == (dataset.fingerprint, dataset.ids)
    assert not any(".." in name for name in dataset.ids)
    declared = out / "dataset.toml"
    declared.rename(tmp_path / "dataset.toml")
    plainly = open_dataset(str(out))  # it changes what is said of the groups, and no key
    assert (plainly.card.grouping, plainly.fingerprint) == ("given", dataset.fingerprint)
    (tmp_path / "dataset.toml").rename(declared)
    for seed in range(5):
        rows = split(dataset, 1.0, seed)
        parts = [{dataset.groups[i] for i in part} for part in (rows.train, rows.val, rows.test)]
        assert not any(a & b for a, b in combinations(parts, 2))
    assert not any("parts" in f.check for f in examine(dataset)[0])


def test_grouping_keeps_masks(tmp_path, capsys):
    from trees import drive, volume

    drive(tmp_path / "drive")
    before = open_dataset(f"drive@{tmp_path / 'drive'}")
    out = tmp_path / "out"
    run(capsys, "prepare", f"drive@{tmp_path / 'drive'}", "--group-duplicates", "--out", out)
    after = open_dataset(str(out))
    assert np.array_equal(after.read_mask(0), before.read_mask(0))
    assert after.splits == before.splits
    base = tmp_path / "volumes"
    for name in ("a", "b"):
        volume(base / f"{name}.nii.gz", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    (base / "manifest.csv").write_text("image,label\na.nii.gz,x\nb.nii.gz,y\n")
    code, _, told = run(capsys, "prepare", base, "--group-duplicates", "--out", out)
    assert code == 2
    assert "not made of one file per image" in told


@pytest.mark.parametrize(
    ("labels", "toml"),
    [
        (("a|b", "", "c"), 'multilabel = true\nlicence = "CC0"'),
        (("low", "medium", "high"), 'ordinal = true\nclasses = ["low", "medium", "high"]'),
        (("0", "1", "2"), 'ordinal = false\nclasses = ["x", "y", "z"]\nalpha = "black"'),
        (("0", "1", "2"), ""),
    ],
)
def test_grouping_keeps_findings_and_what_is_declared(tmp_path, capsys, labels, toml):
    folder, out = tmp_path / "set", tmp_path / "out"
    save(folder, plain(6))
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    rows = [f"{path},{labels[i % 3]}" for i, path in enumerate(files)]
    (folder / "manifest.csv").write_text("\n".join(["image,label", *rows]))
    (folder / "dataset.toml").write_text(toml)
    before = open_dataset(str(folder))
    assert run(capsys, "prepare", folder, "--group-duplicates", "--out", out)[0] == 0
    after = open_dataset(str(out))
    for name in ("task", "classes", "ordinal", "licence"):
        assert getattr(after.card, name) == getattr(before.card, name)
    assert after.labels.tolist() == before.labels.tolist()
    assert after.declaration.get("alpha") == before.declaration.get("alpha")


def test_a_class_that_no_test_image_shows_is_told(tmp_path, capsys):
    pictures = plain(40) | {("ill", "rare"): texture(99)}
    folder = save(tmp_path / "set", pictures)
    rows = [
        f"{path.relative_to(folder)},{'rare' if path.stem in ('rare', 'i00') else path.parent.name}"
        for path in sorted(folder.rglob("*.png"))
    ]
    (folder / "manifest.csv").write_text("\n".join(["image,label", *rows]))
    found, _ = examine(open_dataset(str(folder)))
    assert [f.text for f in found if f.check == "split"] == [
        "no test image shows rare: add groups that do, or merge classes"
    ]
    flags = ["--datasets", folder, "--methods", "linear", "--fractions", "1.0", "--dry-run"]
    assert main(["run", *map(str, flags), "--runs", str(tmp_path / "runs")]) == 0
    out = capsys.readouterr()
    assert "no test image of set at split seed 0 shows rare" in out.out + out.err


def test_prepare_decodes_and_lists(tmp_path, capsys):
    folder = save(tmp_path / "set", plain())
    code, text, _ = run(capsys, "prepare", folder, "--image-size", "16,24", "--out", tmp_path / "c")
    assert code == 0
    assert "16 px" in text
    assert "24 px" in text
    (path,) = (tmp_path / "c").glob("set-*.csv")
    with path.open() as stream:
        assert len(list(csv.DictReader(stream))) == 12


def test_check_speaks_json_and_list_says_what_is_here(tmp_path, capsys):
    folder = save(tmp_path / "set", plain() | {("ill", "copy"): texture(0)})
    code, text, _ = run(capsys, "check", folder, "--json")
    answer = json.loads(text)
    assert (code, answer["dataset"]) == (0, "set")
    assert answer["near_duplicates"] == [["ill/copy.png", "ill/i00.png", 1.0]]
    (tmp_path / "root" / "kvasir_seg").mkdir(parents=True)
    _, text, _ = run(capsys, "list", "--root", tmp_path / "root")
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["kvasir_seg"].endswith("empty")
    assert lines["drive"].endswith("absent")
    assert lines["phantom_grading"].endswith("embedded")


def test_a_set_that_run_refuses_is_refused_by_check_too(tmp_path, capsys):
    folder = save(tmp_path / "set", {("ill", "1"): texture(1), ("well", "2"): texture(2)})
    code, text, _ = run(capsys, "check", folder)
    assert code == 1
    assert "error: `run` refuses it: 'set' has too few groups" in text


def test_run_says_what_was_left_out(tmp_path, capsys):
    folder = save(tmp_path / "set", plain(20))
    (folder / "ill" / "notes.txt").write_text("")
    axes = ["--methods", "linear", "--backbones", "tiny_vit", "--fractions", "1"]
    main(["run", "--dry-run", "--datasets", str(folder), *axes, "--runs", str(tmp_path / "runs")])
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 100
    first = shown.index(next(line for line in shown if line.startswith("note: ")))
    assert shown[first : first + 3] == [
        "note: set: which images share a patient is unknown (a folder of classes names no "
        "patients), so",
        "  training and test may share patients.",
        "note: set: left out: 1 .txt file",
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show"], "needs a data set"),
        (["show", "kvasirseg"], "did you mean 'kvasir_seg'"),
        (["show", "kvasir_seg"], "is not in"),
        (["check", "phantom_grading", "--threshold", "2"], "between 0 and 1"),
        (["show", "phantom_grading", "--shots", "5000"], "shots 5000 is not between 1 and"),
        (["prepare", "phantom_grading", "--image-size", "x"], "above 0"),
    ],
)
def test_bad_input_is_one_sentence(arguments, expected, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, told = run(capsys, *arguments)
    assert code == 2
    assert expected in told
    assert len(told.strip().splitlines()) == 1


def test_the_known_pairs_of_breast_ultrasound_are_found(shared_data):
    dataset = open_dataset(str(shared_data / "busi"))
    with (shared_data / "busi" / "near_duplicates.csv").open() as stream:
        known = {frozenset((r["image_a"], r["image_b"])) for r in csv.DictReader(stream)}
    _, pairs = examine(dataset)
    found = {frozenset((dataset.ids[p.a], dataset.ids[p.b])) for p in pairs}
    label = dict(zip(dataset.ids, dataset.labels, strict=True))
    across = {pair for pair in known if len({label[name] for name in pair}) == 2}
    assert len(found & known) >= 0.95 * len(known)
    assert across <= found
