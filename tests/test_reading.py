"""Every kind of file is read as what it says: the right value, or one sentence with the file."""

import csv
import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from benchmark.core.registry import InputError
from benchmark.data import open_dataset, show
from benchmark.data.readers import declared, images, volumes
from benchmark.data.readers.declared import PLAIN, Declaration


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(np.asarray(values))
    image.save(path, **options)
    return path


def noise(seed, shape=(8, 10), high=256):
    return np.random.default_rng(seed).integers(0, high, shape, np.uint8)


def manifest(folder, rows, columns=("image", "label"), **toml):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    if toml:
        declare(folder, **toml)
    return str(folder)


def declare(folder, **values):
    def text(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f'"{k}" = "{v}"' for k, v in value.items()) + "}"
        if isinstance(value, bool):
            return str(value).lower()
        return str(list(value)) if isinstance(value, tuple | list) else repr(value)

    (folder / "dataset.toml").write_text(
        "\n".join(f"{k} = {text(v)}".replace("'", '"') for k, v in values.items())
    )


def pictures(folder, labels, **toml):
    for i in range(len(labels)):
        save(folder / f"x/{i}.png", noise(i))
    return manifest(folder, [(f"x/{i}.png", label) for i, label in enumerate(labels)], **toml)


def masked(folder, masks, **toml):
    for i, mask in enumerate(masks):
        shape = (mask.height, mask.width) if isinstance(mask, Image.Image) else np.shape(mask)[:2]
        save(folder / f"m/{i}.{'tif' if np.asarray(mask).dtype.kind in 'fi' else 'png'}", mask)
        save(folder / f"x/{i}.png", noise(i, shape))
    names = [path.name for path in sorted((folder / "m").iterdir())]
    rows = [(f"x/{Path(name).stem}.png", f"m/{name}") for name in names]
    return manifest(folder, rows, ("image", "mask"), **toml)


def lesion(low=0, high=1, shape=(8, 10)):
    mask = np.full(shape, low, np.uint8)
    mask[2:5, 3:7] = high
    return mask


def nifti(path, values, affine=None, units="mm", codes=(1, 1), **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else np.asarray(affine))
    image.header.set_xyzt_units(units)
    image.set_sform(image.affine, codes[0])
    image.set_qform(image.affine, codes[1])
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


# Geometry


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_turns_the_picture_and_its_size(turn, tmp_path):
    values = noise(1, (8, 12, 3))
    exif = Image.Exif()
    exif[0x0112] = turn
    path = save(tmp_path / "a.png", values, exif=exif.tobytes())
    expected = {  # of the stored pixels, by the table of EXIF 2.3
        1: values,
        2: values[:, ::-1],
        3: values[::-1, ::-1],
        4: values[::-1],
        5: values.transpose(1, 0, 2),
        6: np.rot90(values, -1),
        7: values[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(values),
    }[turn]
    assert np.array_equal(images.read_rgb(path), expected)
    assert images.size_of(path) == expected.shape[1::-1]


def test_a_turned_jpeg_meets_its_mask_and_is_other_data(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = lesion(shape=(12, 8))
    spec = masked(tmp_path / "a", [mask, mask])
    plain = open_dataset(spec).fingerprint
    for i in range(2):
        save(tmp_path / f"a/x/{i}.png", noise(i, (8, 12)), exif=exif.tobytes())
    turned = open_dataset(spec)
    assert turned.read_image(0).shape[:2] == turned.read_mask(0).shape == (12, 8)
    assert turned.fingerprint != plain


def test_a_turn_that_the_sizes_do_not_prove_for_the_mask_is_told(tmp_path):
    exif = Image.Exif()
    rows = [(f"x/{i}.png", f"m/{i}.png") for i in range(4)]
    # a quarter turn of a square, a half turn, a quarter turn that the size proves, none
    for (image, mask), shape, turn in zip(
        rows, [(8, 8), (8, 12), (12, 8), (8, 8)], [6, 3, 6, 1], strict=True
    ):
        exif[0x0112] = turn
        save(tmp_path / image, noise(turn, shape), exif=exif.tobytes())
        save(tmp_path / mask, lesion(shape=shape if turn != 6 else shape[::-1]))
    (note,) = open_dataset(manifest(tmp_path, rows, ("image", "mask"))).notes
    assert note.startswith("2 images are turned by EXIF beside a mask without EXIF (x/0.png)")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"srow_x": [np.nan] * 4}, "gives an orientation that cannot be"),
        ({"srow_x": [0] * 4, "srow_y": [0] * 4}, "gives an orientation that cannot be"),
        ({"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]}, "voxel size (0.0, 1.0, 1.0) mm"),
        ({"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}, "voxel size (nan, 1.0, 1.0) mm"),
    ],
)
def test_headers_that_cannot_be(tmp_path, capsys, header, told):
    path = nifti(tmp_path / "x.nii.gz", np.zeros((4, 5, 6), np.int16))
    content = bytearray(gzip.decompress(path.read_bytes()))
    place = {"pixdim": 76, "srow_x": 280, "srow_y": 296}  # of the fields of NIfTI-1
    for name, values in header.items():
        packed = np.array(values, "<f4").tobytes()
        content[place[name] : place[name] + len(packed)] = packed
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(InputError, match=re.escape(told)):
        volumes.geometry(path)
    assert capsys.readouterr().err == ""  # nibabel logs there


FLIPS = {"LAS": [-1, 1, 1], "LPS": [-1, -1, 1], "RAI": [1, 1, -1]}


@pytest.mark.parametrize("code", FLIPS)
def test_a_mirrored_mask_still_covers_its_lesion(code, tmp_path):
    volume = np.zeros((6, 7, 5), np.uint8)
    volume[1:3, 4:6, 2] = 1
    nifti(tmp_path / "i.nii.gz", volume * 200)
    flips = FLIPS[code]
    stored = volume[tuple(slice(None, None, f) for f in flips)]
    affine = np.diag([*flips, 1.0])
    affine[:3, 3] = [(n - 1) * (f < 0) for n, f in zip(volume.shape, flips, strict=True)]
    nifti(tmp_path / "m.nii.gz", stored, affine)
    data = open_dataset(manifest(tmp_path, [("i.nii.gz", "m.nii.gz")], ("image", "mask")))
    for z in range(5):
        assert np.array_equal(data.read_image(z)[..., 0] > 100, data.read_mask(z) == 1)
    assert data.labels.tolist() == [0, 0, 2, 0, 0]


def test_swapped_axes_are_put_in_order(tmp_path):
    volume = np.zeros((6, 7, 5), np.uint8)
    volume[1:3, 4:6, 2] = 1
    nifti(tmp_path / "i.nii", volume * 200)
    swapped = np.eye(4)[[1, 0, 2, 3]]
    nifti(tmp_path / "m.nii", volume.transpose(1, 0, 2).copy(), swapped)
    data = open_dataset(manifest(tmp_path, [("i.nii", "m.nii")], ("image", "mask")))
    assert np.array_equal(data.read_image(2)[..., 0] > 100, data.read_mask(2) == 1)


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path):
    volume = np.zeros((6, 7, 5), np.uint8)
    volume[2:4, 2:4, 2] = 1
    nifti(tmp_path / "i.nii", volume)
    shifted = np.eye(4)
    shifted[0, 3] = 3
    nifti(tmp_path / "m.nii", volume, shifted)
    spec = manifest(tmp_path, [("i.nii", "m.nii")], ("image", "mask"))
    with pytest.raises(InputError, match=r"m\.nii.*i\.nii.*3 mm apart.*stored"):
        open_dataset(spec)
    declare(tmp_path, orientation="stored")
    assert open_dataset(spec).labels.tolist() == [0, 0, 2, 0, 0]


@pytest.mark.parametrize(("units", "factor"), [("mm", 1), ("micron", 1000), ("meter", 0.001)])
def test_units_of_a_header_are_millimetres_in_the_end(units, factor, tmp_path):
    path = nifti(
        tmp_path / "a.nii", np.zeros((4, 5, 3), np.int16), np.diag([factor] * 3 + [1]), units
    )
    assert volumes.extent_of(path) == pytest.approx((5, 4, 1), rel=1e-5)


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_slices_are_cut_across_the_largest_spacing(thick, tmp_path):
    spacing = [1.0, 1.0, 1.0]
    spacing[thick] = 5.0
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    nifti(tmp_path / "a.nii", values, np.diag([*spacing, 1]))
    nifti(tmp_path / "b.nii", values[::-1].copy(), np.diag([*spacing, 1]))
    data = open_dataset(manifest(tmp_path, [("a.nii", "x"), ("b.nii", "y")]))
    assert len(data) == 2 * values.shape[thick]
    assert data.extent[0][2] == pytest.approx(5.0)
    expected = images.to_uint8(values).take(1, thick).T
    assert np.array_equal(data.read_image(1)[..., 0], expected)


def test_volumes_cut_along_different_axes_are_asked_about(tmp_path):
    for name, spacing in (("a", [1, 1, 4]), ("b", [4, 1, 1])):
        nifti(
            tmp_path / f"{name}.nii",
            np.arange(60, dtype=np.int16).reshape(3, 4, 5),
            np.diag([*spacing, 1]),
        )
    spec = manifest(tmp_path, [("a.nii", "x"), ("b.nii", "y")])
    with pytest.raises(InputError, match=r"a\.nii.*axial.*b\.nii.*sagittal.*slice_axis"):
        open_dataset(spec)
    declare(tmp_path, slice_axis="axial")
    assert len(open_dataset(spec)) == 10


def test_a_last_axis_of_one_is_none_and_a_longer_one_is_refused(tmp_path):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    one = nifti(tmp_path / "a.nii", values[..., None])
    assert volumes.geometry(one).shape == (3, 4, 5)
    assert np.array_equal(volumes.read_slice(one, 2)[..., 0], images.to_uint8(values)[:, :, 2].T)
    two = nifti(tmp_path / "b.nii", np.stack([values, values], -1))
    with pytest.raises(InputError, match=r"b\.nii.*\(3, 4, 5, 2\).*3-D"):
        volumes.geometry(two)
    nifti(tmp_path / "x" / "0.nii", np.stack([values] * 3, -1))
    nifti(tmp_path / "x" / "1.nii", np.stack([values] * 3, -1))
    rows = [("x/0.nii", "a"), ("x/1.nii", "b")]
    assert len(open_dataset(manifest(tmp_path, rows, channels=[2, 1, 0]))) == 10


def test_a_header_without_orientation_is_read_as_stored(tmp_path):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = nifti(tmp_path / "a.nii", values, np.diag([-1, -1, 1, 1]), codes=(0, 0))
    assert np.array_equal(volumes.read_slice(path, 2)[..., 0], images.to_uint8(values)[:, :, 2].T)


def with_two_affines(path, values, sform, qform):
    image = nibabel.Nifti1Image(values, sform)
    image.set_sform(sform, 1)
    image.set_qform(qform, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def test_two_orientations_in_one_header_are_refused_unless_stored_is_declared(tmp_path):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = with_two_affines(tmp_path / "a.nii", values, np.eye(4), np.diag([-1, 1, 1, 1]))
    with pytest.raises(InputError, match=r"a\.nii.*RAS \(sform\) and LAS \(qform\)"):
        volumes.geometry(path)
    stored = Declaration(orientation="stored")
    shown = volumes.read_slice(path, 2, declared=stored)[..., 0]
    assert np.array_equal(shown, images.to_uint8(values)[:, :, 2].T)
    # scanner and atlas space: turned by 20 degrees and moved, and the order is the same
    cos, sin = np.cos(0.35), np.sin(0.35)
    turn = np.array([[cos, -sin, 0, 7], [sin, cos, 0, -9], [0, 0, 1, 2], [0, 0, 0, 1]])
    path = with_two_affines(tmp_path / "b.nii", values, turn, np.eye(4))
    assert volumes.geometry(path).stored == ((0, 1), (1, 1), (2, 1))


@pytest.mark.parametrize(("image", "mask"), [("a.nii", "m.png"), ("a.png", "m.nii.gz")])
def test_a_volume_and_a_picture_are_no_pair(tmp_path, image, mask):
    for name in (image, mask):
        if ".nii" in name:
            nifti(tmp_path / name, np.eye(3, dtype=np.uint8)[..., None].repeat(2, 2))
        else:
            save(tmp_path / name, np.eye(3, dtype=np.uint8))
    spec = manifest(tmp_path, [(image, mask)], ("image", "mask"))
    with pytest.raises(InputError, match=rf"{image}' and its mask '.*{mask}' one is NIfTI"):
        open_dataset(spec)


def test_a_volume_that_is_gzip_under_another_name_is_told_so(tmp_path):
    path = nifti(tmp_path / "a.nii", np.zeros((3, 4, 5), np.int16))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match=r"a\.nii.*name it \.nii\.gz"):
        volumes.geometry(path)


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [(np.nan, np.nan, 1.0), (0, 5, 1.0), (0.5, -10, 0.5), (-1, 0, -1.0)],
)
def test_volumes_are_scaled_where_their_header_says_so(slope, intercept, expected, tmp_path):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = nifti(tmp_path / "a.nii", values)
    content = bytearray(path.read_bytes())
    # scl_slope and scl_inter; 0 or no number means that values are stored as they are (NIfTI-1)
    content[112:120] = struct.pack("<ff", slope, intercept)
    path.write_bytes(content)
    units = values * expected + (intercept if expected != 1.0 else 0)
    window = (float(units.min()), float(units.max()))
    shown = volumes.read_slice(path, 2, window)[..., 0]
    assert np.abs(shown - (units - window[0])[:, :, 2].T / 59 / abs(expected) * 255).max() <= 0.51


