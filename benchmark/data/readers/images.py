"""Pictures into uint8 arrays: everything that a file says is done, or refused in one sentence.

Legend: (H, W) the size as it is shown, that is after the turn that EXIF asks for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from benchmark.core.registry import InputError
from benchmark.data.base import many
from benchmark.data.readers import dicom
from benchmark.data.readers.declared import PLAIN, Declaration
from benchmark.data.readers.scaling import to_uint8

# Pillow would try every plug-in that it has, and hand EPS to Ghostscript: a program that runs.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".webp",
        ".pgm",
        ".ppm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
    ]
)
_MAGIC = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"GIF8"),
    *(b"P4", b"P5", b"P6", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51"),
)
# raw modes of which Pillow keeps the high byte only, and of which the low one can be had
_DEEP = ("RGB;16", "RGBA;16")
# tags of EXIF and TIFF
_WIDTH, _HEIGHT = 256, 257
_ORIENTATION, _BITS, _SUBFILE, _PHOTOMETRIC, _FORMAT = 0x0112, 258, 254, 262, 339
_PLANAR, _EXTRA = 284, 338
_WHITE_IS_ZERO, _UNSIGNED, _BY_PLANES, _UNSPECIFIED = 0, 1, 2, 0


class Header(NamedTuple):
    """What the header of a picture says: its size as shown, and what is special about reading it.

    `note` is part of the fingerprint of a set: it is empty where reading is what it always was.
    """

    width: int
    height: int
    note: str = ""


def is_picture(path: Path) -> bool:
    """Return whether the first bytes of a file are those of a picture or a DICOM file."""
    start = dicom.first_bytes(path)
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return start.startswith(_MAGIC) or webp or dicom.starts_dicom(start)


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    """Turn what Pillow raises into one sentence: its plug-ins share no class of errors."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{str(path)!r} is no file; correct the manifest")
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no image {str(path)!r}; correct the manifest") from None
    except Image.DecompressionBombError:
        raise InputError(
            f"the image {str(path)!r} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} "
            "million pixels; cut whole slides into tiles, or store it smaller"
        ) from None
    except UnidentifiedImageError:
        start = dicom.first_bytes(path)
        if dicom.starts_dicom(start):  # images of that kind are read elsewhere
            raise InputError(
                f"the mask {str(path)!r} is DICOM; save its class numbers as PNG"
            ) from None
        reason = f"its first bytes are {start[:12]!r}" if start else "the file is empty"
        raise InputError(f"the image {str(path)!r} is no picture: {reason}") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read the image {str(path)!r} ({reason})") from None


@contextmanager
def _picture(path: Path) -> Iterator[Image.Image]:
    """Yield the opened picture, which is closed at the end of the block.

    It is opened as a stream: of a file by its name, Pillow 13.0 maps the pixels of a plain TIFF
    with width and height exchanged already, and one that is to be turned comes out scrambled.
    """
    with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
        yield image


def header(path: Path, declared: Declaration = PLAIN) -> Header:
    """Return the header of a picture or DICOM file; pixels are not decoded.

    Raises:
        InputError: a file that is no picture, or of several pages without a declaration.
    """
    if dicom.is_dicom(path):
        return Header(*dicom.header_of(path, declared))
    with _sentence(path), _picture(path) as image:
        _check_form(image, path, declared)
        # Pillow's own PNG reader would decode all pixels here to look behind them
        turn = Image.Image.getexif(image).get(_ORIENTATION, 1)
        if image.format == "PNG" and "exif" not in image.info:
            turn = _late_turn(path) or turn
        turned = turn in range(2, 9)
        # a TIFF gives its size turned already, which another version of Pillow may not do
        tags = getattr(image, "tag_v2", {})
        width, height = tags.get(_WIDTH, image.width), tags.get(_HEIGHT, image.height)
        width, height = (height, width) if turned and turn > 4 else (width, height)
        notes = [f"exif {turn}"] if turned else []
        notes += ["16-bit colour"] if _deep_mode(image) else []
        notes += ["white is 0"] if _is_white_zero(image) else []
        notes += ["32 bits unsigned"] if _is_unsigned(image) else []
        return Header(width, height, ", ".join(notes))


def _late_turn(path: Path) -> int:
    """Return the turn in an eXIf chunk behind the pixels of a PNG, 0 where there is none."""
    with path.open("rb") as stream:
        stream.seek(8)
        while len(start := stream.read(8)) == 8:
            length = int.from_bytes(start[:4], "big")
            if start[4:] == b"eXIf":
                exif = Image.Exif()
                exif.load(stream.read(length))
                return int(exif.get(_ORIENTATION, 0))
            stream.seek(length + 4, os.SEEK_CUR)
    return 0


