"""Manifests, folder trees, archives, the decoded cache, and the brain template."""

import csv
import importlib.metadata
import json
import multiprocessing
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import volume

from benchmark.core.registry import InputError
from benchmark.data import cache, datasets, decoded, open_dataset, split
from benchmark.data.readers.images import read_mask, read_rgb
from benchmark.data.sets import brain


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


def picture(seed, shape=(12, 16)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(folder, rows, columns=None):
    """Write manifest.csv with the given columns, and images and masks where there are none."""
    columns = columns or ["image", "label"]
    for number, row in enumerate(rows):
        for name, value in zip(columns, row, strict=False):
            path = folder / value
            if name in ("image", "mask") and not path.exists() and value.endswith(".png"):
                save(path, picture(number) // (86 if name == "mask" else 1))
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return str(folder / "manifest.csv")


def labelled(folder, labels):
    return write(folder, [(f"x/{i}.png", label) for i, label in enumerate(labels)])


def masked(folder, masks):
    for number, mask in enumerate(masks):
        save(folder / f"m/{number}.png", mask)
        save(folder / f"x/{number}.png", picture(number, np.shape(mask)))
    rows = [(f"x/{i}.png", f"m/{i}.png") for i in range(len(masks))]
    return write(folder, rows, ["image", "mask"])


def mask_of(*values):
    return np.resize(np.array(values, np.uint8), (4, 6))


def test_words_are_names_and_integers_are_grades(tmp_path):
    words = open_dataset(labelled(tmp_path / "words", ["b", "a", "c", "a"]))
    assert words.card.classes == ("a", "b", "c")
    assert words.labels.tolist() == [1, 0, 2, 0]
    assert not words.card.ordinal
    grades = open_dataset(labelled(tmp_path / "grades", ["10", "2", "0", "2"]))
    assert grades.card.classes == ("0", "2", "10")
    assert grades.labels.tolist() == [2, 1, 0, 1]
    assert grades.card.ordinal
    assert not open_dataset(labelled(tmp_path / "two", ["0", "1"])).card.ordinal


def test_the_name_is_the_folder_of_a_manifest_else_the_file(tmp_path):
    spec = labelled(tmp_path / "clinic", ["a", "b"])
    assert open_dataset(spec).card.name == "clinic"
    assert open_dataset(str(tmp_path / "clinic")).card.name == "clinic"
    other = tmp_path / "clinic" / "left_eyes.csv"
    shutil.copy(spec, other)
    assert open_dataset(str(other)).card.name == "left_eyes"


def test_fingerprint_follows_content_and_not_the_place(tmp_path):
    spec = labelled(tmp_path / "here", ["a", "b", "a"])
    before = open_dataset(spec).fingerprint
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = tmp_path / "there" / "manifest.csv"
    assert open_dataset(str(moved)).fingerprint == before
    text = moved.read_text()
    moved.write_text(text.replace("2.png,a", "2.png,b"))
    edited = open_dataset(str(moved)).fingerprint
    moved.write_text(text)
    save(tmp_path / "there" / "x" / "1.png", picture(99))
    assert len({before, edited, open_dataset(str(moved)).fingerprint}) == 3


def test_group_and_split_are_in_the_fingerprint(tmp_path):
    found = set()
    for group, part in (("p1", "train"), ("p2", "train"), ("p2", "test")):
        rows = [("x/0.png", "a", group, part), ("x/1.png", "b", "p0", "train")]
        spec = write(tmp_path, rows, ["image", "label", "group", "split"])
        found.add(open_dataset(spec).fingerprint)
    assert len(found) == 3


FAULTS = {
    "unknown column": ("image,lable\nx/0.png,a\n", "unknown column.*'lable'.*did you mean 'label'"),
    "no target": ("image,group\nx/0.png,a\n", "needs image, and either label or mask"),
    "both targets": ("image,label,mask\nx/0.png,a,x/0.png\n", "either label or mask"),
    "no rows": ("image,label\n", "lists no image"),
    "nothing": ("", "needs image"),
    "missing file": ("image,label\nx/0.png,a\nx/9.png,b\n", "9.png"),
    "no image": ("image,label\nx/0.png,a\nx/text.png,b\n", "text.png.*is no picture.*not an image"),
    "one class": ("image,label\nx/0.png,a\nx/1.png,a\n", "one class only"),
    "twice": ("image,label\nx/0.png,a\nx/1.png,b\nx/0.png,a\n", "twice"),
    "twice, spelled differently": ("image,label\nx/0.png,a\nx/1.png,b\n./x/0.png,b\n", "twice"),
    "empty label": ("image,label\nx/0.png,\n", "without image, label or mask"),
    "too many cells": ("image,label\nx/0.png,a,b\n", "more cells than columns"),
    "split name": (
        "image,label,split\nx/0.png,a,valid\n",
        "unknown split 'valid'.*train, val, test",
    ),
    "some splits": ("image,label,split\nx/0.png,a,train\nx/1.png,b,\n", "some have none"),
    "group in two splits": (
        "image,label,group,split\nx/0.png,a,p7,train\nx/1.png,b,p7,test\n",
        "group 'p7' sits in the splits",
    ),
    "mask of another size": ("image,mask\nx/0.png,x/small.png\n", "12x|16x12.*6x4|6x4.*16x12"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_manifest_is_one_sentence(fault, tmp_path):
    text, expected = FAULTS[fault]
    for number in (0, 1):
        save(tmp_path / f"x/{number}.png", picture(number))
    save(tmp_path / "x/small.png", mask_of(0, 1))
    (tmp_path / "x/text.png").write_text("not an image")
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(InputError, match=expected) as raised:
        open_dataset(str(tmp_path / "manifest.csv"))
    assert "\n" not in str(raised.value)


def test_a_truncated_image_is_named_before_training(tmp_path):
    spec = labelled(tmp_path, ["a", "b"])
    path = tmp_path / "x/1.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cannot read the image.*1\.png"):
        decoded(open_dataset(spec), 8, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("spec", ["phantom_gradin", "nowhere/manifest.csv", "nowhere.npz"])
def test_an_unknown_data_set_is_one_sentence(spec):
    with pytest.raises(InputError, match=spec):
        open_dataset(spec)


def test_mask_values_are_classes_and_255_is_ignored(tmp_path):
    data = open_dataset(masked(tmp_path, [mask_of(0, 2, 255), mask_of(0, 1), mask_of(0)]))
    assert data.card.classes == ("background", "class1", "class2")
    assert data.read_mask(0)[0].tolist() == [0, 2, 255, 0, 2, 255]
    assert data.labels.tolist() == [0b100, 0b010, 0]


def test_binary_masks_of_0_and_255_have_one_foreground_class(tmp_path):
    data = open_dataset(masked(tmp_path, [mask_of(0, 255), mask_of(0)]))
    assert len(data.card.classes) == 2
    assert data.read_mask(0)[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert data.labels.tolist() == [0b10, 0]


@pytest.mark.parametrize(
    ("values", "expected"), [((0, 0), "one class only"), ((0, 128), "holds the value 128")]
)
def test_odd_masks_are_refused(values, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        open_dataset(masked(tmp_path, [mask_of(*values), mask_of(0)]))


def test_kinds_of_image_files_become_rgb(tmp_path):
    deep = np.linspace(1000, 61000, 20 * 20).reshape(20, 20).astype(np.uint16)
    save(tmp_path / "deep.png", deep)
    grey = read_rgb(tmp_path / "deep.png")
    low, high = np.percentile(deep, [0.5, 99.5])
    expected = np.clip((deep - low) / (high - low), 0, 1) * 255
    assert np.abs(grey[..., 0] - expected).max() <= 0.5
    assert (grey == grey[..., :1]).all()
    save(tmp_path / "flat.png", np.full((5, 5), 700, np.uint16))
    assert read_rgb(tmp_path / "flat.png").max() == 0
    save(tmp_path / "alpha.png", np.full((4, 4, 4), [200, 10, 20, 255], np.uint8))
    assert read_rgb(tmp_path / "alpha.png")[0, 0].tolist() == [200, 10, 20]
    save(tmp_path / "grey.png", picture(0))
    assert (read_rgb(tmp_path / "grey.png") == picture(0)[..., None]).all()


def test_a_palette_mask_keeps_its_indices(tmp_path):
    image = Image.fromarray(mask_of(0, 1, 2)).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "mask.png")
    assert set(np.unique(read_mask(tmp_path / "mask.png"))) == {0, 1, 2}
    save(tmp_path / "colour.png", picture(0, (4, 4, 3)))
    with pytest.raises(InputError, match=r"colour.png.*one channel"):
        read_mask(tmp_path / "colour.png")


def test_a_folder_per_class_with_and_without_splits(tmp_path):
    for i, name in enumerate(["cat/a.png", "cat/b.jpg", "dog/c.png", "dog/notes.txt"]):
        save(tmp_path / "flat" / name, picture(i)) if "txt" not in name else (
            tmp_path / "flat" / name
        ).write_text("")
    flat = open_dataset(str(tmp_path / "flat"))
    assert flat.ids == ("cat/a.png", "cat/b.jpg", "dog/c.png")
    assert flat.card.classes == ("cat", "dog")
    assert set(flat.splits) == {""}
    for part in ("train", "test"):
        for label in ("0", "1", "2"):
            save(tmp_path / "parts" / part / label / "x.png", picture(1))
    parts = open_dataset(str(tmp_path / "parts"))
    assert sorted(parts.splits) == ["test"] * 3 + ["train"] * 3
    assert parts.card.ordinal
    assert (read_rgb(tmp_path / "parts" / parts.ids[0]) == parts.read_image(0)).all()


def test_an_empty_folder_is_one_sentence(tmp_path):
    with pytest.raises(InputError):
        open_dataset(str(tmp_path))


def medmnist(path, **changes):
    arrays = {}
    for part, count in (("train", 12), ("val", 4), ("test", 4)):
        arrays[f"{part}_images"] = picture(count, (count, 8, 8))
        arrays[f"{part}_labels"] = (np.arange(count) % 3)[:, None].astype(np.uint8)
    np.savez(path, **(arrays | changes))
    return str(path)


def test_a_medmnist_archive_keeps_its_splits(tmp_path):
    data = open_dataset(medmnist(tmp_path / "retinamnist.npz"))
    assert data.card.name == "retinamnist"
    assert data.card.ordinal
    assert not open_dataset(medmnist(tmp_path / "bloodmnist.npz")).card.ordinal
    assert [data.splits.count(part) for part in ("train", "val", "test")] == [12, 4, 4]
    assert (data.read_image(13) == picture(4, (4, 8, 8))[1][..., None]).all()
    assert data.labels[13] == 1
    part = split(data, 1.0, 0)
    assert {data.splits[i] for i in part.test} == {"test"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train_images": np.array([{}], object)}, "pickled objects"),
        ({"train_labels": np.zeros((12, 14), int)}, "val_labels.*one integer"),
        ({"train_labels": np.full((12, 2), 2)}, "train_labels.*0 and 1"),
        ({"train_images": np.zeros((12, 8, 8))}, "train_images.*uint8"),
        ({"test_labels": np.zeros((3, 1), np.uint8)}, "test_labels.*one integer"),
        (
            {
                "train_images": picture(0, (12, 8, 8, 8)),
                "val_images": picture(0, (4, 8, 8, 8)),
                "test_images": picture(0, (4, 8, 8, 8)),
            },
            "2-D",
        ),
    ],
)
def test_other_archives_are_refused(changes, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        open_dataset(medmnist(tmp_path / "odd.npz", **changes))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"hello"])
def test_a_damaged_archive_is_refused(content, tmp_path):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.npz"):
        open_dataset(str(tmp_path / "bad.npz"))


def test_decoded_images_are_resized_as_stated(tmp_path):
    data = open_dataset(
        masked(tmp_path / "data", [mask_of(0, 0, 1, 1, 0, 0), mask_of(0, 0, 2, 2, 0, 0)])
    )
    arrays = decoded(data, 3, tmp_path / "cache")
    expected = Image.fromarray(data.read_image(1)).resize((3, 3), Image.Resampling.BICUBIC)
    assert (arrays.images[1] == np.asarray(expected)).all()
    assert arrays.images.shape == (2, 3, 3, 1)  # all are grey: one channel says it
    assert arrays.masks.dtype == np.uint8
    assert arrays.masks[:, 1].tolist() == [[0, 1, 0], [0, 2, 0]]
    with pytest.raises(ValueError, match="read-only"):
        arrays.images[0] = 0


def test_one_coloured_image_keeps_three_channels_for_all(tmp_path):
    data = open_dataset(labelled(tmp_path / "data", ["a", "b"]))
    grey = decoded(data, 8, tmp_path / "grey").images
    colours = picture(0, (8, 8, 3))
    coloured = replace(data, read_image=lambda i: colours if i == 1 else data.read_image(i))
    both = decoded(coloured, 8, tmp_path / "both").images
    assert (grey.shape, both.shape) == ((2, 8, 8, 1), (2, 8, 8, 3))
    assert (both[0] == grey[0]).all()
    assert (both[1] == colours).all()


@pytest.mark.parametrize("harm", ["flip", "cut", "meta", "no meta"])
def test_a_damaged_cache_is_made_again(harm, tmp_path):
    data = open_dataset(labelled(tmp_path / "data", ["a", "b"]))
    good = np.array(decoded(data, 8, tmp_path / "cache").images)
    file = next((tmp_path / "cache").rglob("images.npy"))
    content = bytearray(file.read_bytes())
    content[-5] ^= 0xFF
    if harm in ("flip", "cut"):
        file.write_bytes(content if harm == "flip" else content[:-20])
    elif harm == "meta":
        (file.parent / "meta.json").write_text(json.dumps({})[:1])
    else:
        (file.parent / "meta.json").unlink()
    assert (decoded(data, 8, tmp_path / "cache").images == good).all()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_whole_cache_is_used_without_reading_images(tmp_path):
    spec = labelled(tmp_path / "data", ["a", "b"])
    data = open_dataset(spec)
    first = np.array(decoded(data, 8, tmp_path / "cache").images)
    shutil.rmtree(tmp_path / "data")
    assert (decoded(data, 8, tmp_path / "cache").images == first).all()


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    data = open_dataset(labelled(tmp_path / "data", ["a", "b"]))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        decoded(data, 8, tmp_path / "file" / "cache")


@pytest.mark.parametrize("room", [0, 1 << 14])  # of any file; at 0 not even the lock has a name
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, room):
    data = open_dataset(labelled(tmp_path / "data", ["a", "b"]))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write decoded images.*they take \d+ MiB"):
            decoded(data, 256, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list((tmp_path / "cache").iterdir())


def _decode(spec, cache, start, sums):
    data = open_dataset(spec)
    start.wait()
    sums.put(int(decoded(data, 16, Path(cache)).images.astype(int).sum()))


def test_processes_that_decode_at_once_agree(tmp_path):
    spec = labelled(tmp_path / "data", ["a", "b"] * 10)
    context = multiprocessing.get_context("spawn")
    start, sums = context.Barrier(3), context.Queue()
    arguments = (spec, str(tmp_path / "cache"), start, sums)
    workers = [context.Process(target=_decode, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [sums.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    expected = decoded(open_dataset(spec), 16, tmp_path / "other").images.astype(int).sum()
    assert found == [expected] * 3
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_who_waits_for_another_process_says_so(tmp_path, monkeypatch, capsys):
    data = open_dataset(labelled(tmp_path / "data", ["a", "b"]))
    name = f"{data.card.name}-{data.fingerprint}-16-v{cache.VERSION}"
    lock = tmp_path / "cache" / f".{name}.lock"
    lock.parent.mkdir()
    lock.write_text("another-host 7")
    monkeypatch.setattr(cache, "TELL_S", 0.2)
    monkeypatch.setattr(cache, "STALE_S", 0.6)
    decoded(data, 16, tmp_path / "cache")
    assert "waiting for process 7 on another-host" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(datasets))
def test_every_registered_card_is_complete(name):
    card = datasets[name].card
    assert card.name == name
    assert card.task in ("classification", "multilabel", "segmentation")
    assert len(card.classes) == len(set(card.classes)) >= 2
    assert card.modality
    assert card.licence
    assert card.citation
    assert card.url


def test_tissue_is_the_most_probable_one():
    t1 = np.array([0, 9, 9, 9])
    grey, white = np.array([0, 10, 200, 60], np.uint8), np.array([0, 20, 55, 190], np.uint8)
    assert brain.tissues(t1, grey, white).tolist() == [0, 1, 2, 3]


def test_slabs_of_slices_are_groups():
    t1 = np.full((20, 24, 30), 9, np.uint8)
    t1[:, :, :5] = 0
    maps = {"t1": t1, "gm": np.full_like(t1, 200), "wm": np.zeros_like(t1)}
    data = brain.build(maps, "f")
    assert len(data) == 25
    assert data.ids[0] == "slice005"
    assert [data.groups.count(g) for g in sorted(set(data.groups))] == [7, 7, 7, 4]
    assert data.read_image(0).shape == (24, 20, 3)
    assert (data.read_mask(0) == 2).all()
    assert set(data.labels.tolist()) == {0b100}


def test_a_missing_nilearn_is_one_sentence(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(InputError, match=r"pip install .*\[brain\]"):
        brain.open_icbm152()


def test_the_template_opens_where_nilearn_is_installed():
    pytest.importorskip("nibabel")
    try:
        data = open_dataset("icbm152_tissue")
    except InputError as error:
        pytest.skip(str(error))
    assert len(data) == 146
    assert set(np.unique(data.read_mask(70))) == {0, 1, 2, 3}
    part = split(data, 1.0, 0)
    groups = np.asarray(data.groups)
    assert not set(groups[part.test]) & set(groups[part.train])


def test_slices_of_a_labelled_volume_are_images_and_that_is_said(tmp_path):
    for name in "cd":
        volume(tmp_path / f"{name}.nii", np.arange(48, dtype=np.int16).reshape(4, 4, 3))
    rows = [("a.png", "0", "p1"), ("b.png", "1", "p2"), ("c.nii", "0", "p1"), ("d.nii", "1", "p3")]
    write(tmp_path, rows, ["image", "label", "group"])
    data = open_dataset(str(tmp_path / "manifest.csv"))
    assert data.labels.tolist() == [0, 1, 0, 0, 0, 1, 1, 1]
    (note,) = data.notes
    assert note.startswith("2 volumes became 6 slices, each scored as an image of its own")


def test_real_sets_open(shared_data):
    busi = open_dataset(str(shared_data / "busi" / "manifest.csv"))
    assert busi.card.classes == ("benign", "malignant", "normal")
    assert np.bincount(busi.labels).tolist() == [437, 210, 133]
    volumes = open_dataset(str(shared_data / "hippocampus"))
    assert (len(volumes), len(set(volumes.groups))) == (1665, 260)
    assert len(volumes.card.classes) == 3
