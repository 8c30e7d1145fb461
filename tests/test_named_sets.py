"""Named data sets on tiny trees in the layout of the original downloads."""

import contextlib
import hashlib
import json
import re
from collections import Counter

import numpy as np
import pytest
import trees

from benchmark.core.citation import OTHERS, Citation
from benchmark.core.registry import InputError
from benchmark.core.typed import typed
from benchmark.data import datasets, located, open_dataset
from benchmark.data.readers import layout, table
from benchmark.data.sets.medmnist import SETS, SIZES, fetched, name_of
from results.papers import papers


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path / "data"))


# Of each set: (images by split, labels or strata in the order of ids, groups)
EXPECTED = {
    "ddr_grading": ({"train": 2, "val": 1, "test": 1}, [1, 0, 4, 2], 4),
    "aptos2019": ({"": 2}, [0, 3], 2),
    "messidor2": ({"": 3}, [0, 2, 4], 2),
    "idrid_grading": ({"train": 1, "test": 1}, [3, 3], 2),
    "isic2016": ({"train": 1, "test": 1}, [0b10, 0b10], 2),
    "ham10000": ({"": 3}, [5, 5, 4], 2),
    "isic2018": ({"train": 1, "test": 1}, [5, 5], 2),
    "kvasir_seg": ({"": 1}, [0b10], 1),
    "cvc_clinicdb": ({"": 1}, [0b10], 1),
    "drive": ({"train": 1, "test": 1}, [0b10, 0b10], 2),
    "busi": ({"": 3}, [0, 1, 2], 3),
    "busi_masks": ({"": 3}, [0b10, 0b10, 0], 3),
    "acdc": ({"train": 6, "test": 6}, [0, 0b1110, 0] * 4, 2),
    "synapse": ({"train": 3, "test": 3}, [0, 1 << 1 | 1 << 13 | 1 << 6, 0] * 2, 2),
    "msd_hippocampus": ({"": 6}, [0, 0b110, 0] * 2, 2),
    "pcam": ({"train": 2, "val": 1, "test": 1}, [0, 0, 1, 1], 4),
    # bits in the order of the card: cardiomegaly 1 and emphysema 10, none, hernia, pleura
    "chestxray14": ({"train": 3, "test": 1}, [1 << 1 | 1 << 10, 0, 1 << 13, 1 << 12], 3),
    "chexpert": ({"train": 2, "test": 1}, [0b10001, 0b10001, 0b10001], 3),
    "rsna_pneumonia": ({"": 3}, [0, 1, 1], 2),
    "medfmc_chest": ({"train": 1, "test": 1}, [1 | 1 << 18, 0], 2),
    "medfmc_colon": ({"train": 1, "test": 1}, [0, 1], 2),
    "medfmc_endo": ({"train": 1, "test": 1}, [0b0100, 0b1001], 2),
    "nct_crc": ({"train": 9, "test": 9}, [*range(9), *range(9)], 18),
    "eyepacs": ({"": 3}, [0, 4, 2], 2),
    "isic2018_lesions": ({"train": 1, "val": 1, "test": 1}, [0b10] * 3, 3),
    "isic2016_melanoma": ({"train": 2, "test": 2}, [0, 1, 0, 1], 4),
    "polyps": ({"": 4}, [0b10] * 4, 3),  # frames 1 and 2 are of one sequence
    "polyps_kvasir": ({"test": 1}, [0b10], 1),
    "polyps_clinicdb": ({"test": 1}, [0b10], 1),
    "polyps_colondb": ({"test": 1}, [0b10], 1),
    "polyps_cvc300": ({"test": 1}, [0b10], 1),
    "polyps_etis": ({"test": 1}, [0b10], 1),
    "msd_brain_tumour": ({"": 3}, [0, 0b1110, 0], 1),
    "refuge": ({"train": 2, "val": 1, "test": 1}, [0b110] * 4, 4),
}
# sets of one download share its tree
MAKERS = {name: getattr(trees, datasets[name].card.folder or name) for name in EXPECTED}


def test_every_named_set_has_a_tree_here():
    on_disk = {name for name in datasets if not datasets[name].embedded}
    fetchable = {name_of(base, size) for base in SETS for size in SIZES}
    assert on_disk == EXPECTED.keys() | fetchable


