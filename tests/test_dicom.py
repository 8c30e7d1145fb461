import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset as Header
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from benchmark.commands.predict import inputs_of
from benchmark.core.registry import InputError
from benchmark.data import open_dataset, show
from benchmark.data.doctor import examine
from benchmark.data.readers import images
from benchmark.data.readers.declared import Declaration

# 12-bit stored values; with slope 2 and intercept -1000 they are -1000, 0, 1000, 2000
STORED = np.array([[0, 500], [1000, 1500]], np.uint16)


def write(path, photometric="MONOCHROME2", stored=STORED, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = Header()
    header.file_meta = meta
    header.SOPClassUID, header.SOPInstanceUID = meta[(2, 2)].value, meta[(2, 3)].value
    header.Rows, header.Columns = stored.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, photometric
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelRepresentation = 0
    header.PixelData = stored.tobytes()
    for name, value in tags.items():
        setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)
    return path


def grey(path):
    image = images.read_rgb(path)
    assert np.array_equal(image[..., 0], image[..., 2])
    return image[..., 0].tolist()


UNITS = {"RescaleSlope": 2, "RescaleIntercept": -1000}


def test_the_window_is_in_units_after_rescaling(tmp_path):
    # centre 500.5, width 1001: from 0 to 1000 (PS3.3 C.11.2.1.2)
    path = write(tmp_path / "a.dcm", WindowCenter=500.5, WindowWidth=1001, **UNITS)
    assert grey(path) == [[0, 0], [255, 255]]
    path = write(tmp_path / "b.dcm", WindowCenter=[500.5, 9], WindowWidth=[2001, 9], **UNITS)
    assert grey(path) == [[0, 64], [191, 255]]  # from -500 to 1500; the first window counts


def test_monochrome1_is_turned(tmp_path):
    tags = {"WindowCenter": 500.5, "WindowWidth": 2001, **UNITS}
    path = write(tmp_path / "a.dcm", "MONOCHROME1", **tags)
    assert grey(path) == [[255, 191], [64, 0]]