def harmed(path, harm):
    values = np.arange(6000, dtype=np.int16).reshape(20, 20, 15)
    if harm == "rgb":
        values = values[..., :3].astype(np.uint8).copy().view([(c, "u1") for c in "RGB"])[..., 0]
    elif harm == "complex":
        values = values.astype(np.complex64)
    elif harm == "nan":
        values = np.where(values == 3, np.nan, values).astype(np.float32)
    nifti(path, values)
    content = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "checksum":
        content[-8] ^= 1
        path.write_bytes(content)
    elif harm == "text":
        path.write_text("hello")


@pytest.mark.parametrize("harm", ["rgb", "complex", "nan", "cut", "checksum", "text"])
def test_a_volume_that_cannot_be_read_is_one_sentence(harm, tmp_path):
    path = tmp_path / "a.nii.gz"
    harmed(path, harm)
    for read in (volumes.read_slice, volumes.read_mask_slice):
        with pytest.raises(InputError, match=r"a\.nii\.gz") as caught:
            read(path, 1)
        assert "\n" not in str(caught.value)


# Mask codes


def test_two_codings_in_one_set_are_refused_and_name_two_files(tmp_path):
    spec = masked(tmp_path, [lesion(0, 1), lesion(0, 255)])
    with pytest.raises(InputError, match=r"m/1\.png.*255.*m/0\.png.*mask_values"):
        open_dataset(spec)
    declare(tmp_path, mask_values={"0": "background", "1": "lesion", "255": "lesion"})
    data = open_dataset(spec)
    assert data.card.classes == ("background", "lesion")
    assert np.array_equal(data.read_mask(0), data.read_mask(1))
    assert data.labels.tolist() == [2, 2]


def test_255_beside_a_class_is_ignored_in_all_files(tmp_path):
    both = lesion(0, 1)
    both[0] = 255
    data = open_dataset(masked(tmp_path, [both, lesion(0, 255), lesion(0, 1)]))
    assert data.labels.tolist() == [2, 0, 2]
    assert data.read_mask(1).max() == 255


def test_a_palette_from_white_to_black_is_turned_round(tmp_path):
    masks = []
    for colours in ([0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0]):
        image = Image.fromarray(lesion(0, 1) if colours[0] == 0 else 1 - lesion(0, 1), "P")
        image.putpalette(colours)
        masks.append(image)
    data = open_dataset(masked(tmp_path, masks))
    assert np.array_equal(data.read_mask(0), lesion(0, 1))
    assert np.array_equal(data.read_mask(1), lesion(0, 1))


def test_palettes_that_differ_are_refused(tmp_path):
    masks = []
    for colours in ([0, 0, 0, 255, 0, 0], [0, 0, 0, 0, 255, 0]):
        image = Image.fromarray(lesion(0, 1), "P")
        image.putpalette(colours)
        masks.append(image)
    spec = masked(tmp_path, masks)
    with pytest.raises(InputError, match=r"index 1.*0\.png.*1\.png"):
        open_dataset(spec)
    declare(tmp_path, mask_values={"#000000": "background", "#00ff00": "a", "#ff0000": "b"})
    assert open_dataset(spec).labels.tolist() == [0b100, 0b010]


def test_a_palette_of_more_than_black_and_white_is_read_by_its_indices(tmp_path):
    masks = []
    for shown in (2, 3):  # the second file alone shows the third colour
        image = Image.fromarray(np.arange(shown, dtype=np.uint8).repeat(24).reshape(-1, 6), "P")
        image.putpalette([255, 255, 255, 0, 0, 0, 255, 0, 0])
        masks.append(image)
    data = open_dataset(masked(tmp_path, masks))
    assert [np.unique(data.read_mask(i)[:4]).tolist() for i in (0, 1)] == [[0], [0]]
    assert data.labels.tolist() == [0b010, 0b110]


