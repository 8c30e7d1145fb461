"""Writing whole or not at all: what a full disk, a killed writer or a closed folder leaves."""

import errno
import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.__main__ import main
from benchmark.core import files
from benchmark.core.files import (
    digest,
    filled,
    write_arrays,
    write_json,
    write_text,
    written,
    written_folder,
)
from benchmark.core.registry import InputError


def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def fail():
        with written(path) as temporary:
            temporary.write_text("half")
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"value": float("nan")})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_new_files_and_folders_have_the_rights_of_any_other(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "x")
        with written_folder(tmp_path / "folder") as folder:
            (folder / "inside").touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("write", [write_text, lambda p, t: write_json(p, {"a": t})])
def test_what_cannot_be_written_is_one_sentence(tmp_path, write):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot write in '.*file': a \(Not a directory\)"):
        write(tmp_path / "file" / "a", "x")
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match=r"cannot write in .*: there \(Is a directory\)"):
        write(tmp_path / "there", "x")
    with pytest.raises(InputError, match="File name too long"):
        write(tmp_path / ("n" * 300), "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "there"]


def test_what_cannot_be_written_is_told_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for place, told in {
        "": "Is a directory",
        "file/a": "Not a dir",
        "pipe": "it is no file",
    }.items():
        for command in (["bench"], ["audit", "--methods", "linear"]):
            # an audit takes a minute, and a bench more
            assert main([*command, "--json", str(tmp_path / place)]) == 2
            shown = capsys.readouterr()
            assert told in shown.err
            assert shown.out == ""
    files.check_writable(tmp_path / "new" / "a.json")
    files.check_writable(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"
    assert not list((tmp_path / "new").iterdir())


def test_a_full_disk_is_one_sentence_whoever_notices_it(tmp_path, monkeypatch):
    def full(*arguments, **arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "predictions.npz"
    with monkeypatch.context() as patched:
        patched.setattr(np, "savez_compressed", full)
        with pytest.raises(InputError, match="No space left on device"):
            write_arrays(path, a=np.ones(3))
    # torch and safetensors raise errors of their own
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match="No space left"), written(path):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")
    assert list(tmp_path.iterdir()) == []


class RustError(Exception):
    """An error that no OSError is, such as that of safetensors."""


def test_a_full_disk_under_a_folder_is_one_sentence_as_well(tmp_path):
    out = tmp_path / "out"

    def fill():
        with filled(out) as folder:
            (folder / "head.safetensors").write_text("x")
            raise RustError("I/O error: No space left on device (os error 28)")

    with pytest.raises(InputError, match=r"cannot write in .*: out \(No space left on device\)"):
        fill()
    assert not out.exists()
    with pytest.raises(RustError, match="another"), filled(out):
        raise RustError("another")


def test_a_process_without_a_descriptor_left_leaves_nothing(tmp_path):
    held, (soft, hard) = [], resource.getrlimit(resource.RLIMIT_NOFILE)

    def fill():
        with filled(tmp_path / "out") as folder:
            (folder / "panels").mkdir()
            (folder / "panels" / "a").write_text("x")
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        with pytest.raises(InputError, match=r"Too many open files\); raise the limit .*ulimit -n"):
            fill()
        left = held and not os.path.lexists(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)
    assert left
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_very_last_file_replaces_none(tmp_path, monkeypatch):
    def fill(text):
        with filled(tmp_path / "out") as folder:
            (folder / "a").write_text(text)

    def full(path, values):
        raise files._unwritable(path, os.strerror(errno.ENOSPC))

    fill("old")
    with monkeypatch.context() as patched:
        patched.setattr(files, "write_json", full)
        with pytest.raises(InputError, match=rf"cannot write in '{tmp_path}/out': made.json "):
            fill("new")
    assert (tmp_path / "out" / "a").read_text() == "old"
    fill("new")  # it is still known as our own
    assert (tmp_path / "out" / "a").read_text() == "new"


def test_names_that_are_not_utf_8_are_one_sentence(tmp_path, capsys):
    name = os.fsdecode(b"\xffx")
    for flags in (["--runs", f"{tmp_path}/{name}"], ["--config", f"{tmp_path}/{name}"]):
        assert main(["run", "--dry-run", *flags]) == 2
        assert "is not UTF-8; rename that file or folder" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"'a,.udcffx' is not UTF-8; rename that file"):
        write_text(tmp_path / "a.csv", f"a,{name}")
    assert not list(tmp_path.iterdir())
    assert digest(name) == digest(os.fsencode(name))


def test_a_terminal_that_knows_ascii_only_shows_any_name(tmp_path):
    slug = "\u2191/tiny_vit/linear/f100"
    write_json(tmp_path / "plans" / "a.json", {"slugs": [slug]})
    (tmp_path / slug).mkdir(parents=True)
    (tmp_path / slug / "error.txt").write_text("why")
    command = [sys.executable, "-m", "benchmark", "status", "--runs", str(tmp_path)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "\\u2191/tiny_vit/linear/f100: why" in done.stdout


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")
    code = (
        "import os, sys, pathlib\nfrom benchmark.core.files import written\n"
        "with written(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code, str(path)], env={"PYTHONPATH": str(root)})
    assert path.read_text() == "old"
    (part,) = set(tmp_path.iterdir()) - {path}
    assert part.name.startswith(".")
    assert part.name.endswith(files.PART)


def test_a_folder_of_another_process_stays_where_it_is_good(tmp_path):
    def other_is_faster(content):
        with written_folder(tmp_path / "cache", lambda p: (p / "good").exists()) as folder:
            (folder / "mine").touch()
            (tmp_path / "cache").mkdir()
            (tmp_path / "cache" / content).touch()

    other_is_faster("good")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["good"]
    (tmp_path / "cache" / "good").unlink()
    (tmp_path / "cache").rmdir()
    other_is_faster("bad")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["mine"]
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_no_home_directory_is_one_sentence(monkeypatch):
    for name in ("BENCHMARK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(InputError, match="set BENCHMARK_CACHE"):
        files.cache_folder()


def test_a_digest_is_that_of_sha256():
    assert digest("abc") == digest(b"abc") == "ba7816bf8f01cfea"  # FIPS 180-2, appendix B.1
    assert digest("abc", 6) == "ba7816"


def test_numbers_survive_json(tmp_path):
    values = {"a": 0.1 + 0.2, "b": 2**60, "c": "\u2028"}
    write_json(tmp_path / "x.json", values)
    assert files.read_json(tmp_path / "x.json", "") == json.loads((tmp_path / "x.json").read_text())
    assert files.read_json(tmp_path / "x.json", "") == values