CENTER, WIDTH = 700.0, 800.0
VALUES = np.array([[0, 300, 500], [700, 1000, 1500]], np.uint16)
CURVES = {  # PS3.3 C.11.2.1.2.1, C.11.2.1.3.2 and C.11.2.1.3.1, with the output 0 to 1
    "LINEAR": (VALUES - (CENTER - 0.5)) / (WIDTH - 1) + 0.5,
    "LINEAR_EXACT": (VALUES - CENTER) / WIDTH + 0.5,
    "SIGMOID": 1 / (1 + np.exp(-4 * (VALUES - CENTER) / WIDTH)),
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("tags", [{}, {"PresentationLUTShape": "INVERSE"}])
def test_each_curve_of_a_window_is_applied_and_turned(curve, tags, tmp_path):
    window = {"WindowCenter": CENTER, "WindowWidth": WIDTH, "VOILUTFunction": curve}
    expected = CURVES[curve].clip(0, 1) * 255
    expected = 255 - expected if tags else expected
    path = write(tmp_path / "a.dcm", stored=VALUES, **window, **tags)
    assert np.abs(np.array(grey(path)) - expected).max() <= 0.51
    # MONOCHROME1 says the same as the shape INVERSE, and both together say it once
    path = write(tmp_path / "b.dcm", "MONOCHROME1", VALUES, **window, **tags)
    assert np.abs(np.array(grey(path)) - (expected if tags else 255 - expected)).max() <= 0.51


def lookup(entries, first, bits):
    """A table that maps `first` to entries[0], and so on."""
    item = Header()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = np.array(entries).astype("<u2").tobytes()
    return [item]


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_table_is_looked_up(bits, tmp_path):
    top = 2**bits - 1
    entries = np.linspace(0, 1, 1000) ** 2 * top // 1
    path = write(tmp_path / "a.dcm", stored=VALUES, VOILUTSequence=lookup(entries, 400, bits))
    # below the first value its entry counts, above the last one the last (C.11.2.1.1)
    expected = entries[(VALUES.astype(int) - 400).clip(0, 999)] / top * 255
    assert np.abs(np.array(grey(path)) - expected).max() <= 0.51
    assert images.header(path).note == "VOI LUT"
    path = write(
        tmp_path / "b.dcm", "MONOCHROME1", VALUES, VOILUTSequence=lookup(entries, 400, bits)
    )
    assert np.abs(np.array(grey(path)) - (255 - expected)).max() <= 0.51


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_modality_table_gives_the_units_of_the_window(bits, tmp_path):
    entries = np.arange(1500) * 2 % 2**bits
    tags = {"WindowCenter": 100.5, "WindowWidth": 201, "ModalityLUTType": "US"}
    path = write(
        tmp_path / "a.dcm", stored=VALUES, ModalityLUTSequence=lookup(entries, 0, bits), **tags
    )
    units = entries[VALUES.astype(int).clip(0, 1499)]
    assert np.abs(np.array(grey(path)) - (units / 200).clip(0, 1) * 255).max() <= 0.51


@pytest.mark.parametrize("lone", ["RescaleSlope", "RescaleIntercept"])
def test_half_of_a_rescaling_is_applied(lone, tmp_path):
    path = write(tmp_path / "a.dcm", WindowCenter=500.5, WindowWidth=1001, **{lone: UNITS[lone]})
    units = STORED * 2.0 if lone == "RescaleSlope" else STORED - 1000.0
    assert grey(path) == np.round((units / 1000).clip(0, 1) * 255).astype(int).tolist()


@pytest.mark.parametrize(("bits", "count"), [(8, 200), (8, 600), (16, 600)])
def test_palettes_become_their_colours(bits, count, tmp_path):
    stored = np.array([[0, 7], [199, 599]], np.uint16)
    random = np.random.default_rng(0).integers(0, 2**bits, (3, count))
    kind = "<u2" if bits == 16 else "u1"
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, entries in zip(("Red", "Green", "Blue"), random, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [count, 0, bits]
        tags[f"{name}PaletteColorLookupTableData"] = entries.astype(kind).tobytes()
    image = images.read_rgb(write(tmp_path / "a.dcm", "PALETTE COLOR", stored, **tags))
    expected = random[:, stored.clip(0, count - 1)].transpose(1, 2, 0) / (2**bits - 1) * 255
    assert np.abs(image - expected).max() <= 0.51


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("signed", "tags", "outside"),
    [
        (0, {"PixelPaddingValue": 1500}, [1500]),
        (0, {"PixelPaddingValue": 1490, "PixelPaddingRangeLimit": 1500}, [1490, 1500]),
        (1, {"PixelPaddingValue": -2000}, [-2000]),
        (1, {"PixelPaddingValue": 63536}, [-2000]),  # -2000, written unsigned
    ],
)
def test_padding_is_black_and_counts_in_no_percentile(photometric, signed, tags, outside, tmp_path):
    shown = np.arange(100).reshape(10, 10)
    stored = shown.astype(np.int16 if signed else np.uint16)
    stored[0, : len(outside)] = outside
    header = {"BitsStored": 16, "HighBit": 15, "PixelRepresentation": signed}
    path = tmp_path / "a.dcm"
    write(path, photometric, stored, **header)
    file = pydicom.dcmread(path)
    for name, value in tags.items():
        file.add_new(pydicom.tag.Tag(name), "SS" if value < 0 else "US", value)
    file.save_as(path)
    image = images.read_rgb(path)[..., 0]
    counted = np.ones((10, 10), bool)
    counted[0, : len(outside)] = False
    low, high = np.percentile(shown[counted], [0.5, 99.5])
    expected = ((shown - low) / (high - low)).clip(0, 1) * 255
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    assert np.abs(image - expected)[counted].max() <= 0.51
    assert (image[~counted] == 0).all()


def test_ybr_is_turned_into_rgb(tmp_path):
    header = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    header |= {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    red = np.array([[[76, 85, 255]] * 2] * 2, np.uint8)  # Y, Cb, Cr of (254, 0, 0)
    path = write(tmp_path / "a.dcm", "YBR_FULL", red[..., 0], PixelData=red.tobytes(), **header)
    assert np.abs(images.read_rgb(path).astype(int) - [254, 0, 0]).max() <= 1


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"WindowCenter": 10, "WindowWidth": 0}, "window of width 0.*percentiles"),
        ({"WindowCenter": 10, "WindowWidth": 0.5}, "window of width 0.5"),
        ({"WindowCenter": 1, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "width 0"),
        ({"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "CURVE"}, "unknown.*'CURVE'"),
    ],
)
def test_a_window_that_cannot_be_is_refused_unless_one_is_declared(tags, sentence, tmp_path):
    path = write(tmp_path / "a.dcm", **tags)
    with pytest.raises(InputError, match=rf"a\.dcm.*{sentence}"):
        images.read_rgb(path)
    low, high = (
        images.read_rgb(path, Declaration(window=(500.0, 1500.0)))[i, i, 0] for i in (0, 1)
    )
    assert (low, high) == (0, 255)


def test_tags_that_are_there_and_empty_say_nothing(tmp_path):
    empty = dict.fromkeys(("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"), "")
    assert grey(write(tmp_path / "a.dcm", **empty)) == grey(write(tmp_path / "b.dcm"))


@pytest.mark.parametrize("name", ["a.dcm", "a.IMA", "a.dicom"])
def test_a_file_without_preamble_is_read_by_its_name(name, tmp_path):
    whole = write(tmp_path / "whole.dcm")
    header = pydicom.dcmread(whole)
    bare = Header()
    bare.update(header)
    bare.save_as(tmp_path / name, implicit_vr=True, little_endian=True)
    assert (tmp_path / name).read_bytes()[128:132] != b"DICM"
    assert np.array_equal(images.read_rgb(tmp_path / name), images.read_rgb(whole))
    (tmp_path / name).write_bytes(b"notes of the scanner" * 30)
    with pytest.raises(InputError, match=name):
        images.size_of(tmp_path / name)


def test_without_a_window_the_percentiles_are_the_ends(tmp_path):
    assert grey(write(tmp_path / "a.dcm"))[0][0] == 0
    assert grey(write(tmp_path / "a.dcm"))[1][1] == 255
    assert grey(write(tmp_path / "b.dcm", "MONOCHROME1"))[0][0] == 255


def test_a_manifest_may_list_dicom(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.dcm")
    (tmp_path / "manifest.csv").write_text("image,label\na.dcm,well\nb.dcm,ill\n")
    data = open_dataset(str(tmp_path))
    assert data.read_image(1).shape == (2, 2, 3)


@pytest.mark.parametrize("harm", ["cut", "no image", "several frames", "absent"])
def test_what_cannot_be_read_is_one_sentence(harm, tmp_path):
    path = tmp_path / "a.dcm"
    if harm != "absent":
        write(path)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:40])
    if harm in ("no image", "several frames"):
        header = pydicom.dcmread(path)
        if harm == "no image":
            del header.Rows
        else:
            header.NumberOfFrames, header.PixelData = 2, STORED.tobytes() * 2
        header.save_as(path, enforce_file_format=True)
    with pytest.raises(InputError, match=r"a\.dcm") as caught:
        images.read_rgb(path)
    assert "\n" not in str(caught.value)