@pytest.mark.parametrize(
    ("ending", "options", "lossless"),
    [
        ("jpg", {"quality": 75}, None),
        ("webp", {"quality": 60}, {"lossless": True}),
        ("jp2", {"irreversible": True, "quality_layers": [20]}, {}),
        ("tif", {"compression": "jpeg"}, {"compression": "tiff_lzw"}),
    ],
)
def test_class_numbers_stored_with_loss_are_refused(tmp_path, ending, options, lossless):
    def write(**options):
        for i in range(3):
            save(tmp_path / f"x/{i}.png", noise(i, (64, 64)))
            mask = np.zeros((64, 64), np.uint8)
            mask[10 + i : 30, 12:40] = i > 0
            save(tmp_path / f"m/{i}.{ending}", mask, **options)
        rows = [(f"x/{i}.png", f"m/{i}.{ending}") for i in range(3)]
        return manifest(tmp_path, rows, ("image", "mask"))

    with pytest.raises(InputError, match=rf"m/[01]\.{ending}' is stored with loss, which changes"):
        open_dataset(write(**options))
    if lossless is not None:
        assert open_dataset(write(**lossless)).labels.tolist() == [0, 2, 2]


def test_slices_of_many_grey_levels_show_what_lies_above_the_threshold(tmp_path):
    mask = np.zeros((20, 20, 3), np.uint8)
    mask[..., 1] = np.arange(400).reshape(20, 20) % 120
    mask[5:9, 5:9, 1] = 200
    rows = [(f"{i}.nii", f"m{i}.nii") for i in (0, 1)]
    for image, truth in rows:
        nifti(tmp_path / image, mask + 1)
        nifti(tmp_path / truth, mask)
    data = open_dataset(manifest(tmp_path, rows, ("image", "mask"), mask_threshold=128))
    assert [int(data.read_mask(z).max()) for z in range(3)] == [0, 1, 0]
    assert data.labels.tolist() == [0, 2, 0] * 2


def test_soft_edges_are_asked_about(tmp_path):
    soft = np.zeros((16, 16), np.uint8)
    for level, edge in enumerate(range(2, 6), 1):
        soft[edge:-edge, edge:-edge] = 3 * level if level < 4 else 12
    soft[5:-5, 5:-5] = 12
    few = np.choose(soft // 3, [0, 1, 2, 3, 4]).astype(np.uint8)
    spec = masked(tmp_path / "few", [few, few])
    with pytest.raises(InputError, match=r"0\.png.*smoothed edges.*mask_threshold"):
        open_dataset(spec)
    declare(tmp_path / "few", mask_threshold=3)
    data = open_dataset(spec)
    assert np.array_equal(data.read_mask(0), few >= 3)
    assert data.card.classes == ("background", "foreground")
    blurred = np.clip(lesion(0, 255).astype(int) - noise(0, (8, 10), 40), 0, 255).astype(np.uint8)
    with pytest.raises(InputError, match=r"holds the value.*mask_threshold = 128"):
        open_dataset(masked(tmp_path / "many", [blurred, lesion(0, 255)]))


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.where(lesion() > 0, np.nan, 0).astype(np.float32), "no number"),
        (np.where(lesion() > 0, -1, 0).astype(np.int32), "holds the value -1"),
        (np.where(lesion() > 0, 0.5, 0).astype(np.float32), "fractions"),
        (np.where(lesion() > 0, 300, 0).astype(np.int32), "holds the value 300"),
        (lesion(0, 2), "no mask holds 1"),
        (np.stack([lesion(0, 9), lesion(0, 1), lesion(0, 1)], -1), "has colours"),
    ],
)
def test_numbers_that_are_no_classes_are_refused(mask, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence) as caught:
        open_dataset(masked(tmp_path, [mask, mask]))
    assert "m/0." in str(caught.value)


def test_one_pixel_of_a_class_is_asked_about(tmp_path):
    stray = lesion(0, 1)
    stray[0, 0] = 2
    with pytest.raises(InputError, match=r"value 2 is one pixel.*m/1\.png"):
        open_dataset(masked(tmp_path, [lesion(0, 1), stray]))


def test_equal_channels_are_one(tmp_path):
    rgb = np.repeat(lesion()[..., None], 3, 2)
    rgba = np.concatenate([rgb, np.full((8, 10, 1), 255, np.uint8)], -1)
    data = open_dataset(masked(tmp_path, [rgb, rgba]))
    assert np.array_equal(data.read_mask(0), lesion())
    assert np.array_equal(data.read_mask(1), lesion())


def test_values_that_are_not_declared_are_refused(tmp_path):
    toml = {"mask_values": {"0": "background", "1": "a", "7": "ignore"}}
    spec = masked(tmp_path, [lesion(0, 1), lesion(1, 7)], **toml)
    assert open_dataset(spec).read_mask(1).max() == 255
    save(tmp_path / "m/1.png", lesion(1, 9))
    with pytest.raises(InputError, match=r"m/1\.png.*holds 9.*mask_values"):
        open_dataset(spec)


def test_volumes_keep_one_coding_too(tmp_path):
    for name, high in (("a", 1), ("b", 255)):
        volume = np.zeros((6, 7, 5), np.uint8)
        volume[2:4, 2:4, 1:3] = high
        nifti(tmp_path / f"{name}.nii", volume + 1)
        nifti(tmp_path / f"{name}_m.nii", volume)
    spec = manifest(tmp_path, [("a.nii", "a_m.nii"), ("b.nii", "b_m.nii")], ("image", "mask"))
    with pytest.raises(InputError, match=r"b_m\.nii.*255.*a_m\.nii"):
        open_dataset(spec)


# Trees


def tree(root, *names):
    for number, name in enumerate(names):
        save(root / name, noise(number))
    return str(root)


def test_usual_names_of_parts_are_parts_in_any_case(tmp_path):
    names = [
        f"{part}/{c}/{i}.png" for part in ("Training", "VALID", "Test") for c in "ab" for i in "12"
    ]
    data = open_dataset(tree(tmp_path, *names))
    assert data.card.classes == ("a", "b")
    assert [data.splits.count(part) for part in ("train", "val", "test")] == [4, 4, 4]
    with pytest.raises(InputError, match="two folders for train"):
        open_dataset(tree(tmp_path, "train/a/1.png", "train/b/1.png"))


def test_one_file_under_two_names_of_a_tree_is_refused(tmp_path):
    spec = tree(tmp_path / "links", "a/1.png", "a/2.png", "b/3.png", "b/4.png")
    link = tmp_path / "links/b/5.png"
    link.symlink_to("../a/1.png")
    with pytest.raises(InputError, match=r"'a/1\.png' and 'b/5\.png' are the same image"):
        open_dataset(spec)
    link.unlink()
    (tmp_path / "links/c").symlink_to(tmp_path / "links")
    with pytest.raises(InputError, match=r"'c/a/1\.png' are the same image"):
        open_dataset(spec)


@pytest.mark.parametrize("name", [b"x\xff.png", b"x\n.png", b"x\x1b[2J.png", b"p\x9b/x.png"])
def test_a_name_that_cannot_be_written_down_is_refused(tmp_path, name):
    spec = tree(tmp_path, "a/1.png", "a/2.png", "b/3.png", "b/4.png")
    path = os.fsencode(tmp_path / "a") + b"/" + name
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    shutil.copy(tmp_path / "a/1.png", path)
    with pytest.raises(InputError, match="not UTF-8 or holds control characters; rename") as caught:
        open_dataset(spec)
    assert str(caught.value).isprintable()


def test_what_is_left_out_is_counted(tmp_path):
    spec = tree(
        tmp_path,
        "a/1.png",
        "b/2.png",
        ".ipynb_checkpoints/x.png",
        "__MACOSX/a/._1.png",
        "a/._1.png",
    )
    (tmp_path / "a/notes.txt").write_text("")
    (tmp_path / "b/Thumbs.db").write_text("")
    (tmp_path / "labels.csv").write_text("")
    data = open_dataset(spec)
    assert data.card.classes == ("a", "b")
    assert data.ids == ("a/1.png", "b/2.png")
    (note,) = data.notes
    assert note == (
        f"left out: 1 .txt file, 1 file beside the folders of {tmp_path.name!r}, 2 hidden files, "
        "2 hidden folders"
    )


