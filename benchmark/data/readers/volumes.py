"""NIfTI volumes, read slice by slice in one orientation, whatever the order on the disk.

Voxels are reordered to the closest canonical axes (x to the right, y to the front, z up) by
nibabel, and slices are cut across the axis of the largest spacing: there, neighbours differ most.

Legend: (X, Y, Z) a volume in canonical order; a slice becomes an image (H, W): (Y, X) across z,
(Z, X) across y, (Z, Y) across x.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.core.registry import InputError
from benchmark.data.readers.declared import PLAIN, Declaration
from benchmark.data.readers.dicom import first_bytes
from benchmark.data.readers.images import as_bytes, whole_numbers
from benchmark.data.readers.scaling import to_uint8

INSTALL = "pip install 'peft-medical-benchmark[volumes]'"
Window = tuple[float, float]
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_MM = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}
_THICKER = 1.1  # times the other spacings: less is an isotropic volume, cut across z
_APART = 0.25  # of a voxel: image and mask whose corners differ more do not overlay


@dataclass(frozen=True)
class Geometry:
    """How a volume lies: `shape` and `spacing` (mm) in canonical order.

    `axis` is the one of the largest spacing (None where no spacing stands out); `stored` is what
    nibabel turns the stored order into canonical by ((axis, direction) of each); `affine` (4, 4)
    leads from canonical voxels to mm, None where the file gives none. `coloured` volumes have a
    fourth axis, of channels.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axis: int | None
    stored: tuple[tuple[int, int], ...]
    affine: np.ndarray | None
    coloured: bool = False

    def note(self, axis: int) -> str:
        """Return what reading differs by from slices of the last stored axis; "" for nothing."""
        plain = self.stored == ((0, 1), (1, 1), (2, 1)) and axis == 2
        return "" if plain else f"volume {self.stored} across {axis}"