@pytest.mark.parametrize("name", EXPECTED)
def test_the_original_layout_opens(name, tmp_path):
    MAKERS[name](tmp_path / "data" / name)
    data = open_dataset(name)
    splits, labels, groups = EXPECTED[name]
    assert Counter(data.splits) == splits
    order = np.argsort(data.ids)
    assert data.labels[order].tolist() == labels
    assert len(set(data.groups)) == groups
    assert data.read_image(0).dtype == np.uint8
    assert data.read_image(0).shape[2] == 3
    if data.card.task == "segmentation":
        assert data.read_mask(0).shape == data.read_image(0).shape[:2]
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "data" / name).rename(elsewhere)
    assert open_dataset(f"{name}@{elsewhere}").fingerprint == data.fingerprint


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_missing_is_one_sentence(name, tmp_path):
    with pytest.raises(InputError, match=f"the data of {name!r} is not in .*; get .* from http"):
        open_dataset(name)
    (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(InputError, match="original download"):
        open_dataset(name)


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"", b"[" * 5000])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_damaged_list_or_table_is_one_sentence(name, tmp_path, content):
    MAKERS[name](tmp_path / "data" / name)
    for path in sorted((tmp_path / "data" / name).rglob("*")):
        if path.suffix in {".csv", ".txt", ".json", ""} and path.is_file():
            before = path.read_bytes()
            path.write_bytes(content)
            with contextlib.suppress(InputError):  # a list that is empty may be another layout
                open_dataset(name)
            path.write_bytes(before)


def test_masks_of_0_and_1_are_no_masks_of_the_release(tmp_path):
    for i in range(2):
        trees.picture(tmp_path / f"images/{i}.png", 90 + i)
        trees.mask(tmp_path / f"masks/{i}.png")
    open_dataset(f"kvasir_seg@{tmp_path}")
    trees.mask(tmp_path / "masks/1.png", value=1)
    with pytest.raises(InputError, match=r"masks/1\.png' holds 0 to 1; 0 and 255 are expected"):
        open_dataset(f"kvasir_seg@{tmp_path}")


def test_masks_are_read_as_their_sets_mean_them(tmp_path):
    for name in ("busi_masks", "drive", "kvasir_seg"):
        MAKERS[name](tmp_path / "data" / name)
    lesions = open_dataset("busi_masks").read_mask(0)  # two files, one lesion each
    assert lesions.sum() == 8 * 6 + 1
    assert lesions[0, 0] == 1
    vessels = open_dataset("drive").read_mask(0)
    assert set(vessels[0]) == {255}  # outside the field of view
    assert np.unique(vessels[1:]).tolist() == [0, 1]
    assert np.unique(open_dataset("kvasir_seg").read_mask(0)).tolist() == [0, 1]  # from JPEG


def test_volumes_keep_their_patients_spacing_and_window(tmp_path):
    for name in ("acdc", "synapse"):
        MAKERS[name](tmp_path / "data" / name)
    data = open_dataset("acdc")
    assert data.extent[0].tolist() == [4 * 1.25, 6 * 1.5, 10]  # rows run along y
    assert len(set(data.volumes)) == 4
    assert len(set(data.groups)) == 2
    assert data.read_image(0).shape == (4, 6, 3)
    scan = open_dataset("synapse").read_image(1)[0, :3, 0]
    assert scan.tolist() == [0, 128, 255]  # -125, 75 and 275 Hounsfield units and beyond


def test_channels_of_a_volume_become_colours_each_scaled_by_itself(tmp_path):
    root = tmp_path / "data" / "msd_brain_tumour"
    trees.msd_brain_tumour(root)
    data = open_dataset("msd_brain_tumour")
    image = data.read_image(1)
    assert image.shape == (4, 6, 3)
    # shades (5k, 6, 7 + k) of the channels k = 1, 3, 4: the brightest column of each is white
    assert image[0].argmax(0).tolist() == [2, 0, 0]
    assert image[0].max(0).tolist() == [255, 255, 255]
    path = root / "Task01_BrainTumour" / "imagesTr" / "BRATS_001.nii.gz"
    trees.volume(path, np.zeros((6, 4, 3, 2), np.float32))
    table.volumes._header.cache_clear()
    with pytest.raises(InputError, match="has 2 channels; 4 are needed"):
        open_dataset("msd_brain_tumour")


def test_a_broken_header_is_one_sentence(tmp_path):
    root = tmp_path / "data" / "msd_hippocampus"
    trees.msd_hippocampus(root)
    path = root / "Task04_Hippocampus" / "imagesTr" / "hippocampus_003.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"cannot read the volume .*hippocampus_003"):
        open_dataset("msd_hippocampus")


