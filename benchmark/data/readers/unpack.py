"""Downloaded archives, unpacked where their data set is looked for; nothing leaves the folder."""

from __future__ import annotations

import bisect
import gzip
import io
import itertools
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from benchmark.core.files import written
from benchmark.core.registry import InputError

Archive = zipfile.ZipFile | tarfile.TarFile
T = TypeVar("T")
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
PARTS = re.compile(r"(.*)\.(\d{3})")  # `x.zip.001`, `x.zip.002`: one archive cut into pieces
RATIO = 200  # times larger than its .gz: more is no image data
HARMLESS = 1 << 30  # bytes that any .gz may grow to: tables of labels shrink a thousandfold


@dataclass(frozen=True)
class Member:
    """One entry of an archive; `plain` is whether it is a file or folder, and no link or device."""

    name: str
    size: int
    plain: bool


class Joined(io.RawIOBase):
    """The pieces of a split archive, read as one file; nothing is written together first."""

    def __init__(self, pieces: Sequence[Path]) -> None:
        super().__init__()
        self._streams = [path.open("rb") for path in pieces]
        self._ends = list(itertools.accumulate(path.stat().st_size for path in pieces))
        self._place = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True: an archive is read from its end."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place among all pieces and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._ends[-1]}[whence]
        if start + offset < 0:
            raise OSError("a place before the first piece")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read from the piece at the place, up to its end, and return the number of bytes."""
        number = bisect.bisect_right(self._ends, self._place)
        if number == len(self._ends):
            return 0
        stream = self._streams[number]
        stream.seek(self._place - (self._ends[number - 1] if number else 0))
        count = stream.readinto(buffer)
        self._place += count
        return count

    def close(self) -> None:
        """Close every piece."""
        for stream in self._streams:
            stream.close()
        super().close()


def unpack(folder: Path) -> list[Path]:
    """Unpack the archives in `folder` that are not unpacked yet, and return them.

    An archive of bare files is unpacked into a folder of its name, any other as it is; `x.h5.gz`
    becomes `x.h5`; `x.zip.001`, `x.zip.002`, ... are read as one, and returned as their first.

    Raises:
        InputError: a damaged archive, a member that would leave the folder or is a link, a missing
            piece, a file that grows beyond reason, or too little room on the disk. Nothing of that
            archive is left behind.
    """
    done = []
    # not below: archives inside a data set are part of it
    for path in sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith(".")):
        name = path.name.lower()
        piece = PARTS.fullmatch(path.name)
        if piece and int(piece[2]) == 1:
            changed = _unpack(path, piece[1], _pieces(path, piece[1]))
        elif name.endswith(SUFFIXES):
            changed = _unpack(path, path.name, [path])
        elif name.endswith(".gz") and not name.endswith(".nii.gz"):  # volumes are read as they are
            changed = _gunzip(path)
        else:
            continue
        if changed:
            done.append(path)
    return done


def _pieces(first: Path, name: str) -> list[Path]:
    """Return the pieces of a split archive in order; a gap raises InputError."""
    numbered = {
        int(piece[2]): path
        for path in first.parent.glob("*")
        if (piece := PARTS.fullmatch(path.name)) and piece[1] == name
    }
    missing = sorted(set(range(1, max(numbered) + 1)) - numbered.keys())
    if missing:
        raise InputError(f"{name}.{missing[0]:03d} is missing in {str(first.parent)!r}; get it")
    return [numbered[number] for number in sorted(numbered)]


def _gunzip(path: Path) -> bool:
    """Unpack one file whole or not at all; return whether there was anything to do."""
    target = path.with_suffix("")
    if target.exists():
        return False
    # the size that a .gz notes is cut to 32 bits, so the limit is watched while it grows
    limit = min(shutil.disk_usage(path.parent).free, max(HARMLESS, RATIO * path.stat().st_size))
    with written(target) as temporary:
        try:
            with gzip.open(path) as source, temporary.open("wb") as stream:
                size = 0
                while block := source.read(1 << 20):
                    size += len(block)
                    if size > limit:
                        raise InputError(
                            f"{str(path)!r} grows beyond {limit / 2**30:.2f} GiB; make room, put "
                            "the data set on another disk (--root), or get the original file"
                        )
                    stream.write(block)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"cannot unpack {str(path)!r} ({' '.join(str(error).split())[:200]}); get it again"
            ) from None
    return True


def _unpack(path: Path, name: str, pieces: Sequence[Path]) -> bool:
    """Unpack one archive whole or not at all; return whether there was anything to do."""
    suffix = next((s for s in SUFFIXES if name.lower().endswith(s)), None)
    if suffix is None:
        raise InputError(f"the pieces of {name!r} are no archive that can be unpacked here")
    members = _members(path, suffix, pieces)
    target = path.parent
    if all("/" not in member.name.strip("/") for member in members):
        target /= name[: -len(suffix)]
    # unpacked before, whole: what is there is left as it is, even if it was changed since
    tops = sorted({PurePosixPath(member.name).parts[0] for member in members})
    if all((target / top).exists() for top in tops):
        return False
    needed, free = sum(member.size for member in members), shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"{str(path)!r} takes {needed / 2**30:.1f} GiB unpacked and {free / 2**30:.1f} GiB are "
            "free; make room, or put the data set on another disk (--root)"
        )
    # beside the archive, so that moving is a rename; a killed process leaves a hidden folder
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unpack-") as folder:

        def extract(archive: Archive) -> None:
            if isinstance(archive, tarfile.TarFile):
                archive.extractall(folder, filter="data")
            else:
                archive.extractall(folder)

        _read(path, suffix, pieces, extract)
        target.mkdir(exist_ok=True)
        for top in tops:
            if not (target / top).exists():
                (Path(folder) / top).rename(target / top)
    return True


def _members(path: Path, suffix: str, pieces: Sequence[Path]) -> Sequence[Member]:
    """Return the members of an archive, each of them harmless."""
    members: list[Member] = _read(path, suffix, pieces, _listed)
    if not members:
        raise InputError(f"the archive {str(path)!r} is empty; get it again")
    for member in members:
        # Windows tools write backslashes; "C:" would start at the root of a drive
        name = PurePosixPath(member.name.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0]:
            raise InputError(
                f"the archive {str(path)!r} holds {member.name!r}, which would leave its folder; "
                "it is refused, get the original"
            )
        if not member.plain:
            raise InputError(
                f"the archive {str(path)!r} holds the link or device {member.name!r}; it is "
                "refused, get the original"
            )
    return members


def _listed(archive: Archive) -> list[Member]:
    if isinstance(archive, tarfile.TarFile):
        return [Member(m.name, m.size, m.isreg() or m.isdir()) for m in archive.getmembers()]
    kinds = (0, stat.S_IFREG, stat.S_IFDIR)  # 0: written where files have no mode
    # a zip keeps the mode of Unix in the upper half of the attributes: links show there
    return [
        Member(m.filename, m.file_size, stat.S_IFMT(m.external_attr >> 16) in kinds)
        for m in archive.infolist()
    ]


def _read(path: Path, suffix: str, pieces: Sequence[Path], use: Callable[[Archive], T]) -> T:
    """Return what `use` makes of the opened archive; a damaged one raises InputError."""
    try:
        with io.BufferedReader(Joined(pieces), 1 << 20) as stream:
            # the endings, not the content: tarfile opens .gz and .xz by itself, zipfile does not
            if suffix == ".zip":
                with zipfile.ZipFile(stream) as archive:
                    return use(archive)
            with tarfile.open(fileobj=stream) as tar:
                return use(tar)
    except (
        *(OSError, EOFError, RuntimeError, NotImplementedError),
        *(zipfile.BadZipFile, tarfile.TarError, zlib.error),
    ) as error:
        raise InputError(
            f"cannot unpack {str(path)!r} ({' '.join(str(error).split())[:200]}); get it again"
        ) from None