def test_files_are_known_by_their_first_bytes(tmp_path):
    for name, kind in (
        ("1.jfif", "JPEG"),
        ("2.gif", "GIF"),
        ("3", "PNG"),
        ("4.TIFF", "TIFF"),
        ("5.dat", "BMP"),
    ):
        save(tmp_path / "a" / name, noise(3), format=kind)
        save(tmp_path / "b" / name, noise(4), format=kind)
    data = open_dataset(str(tmp_path))
    assert len(data) == 10
    assert data.read_image(4).shape == (8, 10, 3)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["images/1.png", "masks/1.png"], "images and masks.*manifest.csv"),
        (["imagesTr/1.png", "labelsTr/1.png"], "'imagesTr', 'labelsTr'.*NAME@FOLDER"),
        (["Original/1.png", "Ground Truth/1.png"], "'Ground Truth'.*no classes"),
        (["a/1.png", "a/1_mask.png", "b/2.png"], "'1' and '1_mask'"),
        (["a/images/1.png", "a/masks/1.png", "b/images/2.png"], "'masks'"),
        (["a/p1_t1.png", "a/p1_seg.png", "b/2.png"], "'p1_t1' and 'p1_seg'"),
    ],
)
def test_masks_are_no_classes_and_no_images(names, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        open_dataset(tree(tmp_path, *names))


@pytest.mark.parametrize("image", ["p.nii.gz", "p_flair.nii.gz"])
def test_a_segmentation_is_no_volume_of_a_class(tmp_path, image):
    for name in (image, "p_seg.nii.gz"):
        nifti(tmp_path / "HGG/p" / name, np.zeros((3, 4, 5), np.int16))
        nifti(tmp_path / "LGG/q" / name, np.zeros((3, 4, 5), np.int16))
    with pytest.raises(InputError, match=r"'p(_flair)?' and 'p_seg': a mask is no image"):
        open_dataset(str(tmp_path))


def test_a_name_with_two_endings_is_told_unless_a_group_holds_both(tmp_path):
    names = ["a/1.png", "a/1.jpg", "a/p/2.png", "a/p/2.tif", "b/3.png", "b/4.jpg"]
    (note,) = open_dataset(tree(tmp_path, *names)).notes
    assert note.startswith("1 image has the name of another one with another ending (a/1.jpg, a/1")
    for number in (1, 2):  # named by their UIDs
        save(tmp_path / f"b/1.2.840.{number}", noise(number), format="PNG")
    assert open_dataset(str(tmp_path)).notes == (note,)


def test_an_emptied_class_is_refused(tmp_path):
    spec = tree(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/scan.mhd").write_text("ObjectType = Image")
    with pytest.raises(InputError, match=r"c'.*no image.*1 \.mhd"):
        open_dataset(spec)


def test_folders_in_a_class_are_patients(tmp_path):
    names = [f"{c}/p{p}/{i}.png" for c in "ab" for p in (1, 2) for i in "12"]
    data = open_dataset(tree(tmp_path / "a", *names))
    assert data.groups == ("p1", "p1", "p2", "p2") * 2
    declare(tmp_path / "a", group="image")
    assert len(set(open_dataset(str(tmp_path / "a")).groups)) == 8
    below = [f"{c}/images/p{p}/{i}.png" for c in "ab" for p in (1, 2) for i in "12"]
    assert open_dataset(tree(tmp_path / "d", *below)).groups == ("p1", "p1", "p2", "p2") * 2
    sorted_only = tree(tmp_path / "b", *[f"{c}/images/{i}.png" for c in "ab" for i in "12"])
    assert len(set(open_dataset(sorted_only).groups)) == 4
    parts = tree(
        tmp_path / "c", "train/a/p1/1.png", "train/b/p2/1.png", "test/a/p1/2.png", "test/b/p3/2.png"
    )
    with pytest.raises(InputError, match=r"p1.*parts.*group"):
        open_dataset(parts)


def test_a_folder_of_runs_is_no_class(tmp_path):
    spec = tree(tmp_path, "a/1.png", "b/2.png", "runs/report/3.png")
    (tmp_path / "runs/plans").mkdir()
    (tmp_path / "runs/plans/x.json").write_text("{}")
    data = open_dataset(spec)
    assert data.card.classes == ("a", "b")
    assert data.notes == ("left out: 1 folder of runs (runs/)",)


def test_an_image_with_a_postscript_program_is_not_run(tmp_path):
    spec = tree(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a/1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(InputError, match=r"1\.png"):
        open_dataset(spec)


# Labels and tables


def test_an_unclosed_quotation_mark_swallows_no_rows(tmp_path):
    spec = pictures(tmp_path, ["a", "b"] * 4)
    path = tmp_path / "manifest.csv"
    lines = path.read_text().splitlines()
    for number in (3, 8):
        broken = list(lines)
        broken[number] = broken[number].replace(",", ',"')
        path.write_text("\n".join(broken))
        with pytest.raises(InputError, match="quotation mark"):
            open_dataset(spec)
    twice = list(lines)
    twice[2], twice[5] = twice[2].replace(",", ',"'), twice[5] + '"'
    path.write_text("\n".join(twice))
    with pytest.raises(InputError, match=r"manifest\.csv"):
        open_dataset(spec)


@pytest.mark.parametrize(
    ("columns", "rows", "sentence"),
    [
        (
            ("image", "label", "label"),
            [("x/0.png", "a", "b"), ("x/1.png", "b", "a")],
            "two columns",
        ),
        (("image", "label", "group"), [("x/0.png", "a"), ("x/1.png", "b", "p")], "line 2.*fewer"),
        (("image", "label"), [("x/0.png", "a"), ("x/1.png", "nan")], "line 3.*missing"),
        (("image", "label"), [("x/0.png", "a"), ("x/1.png", "NA")], "line 3.*missing"),
        (("image", "label"), [("x/0.png", "a"), ("x/1.png", "?")], "line 3.*missing"),
        (("image", "label"), [("x/0.png", "a|b"), ("x/1.png", "b")], "multilabel = true"),
        (("image", "label"), [("x/0.png", "-1"), ("x/1.png", "0")], "negative"),
        (
            ("image", "label"),
            [("x/0.png", "Benign"), ("x/1.png", "benign")],
            "'Benign' and 'benign'",
        ),
        (
            ("image", "label", "group"),
            [("x/0.png", "a", "nan"), ("x/1.png", "b", "p")],
            "line 2.*nan",
        ),
        (
            ("image", "label", "group"),
            [("x/0.png", "a", "unknown"), ("x/1.png", "b", "p")],
            "line 2.*unknown.*leave the cell empty",
        ),
        (
            ("image", "label", "group"),
            [("x/0.png", "a", "p1"), ("x/1.png", "b", "P1")],
            "groups 'p1' and 'P1'",
        ),
        (("image", "label"), [("x/0.png", "a"), ("x/9.png", "b")], r"9\.png"),
        (("image", "label"), [("x/0.png", "a"), ("y/1.png", "b")], "folder.*does not exist"),
        (("image", "label"), [("x/0.png", "a"), ("x\0/1.png", "b")], "NUL"),
        (
            ("filename", "class"),
            [("x/0.png", "a"), ("x/1.png", "b")],
            "first line.*name the columns",
        ),
        (("Image", "label"), [("x/0.png", "a"), ("x/1.png", "b")], "did you mean 'image'"),
        (
            ("image", "label", "sex"),
            [("x/0.png", "a", "f"), ("x/1.png", "b", "m")],
            'group = "sex"',
        ),
        (("image;label",), [("x/0.png;a",), ("x/1.png;b",)], "not separated by commas"),
        (
            ("", "image", "label"),
            [("0", "x/0.png", "a"), ("1", "x/1.png", "b")],
            "column without a name.*index=False",
        ),
        (
            ("image", "label", "group"),
            [("x/0.png", "a", "1.23457E+14"), ("x/1.png", "b", "p")],
            r"line 2.*1\.23457E\+14.*rounded",
        ),
        (
            ("image", "label", "group"),
            [("x/0.png", "a", "p"), ("x/1.png", "b", "Anonymous")],
            "line 3.*Anonymous.*name its patient",
        ),
        (("image", "label"), [("x/0.png", "a"), ("x/1.png", "#REF!")], "line 3.*missing"),
        (
            ("image", "mass", "nodule"),
            [("x/0.png", "1", "0"), ("x/1.png", "0", "1")],
            r"'mass'.*call the column.* label;.*'mass\|nodule', with multilabel",
        ),
        (
            ("image", "label", "group"),
            [("x/0.png", "a", "P7"), ("x/1.png", "b", "P007")],
            "groups 'P7' and 'P007'",
        ),
        (
            ("image", "label", "group"),
            [("x/0.png", "a", "T1-2"), ("x/1.png", "b", "T1\u20132")],
            "groups 'T1-2' and 'T1\u20132'",
        ),
        (
            ("image", "label", "group"),
            [("x/0.png", "a", "12"), ("x/1.png", "b", "12,0")],
            "groups '12' and '12,0'",
        ),
    ],
)
def test_a_table_that_says_two_things_is_refused(columns, rows, sentence, tmp_path):
    for i in (0, 1):
        save(tmp_path / f"x/{i}.png", noise(i))
    with pytest.raises(InputError, match=sentence) as caught:
        open_dataset(manifest(tmp_path, rows, columns))
    assert "\n" not in str(caught.value)


def test_what_a_newcomer_names_wrongly_is_said(tmp_path):
    spec = pictures(tmp_path, ["a", "b"])
    table = tmp_path / "manifest.csv"
    table.write_text(table.read_text(), encoding="utf-16")
    with pytest.raises(InputError, match=r"not UTF-8.*CSV UTF-8"):
        open_dataset(spec)
    with pytest.raises(InputError, match=r"0\.png' is a single file"):
        open_dataset(f"{spec}/x/0.png")
    table.rename(tmp_path / "labels.csv")
    (tmp_path / "x").rename(tmp_path / "images")
    with pytest.raises(InputError, match=r"no manifest\.csv.*name it: .*labels\.csv"):
        open_dataset(spec)
    (tmp_path / "images" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"0\.png' is no picture: the file is empty"):
        images.size_of(tmp_path / "images" / "0.png")
    (tmp_path / "images" / "0.png").write_bytes(b"<html>please log in")
    with pytest.raises(InputError, match=r"0\.png' is no picture: its first bytes are b'<html>"):
        images.size_of(tmp_path / "images" / "0.png")


@pytest.mark.parametrize(
    ("labels", "classes", "ordinal"),
    [
        (["0.0", "1.0", "2.0", "10.0"], ("0", "1", "2", "10"), True),
        (["01", "1", "0", "2"], ("0", "1", "2"), True),
        (["01", "02", "10"], ("01", "02", "10"), True),
        (["1.0000001", "2", "3"], ("1.0000001", "2", "3"), False),
        (["²", "1", "3"], ("1", "3", "²"), False),
        (["--1", "1", "3"], ("--1", "1", "3"), False),
        (["caf\u00e9", "cafe\u0301", "tea "], ("caf\u00e9", "tea"), False),
        (["a\u200b", "a", "\ufeffb"], ("a", "b"), False),
        (["a\u200f", "a", "b\u00ad", "\u202ab\u202c"], ("a", "b"), False),
        (["9" * 5000, "1", "2"], ("1", "2", "9" * 5000), False),
    ],
)
def test_labels_that_look_alike_are_alike(labels, classes, ordinal, tmp_path):
    card = open_dataset(pictures(tmp_path, labels)).card
    assert (card.classes, card.ordinal) == (classes, ordinal)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["not benign", "not_benign"], "'not benign' and 'not_benign'"),
        (["1", "1.0", "x"], "'1' and '1.0'"),
        (["\uff41", "a", "b"], "'a' and '\uff41'"),
        (["a", "b", "a;b"], r"'a;b'.* as 'a\|b' and declare multilabel"),
        (["a", "b", "b / a"], r"'b / a'.* as 'b\|a'"),
        (["Barrett\u2019s", "Barrett's"], "\"Barrett's\" and 'Barrett\u2019s'"),
        (["a;b", "b;c"], r"'a;b'.* as 'a\|b' and declare multilabel"),
        (["0,0", "1,0", "2,0"], "'0,0'.*decimal comma"),
        (["['a', 'b']", "['a']"], r"\"\['a', 'b'\]\".*is a list"),
        (["0 1 1", "1 0 0"], "'0 1 1'.*is a list"),
    ],
)
def test_one_class_in_two_spellings_is_refused(labels, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        open_dataset(pictures(tmp_path, labels))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["Edema", "b|edema"], "'Edema' and 'edema'"),
        (["a", "b", "a,b"], r"joins others.*'a\|b'"),
        (["a", "b|NaN"], "'NaN'.*means missing"),
        (["a;b", "b;c", "c;a"], r"'a;b'.*joins others.*'a\|b', or declare"),
        (["a, b", "b, c"], r"'a, b'.*joins others"),
        (["", "|"], "names no finding"),
        (["0|1|1", "1|0|0"], "'0 and 1'.*names of those"),
        (["['a', 'b']", "['c']", "[]"], r"findings.*\['a', 'b'\].*names of those"),
    ],
)
def test_findings_that_say_two_things_are_refused(labels, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        open_dataset(pictures(tmp_path, labels, multilabel=True))


def test_names_that_differ_in_more_than_spelling_stay_two(tmp_path):
    labels = ["1.5", "1.05", "left, upper", "left, lower", "[a", "T10", "T1"]
    assert open_dataset(pictures(tmp_path / "a", labels)).card.classes == tuple(sorted(labels))
    declared = ("a;b", "b;c")
    assert (
        open_dataset(pictures(tmp_path / "b", declared, classes=declared)).card.classes == declared
    )


def test_a_class_may_hold_a_sign_that_joins(tmp_path):
    assert open_dataset(pictures(tmp_path, ["a+b", "c"])).card.classes == ("a+b", "c")


def test_grades_in_words_need_their_order(tmp_path):
    spec = pictures(tmp_path, ["low", "medium", "high"], ordinal=True)
    with pytest.raises(InputError, match=r"ordinal.*declare classes = .*lowest"):
        open_dataset(spec)
    declare(tmp_path, ordinal=True, classes=["low", "medium", "high"])
    assert open_dataset(spec).labels.tolist() == [0, 1, 2]


def test_some_rows_without_a_group_are_counted(tmp_path):
    rows = [(f"x/{i}.png", "ab"[i % 2], "p" * (i > 0)) for i in range(4)]
    for i in range(4):
        save(tmp_path / f"x/{i}.png", noise(i))
    card = open_dataset(manifest(tmp_path, rows, ("image", "label", "group"))).card
    assert card.group_source == "1 of 4 rows of the manifest name no group"


def test_groups_of_one_number_are_one(tmp_path):
    rows = [(f"x/{i}.png", "ab"[i % 2], g) for i, g in enumerate(["1", "1.0", "2", "2"])]
    for i in range(4):
        save(tmp_path / f"x/{i}.png", noise(i))
    data = open_dataset(manifest(tmp_path, rows, ("image", "label", "group")))
    assert data.groups == ("1", "1", "2", "2")


def test_fingerprints_do_not_depend_on_the_hash_seed_or_the_place(tmp_path):
    spec = pictures(tmp_path / "here", ["01", "1", "2", "0"])
    code = f"from benchmark.data import open_dataset as o; d = o({spec!r}); print(d.fingerprint)"
    root = str(Path(__file__).parent.parent)
    found = set()
    for seed in ("0", "1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": root}
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(run.stdout.strip())
    relative = open_dataset(spec).fingerprint
    table = tmp_path / "here/manifest.csv"
    table.write_text(table.read_text().replace("x/", f"{tmp_path}/here/x/"))
    found.add(open_dataset(spec).fingerprint)
    table.write_text(table.read_text().replace(f"{tmp_path}/here/x/", "./x/"))
    found.add(open_dataset(spec).fingerprint)
    assert found == {relative}


def test_absolute_paths_elsewhere_do_not_enter_the_fingerprint(tmp_path):
    found = set()
    for place in ("one", "some/other"):
        for i in range(4):
            save(tmp_path / place / f"x/{i}.png", noise(i))
        rows = [(str(tmp_path / place / f"x/{i}.png"), "ab"[i % 2]) for i in range(4)]
        data = open_dataset(manifest(tmp_path / f"list-{len(found)}" / "clinic", rows))
        assert data.ids == ("0.png", "1.png", "2.png", "3.png")
        found.add(data.fingerprint)
    assert len(found) == 1


@pytest.mark.parametrize("second", ["./x/0.png", "y/../x/0.png", "x\\0.png", "x/0", "link.png"])
def test_one_file_under_two_names_is_refused(second, tmp_path):
    spec = pictures(tmp_path, ["a", "b"])
    (tmp_path / "link.png").symlink_to(tmp_path / "x/0.png")
    with (tmp_path / "manifest.csv").open("a") as stream:
        stream.write(f"{second},b\n")
    with pytest.raises(InputError, match="twice"):
        open_dataset(spec)


def test_backslashes_and_a_missing_ending_are_taken_where_they_are_safe(tmp_path):
    for name in ("0.png", "1.jpg", "2.png", "2.jpg", "3.PNG"):
        save(tmp_path / "x" / name, noise(ord(name[0])))
    data = open_dataset(manifest(tmp_path, [("x\\0.png", "a"), ("x/1", "b")]))
    assert data.ids == ("x/0.png", "x/1.jpg")
    with pytest.raises(InputError, match=r"x/2'; there is '2\.jpg', '2\.png'"):
        open_dataset(manifest(tmp_path, [("x/0.png", "a"), ("x/2", "b")]))
    with pytest.raises(InputError, match=r"x/3\.png'; there is '3\.PNG'"):
        open_dataset(manifest(tmp_path, [("x/0.png", "a"), ("x/3.png", "b")]))


def test_accents_in_file_names_may_be_composed_or_not(tmp_path):
    save(tmp_path / "x/e\u0301.png", noise(0))
    save(tmp_path / "x/o.png", noise(1))
    data = open_dataset(manifest(tmp_path, [("x/\u00e9.png", "a"), ("x/o.png", "b")]))
    assert data.ids[0] == "x/\u00e9.png"
    assert data.read_image(0).shape == (8, 10, 3)


def test_findings_joined_by_a_bar_are_multilabel_where_declared(tmp_path):
    spec = pictures(tmp_path, ["a|b", "b", "", "c"], multilabel=True)
    data = open_dataset(spec)
    assert (data.card.task, data.card.classes) == ("multilabel", ("a", "b", "c"))
    assert data.labels.tolist() == [0b011, 0b010, 0, 0b100]


# Declarations


def test_declared_classes_order_and_name_the_labels(tmp_path):
    data = open_dataset(
        pictures(tmp_path / "a", ["b", "a", "c"], classes=["c", "b", "a"], ordinal=True)
    )
    assert (data.card.classes, data.card.ordinal) == (("c", "b", "a"), True)
    assert data.labels.tolist() == [1, 2, 0]
    named = open_dataset(
        pictures(tmp_path / "b", ["0", "1", "2"], classes=["x", "y", "z"], ordinal=False)
    )
    assert (named.card.classes, named.card.ordinal) == (("x", "y", "z"), False)
    fewer = open_dataset(pictures(tmp_path / "d", ["1", "2"], classes=["x", "y", "z"]))
    assert fewer.notes == ("no image is of the class 'x' (numbers as labels start from 0)",)
    with pytest.raises(InputError, match=r"label 'q'.*dataset\.toml"):
        open_dataset(pictures(tmp_path / "c", ["p", "q"], classes=["p", "r"]))


def test_a_declared_group_column_is_the_group(tmp_path):
    for i in range(4):
        save(tmp_path / f"x/{i}.png", noise(i))
    rows = [(f"x/{i}.png", "ab"[i % 2], f"p{i // 2}") for i in range(4)]
    spec = manifest(tmp_path, rows, ("image", "label", "patient_id"))
    with pytest.raises(InputError, match="unknown column"):
        open_dataset(spec)
    declare(tmp_path, group="patient_id")
    assert open_dataset(spec).groups == ("p0", "p0", "p1", "p1")
    rows = [(*row, row[2][::-1]) for row in rows]
    with pytest.raises(InputError, match="leave one out"):
        open_dataset(manifest(tmp_path, rows, ("image", "label", "patient_id", "group")))


def test_a_declaration_is_read_as_editors_write_it(tmp_path):
    spec = pictures(tmp_path, ["caf\u00e9", "b"])
    text = "\ufeffclasses = ['cafe\u0301 ', 'b']\r\n"
    (tmp_path / "dataset.toml").write_bytes(text.encode())
    assert open_dataset(spec).card.classes == ("caf\u00e9", "b")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("clases = ['a', 'b']", "did you mean 'classes'"),
        ("classes = ['a']", "at least two"),
        ("classes = 'a'", "a list"),
        ("ordinal = 1", "true or false"),
        ("pages = 'all'", "first"),
        ("mask_values = {0 = 'a', 1 = 'b'}", "background"),
        ("mask_values = {x = 'background', 1 = 'b'}", "table such as"),
        ("mask_threshold = 0.5", "grey level"),
        ("window = [5, 1]", "first is less"),
        ("window = [-inf, inf]", "finite"),
        ("window = [0, 255]", "no NIfTI volume and no DICOM"),
        ("slice_axis = 'axial'", "no NIfTI volume"),
        ("channels = 'rgb'", "three different"),
        ("classes = ['a', 'A']", "'a' and 'A'"),
        ("ordinal = true\nmultilabel = true", "leave one out"),
        ("mask_threshold = 9\nmask_values = {0 = 'background', 1 = 'b'}", "leave one out"),
        ("mask_values = {0 = 'background', 1 = 'b', 01 = 'c'}", "names 1 twice"),
        ("mask_values = {0 = 'background', 1 = 'b', '\u0662' = 'c'}", "table such as"),
        ("mask_values = {0 = 'background', 1 = 'b', 2 = 'B'}", "'B' and 'b'"),
        ("group = 'label'", "names no patient"),
        ("ordinal = true\nordinal = false", "is not TOML"),
        ("\0", "is not TOML"),
        ("mask_threshold = 9", "this set has labels"),
    ],
)
def test_a_declaration_is_strict(text, sentence, tmp_path):
    spec = pictures(tmp_path, ["a", "b"])
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(InputError, match=sentence) as caught:
        open_dataset(spec)
    assert "dataset.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("held", "toml"),
    [
        ((0, 255), {}),
        ((0, 1, 2, 255), {}),
        ((0, 1, 2, 255), {"classes": ("nothing", "kidney", "tumour")}),
        ((0, 1), {"mask_values": {"1": "background", "0": "lesion"}}),
        ((0, 90, 255), {"mask_threshold": 128, "modality": "skin"}),
    ],
)
def test_the_declaration_that_is_shown_reads_the_same(tmp_path, held, toml):
    mask = np.repeat(np.array(held, np.uint8), 8)[:, None].repeat(12, 1)
    spec = masked(tmp_path, [mask, np.rot90(mask, 2)], **toml)
    before = open_dataset(spec)
    (tmp_path / "dataset.toml").write_text(show.proposal(before))
    after = open_dataset(spec)
    assert after.card == before.card
    assert all(np.array_equal(after.read_mask(i), before.read_mask(i)) for i in range(2))
    assert show.proposal(after) == show.proposal(before)


