import shutil

import numpy as np
import pytest
from PIL import Image

from benchmark.data import datasets, decoded, open_dataset
from benchmark.data.phantom import grade_of, render
from benchmark.registry import InputError


def write_image(path, value=100, size=(12, 10), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def write_manifest(folder, header, rows):
    lines = [header, *(",".join(row) for row in rows)]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def labelled(folder, labels=("a", "b") * 6, **columns):
    rows = []
    for i, label in enumerate(labels):
        write_image(folder / f"im/{i}.png", 10 * i)
        rows.append([f"im/{i}.png", label, *(values[i] for values in columns.values())])
    return write_manifest(folder, ",".join(["image", "label", *columns]), rows)


def segmented(folder, count=10, values=(0, 1, 2)):
    rows = []
    for i in range(count):
        write_image(folder / f"im/{i}.png", i)
        mask = np.zeros((10, 12), np.uint8)
        mask[0, : len(values)] = values
        (folder / "m").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / f"m/{i}.png")
        rows.append([f"im/{i}.png", f"m/{i}.png", f"v{i // 2}"])
    return write_manifest(folder, "image,mask,group", rows)


def test_a_manifest_of_labels(tmp_path):
    dataset = open_dataset(str(labelled(tmp_path / "set")))
    assert dataset.card.name == "set"
    assert dataset.card.classes == ("a", "b")
    assert not dataset.card.ordinal
    assert dataset.labels.tolist() == [0, 1] * 6
    assert dataset.read_image(3).shape == (10, 12, 3)
    assert dataset.read_image(3)[0, 0].tolist() == [30, 30, 30]


def test_integer_labels_are_grades_in_numeric_order(tmp_path):
    dataset = open_dataset(str(labelled(tmp_path, ("10", "2", "0") * 4)))
    assert dataset.card.classes == ("0", "2", "10")
    assert dataset.card.ordinal


def test_a_manifest_of_masks(tmp_path):
    dataset = open_dataset(str(segmented(tmp_path, values=(0, 1, 2, 255))))
    assert dataset.card.task == "segmentation"
    assert dataset.card.classes == ("background", "class1", "class2")
    assert dataset.groups[2:4] == ("v1", "v1")
    assert dataset.read_mask(0)[0, :4].tolist() == [0, 1, 2, 255]


def test_a_moved_folder_is_the_same_data_an_edited_one_is_not(tmp_path):
    first = open_dataset(str(labelled(tmp_path / "one" / "set")))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert open_dataset(str(tmp_path / "two/set")).fingerprint == first.fingerprint
    write_image(tmp_path / "two/set/im/0.png", 77)
    edited = open_dataset(str(tmp_path / "two/set"))
    assert edited.fingerprint != first.fingerprint


def test_a_tree_of_class_folders_with_splits(tmp_path):
    for i, split in enumerate(("train", "train", "val", "test")):
        for label in ("cat", "dog"):
            write_image(tmp_path / split / label / f"{i}.png", i)
    dataset = open_dataset(str(tmp_path))
    assert dataset.card.classes == ("cat", "dog")
    assert sorted(dataset.splits) == ["test"] * 2 + ["train"] * 4 + ["val"] * 2


def medmnist(path, **changes):
    arrays = {}
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = np.full((count, 6, 6), 7, np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None]
    np.savez(path, **{**arrays, **changes})
    return str(path)


def test_a_medmnist_archive(tmp_path):
    dataset = open_dataset(medmnist(tmp_path / "breastmnist.npz"))
    assert dataset.splits.count("test") == 4
    assert dataset.read_image(0).shape == (6, 6, 3)
    assert dataset.labels[:3].tolist() == [0, 1, 0]


def test_archives_with_pickles_are_refused(tmp_path):
    objects = np.array([{"a": 1}] * 8, dtype=object)
    with pytest.raises(InputError, match="pickled objects are refused"):
        open_dataset(medmnist(tmp_path / "x.npz", train_images=objects))


def test_sixteen_bit_images_are_scaled_by_their_percentiles(tmp_path):
    path = labelled(tmp_path)
    values = np.linspace(0, 60000, 120).reshape(10, 12).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "im/0.png")
    image = open_dataset(str(path)).read_image(0)
    assert image.dtype == np.uint8
    assert image.min() == 0
    assert image.max() == 255