def size_of(path: Path) -> tuple[int, int]:
    """Return (W, H) as shown, from the header alone."""
    found = header(path)
    return found.width, found.height


def _check_form(image: Image.Image, path: Path, declared: Declaration) -> None:
    """Refuse what would be lost in silence: low bytes of colours, further channels and pages.

    Several pages are taken where the others are previews, or where the user declares the first.
    """
    tiles: Any = getattr(image, "tile", ())  # of plug-ins only: a base class without it
    arguments = tiles[0][3] if tiles else ()
    deep = arguments == "LA;16B"  # grey and alpha in a PNG
    if image.format == "PPM" and isinstance(arguments, tuple):
        deep = image.mode == "RGB" and arguments[-1] > 255
    elif image.format == "JPEG2000":
        deep = image.mode != "I;16" and _bits_of_jpeg2000(path) > 8
    elif image.format == "TIFF":
        deep = image.mode in ("RGB", "RGBA", "CMYK") and _is_cut(image)
    if deep:
        raise InputError(
            f"the image {str(path)!r} has more than 8 bits per channel in a form of which the low "
            "ones would be lost; save it as PNG or TIFF without an alpha channel, the channels of "
            "a pixel side by side"
        )
    extra = getattr(image, "tag_v2", {}).get(_EXTRA, ())
    if _UNSPECIFIED in extra and declared.alpha != "drop":
        raise InputError(
            f"the image {str(path)!r} has {many(len(extra), 'channel')} beside its "
            f"{image.mode} ones; save it without, or declare "
            'alpha = "drop" in dataset.toml'
        )
    count = getattr(image, "n_frames", 1)
    # a camera's MPO holds the picture and previews of it
    if count == 1 or image.format == "MPO" or declared.pages == "first":
        return
    if image.format == "TIFF":
        subfiles = []
        for page in range(1, count):
            image.seek(page)
            subfiles.append(getattr(image, "tag_v2", {}).get(_SUBFILE, 0))
        image.seek(0)
        if all(kind & 1 for kind in subfiles):  # reduced copies of the first page
            return
    raise InputError(
        f"the image {str(path)!r} has {count} pages; save each as a file, or declare "
        'pages = "first" in dataset.toml'
    )


def _is_cut(image: Image.Image) -> bool:
    """Return whether of the colours of a TIFF only high bytes would be read, or a mixture."""
    tags: Any = getattr(image, "tag_v2", {})
    # with the planes one after the other, Pillow 13.0 takes 16 bits for two values of 8
    known = bool(_deep_mode(image)) and tags.get(_PLANAR) != _BY_PLANES
    return max(tags.get(_BITS, (8,))) > 8 and not known


def _bits_of_jpeg2000(path: Path) -> int:
    """Return the depth of the first component; 8 where the codestream does not start soon."""
    with path.open("rb") as stream:
        start = stream.read(1 << 16)
    # SOC and SIZ markers; Ssiz, 42 bytes on, is the depth less one (ISO 15444-1, A.5.1)
    place = start.find(b"\xff\x4f\xff\x51")
    return (start[place + 42] & 0x7F) + 1 if 0 <= place < len(start) - 42 else 8


def _is_white_zero(image: Image.Image) -> bool:
    """Return whether less is brighter in a TIFF: Pillow turns up to 8 bits round, not more."""
    tags = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC)
    return tags == _WHITE_IS_ZERO and image.mode.startswith(("I", "F"))


