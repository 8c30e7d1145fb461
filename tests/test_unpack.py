"""Downloaded archives: unpacked once, whole or not at all, and never outside their folder."""

import gzip
import io
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from benchmark.__main__ import main
from benchmark.core.registry import InputError
from benchmark.data.readers.unpack import unpack


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path, members, **changes):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_folders_stay_and_bare_files_get_a_folder_of_their_name(tmp_path):
    zipped(tmp_path / "set.zip", {"Set/a/1.png": b"1", "list.csv": b"x"})
    tarred(tmp_path / "part_1.tar.gz", {"2.png": b"2", "3.png": b"3"})
    assert len(unpack(tmp_path)) == 2
    wanted = ["Set/a/1.png", "list.csv", "part_1/2.png", "part_1/3.png"]
    assert files(tmp_path) == sorted([*wanted, "set.zip", "part_1.tar.gz"])
    assert unpack(tmp_path) == []  # once
    (tmp_path / "list.csv").unlink()
    (tmp_path / "Set/a/1.png").write_bytes(b"changed by the user")
    assert [p.name for p in unpack(tmp_path)] == ["set.zip"]  # what is there is not overwritten
    assert (tmp_path / "Set/a/1.png").read_bytes() == b"changed by the user"
    assert (tmp_path / "list.csv").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/out.txt", "C:/out.txt"])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_member_that_would_leave_its_folder_is_refused(tmp_path, make, name):
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder / ("x.zip" if make is zipped else "x.tgz"), {"fine/1.txt": b"1", name: b"2"})
    with pytest.raises(InputError, match="would leave its folder"):
        unpack(folder)
    assert len(files(tmp_path)) == 1  # the archive alone


def test_links_are_refused(tmp_path):
    tarred(tmp_path / "x.tar.gz", {"link": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd")
    with pytest.raises(InputError, match="link or device 'link'"):
        unpack(tmp_path)
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    (tmp_path / "x.tar.gz").unlink()
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="link or device 'link'"):
        unpack(tmp_path)


def test_a_damaged_archive_leaves_nothing(tmp_path):
    path = tarred(tmp_path / "x.tar.gz", {f"a/{i}": bytes([i]) * 9999 for i in range(9)})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot unpack"):
        unpack(tmp_path)
    assert files(tmp_path) == ["x.tar.gz"]


def test_too_little_room_is_told_before(tmp_path, monkeypatch):
    zipped(tmp_path / "x.zip", {"a/1": b"12345"})
    usage = type("usage", (), {"free": 4})
    monkeypatch.setattr("benchmark.data.readers.unpack.shutil.disk_usage", lambda place: usage)
    with pytest.raises(InputError, match="make room"):
        unpack(tmp_path)
    assert files(tmp_path) == ["x.zip"]


def test_prepare_unpacks_the_original_download(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "kvasir_seg"
    folder.mkdir()
    members = {}
    for index in range(12):
        for kind, value in (("images", 90), ("masks", 255)):
            stream = io.BytesIO()
            pixels = np.zeros((8, 8, 3), np.uint8)
            pixels[2:6, index % 4 : index % 4 + 3] = value
            Image.fromarray(pixels).save(stream, "JPEG")
            members[f"Kvasir-SEG/{kind}/{index}.jpg"] = stream.getvalue()
    zipped(folder / "kvasir-seg.zip", members)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCHMARK_DATA", str(tmp_path))
    command = ["data", "prepare", "kvasir_seg", "--root", str(tmp_path), "--image-size", "16"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "unpacked" in shown
    assert "decoded 12 images" in shown


def test_the_pieces_of_a_split_zip_are_read_as_one(tmp_path):
    content = bytes(range(256)) * 40
    whole = zipped(tmp_path / "x.zip", {"Set/a.bin": content, "Set/b.bin": content[::-1]})
    data = whole.read_bytes()
    whole.unlink()
    size = len(data) // 3 + 1
    for number in range(3):
        piece = tmp_path / f"x.zip.{number + 1:03d}"
        piece.write_bytes(data[number * size : (number + 1) * size])
    assert unpack(tmp_path) == [tmp_path / "x.zip.001"]
    assert (tmp_path / "Set" / "a.bin").read_bytes() == content
    assert (tmp_path / "Set" / "b.bin").read_bytes() == content[::-1]
    assert unpack(tmp_path) == []
    shutil.rmtree(tmp_path / "Set")
    (tmp_path / "x.zip.002").unlink()
    with pytest.raises(InputError, match=r"x\.zip\.002 is missing"):
        unpack(tmp_path)
    (tmp_path / "x.zip.003").unlink()
    with pytest.raises(InputError, match="cannot unpack"):
        unpack(tmp_path)
    assert files(tmp_path) == ["x.zip.001"]


def test_a_gz_becomes_its_file_and_volumes_stay(tmp_path):
    (tmp_path / "x.h5.gz").write_bytes(gzip.compress(b"patches" * 99))
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(b"volume"))
    assert unpack(tmp_path) == [tmp_path / "x.h5.gz"]
    assert (tmp_path / "x.h5").read_bytes() == b"patches" * 99
    assert files(tmp_path) == ["v.nii.gz", "x.h5", "x.h5.gz"]
    assert unpack(tmp_path) == []


def test_a_gz_that_grows_without_end_or_is_cut_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.data.readers.unpack.HARMLESS", 1 << 20)
    bomb = gzip.compress(bytes(20 << 20))
    (tmp_path / "x.h5.gz").write_bytes(bomb)  # over 1,000 times smaller than what it holds
    with pytest.raises(InputError, match="grows beyond"):
        unpack(tmp_path)
    (tmp_path / "x.h5.gz").write_bytes(gzip.compress(np.random.default_rng(0).bytes(9999))[:-50])
    with pytest.raises(InputError, match="cannot unpack"):
        unpack(tmp_path)
    assert files(tmp_path) == ["x.h5.gz"]