def enhanced(path, **tags):
    """Two frames whose scale and window stand in functional groups."""
    scale, curve, shared, own = Header(), Header(), Header(), Header()
    scale.RescaleSlope, scale.RescaleIntercept = UNITS.values()
    curve.WindowCenter, curve.WindowWidth = 500.5, 2001
    shared.PixelValueTransformationSequence = [scale]
    own.FrameVOILUTSequence = [curve]
    return write(
        path,
        NumberOfFrames=2,
        PixelData=STORED.tobytes() * 2,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[own, own],
        **tags,
    )


def test_the_first_frame_has_the_scale_and_window_of_its_functional_groups(tmp_path):
    path = enhanced(tmp_path / "a.dcm")
    shown = images.read_rgb(path, Declaration(pages="first"))[..., 0]
    assert shown.tolist() == [[0, 64], [191, 255]]  # -1000, 0, 1000, 2000 from -500 to 1500
    declared = Declaration(pages="first", window=(-1000.0, 2000.0))
    assert images.read_rgb(path, declared)[..., 0].tolist() == [[0, 85], [170, 255]]
    assert images.header(path, declared).note == "scale of the first frame"


@pytest.mark.parametrize(
    ("photometric", "tags", "sentence"),
    [
        ("MONOCHROME2", {"RescaleSlope": 0, "RescaleIntercept": -1024}, "has RescaleSlope 0"),
        ("MONOCHROME2", {"HighBit": 15}, "HighBit 15 with BitsStored 12, where only 11"),
        ("PALETTE COLOR", {}, "no colours for its palette"),
        ("MONOCHROME2", {"PixelPaddingValue": b"\0\0\0"}, "a.dcm"),
    ],
)
def test_a_header_that_cannot_be_right_is_one_sentence(tmp_path, photometric, tags, sentence):
    path = write(tmp_path / "a.dcm", photometric)
    header = pydicom.dcmread(path)
    for name, value in tags.items():
        if isinstance(value, bytes):
            header.add_new(name, "OB", value)
        else:
            setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)
    with pytest.raises(InputError, match=sentence) as caught:
        images.read_rgb(path)
    assert "\n" not in str(caught.value)
    assert "a.dcm" in str(caught.value)


def test_values_that_are_no_number_are_refused(tmp_path):
    path = write(tmp_path / "a.dcm")
    header = pydicom.dcmread(path)
    del header.PixelData
    header.BitsAllocated = 32
    header.FloatPixelData = np.array([[0, np.nan], [1, 2]], np.float32).tobytes()
    header.save_as(path, enforce_file_format=True)
    with pytest.raises(InputError, match=r"a\.dcm.*1 values that are no number"):
        images.read_rgb(path)