def spoil(folder, kind):
    if kind == "missing file":
        path = labelled(folder)
        (folder / "im/3.png").unlink()
        return path
    if kind == "unreadable":
        path = labelled(folder)
        (folder / "im/3.png").write_text("no image")
        return path
    if kind == "column":
        return labelled(folder, grupe=["x"] * 12)
    if kind == "one class":
        return labelled(folder, ("a",) * 12)
    if kind == "two splits":
        return labelled(folder, group=["p"] * 12, split=["train", "test"] * 6)
    if kind == "unknown split":
        return labelled(folder, split=["training"] * 12)
    if kind == "half split":
        return labelled(folder, split=["train", ""] * 6)
    if kind == "mask size":
        path = segmented(folder)
        write_image(folder / "m/2.png", 1, (5, 5))
        return path
    if kind == "empty masks":
        return segmented(folder, values=(0, 0, 0))
    if kind == "mask values":
        return segmented(folder, values=(0, 128))
    path = labelled(folder)
    path.write_text(path.read_text() + "im/0.png,a\n")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing file", "there is no image"),
        ("unreadable", "cannot read the image"),
        ("column", "unknown column .* 'grupe'; did you mean 'group'"),
        ("one class", "one class only"),
        ("two splits", "the group 'p' sits in the splits"),
        ("unknown split", "unknown split 'training'; allowed"),
        ("half split", "some rows have a split and some have none"),
        ("mask size", "is 5x5, its image 12x10"),
        ("empty masks", "every mask is empty"),
        ("mask values", "holds the value 128; number the classes"),
        ("twice", "lists the image 'im/0.png' twice"),
    ],
)
def test_bad_manifests_are_one_sentence(tmp_path, kind, message):
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(str(spoil(tmp_path, kind)))
    assert "\n" not in str(caught.value)


def test_unknown_names_and_paths():
    with pytest.raises(InputError, match="did you mean 'phantom_grading'"):
        open_dataset("phantom_gradin")
    with pytest.raises(InputError, match="there is no data at"):
        open_dataset("no/such/manifest.csv")


def test_decoded_images_are_cached_and_damage_is_repaired(tmp_path):
    dataset = open_dataset(str(segmented(tmp_path / "set")))
    first = decoded(dataset, 8, tmp_path / "cache")
    assert first.images.shape == (10, 8, 8, 3)
    assert first.masks.shape == (10, 8, 8)
    assert set(np.unique(first.masks)) <= {0, 1, 2}
    expected = np.array(first.images)
    folder = next((tmp_path / "cache").iterdir())
    stamp = (folder / "images.npy").stat().st_mtime_ns
    decoded(dataset, 8, tmp_path / "cache")
    assert (folder / "images.npy").stat().st_mtime_ns == stamp  # not made again
    data = bytearray((folder / "images.npy").read_bytes())
    data[-1] ^= 255
    (folder / "images.npy").write_bytes(data)
    assert np.array_equal(decoded(dataset, 8, tmp_path / "cache").images, expected)
    (folder / "meta.json").write_text("{")
    assert np.array_equal(decoded(dataset, 8, tmp_path / "cache").images, expected)


@pytest.mark.parametrize("name", datasets)
def test_cards_are_complete(name):
    card = datasets[name].card
    assert card.name == name
    assert card.licence
    assert card.citation
    assert card.modality
    assert len(card.classes) > 1


def test_phantoms_are_the_same_everywhere():
    first, again = render(1, 5), render(1, 5)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, render(1, 6).image)
    assert first.grade == grade_of(1, 5)
    # Coarse means of one image, so that rounding differences between machines do not matter: a
    # change here needs a new GENERATOR_VERSION.
    coarse = first.image.reshape(4, 32, 4, 32, 3).mean((1, 3, 4)).round().astype(int)
    assert np.abs(coarse - GOLDEN).max() <= 1


GOLDEN = np.array([[13, 55, 56, 18], [52, 80, 80, 56], [54, 89, 65, 47], [13, 50, 51, 14]])


def test_lesions_follow_the_grade():
    shown = {g: [] for g in range(5)}
    for i in range(120):
        phantom = render(1, i)
        shown[phantom.grade].append((phantom.mask > 0).sum())
    means = {g: np.mean(areas) for g, areas in shown.items()}
    assert means[0] == means[1] == 0  # microaneurysms are in no mask
    assert 0 < means[2] < means[3]


def test_colour_alone_does_not_give_the_grade_away():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import cohen_kappa_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import scale

    images = np.stack([render(1, i).image for i in range(200)])
    grades = np.array([grade_of(1, i) for i in range(200)])
    histograms = [np.histogram(x[..., c], 12, (0, 256))[0] for x in images for c in range(3)]
    features = scale(np.array(histograms).reshape(200, -1))
    predicted = cross_val_predict(LogisticRegression(max_iter=500), features, grades, cv=5)
    assert cohen_kappa_score(grades, predicted, weights="quadratic") < 0.5


@pytest.mark.shared_data
def test_real_sets_open(shared_data):
    busi = open_dataset(str(shared_data / "busi/manifest.csv"))
    assert np.bincount(busi.labels).tolist() == [437, 210, 133]
    hippocampus = open_dataset(str(shared_data / "hippocampus"))
    assert (len(hippocampus), len(set(hippocampus.groups))) == (1665, 260)