def test_the_declaration_that_is_shown_names_mask_values_and_keeps_what_is_declared(tmp_path):
    lines = show.proposal(open_dataset(masked(tmp_path / "a", [lesion(high=255)]))).splitlines()
    assert lines[0] == 'mask_values = {"0" = "background", "255" = "foreground"}'
    spec = pictures(tmp_path / "b", ["ill", "well"], alpha="black", licence="CC0")
    assert show.proposal(open_dataset(spec)).splitlines()[:4] == [
        'classes = ["ill", "well"]',
        "ordinal = false",
        'alpha = "black"',
        'licence = "CC0"',
    ]
    grades = pictures(tmp_path / "c", ["low", "high"], classes=("low", "high"), ordinal=True)
    before = show.proposal(open_dataset(grades))
    (tmp_path / "c" / "dataset.toml").write_text(before)
    assert open_dataset(grades).card.classes == ("low", "high")
    assert open_dataset(grades).card.ordinal


def test_what_is_declared_of_the_pixels_is_in_the_fingerprint(tmp_path):
    spec = pictures(tmp_path, ["a", "b", "c"])
    plain = open_dataset(spec).fingerprint
    declare(tmp_path, modality="X-ray")
    assert open_dataset(spec).fingerprint == plain
    declare(tmp_path, alpha="black")
    assert open_dataset(spec).fingerprint != plain


