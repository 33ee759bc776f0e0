"""The compiled kernel is loaded only from folders and files that no other user can change."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from avcil.nn.kernels import library_cache

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no C compiler")


class Builder:
    """Compiles a library whose `answer` returns 42, and counts the calls."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def __call__(self, path: Path) -> None:
        self.paths.append(path)
        command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
        subprocess.run(command, input=b"int answer(void) { return 42; }", check=True)


@pytest.fixture
def build() -> Builder:
    return Builder()


def load(folder: Path, build: Builder) -> int:
    # a unique name, because the dynamic loader keeps libraries by path
    return library_cache.load(folder, f"{folder.name}-{len(build.paths)}.so", build).answer()


def test_library_is_private_to_the_user(tmp_path: Path, build: Builder) -> None:
    folder = tmp_path / "cache" / "avcil"
    assert library_cache.load(folder, "a.so", build).answer() == 42
    assert library_cache.load(folder, "a.so", build).answer() == 42
    assert len(build.paths) == 1
    assert [file.name for file in folder.iterdir()] == ["a.so"]
    assert (folder.stat().st_mode & 0o777, (folder / "a.so").stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_folder_writable_by_others(
    mode: int, tmp_path: Path, build: Builder, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is not used; a library compiled for this process only is removed."""
    folder = tmp_path / "avcil"
    folder.mkdir()
    folder.chmod(mode)
    assert load(folder, build) == 42
    assert "compiled for this process only" in capfd.readouterr().err
    assert not list(folder.iterdir())
    assert not build.paths[0].parent.exists()


def test_parent_folder_writable_by_others(tmp_path: Path, build: Builder) -> None:
    """Other users could replace the folder."""
    folder = tmp_path / "shared" / "avcil"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o777)
    assert load(folder, build) == 42
    assert not list(folder.iterdir())
    folder.parent.chmod(0o1777)  # sticky, like /tmp: others can add but not replace
    assert load(folder, build) == 42
    assert len(list(folder.iterdir())) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_files_of_another_user(tmp_path: Path, build: Builder) -> None:
    """A file of another user is replaced; a folder of another user is not used."""
    folder = tmp_path / "avcil"
    folder.mkdir()
    (folder / "a.so").write_bytes(b"planted")
    os.chown(folder / "a.so", 12345, 12345)
    assert library_cache.load(folder, "a.so", build).answer() == 42
    assert (folder / "a.so").stat().st_uid == os.geteuid()
    os.chown(folder, 12345, 12345)
    assert load(folder, build) == 42
    assert [file.name for file in folder.iterdir()] == ["a.so"]


@pytest.mark.parametrize("plant", ["link", "writable", "damaged"])
def test_untrusted_file_is_replaced(plant: str, tmp_path: Path, build: Builder) -> None:
    folder = tmp_path / "avcil"
    folder.mkdir(mode=0o700)
    (tmp_path / "planted").write_bytes(b"planted")
    if plant == "link":
        (folder / "a.so").symlink_to(tmp_path / "planted")
    else:
        (folder / "a.so").write_bytes(b"planted")
        (folder / "a.so").chmod(0o666 if plant == "writable" else 0o600)
    assert library_cache.load(folder, "a.so", build).answer() == 42
    assert not (folder / "a.so").is_symlink()
    assert (tmp_path / "planted").read_bytes() == b"planted"


def test_folder_cannot_be_created(tmp_path: Path, build: Builder) -> None:
    """If the home folder is a file or read-only, the kernel works without the cache."""
    (tmp_path / "file").touch()
    assert load(tmp_path / "file" / "avcil", build) == 42


def test_new_folders_are_private_for_any_umask(tmp_path: Path, build: Builder) -> None:
    """With the common umask 002, the group could otherwise change a parent folder of the cache."""
    before = os.umask(0o002)
    try:
        assert load(tmp_path / "cache" / "avcil", build) == 42
    finally:
        os.umask(before)
    assert (tmp_path / "cache" / "avcil" / "avcil-0.so").is_file()
