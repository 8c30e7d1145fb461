"""Who trains a cell: one process at a time, over all sweeps, machines and jobs on one runs folder.

A claim is a file in the cell's folder, made whole or not at all and touched while the cell trains.
It needs nothing but a shared file system: no server, no lock daemon. A claim whose owner is dead
(on this host, or an earlier run of this Slurm job) or silent for `STALE_S` may be taken over. An
owner that comes back, such as a node that was cut off, notices that and stops.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

import orjson

from benchmark.core.files import CLAIM, read_bytes
from benchmark.core.registry import InputError

BEAT_S, STALE_S = 10.0, 180.0


def job_id() -> str:
    """Return the id of the Slurm job that this process belongs to, "" outside of Slurm."""
    return os.environ.get("SLURM_JOB_ID", "")


def _restarts() -> int:
    """Return how often Slurm has requeued this job."""
    text = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(text) if text.isdecimal() else 0


def _place() -> str:
    """Return where a process number means something: a host, since its boot, in its container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@dataclass(frozen=True)
class Owner:
    """What the claim of a cell says: who trains it, since when it was silent, and how far it is.

    `age_s` is the age of the file, which a thread of the owner renews every `BEAT_S`; `quiet_s` is
    the time since the last training step, which a hanging owner cannot renew. A claim that cannot
    be read has no `token`, no owner, and only an age. `stamp` is the identity of this version of
    the file.
    """

    place: str = ""
    pid: int = 0
    job: str = ""
    restarts: int = 0
    token: str = ""
    step: int = 0
    steps: int = 0
    quiet_s: float = 0.0
    age_s: float = 0.0
    stamp: tuple[int, int] = (0, 0)

    @property
    def host(self) -> str:
        """Return the name of the host; "an unknown host" where the claim cannot be read."""
        return self.place.partition(" ")[0] or "an unknown host"

    def describe(self) -> str:
        """Return "step 30 of 100 on n1, last step 12 s ago"."""
        if not self.token:
            return "an unreadable claim, which is not obeyed after 3 minutes"
        ago = f"{self.quiet_s:.0f} s" if self.quiet_s < 120 else f"{self.quiet_s / 60:.0f} min"
        what = "last step" if self.step else "began"
        return f"step {self.step} of {self.steps} on {self.host}, {what} {ago} ago"

    def is_alive(self, me: Claim | None = None) -> bool:
        """Return whether the owner may still be training the cell."""
        me = me or Claim(Path())
        # The clock that wrote the file may have been wrong: a live owner renews its claim with the
        # clock of today within seconds, so a time far in the future is no better than an old one.
        if abs(self.age_s) >= STALE_S:
            return False  # also where its process number lives on as another process
        if not self.token:
            return True
        if self.place == me.place:
            return _runs(self.pid)
        # Slurm ends every process of a job before it starts the job again. The number of the task
        # or step would not do: two hosts of one allocation may both run a task 0.
        return not (me.job and self.job == me.job and self.restarts < me.restarts)


WRITTEN = ("place", "pid", "job", "restarts", "token", "step", "steps")
_TYPES = {f.name: type(f.default) for f in fields(Owner)}