def _is_unsigned(image: Image.Image) -> bool:
    """Return whether a TIFF holds 32 unsigned bits, which Pillow gives as signed numbers."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_BITS) == (32,) and tags.get(_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED


def _deep_mode(image: Image.Image) -> str:
    """Return the raw mode of 16-bit colour ("RGB;16B"), of which Pillow drops the low byte."""
    for tile in getattr(image, "tile", ()):
        arguments = tile[3]
        raw = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
        if isinstance(raw, str) and raw[:-1] in _DEEP:
            return raw
    return ""


def _opened(path: Path, declared: Declaration) -> Image.Image:
    """Return the first page, decoded, turned as EXIF says."""
    with _picture(path) as image:
        _check_form(image, path, declared)
        if _deep_mode(image):
            raise InputError(
                f"the mask {str(path)!r} has 16-bit colours; save class numbers in one channel"
            )
        image.load()
        return ImageOps.exif_transpose(image)


def read_rgb(path: Path, declared: Declaration = PLAIN, at_least: int = 0) -> np.ndarray:
    """Return (H, W, 3) uint8.

    Images of more than 8 bits are scaled by their own 0.5 and 99.5 percentiles (of all colours
    together), DICOM by what its header asks for; grey ones are repeated over the channels.

    `at_least`: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as
    both sides keep twice this many pixels; other files, and 0, give all pixels.

    Raises:
        InputError: a file that cannot be read, or that says what nobody declared how to take:
            several pages, transparent pixels, values that are not finite.
    """
    if dicom.is_dicom(path):
        return dicom.read_rgb(path, declared)
    with _sentence(path), _picture(path) as image:
        _check_form(image, path, declared)
        # only JPEG: of its 8 x 8 blocks a scaled picture needs the low frequencies alone
        if at_least and image.format in ("JPEG", "MPO"):
            # libjpeg scales while it decodes: 3 to 4 times as fast for large photographs
            image.draft(None, (2 * at_least, 2 * at_least))
        if raw := _deep_mode(image):
            return _deep(path, image, raw, declared)
        image.load()
        shown = ImageOps.exif_transpose(image)
        if shown.mode.startswith(("I", "F")):
            values = np.asarray(shown)
            _check_hidden(values, image, path, declared)
            if _is_unsigned(image):
                values = values.view(np.uint32)
            if _is_white_zero(image):
                values = -values.astype(np.float64)
            if not np.isfinite(values).all():
                count = int((~np.isfinite(values)).sum())
                raise InputError(f"the image {str(path)!r} holds {count} values that are no number")
            return np.repeat(to_uint8(values)[..., None], 3, 2)
        return _without_alpha(shown, path, declared)


def _without_alpha(image: Image.Image, path: Path, declared: Declaration) -> np.ndarray:
    """Return (H, W, 3); transparent pixels need a declaration, because they hide something."""
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return np.asarray(image.convert("RGB"))
    # an alpha channel that hides nothing is common (screenshots, exports) and harmless
    whole = np.asarray(image.convert("RGBA"))
    if declared.alpha == "drop" or (whole[..., 3] == 255).all():
        return np.ascontiguousarray(whole[..., :3])
    if not declared.alpha:
        raise InputError(
            f"the image {str(path)!r} has transparent pixels; save it without an alpha channel, or "
            'declare alpha = "drop", "black" or "white" in dataset.toml'
        )
    share = whole[..., 3:] / 255
    behind = 255 * (declared.alpha == "white")
    return (whole[..., :3] * share + behind * (1 - share)).round().astype(np.uint8)


def _check_hidden(
    values: np.ndarray, image: Image.Image, path: Path, declared: Declaration
) -> None:
    """Refuse 16-bit pixels of the value that a PNG calls transparent (tRNS), unless declared."""
    key = image.info.get("transparency")
    if key is None or declared.alpha == "drop":
        return
    same = values == np.asarray(key)
    if (same if values.ndim == 2 else same.all(2)).any():
        raise _deep_and_transparent(path)


def _deep_and_transparent(path: Path) -> InputError:
    return InputError(
        f"the image {str(path)!r} has 16 bits and transparent pixels; save it without an alpha "
        'channel, or declare alpha = "drop" in dataset.toml'
    )


def _deep(path: Path, image: Image.Image, raw: str, declared: Declaration) -> np.ndarray:
    """Return 16-bit colour scaled to 8 bits as 16-bit grey is, by percentiles of all colours.

    Pillow has no mode for it, but decodes the same file as if its bytes had the other order: the
    first time it keeps the high byte of each value, the second time the low one.
    """
    orders = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    other = raw[:-1] + orders[raw[-1]]
    high = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
    with _picture(path) as again:
        opened: Any = again  # of a plug-in, which has tiles
        opened.tile = [
            tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))
            for tile in opened.tile
        ]
        low = np.asarray(ImageOps.exif_transpose(again)).astype(np.uint16)
    values = high << 8 | low
    _check_hidden(values, image, path, declared)
    if values.shape[2] == 4 and not ((values[..., 3] == 65535).all() or declared.alpha == "drop"):
        raise _deep_and_transparent(path)
    return to_uint8(values[..., :3])


def read_codes(path: Path, declared: Declaration = PLAIN) -> np.ndarray:
    """Return (H, W) of the numbers in a mask file as they are: integers, nothing cut or wrapped.

    Palette indices are kept; where the palette is black and white, the white pixels get the number.
    Colours become 0xRRGGBB where `declared` gives colours a meaning.

    Raises:
        InputError: values that are no whole numbers, or colours that nobody declared.
    """
    with _sentence(path):
        image = _opened(path, declared)
        if image.mode in ("1", "L"):
            return np.asarray(image).astype(np.uint8)
        if image.mode == "P" and not declared.colours:
            return _indices(image)
        if image.mode.startswith(("I", "F")):
            return whole_numbers(np.asarray(image), str(path))
        colours = np.asarray(image.convert("RGBA"))
    # what is transparent could be background or ignored: nobody says
    if (colours[..., 3] != 255).any():
        raise InputError(f"the mask {str(path)!r} has transparent pixels; save class numbers")
    if declared.colours:
        return colours[..., :3].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    if (colours[..., :3] != colours[..., :1]).any():
        raise InputError(
            f"the mask {str(path)!r} has colours; save one channel of class numbers, or declare "
            'them in dataset.toml as mask_values = {"#ff0000" = "lesion", ...}'
        )
    return np.ascontiguousarray(colours[..., 0])


def _indices(image: Image.Image) -> np.ndarray:
    """Return the palette indices; those of a palette from white to black are turned round."""
    indices = np.asarray(image)
    palette = palette_of(image)
    shown = [palette[i] for i in range(min(len(palette), 256))]
    white, black = (255, 255, 255), (0, 0, 0)
    if len(shown) > 1 and shown[0] == white and black in shown:
        last = shown.index(black)
        # by the palette and not by what one file shows of it: with a third colour, which another
        # file may hold, these are classes
        turned = set(shown) <= {white, black} or (
            last == 255 and all(len({*colour}) == 1 for colour in shown)
        )
        if turned and set(np.unique(indices).tolist()) <= {0, last}:
            return np.where(indices == last, 0, last).astype(np.uint8)
    return indices.astype(np.uint8)


def palette_of(image: Image.Image) -> list[tuple[int, int, int]]:
    """Return the colours of a palette in the order of their indices."""
    values = image.getpalette("RGB") or []
    return [(r, g, b) for r, g, b in zip(values[::3], values[1::3], values[2::3], strict=True)]


def read_mask(path: Path, declared: Declaration = PLAIN) -> np.ndarray:
    """Return (H, W) uint8 of class numbers as they are in the file (palette indices kept).

    Raises:
        InputError: as `read_codes`, and for numbers outside 0 to 255.
    """
    return as_bytes(read_codes(path, declared), str(path))


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Return `values` as integers; fractions and what is no number raise InputError."""
    if values.dtype.kind in "iub":
        return values
    if not np.isfinite(values).all():
        raise InputError(f"the mask {name!r} holds values that are no number; write 0 or 255 there")
    rounded = np.rint(values)  # tools store class numbers as float32, a little off
    if np.abs(values - rounded).max(initial=0) > 1e-3:
        raise InputError(f"the mask {name!r} holds fractions; resample it with nearest neighbours")
    return rounded.astype(np.int64)


