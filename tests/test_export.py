"""Trained cells leave the project unchanged: reloaded, predicted with, exported."""

import json

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from trees import volume

from benchmark import backbones
from benchmark.__main__ import main
from benchmark.commands.predict import Input, _targets, inputs_of
from benchmark.core.registry import InputError
from benchmark.data import open_dataset, sealed
from benchmark.data.readers import volumes
from benchmark.data.readers.declared import PLAIN, Declaration, checked
from benchmark.trained import find, load

SPECS = "lora(rank=2),lora(rank=2,targets=qkv+fc1),adaptformer(bottleneck=2),bitfit"
COMMON = ["--fractions", "0.1", "--steps", "3", "--batch-size", "8"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells") / "runs"
    grade = ["--methods", SPECS, "--backbones", "tiny_vit", "--datasets", "phantom_grading"]
    mask = ["--methods", "bitfit", "--backbones", "tiny_swin", "--datasets", "phantom_lesions"]
    for axes in (grade, mask):
        assert main(["run", *axes, *COMMON, "--lr", "0.03", "--runs", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index, size in enumerate([(40, 50), (64, 32)]):
        values = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


def cell_of(runs, text):
    """Return the folder of the classification cell whose method holds `text`."""
    cells = {path.parent: json.loads(path.read_text()) for path in runs.rglob("cell.json")}
    return next(
        folder
        for folder, cell in cells.items()
        if text in cell["method"] and cell["dataset"] == "phantom_grading"
    )


def lesions(runs):
    return next(path.parent for path in runs.rglob("record.json") if "lesions" in str(path))


def stack(trained, pictures):
    from benchmark.data.readers.images import read_rgb, resize

    images = np.stack([resize(read_rgb(p), trained.record.cell.image_size) for p in pictures])
    return trained.normalize(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)


def test_a_loaded_cell_repeats_its_stored_test_predictions(runs):
    from benchmark.data import open_dataset, split

    folder = cell_of(runs, "adaptformer")
    trained = load(folder)
    cell, dataset = trained.record.cell, open_dataset("phantom_grading")
    rows = split(dataset, cell.fraction, cell.split_seed).test[:5]
    # a reader in place of files: the phantoms are drawn, not stored
    table = trained.predict(
        [str(row) for row in rows], read=lambda p: dataset.read_image(int(p.name))
    )
    stored = np.load(folder / "predictions.npz")["test_probs"][:5]
    names = [f"prob_{name}" for name in trained.classes]
    np.testing.assert_allclose(table[names].to_numpy(), stored, atol=1e-5)


def test_predict_writes_classes_and_probabilities(runs, pictures, tmp_path):
    folder, out = cell_of(runs, "adaptformer"), tmp_path / "preds.csv"
    assert main(["predict", str(folder), str(pictures[0].parent), "--out", str(out)]) == 0
    table = pd.read_csv(out)
    names = [c for c in table.columns if c.startswith("prob_")]
    assert list(table["image"]) == [str(p) for p in pictures]
    np.testing.assert_allclose(table[names].sum(axis=1), 1, atol=1e-5)
    assert (table["prediction"] == [names[i][5:] for i in table[names].to_numpy().argmax(1)]).all()


def test_predict_writes_masks_in_the_original_size(runs, pictures, tmp_path):
    out = tmp_path / "masks"
    assert main(["predict", str(lesions(runs)), *map(str, pictures), "--out", str(out)]) == 0
    for path in pictures:
        mask = Image.open(out / path.name)
        assert mask.size == Image.open(path).size
        assert np.asarray(mask).max() < len(load(lesions(runs)).classes)


def test_a_merged_timm_checkpoint_gives_the_same_logits(runs, pictures, tmp_path):
    for name in ("lora(rank=2,alpha=8.0,targets=qkv", "bitfit"):
        trained, out = load(cell_of(runs, name)), tmp_path / name[:4]
        key = trained.record.cell.key
        command = ["export", key, "--runs", str(runs), "--format", "timm", "--out", str(out)]
        assert main(command) == 0
        model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
        images = stack(trained, pictures)
        with torch.no_grad():
            torch.testing.assert_close(model(images), trained.model(images), atol=1e-4, rtol=1e-4)
        config = json.loads((out / "config.json").read_text())
        assert config["label_names"] == trained.classes
        assert tuple(config["pretrained_cfg"]["input_size"])[1:] == (32, 32)


def test_a_lora_cell_is_a_peft_adapter_with_equal_features(runs, pictures, tmp_path):
    peft = pytest.importorskip("peft", reason="the extra `test` installs peft")
    for index, name in enumerate(("targets=q+v", "targets=qkv+fc1")):
        trained, out = load(cell_of(runs, name)), tmp_path / str(index)
        cell = trained.record.cell
        assert (
            main(["export", cell.key, "--runs", str(runs), "--format", "peft", "--out", str(out)])
            == 0
        )
        plain = backbones.create(cell.backbone, cell.image_size)
        images = stack(trained, pictures)
        with torch.no_grad():
            bare = plain(images)
            loaded = peft.PeftModel.from_pretrained(plain, str(out)).eval()
            expected = trained.model.body(images)
            torch.testing.assert_close(loaded(images), expected, atol=1e-5, rtol=1e-5)
            assert not torch.allclose(bare, expected, atol=1e-3)  # the adapter does something


def test_safetensors_hold_what_was_trained_and_say_of_what(runs, tmp_path):
    folder, out = cell_of(runs, "adaptformer"), tmp_path / "plain"
    assert main(["export", str(folder), "--format", "safetensors", "--out", str(out)]) == 0
    tensors = load_file(out / "model.safetensors")
    stored = load_file(folder / "delta.safetensors")
    assert tensors.keys() == stored.keys()
    assert all(torch.equal(tensors[name], stored[name]) for name in stored)
    with safe_open(out / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["cell"])["method"].startswith("adaptformer")


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        ("adaptformer", "timm", "adds computation that no plain"),
        ("adaptformer", "peft", "only lora has a PEFT form"),
        ("lora", "tim", "did you mean 'timm'"),
    ],
)
def test_what_a_format_cannot_hold_is_said_and_nothing_is_left(
    runs, tmp_path, capsys, method, name, message
):
    out = tmp_path / "x"
    assert main(["export", str(cell_of(runs, method)), "--format", name, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_bad_cells_images_and_thresholds_are_one_sentence(runs, pictures, tmp_path):
    with pytest.raises(InputError, match="no finished cell below"):
        find("ffffffffffffffff", runs)
    with pytest.raises(InputError, match="5 finished cells below"):
        find("", runs)
    with pytest.raises(InputError, match="there is no finished cell in"):
        load(tmp_path)
    trained = load(cell_of(runs, "adaptformer"))
    with pytest.raises(InputError, match="needs two classes; this cell has 5"):
        trained.predict(pictures, threshold=0.5)
    with pytest.raises(InputError, match="this cell classifies"):
        next(trained.masks(pictures))
    with pytest.raises(InputError, match="the cell was trained on"):
        load(cell_of(runs, "adaptformer"), weights="tiny_swin")
    out = str(tmp_path / "a.csv")
    assert main(["predict", str(lesions(runs)), str(pictures[0]), "--out", out]) == 2
    assert main(["predict", str(lesions(runs)), "no.png", "--out", str(tmp_path / "m")]) == 2


def test_predict_takes_a_volume_and_gives_its_mask_with_the_affine(runs, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).integers(0, 999, (9, 11, 3)).astype(np.int16)
    affine = np.array([[-2.0, 0, 0, 9], [0, -2, 0, 7], [0, 0, 5, 1], [0, 0, 0, 1]])
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "in/scan.nii.gz")
    turned = nibabel.as_closest_canonical(nibabel.load(tmp_path / "in/scan.nii.gz"))
    nibabel.save(turned, tmp_path / "in/turned.nii.gz")
    out = tmp_path / "masks"
    command = ["predict", str(lesions(runs)), str(tmp_path / "in"), "--out", str(out)]
    assert main(command) == 0
    one, two = (nibabel.load(out / f"{name}.nii.gz") for name in ("scan", "turned"))
    assert one.shape == (9, 11, 3)
    assert np.array_equal(one.affine, affine)
    assert np.array_equal(nibabel.as_closest_canonical(one).dataobj, two.dataobj)
    assert main(command) == 0  # its own masks may be replaced


def test_the_mask_of_a_volume_with_channels_has_none(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.array([[-2.0, 0, 0, 9], [0, 2, 0, 7], [0, 0, 5, 1], [0, 0, 0, 1]])
    scan = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 4, 3, 4), np.float32), affine), scan)
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6)  # of canonical order: x is turned
    colours = Declaration(channels=(0, 1, 2))
    volumes.write_mask(scan, tmp_path / "mask.nii.gz", [mask] * 3, 2, colours)
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert written.shape == (6, 4, 3)
    assert np.array_equal(written.affine, affine)
    assert np.array_equal(np.asarray(written.dataobj)[::-1, :, 1].T, mask)
    volumes.check_overlay(scan, tmp_path / "mask.nii.gz", colours)
    # read as grey, a volume without channels would be an image of another kind
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 4, 3), np.float32), affine), tmp_path / "b.nii")
    with pytest.raises(InputError, match=r"b\.nii' has one channel.*\[0, 1, 2\]"):
        inputs_of([tmp_path / "b.nii"], colours)
    with pytest.raises(InputError, match=r"mask.*scan\.nii\.gz' has channels"):
        volumes.check_overlay(scan, scan, colours)