def test_a_manifest_and_a_declaration_are_known_in_any_case(tmp_path):
    for i in range(4):
        save(tmp_path / f"x/{'ab'[i % 2]}/{i}.png", noise(i))
    rows = [(f"x/{'ab'[i % 2]}/{i}.png", str(i % 3), f"p{i // 2}") for i in range(4)]
    spec = manifest(tmp_path, rows, ("image", "label", "group"))
    (tmp_path / "manifest.csv").rename(tmp_path / "Manifest.CSV")
    (tmp_path / "Dataset.toml").write_text("ordinal = false")
    for name in (spec, f"{spec}/Manifest.CSV"):
        data = open_dataset(name)
        assert data.groups == ("p0", "p0", "p1", "p1")
        assert (data.card.name, data.card.ordinal) == (tmp_path.name, False)
    (tmp_path / "DATASET.toml").write_text("")
    with pytest.raises(InputError, match=r"holds '(?i:dataset\.toml)' and '.*leave one out"):
        open_dataset(spec)


def test_a_table_may_have_a_declaration_of_its_own(tmp_path):
    pictures(tmp_path, ["0", "1", "2"])
    (tmp_path / "manifest.csv").rename(tmp_path / "left.csv")
    (tmp_path / "left.toml").write_text("ordinal = false")
    (tmp_path / "dataset.toml").write_text("ordinal = true")
    assert not open_dataset(str(tmp_path / "left.csv")).card.ordinal
    assert declared.beside(tmp_path / "right.csv").ordinal
    assert declared.beside(tmp_path / "nowhere" / "x.csv") == PLAIN