def is_volume(path: Path) -> bool:
    """Return whether `path` names a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def geometry(path: Path, declared: Declaration = PLAIN) -> Geometry:
    """Return the geometry that the header gives, in canonical order unless "stored" is declared.

    Raises:
        InputError: no 3-D volume of numbers, or a header whose spacing cannot be.
    """
    return _header(path, declared.orientation == "stored", declared.channels)


@functools.lru_cache(maxsize=4096)
def _header(path: Path, as_stored: bool, channels: tuple[int, ...]) -> Geometry:
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    image = _load(path)
    shape = image.shape
    if len(shape) == 2:
        shape = (*shape, 1)
    # many writers append axes of length 1 for time and vectors
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    coloured = len(shape) == 4 and bool(channels)
    if coloured:  # the declared ones are read as colours
        if shape[3] <= max(channels):
            raise InputError(
                f"the volume {str(path)!r} has {shape[3]} channels; {max(channels) + 1} are needed"
            )
        shape = shape[:3]
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"the volume {str(path)!r} has the shape {image.shape}; it must be 3-D: save each "
            "channel or time point as a file, or declare channels = [0, 1, 2] in dataset.toml to "
            "read three as colours"
        )
    # complex and RGB voxels have no order from dark to bright
    dtype = image.get_data_dtype()
    if dtype.kind not in "iufb":
        raise InputError(f"the volume {str(path)!r} holds {dtype} values; grey values are needed")
    unit = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else "mm"
    # a micro-CT in microns would have an HD95 of 1500 "mm" for 1.5
    zooms = [abs(float(v)) * _MM[unit] for v in _written_zooms(image)[:3]]
    zooms += [1.0] * (3 - len(zooms))
    if not all(0 < v < 1e3 for v in zooms):
        raise InputError(f"the header of {str(path)!r} gives the voxel size {tuple(zooms)} mm")
    # with both codes 0 the file says nothing of directions (NIfTI-1, method 1)
    codes = [int(image.header[k]) for k in ("sform_code", "qform_code") if k in image.header]
    known = any(codes) and not as_stored
    order = np.array([[0, 1], [1, 1], [2, 1]], float)
    if known:
        _check_directions(path, image)
        finite = np.isfinite(image.affine).all()
        order = io_orientation(image.affine) if finite else np.full((3, 2), np.nan)
        if not np.isfinite(order).all():
            raise InputError(
                f"the header of {str(path)!r} gives an orientation that cannot be; correct it, or "
                'declare orientation = "stored" in dataset.toml'
            )
    turned = apply_orientation(np.empty((*shape, 0), np.uint8), order).shape[:3]
    spacing = [0.0, 0.0, 0.0]
    for source, (target, _) in enumerate(order):
        spacing[int(target)] = zooms[source]
    # across the coarsest axis: other cuts would show voxels as stripes
    thickest = int(np.argmax(spacing))
    stands_out = spacing[thickest] > _THICKER * sorted(spacing)[1]
    affine = None
    if known:
        scale = np.diag([_MM[unit]] * 3 + [1.0])
        affine = scale @ image.affine @ inv_ornt_aff(order, shape)
    return Geometry(
        (turned[0], turned[1], turned[2]),
        (spacing[0], spacing[1], spacing[2]),
        thickest if stands_out else None,
        tuple((int(axis), int(direction)) for axis, direction in order),
        affine,
        coloured,
    )


def geometry_of_image(path: Path, declared: Declaration = PLAIN) -> Geometry:
    """Return the geometry of an image, which has the channels that are declared, if any are.

    Raises:
        InputError: as `geometry`, and for a volume without channels beside declared ones.
    """
    found = geometry(path, declared)
    if declared.channels and not found.coloured:  # as grey it would be an image of another kind
        raise InputError(
            f"the volume {str(path)!r} has one channel; the declared channels = "
            f"{list(declared.channels)} read three as colours: save it with its channels"
        )
    return found


def _check_directions(path: Path, image: Any) -> None:
    """Refuse a header whose two affines turn or mirror the volume differently.

    Programs that follow the other one would show left for right. Two spaces (scanner and atlas)
    are rotated and moved against each other, but by less than half a turn of an axis.
    """
    from nibabel.orientations import aff2axcodes

    header = image.header
    if not all(k in header and int(header[k]) for k in ("sform_code", "qform_code")):
        return
    sform, qform = header.get_sform(), header.get_qform()
    with np.errstate(invalid="ignore", divide="ignore"):  # what cannot be is refused elsewhere
        steps = sform[:3, :3] / np.linalg.norm(sform[:3, :3], axis=0)
        others = qform[:3, :3] / np.linalg.norm(qform[:3, :3], axis=0)
    # axes that point apart by more than 60 degrees: less is a rotation, and no other order
    if ((steps * others).sum(0) < 0.5).any() and aff2axcodes(sform) != aff2axcodes(qform):
        one, other = ("".join(map(str, aff2axcodes(form))) for form in (sform, qform))
        raise InputError(
            f"the header of {str(path)!r} gives two orientations, {one} (sform) and {other} "
            '(qform); correct it, or declare orientation = "stored" in dataset.toml'
        )


def common_axis(paths: Sequence[Path], declared: Declaration = PLAIN) -> int:
    """Return the axis across which all these volumes are cut.

    Raises:
        InputError: two volumes whose spacing is largest along different axes.
    """
    if declared.slice_axis in AXES:
        return AXES[declared.slice_axis]
    first: dict[int, Path] = {}
    for path in paths:
        axis = geometry(path, declared).axis
        if axis is not None:
            first.setdefault(axis, path)
    # isotropic volumes fit any axis and are left out of the question
    if len(first) > 1:
        names = list(AXES)
        (one, a), (two, b) = list(first.items())[:2]
        raise InputError(
            f"the slices of {str(a)!r} are {names[one]} and those of {str(b)!r} {names[two]}; "
            'declare slice_axis = "sagittal", "coronal" or "axial" in dataset.toml'
        )
    return next(iter(first), 2)


def check_overlay(image: Path, mask: Path, declared: Declaration = PLAIN) -> None:
    """Raise InputError unless both cover the same space, voxel by voxel, in canonical order."""
    one, two = geometry(image, declared), geometry(mask, declared)
    if two.coloured:
        raise InputError(f"the mask {str(mask)!r} has channels; save its class numbers, in 3-D")
    if one.shape != two.shape:
        raise InputError(
            f"the mask {str(mask)!r} is {two.shape}, its volume {one.shape}; they must be alike"
        )
    if one.affine is None or two.affine is None:
        if one.stored != two.stored:
            raise InputError(
                f"one of {str(image)!r} and {str(mask)!r} gives an orientation and the other "
                'none; give both the same header, or declare orientation = "stored"'
            )
        return
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in one.shape], [1])).reshape(4, -1)
    # the corners differ most: a rotation that leaves the centre alone moves them
    apart = np.linalg.norm(((one.affine - two.affine) @ corners)[:3], axis=0).max()
    if apart > _APART * min(one.spacing):
        raise InputError(
            f"the mask {str(mask)!r} does not lie on its volume {str(image)!r}: by their headers "
            f"they are {apart:.3g} mm apart; give both the same header, or declare "
            'orientation = "stored" in dataset.toml if only the order of voxels counts'
        )


def extent_of(
    path: Path, axis: int = 2, declared: Declaration = PLAIN
) -> tuple[float, float, float]:
    """Return the height and width of a slice and the distance to the next, in mm (header)."""
    found = geometry(path, declared)
    sides = [n * step for n, step in zip(found.shape, found.spacing, strict=True)]
    width, height = (k for k in range(3) if k != axis)
    return sides[height], sides[width], found.spacing[axis]


def read_slice(
    path: Path,
    index: int,
    window: Window | None = None,
    axis: int = 2,
    declared: Declaration = PLAIN,
) -> np.ndarray:
    """Return slice `index` (H, W, 3) uint8.

    `window` gives the intensities that become 0 and 255 (Hounsfield units in CT); without it they
    are the 0.5 and 99.5 percentiles of the whole volume, because MR units differ between scans.
    """
    if isinstance(declared.window, tuple):
        window = declared.window
    level = _image(path, window, declared).take(index, axis).swapaxes(0, 1)
    return level if level.ndim == 3 else np.repeat(level[..., None], 3, 2)


def read_mask_slice(
    path: Path, index: int, axis: int = 2, declared: Declaration = PLAIN
) -> np.ndarray:
    """Return the classes (H, W) uint8 of slice `index`."""
    return as_bytes(read_code_slice(path, index, axis, declared), str(path))


def read_code_slice(
    path: Path, index: int, axis: int = 2, declared: Declaration = PLAIN
) -> np.ndarray:
    """Return the numbers (H, W) of slice `index` of a mask as they are in the file."""
    return np.ascontiguousarray(read_codes(path, declared).take(index, axis).T)


# two volumes: training asks for the slices of one after the other, and a .gz is read whole
@functools.lru_cache(maxsize=2)
def _image(path: Path, window: Window | None, declared: Declaration) -> np.ndarray:
    values = _values(path, declared, np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"the volume {str(path)!r} holds values that are not finite")
    if values.ndim == 4:  # channels differ in unit: each is scaled by itself
        return np.stack([to_uint8(channel, window) for channel in np.moveaxis(values, 3, 0)], 3)
    return to_uint8(values, window)


@functools.lru_cache(maxsize=2)
def read_codes(path: Path, declared: Declaration = PLAIN) -> np.ndarray:
    """Return (X, Y, Z) of the numbers in a mask; fractions and NaN raise InputError."""
    return whole_numbers(_values(path, declared, None), str(path))


def _values(path: Path, declared: Declaration, dtype: Any) -> np.ndarray:
    """Return all voxels in canonical order; a file that ends early or is damaged raises."""
    from nibabel.orientations import apply_orientation

    found = geometry(path, declared)
    image = _load(path)
    try:
        if path.name.lower().endswith(".gz"):
            # read to the end, where gzip compares its checksum: nibabel stops at the last voxel
            image = image.from_bytes(gzip.decompress(path.read_bytes()))
        values = np.asanyarray(image.dataobj, dtype)
    except Exception as error:
        raise _unreadable(path, error) from None
    if values.ndim == 4 and declared.channels:
        values = values[..., list(declared.channels)]
    else:
        values = values.reshape(values.shape[:3] + (1,) * (3 - values.ndim))
    return np.asarray(apply_orientation(values, np.array(found.stored, float)))


def write_mask(
    path: Path, target: Path, slices: Sequence[np.ndarray], axis: int, declared: Declaration = PLAIN
) -> None:
    """Write the masks (H, W) of all slices of a volume as NIfTI, in its stored order and affine."""
    import nibabel
    from nibabel.orientations import apply_orientation, ornt_transform

    found, image = geometry(path, declared), _load(path)
    canonical = np.stack([mask.T for mask in slices], axis)
    plain = np.array([[0, 1], [1, 1], [2, 1]])
    back = ornt_transform(np.array(found.stored, float), plain)
    stored = np.asarray(apply_orientation(canonical, back))
    header = image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)  # the scan's own scaling would change the class numbers
    # of a volume with channels, one mask: of all others, the scan's own axes of length 1
    shape = image.shape[:3] if found.coloured else image.shape
    nibabel.save(type(image)(stored.reshape(shape), image.affine, header), target)


def _load(path: Path) -> Any:
    """Return the opened image; nibabel reads values when asked for them."""
    try:
        import nibabel
    except ModuleNotFoundError:
        raise InputError(f"reading {path.name} needs nibabel; run {INSTALL}") from None
    if not path.exists():
        raise InputError(f"there is no volume {str(path)!r}; correct the manifest")
    try:
        # what it logs of a header stands in its error, or is of no use to who has 1,000 volumes
        with _quiet(nibabel.imageglobals.logger):
            image: Any = nibabel.load(path)
        np.asanyarray(image.dataobj[..., :1])  # most truncated files fail here, before training
    except Exception as error:  # nibabel, gzip and zlib have no common class
        packed = not path.name.lower().endswith(".gz") and first_bytes(path)[:2] == b"\x1f\x8b"
        reason = ValueError("it is compressed by gzip: name it .nii.gz") if packed else error
        raise _unreadable(path, reason) from None
    return image


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _written_zooms(image: Any) -> tuple[float, ...]:
    """Return the voxel size as the file has it; nibabel makes 1 mm of a size of 0."""
    with image.file_map["image"].get_prepare_fileobj("rb") as stream:
        return tuple(image.header_class.from_fileobj(stream, check=False).get_zooms())


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"cannot read the volume {str(path)!r} ({reason})")
