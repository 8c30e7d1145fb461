"""DICOM images as their header asks to show them: rescaling, window or VOI LUT, palette, inversion.

What is done follows PS3.3 C.7.6.3 (pixels), C.11.1 (modality LUT) and C.11.2 (VOI LUT); tables and
curves are applied by pydicom's own functions.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.registry import InputError
from benchmark.core.spelling import clean
from benchmark.data.readers.declared import PATIENT, PLAIN, Declaration
from benchmark.data.readers.scaling import to_uint8

INSTALL = "pip install 'peft-medical-benchmark[volumes]'"
SUFFIXES = frozenset((".dcm", ".dicom", ".ima"))
# What a study holds beside images, by its class in the first bytes: the index DICOMDIR; waveforms,
# presentation states, reports, encapsulated PDF; registrations; plans of radiotherapy (PS3.4 B.5).
_NO_IMAGE = re.compile(
    rb"\x02\x00\x02\x00UI..1\.2\.840\.10008\."
    rb"(1\.3\.10|5\.1\.4\.1\.1\.((9|11|88|104)\.[\d.]+|66(\.[123])?|67|481\.[3-9]))(?![\d.])",
    re.DOTALL,
)
_OPTIONAL = (
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PresentationLUTShape", "NumberOfFrames"),
    *("VOILUTSequence", "ModalityLUTSequence"),
)


# what an enhanced multi-frame object says in its functional groups (PS3.3 C.7.6.16)
_OF_FRAMES = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}


@contextmanager
def _sentence(path: Path, what: str = "read the image") -> Iterator[None]:
    """Turn what pydicom and its decoders raise into one sentence: they have no common class."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no image {str(path)!r}; correct the manifest") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot {what} {str(path)!r} ({reason})") from None


def first_bytes(path: Path) -> bytes:
    """Return the first 352 bytes of a file, fewer where it ends; empty where it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""  # a pipe would wait for ever
        with path.open("rb") as stream:
            return stream.read(352)
    except (OSError, ValueError):
        return b""


def starts_dicom(start: bytes) -> bool:
    """Return whether the first bytes of a file are a DICOM preamble."""
    return start[128:132] == b"DICM"


def without_image(path: Path) -> bool:
    """Return whether a file is DICOM of a kind that shows nothing: an index, a report, a plan."""
    start = first_bytes(path)
    return starts_dicom(start) and _NO_IMAGE.search(start) is not None


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its preamble, or by its name where it has none."""
    start = first_bytes(path)
    # a picture that is only called .dcm is read as the picture that it is
    pictures = start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*"))
    return starts_dicom(start) or (path.suffix.lower() in SUFFIXES and not pictures)


def header_of(path: Path, declared: Declaration = PLAIN) -> tuple[int, int, str]:
    """Return (W, H, what is special about reading it) from the header alone."""
    with _sentence(path):
        header = _read(path, pixels=False)
        _check_frames(path, header, declared)
        return int(header.Columns), int(header.Rows), ", ".join(_notes(header, declared))


def _notes(header: Any, declared: Declaration) -> list[str]:
    """Return what is special about reading an image, for the fingerprint of its set."""
    notes = []
    if header.get("VOILUTSequence") and not declared.window:
        notes.append("VOI LUT")
    elif header.get("VOILUTFunction", "LINEAR") != "LINEAR" and "WindowWidth" in header:
        notes.append(str(header.VOILUTFunction))
    if header.PhotometricInterpretation == "MONOCHROME2" and _inverted(header):
        notes.append("inverse")
    if "PixelPaddingValue" in header:
        notes.append("padding")
    if header.PhotometricInterpretation == "PALETTE COLOR" and _palette_bits(header) > 8:
        notes.append("palette of 16 bits")
    if _of_first_frame(header):
        notes.append("scale of the first frame")
    return notes


def patient_of(path: Path) -> str:
    """Return the PatientID of a file, "" where it has none."""
    with _sentence(path):
        return clean(str(_read(path, pixels=False).get(PATIENT) or ""))


def has_burned_in_text(path: Path) -> bool:
    """Return whether a file says that text which identifies is burned into its pixels."""
    with _sentence(path):
        return bool(_read(path, pixels=False).get("BurnedInAnnotation") == "YES")


def read_rgb(path: Path, declared: Declaration = PLAIN) -> np.ndarray:
    """Return (H, W, 3) uint8 as the header asks to show it.

    Without a window the ends of the scale are the 0.5 and 99.5 percentiles of all pixels that are
    no padding. MONOCHROME1 is turned round, so that more is brighter.

    Raises:
        InputError: an unreadable file, several frames, a window that has no width.
    """
    with _sentence(path):
        header = _read(path, pixels=True)
        _check_frames(path, header, declared)
        _check_stored(path, header)
        stored = _pixels(path, header)
        if stored.ndim == 3 and stored.shape[2] == 3:
            return stored if stored.dtype == np.uint8 else to_uint8(stored)
        if stored.ndim != 2:
            raise InputError(f"{str(path)!r} has the shape {stored.shape}; grey or RGB is needed")
        values = _rescaled(path, header, stored)
        grey = _shown(path, header, values, _padding(header, stored), declared)
        return np.repeat(grey[..., None], 3, 2)