# Intensities


def png16(path, values, kind=None):
    """Write 16-bit colour as the PNG standard says; Pillow cannot."""
    height, width, channels = values.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", width, height, 16, kind or {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_16_bit_colour_is_scaled_as_grey_is(tmp_path):
    values = np.random.default_rng(0).integers(0, 1500, (9, 7, 3)).astype(np.uint16)
    low, high = np.percentile(values, [0.5, 99.5])
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    image = images.read_rgb(png16(tmp_path / "a.png", values))
    assert np.abs(image - expected).max() <= 0.5
    assert images.header(tmp_path / "a.png").note == "16-bit colour"
    solid = np.concatenate([values, np.full((9, 7, 1), 65535, np.uint16)], -1)
    assert np.array_equal(images.read_rgb(png16(tmp_path / "b.png", solid)), image)
    solid[0, 0, 3] = 9
    with pytest.raises(InputError, match=r"b\.png.*transparent"):
        images.read_rgb(png16(tmp_path / "b.png", solid))


def tiff(path, values, photometric, order="<", packed=False, tags=(), planes=False):
    """Write values (H, W[, C]) as TIFF 6.0 says, in any depth: Pillow writes some only.

    `tags` are further entries (tag, values) of 16 bits; `planes`: one channel after the other.
    """
    values = np.atleast_3d(values)
    height, width, channels = values.shape
    values = values.astype(values.dtype.newbyteorder(order))
    parts = [values[..., k] for k in range(channels)] if planes else [values]
    parts = [zlib.compress(part.tobytes()) if packed else part.tobytes() for part in parts]
    lengths = list(map(len, parts))
    places = [8 + sum(lengths[:k]) for k in range(len(parts))]
    data = b"".join(parts)
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    shorts = {
        258: [values.dtype.itemsize * 8] * channels,
        259: [8 if packed else 1],
        262: [photometric],
        277: [channels],
        284: [1 + planes],
        339: [kind] * channels,
    }
    entries = {tag: ("H", found) for tag, found in (shorts | dict(tags)).items()}
    longs = {256: [width], 257: [height], 273: places, 278: [height], 279: lengths}
    entries |= {tag: ("I", found) for tag, found in longs.items()}
    data += b"\0" * (len(data) % 2)
    beyond = 8 + len(data) + 2 + 12 * len(entries) + 4
    directory, rest = struct.pack(f"{order}H", len(entries)), b""
    for tag, (code, found) in sorted(entries.items()):
        body = struct.pack(f"{order}{len(found)}{code}", *found)
        directory += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[code], len(found))
        if len(body) > 4:
            directory += struct.pack(f"{order}I", beyond + len(rest))
            rest += body
        else:
            directory += body.ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    head = start + struct.pack(f"{order}I", 8 + len(data))
    path.write_bytes(head + data + directory + b"\0" * 4 + rest)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colour_of_tiff_is_scaled_too(order, packed, alpha, tmp_path):
    values = np.random.default_rng(0).integers(0, 1500, (9, 7, 3)).astype(np.uint16)
    low, high = np.percentile(values, [0.5, 99.5])
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    tags = [(338, [2])] if alpha else []
    if alpha:
        values = np.concatenate([values, np.full((9, 7, 1), 65535, np.uint16)], -1)
    path = tiff(tmp_path / "a.tif", values, 2, order, packed, tags)
    assert np.abs(images.read_rgb(path) - expected).max() <= 0.5
    assert images.header(path).note == "16-bit colour"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("photometric", "channels", "extra", "planes"),
    [(2, 3, [], True), (2, 4, [0], False), (2, 4, [1], False), (5, 4, [], False)],
)
def test_16_bit_colour_in_a_form_that_would_be_cut_is_refused(
    order, packed, photometric, channels, extra, planes, tmp_path
):
    values = np.random.default_rng(0).integers(0, 1500, (9, 7, channels)).astype(np.uint16)
    tags = [(338, extra)] if extra else []
    path = tiff(tmp_path / "a.tif", values, photometric, order, packed, tags, planes)
    for read in (images.read_rgb, images.header, images.read_mask):
        with pytest.raises(InputError, match=r"a\.tif.*more than 8 bits.*side by side"):
            read(path)


