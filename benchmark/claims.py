"""Who trains a cell: one process at a time, over all sweeps, machines and jobs on one runs folder.

A claim is a file in the cell's folder, made whole or not at all and touched while the cell trains.
It needs nothing but a shared file system: no server, no lock daemon. A claim whose owner is dead
(on this host, or a Slurm job that was started again) or silent for `STALE_S` may be taken over.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

CLAIM = "claim.json"
BEAT_S, STALE_S = 10.0, 180.0


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
    """The right to train one cell; `beat` keeps it."""

    folder: Path
    place: str = field(default_factory=_place)
    pid: int = field(default_factory=os.getpid)
    job: str = field(default_factory=_job)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    beaten: float = 0.0

    @property
    def path(self) -> Path:
        """Return the file of the claim."""
        return self.folder / CLAIM

    def beat(self, step: int, steps: int) -> None:
        """Tell the others, at most every `BEAT_S`, that the cell is alive and how far it is."""
        if time.monotonic() - self.beaten < BEAT_S:
            return
        self.beaten = time.monotonic()
        with suppress(OSError):  # a full disk must not end the training
            self._write(self.path.with_suffix(f".{self.token}"), step, steps).replace(self.path)

    def _write(self, path: Path, step: int, steps: int) -> Path:
        told = {k: v for k, v in asdict(self).items() if k not in ("folder", "beaten")}
        path.write_text(json.dumps({**told, "step": step, "steps": steps}))
        return path


def take(folder: Path) -> Claim | None:
    """Return a claim on the cell, or None while somebody else trains it."""
    claim = Claim(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if _create(claim):
        return claim
    other = read(folder)
    if other is None or is_alive(other, claim):
        return None
    return claim if _remove(folder, str(other["token"])) and _create(claim) else None


def _create(claim: Claim) -> bool:
    # linked whole into place: nobody ever reads half a claim
    temporary = claim._write(claim.folder / f".claim-{claim.token}", 0, 0)
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


def read(folder: Path) -> dict[str, object] | None:
    """Return what stands in the claim of a cell, with `age_s`; None where there is no claim."""
    try:
        values = json.loads((folder / CLAIM).read_text())
        return {**values, "age_s": time.time() - (folder / CLAIM).stat().st_mtime}
    except (OSError, ValueError):
        return None


def is_alive(other: dict[str, object], me: Claim | None = None) -> bool:
    """Return whether the owner of a claim may still be training."""
    me = me or Claim(Path())
    if other["place"] == me.place:
        return _runs(int(str(other["pid"])))
    restarted = me.job != "" and other["job"] == me.job
    return not restarted and float(str(other["age_s"])) < STALE_S


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
    """Hold a claim during a block; None where somebody else has it."""
    claim = take(folder)
    try:
        yield claim
    finally:
        if claim is not None:
            _remove(folder, claim.token)
