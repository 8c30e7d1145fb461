"""Files: names, folders outside a run, and writing whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import tomllib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmark.core.registry import InputError

if TYPE_CHECKING:
    import numpy as np

# The files of a cell's folder.
CELL = "cell.json"
RECORD = "record.json"
ERROR = "error.txt"
UNSUPPORTED = "unsupported.txt"
CHECKPOINT = "checkpoint.pt"
PREDICTIONS = "predictions.npz"
AGAIN = "delete its folder to train the cell again"  # what helps where a file of a cell is damaged
DELTA = "delta.safetensors"
PEEK = "peek.json"  # scores of unselected checkpoints; no table reads it
RESCORED = "rescored.json"  # scores computed later from the predictions
CLAIM = "claim.json"
ENDS = "deaths.json"  # how earlier attempts ended without a result
ERROR_BEFORE = "error-before.txt"  # of an attempt whose cell is queued again
EXTERNAL = "external"  # a folder: scores on sets that were not trained on

MADE = "made.json"  # in a folder that the user named: what this program wrote there, with SHA-256
PART = ".part"  # the end of what is not whole yet: a process that is killed leaves it
_RESERVE = 6  # open files: `shutil.rmtree` takes two, and one more for each level below
NO_ROOM = 2**20  # bytes; a disk with less than that is full


def cache_folder() -> Path:
    """Return the folder of cached weights and digests: $BENCHMARK_CACHE, else the user's cache."""
    if folder := os.environ.get("BENCHMARK_CACHE"):
        return Path(folder)
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # in a container, a user without an entry in /etc/passwd
        raise InputError(
            "there is no home directory to cache in; set BENCHMARK_CACHE to a folder"
        ) from None
    return Path(home) / "peft-medical-benchmark"


def data_root() -> Path:
    """Return the folder that holds one folder per named data set: $BENCHMARK_DATA, else `data`."""
    return Path(os.environ.get("BENCHMARK_DATA") or "data")


def digest(content: str | bytes, digits: int = 16) -> str:
    """Return the first hex digits of the SHA-256 of `content`: 16 tell 10^8 things apart."""
    # a path that is not UTF-8 comes from the system with its bytes escaped
    data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:digits]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, which may be larger than memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _beside(path: Path) -> Path:
    """Return a name in the folder of `path` that no other process takes."""
    return path.with_name(f".{path.name[:80]}-{uuid.uuid4().hex[:16]}{PART}")


def _disk_error(error: Exception, path: Path) -> OSError | None:
    """Return the error of the disk that a library has told in its own way; None for other errors.

    torch, safetensors and matplotlib have errors of their own for a disk that is full.
    """
    if told := re.search(r"\(os error (\d+)\)", str(error)):  # as Rust writes it
        return OSError(int(told[1]), os.strerror(int(told[1])))
    while not path.exists():
        path = path.parent
    if shutil.disk_usage(path).free < NO_ROOM:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def _unwritable(path: Path, reason: object) -> InputError:
    # a folder of our own that is not whole yet is gone by the time this is read
    folder = next(folder for folder in path.parents if not folder.name.endswith(PART))
    remedy = "make room there, or choose another folder"
    if reason == os.strerror(errno.EMFILE):
        remedy = "raise the limit of this shell (`ulimit -n`)"
    return InputError(f"cannot write in {str(folder)!r}: {path.name} ({reason}); {remedy}")


@contextlib.contextmanager
def _writes(path: Path) -> Iterator[None]:
    """Say in one sentence what keeps the block from writing `path`, whoever raises it."""
    try:
        yield
    except FileExistsError:  # from `mkdir`: a file is where a folder should be
        raise _unwritable(path, os.strerror(errno.ENOTDIR)) from None
    except OSError as error:
        raise _unwritable(path, error.strerror or error) from None
    except InputError:
        raise
    except Exception as error:
        if (reason := _disk_error(error, path)) is None:
            raise
        raise _unwritable(path, reason.strerror) from None


@contextlib.contextmanager
def _removed(folder: Path) -> Iterator[None]:
    """Remove `folder` in the end, even where the process has no descriptor left to look into it."""
    with contextlib.ExitStack() as reserve:
        for _ in range(_RESERVE):
            reserve.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        try:
            yield
        finally:
            reserve.close()
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a new, empty file beside `path`, which takes its place when the block ends well.

    So `path` is there whole or not at all, after a crash of the machine, too. The file has the
    rights of any new file (`tempfile` would make it its owner's alone: runs folders and caches are
    shared by groups), and is on the file system of `path`, where a rename is atomic.

    Raises:
        InputError: where nothing can be written, or the disk is full.
    """
    temporary = _beside(path)
    try:
        with _writes(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
            rights = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            temporary.chmod(rights)  # safetensors puts a file of its own there
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # gone already where all went well


def check_writable(path: Path) -> None:
    """Raise InputError where `written` could not write `path`: said before the work it is for."""
    if path.exists() and not path.is_file():
        raise _unwritable(path, os.strerror(errno.EISDIR) if path.is_dir() else "it is no file")
    temporary = _beside(path)
    with _writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        temporary.unlink()


@contextlib.contextmanager
def written_folder(
    path: Path, is_good: Callable[[Path], bool] = lambda path: False
) -> Iterator[Path]:
    """Yield a new folder beside `path`, which takes its place when the block ends well.

    A folder that is there by then, from another process, stays if `is_good`; else it is replaced.

    Raises:
        OSError: where nothing can be written, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    with _removed(temporary):
        temporary.mkdir()
        yield temporary
        if path.exists() and not is_good(path):
            shutil.rmtree(path, ignore_errors=True)
        try:
            temporary.rename(path)
        except OSError:
            if not is_good(path):
                raise