def _check_stored(path: Path, header: Any) -> None:
    """Refuse bits that are not where they are read: pydicom takes the lowest, whatever is said."""
    bits, high = header.get("BitsStored"), header.get("HighBit")
    packed = header.file_meta.TransferSyntaxUID.is_compressed  # whose decoder knows its own bits
    if bits and high is not None and high != bits - 1 and not packed:
        raise InputError(
            f"{str(path)!r} has HighBit {high} with BitsStored {bits}, where only {bits - 1} is "
            "allowed; save it again"
        )


def _pixels(path: Path, header: Any) -> np.ndarray:
    """Return the stored values of the first frame, (H, W), or colours (H, W, 3)."""
    from pydicom.pixels import apply_color_lut, pixel_array

    with _sentence(path, "decode"):
        # of several frames the user declared the first; YCbCr becomes RGB on the way
        stored = pixel_array(header, index=0 if int(header.get("NumberOfFrames", 1)) > 1 else None)
        if header.PhotometricInterpretation == "PALETTE COLOR":
            _widen_palette(header)
            stored = apply_color_lut(stored, header)
            if stored.dtype != np.uint8:
                stored = to_uint8(stored, (0.0, 2.0 ** _palette_bits(header) - 1))
    return np.asarray(stored)


def _rescaled(path: Path, header: Any, stored: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 in the units of the file: by its table, or slope and intercept."""
    from pydicom.pixels import apply_modality_lut

    slope = float(header.get("RescaleSlope", 1))
    if slope == 0 and not header.get("ModalityLUTSequence"):
        raise InputError(
            f"{str(path)!r} has RescaleSlope 0, which makes all its pixels alike; save it with the "
            "right slope"
        )
    with _sentence(path, "decode"):
        for table in header.get("ModalityLUTSequence") or ():
            _widened(table)
        values: np.ndarray = apply_modality_lut(stored, header).astype(np.float32)
    if unlike := int((~np.isfinite(values)).sum()):
        raise InputError(f"{str(path)!r} holds {unlike} values that are no number")
    return values


def _widened(table: Any) -> int:
    """Return the bits of a table's entries, and let pydicom take them for 16 bits.

    pydicom (3.0.2) counts places in the table in the type of its entries: with 8 bits, the entry
    256 would be the entry 0 again; and it knows no type of 12 bits.
    """
    entries, first, bits = table.LUTDescriptor
    table.LUTDescriptor = [entries, first, 16]
    return int(bits)


def _widen_palette(header: Any) -> None:
    """Store the entries of a palette in 16 bits each, for the reason of `_widened`."""
    entries = int(header.RedPaletteColorLookupTableDescriptor[0]) or 1 << 16
    for name in (f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")):
        table = header.get(name)
        if table is not None and len(table) < 2 * entries:
            wide = np.frombuffer(table, np.uint8)[:entries].astype("<u2")
            setattr(header, name, wide.tobytes())


def _palette_bits(header: Any) -> int:
    return int(header.RedPaletteColorLookupTableDescriptor[2])


def _shown(
    path: Path, header: Any, values: np.ndarray, padding: np.ndarray, declared: Declaration
) -> np.ndarray:
    """Return (H, W) uint8 of grey `values` in the file's units; padding becomes black."""
    from pydicom.pixels import apply_voi

    inverted = _inverted(header)
    window: tuple[float, float] | None = None
    try:
        if isinstance(declared.window, tuple):
            window = declared.window
        elif declared.window == "percentiles":
            pass
        elif header.get("VOILUTSequence"):
            depth = _widened(header.VOILUTSequence[0])
            values = apply_voi(values.astype(np.int64), header).astype(np.float32)
            window = (0.0, 2.0**depth - 1)
        elif all(k in header and not header[k].is_empty for k in ("WindowCenter", "WindowWidth")):
            window = _window(path, header)
            if header.get("VOILUTFunction") == "SIGMOID":
                (low, high), window = window, (0.0, 1.0)
                slope = (4 * (values - (low + high) / 2) / (high - low)).clip(-700, 700)
                values = 1 / (1 + np.exp(-slope))  # C.11.2.1.3.1
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot apply the window of {str(path)!r} ({reason})") from None
    # last, on what the window made of the values: so the standard orders the steps (C.11)
    if inverted:
        values, window = -values, (-window[1], -window[0]) if window else None
    grey = to_uint8(values, window, ~padding)
    grey[padding] = 0
    return grey


def _inverted(header: Any) -> bool:
    """Return whether less is brighter: said by MONOCHROME1, by the presentation LUT, or by both."""
    monochrome1 = header.PhotometricInterpretation == "MONOCHROME1"
    # the shape INVERSE beside MONOCHROME1 says the same once more (PS3.3 C.8.11.3.1.2)
    return monochrome1 or header.get("PresentationLUTShape") == "INVERSE"


def _padding(header: Any, stored: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: pixels outside the image by PixelPaddingValue, up to its range limit."""
    if "PixelPaddingValue" not in header:
        return np.zeros(stored.shape, bool)
    first = _signed(header, int(header.PixelPaddingValue))
    limit = _signed(header, int(header.get("PixelPaddingRangeLimit", header.PixelPaddingValue)))
    low, high = sorted((first, limit))  # the limit may lie below the value
    return np.asarray((stored >= low) & (stored <= high))


def _signed(header: Any, value: int) -> int:
    """Return a value that may have been written unsigned as the signed number that it stands for.

    The tag's type is ambiguous (US or SS); writers and readers do not always agree.
    """
    if not header.get("PixelRepresentation", 0) or value < 0:
        return value
    bits = int(header.BitsAllocated)
    return value - (1 << bits) if value >= 1 << (bits - 1) else value


def _window(path: Path, header: Any) -> tuple[float, float]:
    """Return the ends of the first window (C.11.2.1.2 and .3)."""
    center, width = (
        float(np.atleast_1d(header[k].value)[0]) for k in ("WindowCenter", "WindowWidth")
    )
    kind = header.get("VOILUTFunction", "LINEAR")
    if kind not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InputError(f"{str(path)!r} asks for the unknown VOI LUT function {kind!r}")
    if not width >= (1 if kind == "LINEAR" else 1e-9) or not np.isfinite([center, width]).all():
        raise InputError(
            f"{str(path)!r} has a window of width {width:g}; declare window = [LOW, HIGH] or "
            'window = "percentiles" in dataset.toml'
        )
    if kind != "LINEAR":
        return center - width / 2, center + width / 2
    # half a level, for integers stand for the middle of a step
    low = center - 0.5 - (width - 1) / 2
    return low, low + max(width - 1, 1e-6)


def _of_first_frame(header: Any) -> dict[str, Any]:
    """Return scale and window of the first frame, where an enhanced object has them per frame."""
    found: dict[str, Any] = {}
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for sequence, names in _OF_FRAMES.items():
            for group in (header.get(groups) or ())[:1]:
                for item in (group.get(sequence) or ())[:1]:
                    for name in names:
                        if name in item and not item[name].is_empty:
                            found.setdefault(name, item[name].value)
    return found


def _check_frames(path: Path, header: Any, declared: Declaration) -> None:
    count = int(header.get("NumberOfFrames", 1))
    if count > 1 and declared.pages != "first":
        raise InputError(
            f"{str(path)!r} has {count} frames; save each as a file, or declare "
            'pages = "first" in dataset.toml'
        )


def _read(path: Path, pixels: bool) -> Any:
    """Return the header without tags that are there and empty: they say nothing."""
    try:
        import pydicom
    except ModuleNotFoundError:
        raise InputError(f"reading {path.name} needs pydicom; run {INSTALL}") from None
    with _sentence(path):
        # files of before 1995 and of some scanners start without preamble and file meta: their
        # encoding is then the default one, implicit VR little endian (PS3.5, 10.1)
        start = first_bytes(path)
        bare = not starts_dicom(start)
        header = pydicom.dcmread(path, stop_before_pixels=not pixels, force=bare)
        if bare and "TransferSyntaxUID" not in header.file_meta:
            header.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        for name in _OPTIONAL:
            if name in header and header[name].is_empty:
                del header[name]
        for name, value in _of_first_frame(header).items():
            if name not in header:
                setattr(header, name, value)
        if "RescaleSlope" in header or "RescaleIntercept" in header:
            # pydicom rescales only where both are there
            header.RescaleSlope = header.get("RescaleSlope", 1)
            header.RescaleIntercept = header.get("RescaleIntercept", 0)
    if any(name not in header or header[name].is_empty for name in ("Rows", "Columns")):
        what = "is a DICOM file without an image" if start else "is empty"
        raise InputError(f"{str(path)!r} {what}")
    if not header.get("PhotometricInterpretation"):
        raise InputError(f"{str(path)!r} does not say how its pixels are meant; save it again")
    palette = header.PhotometricInterpretation == "PALETTE COLOR"
    if palette and "RedPaletteColorLookupTableDescriptor" not in header:
        raise InputError(f"{str(path)!r} has no colours for its palette; save it again")
    return header
