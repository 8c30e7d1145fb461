"""Downloaded archives, unpacked where their data set is looked for; nothing leaves the folder."""

from __future__ import annotations

import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from benchmark.core.registry import InputError

Archive = zipfile.ZipFile | tarfile.TarFile
T = TypeVar("T")
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Member:
    """One entry of an archive; `plain` is whether it is a file or folder, and no link or device."""

    name: str
    size: int
    plain: bool


def unpack(folder: Path) -> list[Path]:
    """Unpack the archives that lie in `folder` and are not unpacked yet, and return them.

    An archive of bare files is unpacked into a folder of its name, any other as it is.

    Raises:
        InputError: a damaged archive, a member that would leave the folder or is a link, or too
            little room on the disk. Nothing of that archive is left behind.
    """
    found = sorted(p for p in folder.glob("*") if p.name.lower().endswith(SUFFIXES) and p.is_file())
    return [path for path in found if _unpack(path)]


def _unpack(path: Path) -> bool:
    """Unpack one archive whole or not at all; return whether there was anything to do."""
    members = _members(path)
    target = path.parent
    if all("/" not in member.name.strip("/") for member in members):
        target /= path.name[: path.name.lower().rindex(_suffix(path))]
    tops = sorted({PurePosixPath(member.name).parts[0] for member in members})
    if all((target / top).exists() for top in tops):
        return False
    _check_room(path, sum(member.size for member in members))
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=".unpack-"))
    try:
        _read(path, lambda archive: _extract(archive, temporary))
        target.mkdir(exist_ok=True)
        for top in tops:
            if not (target / top).exists():
                (temporary / top).rename(target / top)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _suffix(path: Path) -> str:
    return next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))


def _extract(archive: Archive, folder: Path) -> None:
    if isinstance(archive, tarfile.TarFile):
        archive.extractall(folder, filter="data")
    else:
        archive.extractall(folder)


def _members(path: Path) -> Sequence[Member]:
    """Return the members of an archive, each of them harmless."""
    members: list[Member] = _read(path, _listed)
    if not members:
        raise InputError(f"the archive {str(path)!r} is empty; get it again")
    for member in members:
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
    return [
        Member(m.filename, m.file_size, stat.S_IFMT(m.external_attr >> 16) in kinds)
        for m in archive.infolist()
    ]


def _read(path: Path, use: Callable[[Archive], T]) -> T:
    """Return what `use` makes of the opened archive; a damaged one raises InputError."""
    opener = zipfile.ZipFile if path.suffix.lower() == ".zip" else tarfile.open
    try:
        with opener(path) as archive:
            return use(archive)
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, RuntimeError) as error:
        raise InputError(f"cannot unpack {str(path)!r} ({error}); get it again") from None


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"{str(path)!r} takes {needed / 2**30:.1f} GiB unpacked and {free / 2**30:.1f} GiB are "
            "free; make room, or put the data set on another disk (--root)"
        )