@contextlib.contextmanager
def filled(folder: Path, names: Iterable[str] = (), *, replaces: bool = False) -> Iterator[Path]:
    """Yield a new folder whose files are moved into `folder` when the block ends well.

    For folders that the user names: a failure leaves them as they were, and a file there is
    replaced only if this program wrote it and nobody changed it since (`MADE` knows). `names` are
    looked at first, so that nobody waits for what cannot be written. With `replaces` everything is
    the program's own.

    Raises:
        InputError: such a file is there, or nothing can be written.
    """
    if not replaces:
        _refuse_foreign(folder, names)
    is_new = not folder.exists()
    # inside, because beside it may be another file system, or a folder without the right to write
    temporary = _beside(folder / "filled")
    try:
        with _writes(folder), _removed(temporary):
            temporary.mkdir(parents=True)
            yield temporary
            found = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
            made = {str(path.relative_to(temporary)): sha256_of(path) for path in found}
            if not replaces:
                _refuse_foreign(folder, made)
            # its room is taken before anything is replaced: without it files would count as foreign
            write_json(temporary / MADE, _made(folder) | made)
            for name in (*made, MADE):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).replace(folder / name)
            is_new = False
    finally:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)


def _refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    made = _made(folder)
    for name in names:
        path = folder / name
        if path.is_dir() or (path.exists() and made.get(name) != sha256_of(path)):
            raise InputError(
                f"{str(path)!r} exists, and is not what this program wrote there; move it away, or "
                "name another folder"
            )


def _made(folder: Path) -> dict[str, str]:
    try:
        return {str(name): str(total) for name, total in read_json(folder / MADE, "").items()}
    except (InputError, AttributeError):
        return {}  # then every file there is the user's


def refuse_inside(folder: Path, inputs: Iterable[Path], flag: str = "--out") -> None:
    """Raise InputError where one of the `inputs` lies in `folder`, which is to be written into."""
    for path in inputs:
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"the input {str(path)!r} lies in {flag} {str(folder)!r}; name another folder"
            )


def write_text(path: Path, text: str) -> None:
    """Write `path` whole or not at all.

    Raises:
        InputError: where it cannot be written, or holds a name of a file that is not UTF-8.
    """
    try:
        content = text.encode()  # whatever the encoding of the terminal is
    except UnicodeEncodeError as error:
        name = text[max(0, error.start - 40) : error.end + 20]
        raise InputError(
            f"cannot write {str(path)!r}: {name!r} is not UTF-8; rename that file"
        ) from None
    with written(path) as temporary:
        temporary.write_bytes(content)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write a compressed npz file whole or not at all.

    Raises:
        InputError: where it cannot be written.
    """
    import numpy as np  # not for those who only read names

    with written(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as JSON, atomically; NaN is refused because it is not JSON."""
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: it cannot be read, or is no file: a pipe would wait for a writer for ever.
    """
    # `open` itself waits at a pipe, so it is opened first and looked at then
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return stream.read()


@contextlib.contextmanager
def open_arrays(path: Path, remedy: str) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield the arrays of an npz file by name, each read when it is asked for; no pickle is.

    Raises:
        InputError: for a file that is not whole, and for what the block cannot do with its arrays,
            because one is missing or of another shape; it ends with `remedy`.
    """
    import zipfile
    import zlib

    import numpy as np

    # errors of numpy and the zip format; a header may claim more memory than there is
    damaged = (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, MemoryError)
    try:
        if not path.is_file():  # a pipe would wait for a writer for ever
            raise OSError("it is no file")
        with np.load(path, allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            yield stored
    except InputError:
        raise
    except (*damaged, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is not whole ({reason}); {remedy}") from None


def read_json(path: Path, remedy: str) -> Any:
    """Return the JSON in `path`: no NaN, no numbers out of range, UTF-8.

    Raises:
        InputError: for a file that cannot be read or is not JSON; it ends with `remedy`.
    """
    try:
        return orjson.loads(read_bytes(path))  # 0.06 ms a record where json takes 0.28
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} is not a whole JSON file ({reason}); {remedy}") from None


def text_stream(path: Path) -> io.StringIO:
    """Return the text of a file for `csv`, which wants the ends of lines as they are.

    Raises:
        OSError: it cannot be read, or is no file.
        UnicodeDecodeError: it is not UTF-8.
    """
    return io.StringIO(read_bytes(path).decode("utf-8-sig"), newline="")


def _read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")  # as Windows' Notepad writes
    except UnicodeDecodeError:
        raise InputError(f"{str(path)!r} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r} ({error.strerror})") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        InputError: for a file that cannot be read, or is not UTF-8.
    """
    return _read_text(path).splitlines()


def read_toml(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file.

    Raises:
        InputError: for a file that cannot be read, or is not TOML in UTF-8.
    """
    text = _read_text(path)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not TOML ({error}); correct it") from None