def test_a_mask_of_another_shape_or_class_is_refused(tmp_path):
    root = tmp_path / "data" / "msd_hippocampus"
    trees.msd_hippocampus(root)
    path = root / "Task04_Hippocampus" / "labelsTr" / "hippocampus_003.nii.gz"
    trees.volume(path, trees.shapes([1, 7], np.uint8))
    with pytest.raises(InputError, match="holds 7; its classes are 0 to 2"):
        open_dataset("msd_hippocampus")
    trees.volume(path, np.zeros((6, 4, 2), np.uint8))
    table.volumes._header.cache_clear()
    with pytest.raises(InputError, match=r"\(6, 4, 2\).*must be alike"):
        open_dataset("msd_hippocampus")


def test_labels_outside_the_range_are_refused(tmp_path):
    root = tmp_path / "data" / "aptos2019"
    trees.aptos2019(root)
    trees.text(root / "train.csv", "id_code,diagnosis", "one,0", "two,7")
    with pytest.raises(InputError, match=r"train\.csv', row 3: the grade '7' is not one of 0"):
        open_dataset("aptos2019")


def test_a_set_in_a_cell_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert located("busi@here") == f"busi@{tmp_path / 'here'}"
    assert located("busi") == f"busi@{tmp_path / 'data' / 'busi'}"
    assert located("phantom_grading") == "phantom_grading"


def medmnist(path, classes=8, side=28, save=np.savez_compressed):
    arrays = {}
    for number, split in enumerate(("train", "val", "test")):
        shape = (classes, side, side, 3)
        arrays[f"{split}_images"] = np.full(shape, number, np.uint8)
        arrays[f"{split}_images"][:, 0, 0, 0] = np.arange(classes)
        arrays[f"{split}_labels"] = np.arange(classes)[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, **arrays)


@pytest.mark.parametrize(("name", "size"), [("bloodmnist", 28), ("bloodmnist_64", 64)])
def test_medmnist_is_fetched_only_with_its_checksum(tmp_path, monkeypatch, name, size):
    medmnist(tmp_path / "mirror" / f"{name}.npz", side=size)
    monkeypatch.setenv("MEDMNIST_URL", (tmp_path / "mirror").as_uri() + "/{}.npz")
    folder = tmp_path / "data" / "bloodmnist"
    with pytest.raises(InputError, match="MD5"):
        fetched(name, folder)
    assert not list(folder.iterdir())
    content = (tmp_path / "mirror" / f"{name}.npz").read_bytes()
    known = dict(zip(SIZES, SETS["bloodmnist"].md5.split(), strict=True))
    known |= {size: hashlib.md5(content).hexdigest()}
    monkeypatch.setitem(
        SETS, "bloodmnist", SETS["bloodmnist"]._replace(md5=" ".join(known.values()))
    )
    assert fetched(name, folder) == folder / f"{name}.npz"
    assert fetched(name, folder) is None  # it is there
    data = open_dataset(name)
    assert Counter(data.splits) == {"train": 8, "val": 8, "test": 8}
    assert data.card.classes[7] == "platelet"
    for part in range(3):  # each image comes from its own part of the archive
        assert data.read_image(8 * part + 5)[0, 0].tolist() == [5, part, part]
    monkeypatch.setenv("MEDMNIST_URL", (tmp_path / "nowhere").as_uri() + "/{}.npz")
    (folder / f"{name}.npz").unlink()
    with pytest.raises(InputError, match=rf"cannot fetch {name}\.npz"):
        fetched(name, folder)


def test_a_renamed_archive_of_another_size_is_refused(tmp_path):
    medmnist(tmp_path / "bloodmnist_128.npz", side=64)
    with pytest.raises(InputError, match="holds images of 64 px, not of 128 px"):
        open_dataset(f"bloodmnist_128@{tmp_path}")


def test_an_archive_is_unpacked_once_and_its_fingerprint_is_that_of_the_arrays(tmp_path):
    medmnist(tmp_path / "packed" / "bloodmnist.npz")
    medmnist(tmp_path / "plain" / "bloodmnist.npz", save=np.savez)
    packed = open_dataset(f"bloodmnist@{tmp_path / 'packed'}")
    plain = open_dataset(f"bloodmnist@{tmp_path / 'plain'}")
    assert packed.fingerprint == plain.fingerprint
    with np.load(tmp_path / "plain" / "bloodmnist.npz") as arrays:
        whole = np.concatenate([arrays[f"{s}_images"] for s in ("train", "val", "test")])
    labels, splits = packed.labels.tobytes(), repr(packed.splits).encode()
    assert packed.fingerprint == hashlib.sha256(whole.tobytes() + labels + splits).hexdigest()[:16]
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "npz").rglob("*.npy")}
    assert len(times) == 12
    again = open_dataset(f"bloodmnist@{tmp_path / 'packed'}")
    assert np.array_equal(again.read_image(9), whole[9])
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "npz").rglob("*.npy")}


