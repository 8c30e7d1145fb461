import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset as Header
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from benchmark.core.registry import InputError
from benchmark.data import open_dataset
from benchmark.data.readers import images

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