@dataclass
class Claim:
    """The right to train one cell, kept by `renew`.

    `now` is the time on the file system's own clock when the claim was made.
    """

    folder: Path
    place: str = field(default_factory=_place)
    pid: int = field(default_factory=os.getpid)
    job: str = field(default_factory=job_id)
    restarts: int = field(default_factory=_restarts)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    step: int = 0
    steps: int = 0
    now: float = 0.0
    lost: bool = False
    progressed: float = field(default_factory=time.monotonic, repr=False)
    _renewed: float = field(default=0.0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def path(self) -> Path:
        """Return the file of the claim."""
        return self.folder / CLAIM

    def beat(self, step: int, steps: int) -> bool:
        """Tell the others how far the cell is; false where somebody took the claim over."""
        self.step, self.steps, self.progressed = step, steps, time.monotonic()
        if time.monotonic() - self._renewed >= BEAT_S:
            self.renew()
        return not self.lost

    def renew(self) -> None:
        """Write the claim again, or note that it is lost."""
        with self._lock:
            if self.lost:
                return
            self._renewed = time.monotonic()
            owner = read(self.folder)
            # one that cannot be read is ours, damaged: writing it again mends it
            self.lost = owner is not None and owner.token not in ("", self.token)
            if self.lost:
                return
            temporary = self.path.with_suffix(f".{self.token}")
            try:
                self._write(temporary).replace(self.path)
            except OSError:  # a full disk must not end the training, nor make it look dead
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                    os.utime(self.path)

    def _write(self, path: Path) -> Path:
        values = {name: getattr(self, name) for name in WRITTEN}
        values["quiet_s"] = round(time.monotonic() - self.progressed, 1)
        path.write_text(json.dumps(values))
        return path


def take(folder: Path) -> Claim | None:
    """Return a claim on the cell, or None while somebody else trains it.

    Raises:
        InputError: nothing can be written there: no right to, a full or read-only disk.
    """
    claim = Claim(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _create(claim):
            return claim
        owner = read(folder, claim.now)
        if owner is None:  # given back in between
            return claim if _create(claim) else None
        if owner.is_alive(claim):
            return None
        with _heir(claim, owner) as own:
            if own is None:
                return None
            if claim.path.is_dir():  # nobody's claim, and no file can replace it
                claim.path.rename(folder / f".claim-stale-{claim.token}")
            own.replace(claim.path)
        return claim
    except OSError as error:
        raise InputError(
            f"cannot write in {str(folder)!r} ({error.strerror}); choose another --runs"
        ) from error


def _create(claim: Claim) -> bool:
    # linked whole into place: nobody ever reads half a claim
    temporary = claim.folder / f".claim-{claim.token}"
    # the time of this file is that of the file server, which is the clock that judges other claims
    try:
        claim._write(temporary)
        claim.now = temporary.stat().st_mtime
        os.link(temporary, claim.path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)  # also the empty one that a full disk leaves
    return True


@contextmanager
def _heir(claim: Claim, dead: Owner) -> Iterator[Path | None]:
    """Yield `claim` as a file while it alone may end the one that `dead` was read from, else None.

    The first to link its claim to a name made of the dead version is the heir, so the dead claim
    lies there until its heir replaces it: a moment without any would let a third process in. An
    heir that dies before it does so leaves a dead version of its own, which has an heir in turn.
    """
    own = claim.folder / f".claim-{claim.token}"
    links = []
    version = dead.stamp
    try:
        claim._write(own)
        while True:
            links.append(claim.folder / ".claim-after-{}-{}".format(*version))
            with suppress(FileExistsError):
                os.link(own, links[-1])
                break
            heir = _read_file(links[-1], claim.now)
            if heir is None or heir.is_alive(claim):
                links = []  # they are another's
                yield None
                return
            version = heir.stamp
        # Whoever was slow to judge may hold a link to what an earlier heir has replaced.
        yield own if _stamp(claim.path) == dead.stamp else None
    finally:
        for path in [own, *links]:
            path.unlink(missing_ok=True)


def drop(folder: Path, dead: Owner) -> None:
    """Take away the claim that `dead` was read from, unless it has changed since."""
    with _heir(Claim(folder), dead) as own:
        if own is not None:
            (folder / CLAIM).unlink()


def release(claim: Claim) -> None:
    """Give the claim back, unless somebody has taken it over."""
    with claim._lock:
        claim.lost = True
        owner = read(claim.folder)
        if owner is not None and owner.token == claim.token:
            claim.path.unlink(missing_ok=True)  # not `drop`, which a full disk would stop


def read(folder: Path, now: float = 0.0) -> Owner | None:
    """Return what the claim of a cell says at the time `now`; None where there is no claim.

    A claim that is empty, cut off or of another form (a power cut, a full disk) is an `Owner`
    without a token: it ages like any other, by the time of its file.
    """
    return _read_file(folder / CLAIM, now)


def _read_file(path: Path, now: float) -> Owner | None:
    # Age and stamp are of one look: where the claim is replaced while it is read, the age of the
    # old one must not condemn the new one.
    stamp = _stamp(path)
    if stamp is None:
        return None
    age_s = (now or time.time()) - stamp[1] / 1e9
    try:
        values = orjson.loads(read_bytes(path))
        known = {name: values[name] for name in WRITTEN if name in values}
        if not all(type(value) is _TYPES[name] for name, value in known.items()):
            raise TypeError(path)
        if not known["token"] or not 0 <= known["pid"] < 2**31:
            raise ValueError(path)
        quiet_s = float(values.get("quiet_s", 0.0)) + max(age_s, 0.0)
        return Owner(**known, quiet_s=quiet_s, age_s=age_s, stamp=stamp)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Owner(age_s=age_s, stamp=stamp)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return the identity of this version of a file, with its time in ns; None where none is."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):  # a zombie still has its number, but trains nothing
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


@contextmanager
def claimed(folder: Path) -> Iterator[Claim | None]:
    """Hold a claim during a block, however long it says nothing; None where somebody has it."""
    claim = take(folder)
    if claim is None:
        yield None
        return
    ended = threading.Event()

    def keep() -> None:
        # a thread of its own: an evaluation or a first look at the images takes longer than STALE_S
        while not ended.wait(BEAT_S):
            claim.renew()

    threading.Thread(target=keep, daemon=True).start()
    try:
        yield claim
    finally:
        ended.set()
        release(claim)