@pytest.mark.parametrize("name", list(datasets))
def test_every_card_can_be_cited_and_says_where_its_groups_come_from(name):
    card = datasets[name].card
    assert card.citations
    for work in card.citations:
        assert 1990 < work.year < 2030
        assert work.title.strip() == work.title != ""
        assert all(author.strip() == author != "" for author in work.authors)
        assert "et al" not in " ".join(work.authors)
        assert not re.search(r"https?:|doi|arXiv", work.doi + work.arxiv)
        assert work.entry == "misc" or work.venue
        assert typed(Citation, json.loads(json.dumps(work.to_json())), "a work") == work
        assert str(work.year) in work.short
    assert card.licence
    assert card.url
    assert card.display or card.synthetic
    assert len(set(card.classes)) == len(card.classes)
    if card.grouping in ("given", "inferred"):
        assert card.group_key
    assert bool(card.group_note) == (card.grouping in ("unknown", "inferred"))
    if card.group_note:
        assert card.group_source, f"{name} does not say why its groups are {card.grouping}"


def test_display_names_are_unique():
    titles = Counter(datasets[name].card.title for name in datasets)
    assert max(titles.values()) == 1, titles.most_common(3)


def test_a_citation_in_one_line_and_in_fields():
    names = ("Doe, Jane", "Roe, Richard")
    work = Citation((*names, OTHERS), "On things", 2020, "Journal 1:2", "article", doi="10.1/x")
    assert work.short == "Doe et al. 2020, Journal 1:2"
    assert work.fields() == {
        "author": "Doe, Jane and Roe, Richard and others",
        "title": "On things",
        "journal": "Journal 1:2",
        "year": "2020",
        "doi": "10.1/x",
    }
    preprint = Citation(names, "On more", 2021, arxiv="2101.00001")
    assert preprint.short == "Doe and Roe 2021, arXiv:2101.00001"
    assert preprint.fields()["archivePrefix"] == "arXiv"
    talk = Citation(names[:1], "A talk", 2022, "A meeting", "inproceedings")
    assert (talk.short, talk.fields()["booktitle"]) == ("Doe 2022, A meeting", "A meeting")


def test_counts_of_the_cards_are_the_published_totals():
    totals = {n: sum(datasets[n].card.counts.values()) for n in datasets}
    assert totals["ddr_grading"] == 12522
    assert totals["aptos2019"] == 3662
    assert totals["messidor2"] == 1744
    assert totals["idrid_grading"] == 516
    assert totals["ham10000"] == 10015
    assert totals["busi"] == 780
    assert totals["isic2018"] == 10015 + 1512
    assert totals["nct_crc"] == 107180
    assert totals["eyepacs"] == 35126
    assert totals["pathmnist"] == totals["nct_crc"]  # the same images
    assert datasets["pathmnist"].card.classes == datasets["nct_crc"].card.classes
    for name in datasets:
        if datasets[name].card.task == "classification" and len(datasets[name].card.counts) > 1:
            assert tuple(datasets[name].card.counts) == datasets[name].card.classes, name
    assert len(layout.GRADES) == 5


@pytest.mark.parametrize("paper", ["medfm", "osu", "ept", "ept_kvasir"])
def test_published_tables_name_sets_that_can_be_loaded(paper):
    names = {name for number in papers.read(paper).numbers for name in number.dataset.split(", ")}
    assert names
    assert all(name in datasets for name in names), names


def test_the_real_volumes_open(shared_data):
    data = open_dataset(f"msd_hippocampus@{shared_data / 'msd_hippocampus'}")
    assert len(set(data.volumes)) == 71
    assert len(set(data.groups)) == 66  # 5 brains have both sides here
    assert np.unique(data.extent[:, 2]).tolist() == [1.0]
    assert 25 < data.extent[:, :2].min() < data.extent[:, :2].max() < 70
    assert data.read_image(10).max() == 255
    assert (data.labels == 0b110).any()