# of bare planes with more than is shown Pillow makes nothing at all
@pytest.mark.parametrize(("packed", "planes"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(("photometric", "channels"), [(1, 2), (2, 4), (2, 5)])
def test_channels_that_no_picture_shows_are_refused_or_dropped(
    packed, planes, photometric, channels, tmp_path
):
    values = noise(0, (9, 7, channels))
    shown = 1 if photometric == 1 else 3
    tags = [(338, [0] * (channels - shown))]
    path = tiff(tmp_path / "a.tif", values, photometric, "<", packed, tags, planes)
    for read in (images.read_rgb, images.header, images.read_mask):
        with pytest.raises(InputError, match=rf"a\.tif.* {channels - shown} channels? beside its"):
            read(path)
    dropped = images.read_rgb(path, Declaration(alpha="drop"))
    assert np.array_equal(dropped, np.broadcast_to(values[..., :shown], (9, 7, 3)))


@pytest.mark.parametrize("packed", [False, True])
def test_planes_of_bytes_are_put_together(packed, tmp_path):
    values = noise(0, (9, 7, 3))
    path = tiff(tmp_path / "a.tif", values, 2, packed=packed, planes=True)
    assert np.array_equal(images.read_rgb(path), values)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_tiff_in_which_white_is_0_is_turned(kind, tmp_path):
    values = np.array([[0, 50], [100, 150]], kind)
    black = images.read_rgb(tiff(tmp_path / "a.tif", values, 1))[..., 0]
    white = images.read_rgb(tiff(tmp_path / "b.tif", values, 0))[..., 0]
    assert np.array_equal(white, 255 - black)
    if kind is not np.uint8:
        assert images.header(tmp_path / "b.tif").note == "white is 0"


def test_32_bits_without_a_sign_do_not_wrap(tmp_path):
    values = np.array([[0, 2**30], [2**31, 2**32 - 1]], np.uint32)
    image = images.read_rgb(tiff(tmp_path / "a.tif", values, 1))[..., 0]
    assert image.tolist() == [[0, 64], [128, 255]]
    signed = images.read_rgb(tiff(tmp_path / "b.tif", values.astype(np.int64).astype(np.int32), 1))
    assert signed[1, 0, 0] == 0  # -2**31 is the least


def test_a_tiff_is_turned_as_its_tag_says(tmp_path):
    values = noise(1, (2, 3))
    for packed in (False, True):  # Pillow has a way of its own for each
        path = tiff(tmp_path / "a.tif", values, 1, packed=packed, tags=[(274, [6])])
        assert np.array_equal(images.read_rgb(path)[..., 0], np.rot90(values, -1))
        assert np.array_equal(images.read_mask(path), np.rot90(values, -1))
        assert images.size_of(path) == (2, 3)
    deep = np.random.default_rng(0).integers(0, 1500, (4, 5, 3)).astype(np.uint16)
    whole = images.read_rgb(tiff(tmp_path / "b.tif", deep, 2))
    turned = images.read_rgb(tiff(tmp_path / "c.tif", deep, 2, tags=[(274, [6])]))
    assert np.array_equal(turned, np.rot90(whole, -1))


def test_low_bits_are_never_dropped_in_silence(tmp_path):
    grey = np.random.default_rng(0).integers(0, 1500, (4, 4, 2)).astype(np.uint16)
    colour = np.random.default_rng(1).integers(0, 1500, (4, 4, 3)).astype(np.uint16)
    png16(tmp_path / "a.png", grey, kind=4)
    (tmp_path / "b.ppm").write_bytes(b"P6 4 4 4095\n" + colour.astype(">u2").tobytes())
    save(tmp_path / "c.jp2", (colour // 8).astype(np.uint8))
    stream = bytearray((tmp_path / "c.jp2").read_bytes())
    place = stream.index(b"\xff\x4f\xff\x51") + 42
    for component in range(3):
        stream[place + 3 * component] = 11  # 12 bits
    (tmp_path / "c.jp2").write_bytes(stream)
    for name in ("a.png", "b.ppm", "c.jp2"):
        for read in (images.read_rgb, images.size_of, images.read_mask):
            with pytest.raises(InputError, match=rf"{name}.*more than 8 bits.*PNG or TIFF"):
                read(tmp_path / name)
    with pytest.raises(InputError, match=r"d\.tif.*16-bit colours"):
        images.read_mask(tiff(tmp_path / "d.tif", colour, 2))
    (tmp_path / "e.pgm").write_bytes(b"P5 2 2 4095\n" + np.arange(4, dtype=">u2").tobytes())
    assert images.read_rgb(tmp_path / "e.pgm")[..., 0].tolist() == [[0, 85], [170, 255]]


def test_every_mode_of_eight_bits_is_shown_as_it_is_meant(tmp_path):
    ink = Image.new("CMYK", (2, 2), (10, 20, 30, 40))
    for name in ("a.tif", "a.jpg"):
        shown = images.read_rgb(
            save(tmp_path / name, ink, **({"quality": 100} if "j" in name else {}))
        )
        # (1 - ink) (1 - black) of 255
        expected = [(255 - v) * (255 - 40) / 255 for v in (10, 20, 30)]
        assert np.abs(shown - expected).max() <= 1
    indexed = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    indexed.putpalette([9, 8, 7, 250, 0, 0, 0, 0, 200])
    shown = images.read_rgb(save(tmp_path / "b.png", indexed))
    assert shown.tolist() == [[[9, 8, 7], [250, 0, 0]], [[0, 0, 200], [250, 0, 0]]]
    solid = np.stack([noise(0), np.full((8, 10), 255, np.uint8)], -1)
    shown = images.read_rgb(save(tmp_path / "c.png", Image.fromarray(solid, "LA")))
    assert np.array_equal(shown, np.repeat(noise(0)[..., None], 3, 2))
    bits = Image.fromarray(noise(0) > 99)
    assert set(np.unique(images.read_rgb(save(tmp_path / "d.png", bits)))) == {0, 255}


def test_pages_are_refused_or_declared(tmp_path):
    pages = [Image.fromarray(noise(i)) for i in range(3)]
    for name in ("a.tif", "a.gif"):
        path = save(tmp_path / name, pages[0], save_all=True, append_images=pages[1:])
        for read in (images.read_rgb, images.read_mask, images.size_of):
            with pytest.raises(InputError, match=rf"{name}.*3 pages.*pages ="):
                read(path)
        first = images.read_rgb(path, Declaration(pages="first"))
        assert first.shape == (8, 10, 3)
    assert np.array_equal(
        images.read_rgb(tmp_path / "a.tif", Declaration(pages="first"))[..., 0], noise(0)
    )


def test_transparent_pixels_are_refused_or_declared(tmp_path):
    values = np.full((4, 4, 4), [200, 100, 50, 255], np.uint8)
    values[0, 0, 3] = 0
    path = save(tmp_path / "a.png", values)
    with pytest.raises(InputError, match=r"a\.png.*transparent.*alpha"):
        images.read_rgb(path)
    for alpha, expected in (("drop", [200, 100, 50]), ("black", [0, 0, 0]), ("white", [255] * 3)):
        read = images.read_rgb(path, Declaration(alpha=alpha))
        assert read[0, 0].tolist() == expected
        assert read[1, 1].tolist() == [200, 100, 50]
    grey = Image.fromarray(noise(0), "L")
    grey.save(tmp_path / "b.png", transparency=int(noise(0)[0, 0]))
    with pytest.raises(InputError, match=r"b\.png.*transparent"):
        images.read_rgb(tmp_path / "b.png")


@pytest.mark.parametrize("colours", [False, True])
def test_16_bits_that_a_png_calls_transparent_are_refused_or_dropped(tmp_path, colours):
    values = np.arange(0, 3000, 100, dtype=np.uint16)[:12].reshape(2, 2, 3)
    write, values = (png16, values) if colours else (save, values[..., 0])
    path = write(tmp_path / "a.png", values)
    plain = images.read_rgb(path)
    for key, hidden in ((values[0, 1], True), (values[0, 1] + 1, False)):
        body = b"tRNS" + np.asarray(key, ">u2").tobytes()
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        content = write(path, values).read_bytes()
        path.write_bytes(content[:33] + chunk + content[33:])
        if hidden:
            with pytest.raises(InputError, match=r"a\.png.*16 bits and transparent"):
                images.read_rgb(path)
            assert np.array_equal(images.read_rgb(path, Declaration(alpha="drop")), plain)
        else:
            assert np.array_equal(images.read_rgb(path), plain)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_number_are_refused(value, tmp_path):
    values = np.ones((4, 4), np.float32)
    values[1, 2] = value
    with pytest.raises(InputError, match=r"a\.tif.*1 values that are no number"):
        images.read_rgb(save(tmp_path / "a.tif", values))


def test_a_huge_picture_is_one_sentence(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", noise(0, (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    for read in (images.read_rgb, images.read_mask, images.size_of):
        with pytest.raises(InputError, match=r"a\.png.*pixels"):
            read(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png"):
        images.size_of(tmp_path / "a.png")


def test_a_photograph_is_decoded_at_a_reduced_size_close_to_the_whole(tmp_path):
    rough = Image.fromarray(noise(0, (24, 32, 3)))
    path = save(tmp_path / "a.jpg", rough.resize((1024, 768), Image.Resampling.BICUBIC), quality=92)
    small, whole = images.read_rgb(path, at_least=96), images.read_rgb(path)
    assert small.shape == (192, 256, 3)
    apart = np.abs(images.resize(small, 96).astype(int) - images.resize(whole, 96))
    assert apart.mean() < 0.5
    assert apart.max() <= 8
    assert images.read_rgb(path, at_least=500).shape == whole.shape


# Archives


def archive(path, labels, **changes):
    arrays = {}
    for part, seed in (("train", 0), ("val", 1), ("test", 2)):
        arrays[f"{part}_images"] = noise(seed, (len(labels), 8, 8))
        arrays[f"{part}_labels"] = np.array(labels)
    np.savez(path, **(arrays | changes))
    return str(path)


def test_numbers_of_an_archive_are_grades_but_for_the_published_sets(tmp_path):
    labels = [[0], [1], [2]]
    assert open_dataset(archive(tmp_path / "mine.npz", labels)).card.ordinal
    assert not open_dataset(archive(tmp_path / "bloodmnist_64.npz", labels)).card.ordinal
    assert open_dataset(archive(tmp_path / "retinamnist.npz", labels)).card.ordinal
    plain = open_dataset(archive(tmp_path / "kinds.npz", labels)).fingerprint
    (tmp_path / "kinds.toml").write_text('ordinal = false\nclasses = ["x", "y", "z"]')
    kinds = open_dataset(str(tmp_path / "kinds.npz"))
    assert (kinds.card.ordinal, kinds.card.classes) == (False, ("x", "y", "z"))
    assert kinds.fingerprint != plain


def test_further_arrays_of_an_archive_are_named(tmp_path):
    path = archive(tmp_path / "a.npz", [[0], [1]], train_patients=np.arange(2))
    assert open_dataset(path).notes == ("left out: 1 array (train_patients)",)


def test_another_archive_of_the_same_size_and_time_is_read_anew(tmp_path):
    path = archive(tmp_path / "a.npz", [[0], [1]])
    before, state = open_dataset(path), os.stat(path)  # noqa: PTH116
    seen = before.read_image(0).copy()
    archive(tmp_path / "a.npz", [[0], [1]], train_images=noise(7, (2, 8, 8)))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = open_dataset(path)
    assert after.fingerprint != before.fingerprint
    assert not np.array_equal(after.read_image(0), seen)


def test_one_column_of_each_row_is_its_class(tmp_path):
    data = open_dataset(archive(tmp_path / "a.npz", np.eye(3, dtype=int)[[2, 0, 1]]))
    assert (data.card.task, data.labels[:3].tolist()) == ("classification", [2, 0, 1])
    (tmp_path / "b.toml").write_text("multilabel = true")
    declared_so = open_dataset(archive(tmp_path / "b.npz", np.eye(3, dtype=int)))
    assert (declared_so.card.task, declared_so.labels[:3].tolist()) == ("multilabel", [1, 2, 4])


@pytest.mark.parametrize(
    ("labels", "changes", "sentence"),
    [
        ([[0], [1], [-1]], {}, "hold -1"),
        (np.zeros((3, 4), int), {}, "no image.*finding"),
        ([[0], [1], [2]], {"val_images": noise(1, (3, 9, 9))}, "shapes"),
        ([[0], [1], [2]], {"val_images": noise(1, (3, 8, 8, 3))}, "shapes"),
        (
            [[0], [1]],
            {f"{p}_images": np.zeros((2, 0, 0), np.uint8) for p in ("train", "val", "test")},
            "shapes",
        ),
    ],
)
def test_an_archive_that_says_two_things_is_refused(labels, changes, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence) as caught:
        open_dataset(archive(tmp_path / "a.npz", labels, **changes))
    assert "a.npz" in str(caught.value)
