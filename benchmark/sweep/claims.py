"""Who trains a cell: one process at a time, over all sweeps, machines and jobs on one runs folder.

A claim is a file in the cell's folder, made whole or not at all and touched while the cell trains.
It needs nothing but a shared file system: no server, no lock daemon. A claim whose owner is dead
(on this host, or a Slurm job that was started again) or silent for `STALE_S` may be taken over. An
owner that comes back, such as a node that was cut off, finds that out and stops.
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
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.core.registry import InputError

CLAIM = "claim.json"
BEAT_S, STALE_S = 10.0, 180.0
TOLD = ("place", "pid", "job", "token", "step", "steps")


def _job() -> str:
    """Return what a restarted Slurm task shares with its first run, and with nothing else."""
    job = os.environ.get("SLURM_JOB_ID", "")
    return f"{job}.{os.environ.get('SLURM_PROCID', '0')}" if job else ""


def _place() -> str:
    """Return where a process number means something: a host, since its boot, in its container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@dataclass
class Claim:
    """The right to train one cell, kept by `renew`.

    `now` is the time on the file system's own clock when the claim was made.
    """

    folder: Path
    place: str = field(default_factory=_place)
    pid: int = field(default_factory=os.getpid)
    job: str = field(default_factory=_job)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    step: int = 0
    steps: int = 0
    now: float = 0.0
    lost: bool = False
    _renewed: float = field(default=0.0, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def path(self) -> Path:
        """Return the file of the claim."""
        return self.folder / CLAIM

    def beat(self, step: int, steps: int) -> bool:
        """Tell the others how far the cell is; false where somebody took the claim over."""
        self.step, self.steps = step, steps
        if time.monotonic() - self._renewed >= BEAT_S:
            self.renew()
        return not self.lost

    def renew(self) -> None:
        """Write the claim again, or note that it is lost."""
        with self._lock:
            if self.lost:
                return
            self._renewed = time.monotonic()
            found = read(self.folder)
            self.lost = found is not None and found["token"] != self.token
            if self.lost:
                return
            try:
                self._write(self.path.with_suffix(f".{self.token}")).replace(self.path)
            except OSError:  # a full disk must not end the training, nor make it look dead
                with suppress(OSError):
                    os.utime(self.path)

    def _write(self, path: Path) -> Path:
        told = {name: getattr(self, name) for name in TOLD}
        path.write_text(json.dumps(told))
        return path


def take(folder: Path) -> Claim | None:
    """Return a claim on the cell, or None while somebody else trains it."""
    claim = Claim(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write in {str(folder)!r} ({error.strerror}); choose another --runs"
        ) from None
    if _create(claim):
        return claim
    other = read(folder, claim.now)
    if other is None or is_alive(other, claim):
        return None
    return claim if _remove(folder, str(other["token"])) and _create(claim) else None


def _create(claim: Claim) -> bool:
    # linked whole into place: nobody ever reads half a claim
    temporary = claim._write(claim.folder / f".claim-{claim.token}")
    claim.now = temporary.stat().st_mtime
    try:
        os.link(temporary, claim.path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _remove(folder: Path, token: str) -> bool:
    """Take away the claim with this token; false where another one stands there by now."""
    aside = folder / f".claim-stale-{uuid.uuid4().hex}"
    try:
        (folder / CLAIM).rename(aside)
    except FileNotFoundError:
        return True
    ours = json.loads(aside.read_text())["token"] == token
    if not ours:
        with suppress(FileExistsError):
            os.link(aside, folder / CLAIM)  # somebody was faster: give it back
    aside.unlink()
    return ours


def read(folder: Path, now: float = 0.0) -> dict[str, object] | None:
    """Return what stands in the claim of a cell, with `age_s`; None where there is no claim."""
    try:
        values = json.loads((folder / CLAIM).read_text())
        return {**values, "age_s": (now or time.time()) - (folder / CLAIM).stat().st_mtime}
    except (OSError, ValueError):
        return None


def is_alive(other: dict[str, object], me: Claim | None = None) -> bool:
    """Return whether the owner of a claim may still be training."""
    me = me or Claim(Path())
    if float(str(other["age_s"])) >= STALE_S:
        return False  # also where its process number lives on as another process
    if other["place"] == me.place:
        return _runs(int(str(other["pid"])))
    return me.job == "" or other["job"] != me.job


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "Z"


def _state(pid: int) -> str:
    """Return the state letter of a process where /proc tells it: a zombie trains nothing."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


@contextmanager
def claimed(folder: Path) -> Iterator[Claim | None]:
    """Hold a claim during a block, however long it says nothing; None where somebody has it."""
    claim = take(folder)
    if claim is None:
        yield None
        return
    ended = threading.Event()
    threading.Thread(target=_keep, args=(claim, ended), daemon=True).start()
    try:
        yield claim
    finally:
        ended.set()
        with claim._lock:
            claim.lost = True
            _remove(folder, claim.token)


def _keep(claim: Claim, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        claim.renew()