def as_bytes(codes: np.ndarray, name: str) -> np.ndarray:
    """Return class numbers as uint8; a number outside 0 to 255 raises InputError: it would wrap."""
    for value in (codes.min(initial=0), codes.max(initial=0)):
        if not 0 <= value <= 255:  # -1 as uint8 is 255, which means "ignored"
            raise InputError(
                f"the mask {name!r} holds {value}; classes are 0 to 254 and 255 is ignored: save "
                "it so, or declare mask_values in dataset.toml"
            )
    return codes.astype(np.uint8)


def resize(image: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """Return `image` squashed to a square of this side (bicubic with antialiasing, or nearest)."""
    # masks by the nearest pixel: a mixture of two classes is no class
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((size, size), method))


def describe_palette(path: Path) -> Any:
    """Return the colours of a palette picture as a list, else None."""
    with _sentence(path), _picture(path) as image:
        return [list(colour) for colour in palette_of(image)] if image.mode == "P" else None


def is_lossy(path: Path) -> bool:
    """Return whether a picture is coded with loss: JPEG, or a lossy WebP or JPEG 2000."""
    with _sentence(path), _picture(path) as image:
        kind, packed = image.format, image.info.get("compression")
    if kind == "TIFF":
        return packed in ("jpeg", "tiff_jpeg", "webp")
    if kind not in ("WEBP", "JPEG2000"):
        return kind in ("JPEG", "MPO")
    with path.open("rb") as stream:
        start = stream.read(1 << 16)
    if kind == "WEBP":
        return b"VP8L" not in start  # the name of the part that holds pixels without loss
    # in the COD marker behind SIZ, the wavelet: 0 is the one that rounds (ISO 15444-1, A.6.1)
    place = start.find(b"\xff\x52", start.find(b"\xff\x4f\xff\x51"))
    return 0 <= place < len(start) - 13 and start[place + 13] == 0