@pytest.mark.parametrize(
    ("kind", "shows"),
    [
        ("1.2.840.10008.1.3.10", False),  # DICOMDIR
        ("1.2.840.10008.5.1.4.1.1.88.11", False),  # a report
        ("1.2.840.10008.5.1.4.1.1.104.1", False),  # PDF
        ("1.2.840.10008.5.1.4.1.1.11.1", False),  # a presentation state
        ("1.2.840.10008.5.1.4.1.1.481.3", False),  # outlines for radiotherapy
        ("1.2.840.10008.5.1.4.1.1.481.1", True),  # an image of it
        ("1.2.840.10008.5.1.4.1.1.1.1", True),
    ],
)
def test_what_a_study_holds_beside_images_is_left_out_and_counted(kind, shows, tmp_path, capsys):
    for number in range(8):
        folder = tmp_path / "set" / "ab"[number % 2] / f"p{number}"
        folder.mkdir(parents=True)
        write(folder / "1.2.840.1", stored=STORED + np.uint16(number))
    other = pydicom.dcmread(write(tmp_path / "other.dcm"))
    other.file_meta.MediaStorageSOPClassUID = other.SOPClassUID = kind
    if not shows:
        del other.Rows, other.Columns, other.PixelData
    other.save_as(tmp_path / "set/a/p0/other.dcm")
    data = open_dataset(str(tmp_path / "set"))
    assert len(data) == 8 + shows
    assert data.notes == (() if shows else ("left out: 1 DICOM file without an image",))
    assert len(inputs_of([tmp_path / "set"], Declaration())) == 8 + shows
    told = " ".join(capsys.readouterr().out.split())  # notes are wrapped
    assert ("such as 'other.dcm'" in told) != shows


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "a.dcm"
    path.touch()
    with pytest.raises(InputError, match=r"a\.dcm' is empty"):
        images.header(path)


def test_a_mask_in_dicom_is_one_sentence(tmp_path):
    for name in ("a.dcm", "m.dcm"):
        write(tmp_path / name)
    (tmp_path / "manifest.csv").write_text("image,mask\na.dcm,m.dcm\n")
    with pytest.raises(InputError, match=r"the mask '.*m\.dcm' is DICOM; save .* as PNG"):
        open_dataset(str(tmp_path))


def of_patients(folder, *patients):
    for number, patient in enumerate(patients):
        path = folder / "ab"[number % 2] / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, PatientID=patient)
    return str(folder)


def test_patients_are_asked_of_the_files_where_that_is_declared(tmp_path):
    spec = of_patients(tmp_path, "P1", "P1 ", "P2", "P3")
    data = open_dataset(spec)
    assert data.card.grouping == "unknown"
    assert '# group = "PatientID"' in show.proposal(data)
    (tmp_path / "dataset.toml").write_text('group = "PatientID"')
    data = open_dataset(spec)
    groups = dict(zip(data.ids, data.groups, strict=True))
    assert groups == {"a/0.dcm": "P1", "b/1.dcm": "P1", "a/2.dcm": "P2", "b/3.dcm": "P3"}
    assert (data.card.grouping, data.card.group_key) == ("given", "PatientID")
    (tmp_path / "manifest.csv").write_text("image,label\na/0.dcm,x\na/2.dcm,y\nb/1.dcm,x\n")
    assert open_dataset(spec).groups == ("P1", "P2", "P1")


@pytest.mark.parametrize(
    ("patients", "sentence"),
    [
        (("P1", "", "P2", "P3"), r"PatientID of '.*1\.dcm' is ''"),
        (("P1", "unknown", "P2", "P3"), r"PatientID of '.*1\.dcm' is 'unknown'"),
        (("P1", "p1", "P2", "P3"), "groups 'P1' and 'p1'"),
    ],
)
def test_patients_that_files_do_not_name_well_are_refused(tmp_path, patients, sentence):
    spec = of_patients(tmp_path, *patients)
    (tmp_path / "dataset.toml").write_text('group = "PatientID"')
    with pytest.raises(InputError, match=sentence):
        open_dataset(spec)


def test_pictures_have_no_patients_to_ask(tmp_path):
    spec = of_patients(tmp_path, "P1", "P2", "P3", "P4")
    images.Image.new("L", (4, 4)).save(tmp_path / "a/x.png")
    (tmp_path / "dataset.toml").write_text('group = "PatientID"')
    with pytest.raises(InputError, match=r"x\.png' is no DICOM file"):
        open_dataset(spec)


def test_burned_in_text_is_told_by_the_doctor(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "ab"[number % 2] / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        said = {0: "YES", 1: "NO", 2: "YES"}.get(number)
        tags = {"BurnedInAnnotation": said} if said else {}
        write(path, stored=rng.integers(0, 4000, (32, 32), np.uint16), **tags)
    (found,) = (f for f in examine(open_dataset(str(tmp_path)))[0] if f.check == "text")
    assert found.severity == "warning"
    assert found.text.startswith("2 DICOM files say that text is burned into the pixels")
    assert found.images == ("a/0.dcm", "a/2.dcm")