def test_a_folder_of_new_images_loses_none_in_silence(tmp_path, capsys):
    picture = Image.fromarray(np.zeros((4, 5), np.uint8))
    for name in ("a/0.png", "a/1.2.840.1.png", ".cache/0.png", "__MACOSX/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
    (tmp_path / "a/notes.txt").write_text("x")
    found = inputs_of([tmp_path, tmp_path / "a", tmp_path / "a/../a/0.png"], PLAIN)
    assert [one.path.name for one in found] == ["0.png", "1.2.840.1.png"]
    told = " ".join(capsys.readouterr().out.split())  # notes are wrapped
    assert "1 file that is no image, such as 'notes.txt'" in told
    (tmp_path / "a/2.jpg").write_bytes(b"")  # called a picture: an error to report
    with pytest.raises(InputError, match=r"2\.jpg' is no picture: the file is empty"):
        inputs_of([tmp_path], PLAIN)[-1].read()


def test_a_mask_is_called_as_its_image_of_a_name_without_ending(tmp_path):
    names = ["1.2.840.1", "1.2.840.2", "scan.dcm", "photo.JPG", "volume.nii.gz"]
    inputs = [Input(name, tmp_path / name, PLAIN) for name in names]
    targets = _targets(inputs, tmp_path / "masks")
    expected = ["1.2.840.1.png", "1.2.840.2.png", "scan.png", "photo.png", "volume.nii.gz"]
    assert list(targets.values()) == expected


def test_predict_never_replaces_what_it_did_not_make(runs, pictures, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in pictures:
        (folder / path.name).write_bytes(path.read_bytes())
    cell = str(lesions(runs))
    assert main(["predict", cell, str(folder), "--out", str(folder)]) == 2
    assert "lies in --out" in capsys.readouterr().err
    out = tmp_path / "out"
    out.mkdir()
    (out / "0.png").write_bytes(b"mine")
    assert main(["predict", cell, str(folder), "--out", str(out)]) == 2
    assert "is not what this program wrote there" in capsys.readouterr().err
    assert (out / "0.png").read_bytes() == b"mine"
    assert all((folder / p.name).read_bytes() == p.read_bytes() for p in pictures)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("image,label\n")
    grading = str(cell_of(runs, "bitfit"))
    assert main(["predict", grading, str(folder), "--out", str(manifest)]) == 2
    assert manifest.read_text() == "image,label\n"


def test_code_that_a_record_names_is_run_only_when_it_is_allowed():
    from benchmark.trained import check_code

    for spec in ("colours:Cls", "lora(rank=2)+colours:Cls(a=1)"):
        with pytest.raises(InputError, match="--allow-code colours:Cls"):
            check_code(spec, ())
        check_code(spec, ["colours:Cls"])
    check_code("lora(rank=2,targets='a:b')", ())


def test_new_images_are_read_as_the_training_images_were(tmp_path, capsys):
    """A window that is declared beside the training set holds for `predict`, too."""
    rng = np.random.default_rng(0)
    for number in range(12):
        values = rng.integers(0, 999, (8, 8, 1)).astype(np.int16)
        volume(tmp_path / "set" / "ab"[number % 2] / f"{number}.nii", values)
    (tmp_path / "set/dataset.toml").write_text("window = [400, 600]\n")
    command = ["run", "--datasets", str(tmp_path / "set"), "--backbones", "tiny_vit"]
    command += ["--methods", "linear", "--fractions", "1", "--steps", "2", "--batch-size", "4"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    (record,) = (tmp_path / "runs").rglob("record.json")
    reading = {"window": [400, 600], "slice_axis": "axial"}
    assert json.loads(record.read_text())["data"]["reading"] == reading
    (tmp_path / "new").mkdir()
    (tmp_path / "new/x.nii").write_bytes((tmp_path / "set/a/0.nii").read_bytes())
    out = tmp_path / "out.csv"
    command = ["predict", str(record.parent), str(tmp_path / "new"), "--out", str(out)]
    assert main(command) == 0
    plain = out.read_text()
    (tmp_path / "new/dataset.toml").write_text("window = [400, 600]\n")
    assert main(command) == 0
    assert out.read_text() == plain  # nothing need be declared again
    (tmp_path / "new/dataset.toml").write_text("window = [0, 999]\n")
    capsys.readouterr()
    assert main(command) == 2
    assert "was trained on images read with window = [400.0, 600.0]" in capsys.readouterr().err


def test_new_volumes_are_cut_as_those_of_the_training(tmp_path):
    """Whatever their own spacing is; from Slurm too, where a job reads the set as it was sealed."""
    for number in range(12):
        values = np.full((1, 8, 8), number, np.int16)
        volume(tmp_path / "set" / "ab"[number % 2] / f"{number}.nii", values, (5.0, 1.0, 1.0))
    dataset = open_dataset(str(tmp_path / "set"))
    sealed.seal(dataset, tmp_path)
    again = sealed.opened("set", dataset.fingerprint, tmp_path, lambda: dataset)
    assert again is not None
    assert again.read_as == dataset.read_as == {"slice_axis": "sagittal"}
    volume(tmp_path / "new/x.nii", np.zeros((2, 3, 4), np.int16))
    inputs = inputs_of([tmp_path / "new"], checked(again.read_as, tmp_path))
    assert [one.name[-4:] for one in inputs] == ["x000", "x001"]
    assert [one.name[-4:] for one in inputs_of([tmp_path / "new"], PLAIN)][-1] == "z003"
