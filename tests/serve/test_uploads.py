"""The upload folder: limits of one client and of all, removal of files, a full disk."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from avcil.serve.refusal import RefusedError
from avcil.serve.uploads import UploadLimits, Uploads


def make(folder: Path, **changed: float) -> Uploads:
    """A folder with small bounds."""
    bounds = {"client_bytes": 20, "client_files": 3, "total_bytes": 40, "total_files": 5}
    return Uploads(folder, UploadLimits(**(bounds | changed)))


def add(uploads: Uploads, client: str, *sizes: int) -> list[Path]:
    """Store files of these sizes."""
    return uploads.add(client, [("a.mp4", io.BytesIO(bytes(size)), size) for size in sizes])


def refused(uploads: Uploads, client: str, *sizes: int) -> int:
    """The status with which files of these sizes are rejected."""
    with pytest.raises(RefusedError) as caught:
        add(uploads, client, *sizes)
    return caught.value.status


def test_limits_of_uploads(tmp_path):
    """Files and bytes of one client and of all are limited; rejected uploads leave no files."""
    uploads = make(tmp_path)
    add(uploads, "a", 5, 5)
    assert refused(uploads, "a", 5, 1) == 429
    assert refused(uploads, "a", 11) == 429
    add(uploads, "a", 10)
    add(uploads, "b", 10)
    assert refused(uploads, "c", 11) == 503
    add(uploads, "c", 10)
    assert refused(uploads, "d", 1) == 503
    assert len(list(tmp_path.glob("*"))) == 5


def test_old_files_are_removed(tmp_path):
    """All files after a time, and those of a client earlier if it needs the space."""
    uploads = make(tmp_path, used_seconds=0.0)
    first = add(uploads, "a", 20)
    other = add(uploads, "b", 5)
    add(uploads, "a", 20)
    assert not first[0].exists()
    assert other[0].exists()
    uploads = make(tmp_path / "more", keep_seconds=0.0)
    first = add(uploads, "a", 20)
    add(uploads, "b", 1)
    assert not first[0].parent.exists()


def test_full_disk(tmp_path):
    """The files of the upload are removed, and their space is released."""

    class Full(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError(28, "No space left on device")

    uploads = make(tmp_path)
    with pytest.raises(RefusedError) as caught:
        uploads.add("a", [("a.mp4", io.BytesIO(b"x"), 1), ("b.mp4", Full(), 19)])
    assert (caught.value.status, caught.value.code) == (507, "no_space")
    assert str(tmp_path) not in caught.value.message
    assert list(tmp_path.glob("*")) == []
    add(uploads, "a", 20)
