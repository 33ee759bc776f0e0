"""Files that pages uploaded: storage, limits, and removal."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from avcil.serve.refusal import RefusedError

_MAX_NAME = 120
"""Bytes of a file name; longer names are truncated."""
_CHUNK = 2**20


@dataclass(frozen=True, kw_only=True)
class UploadLimits:
    """Limits of the upload folder."""

    client_bytes: int
    client_files: int
    total_bytes: int
    total_files: int
    keep_seconds: float = 3600.0
    """Files are removed after this time."""
    used_seconds: float = 120.0
    """After this time, files of a client are removed if it needs space for others."""


@dataclass(eq=False)
class _StoredUpload:
    """A file in the folder."""

    path: Path
    client: str
    size: int
    when: float = field(default_factory=time.monotonic)


class Uploads:
    """Stores uploaded files of pages; thread-safe. Files that are already in the folder are not counted."""

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        self.folder, self.limits = folder, limits
        self._stored: list[_StoredUpload] = []
        self._lock = threading.Lock()

    def add(self, client: str, files: list[tuple[str, BinaryIO, int]]) -> list[Path]:
        """Store the files of one upload, all or none.

        Args:
            client: Name of the client.
            files: Name, content and size in bytes of each.

        Returns:
            The paths; each file is in its own folder with a random name.

        Raises:
            RefusedError: 429 or 503 if there are too many files, 507 if the disk is full.
        """
        reserved = self._reserve(client, [size for _, _, size in files])
        try:
            for entry, (name, content, _) in zip(reserved, files, strict=True):
                entry.path = self._write(name, content)
        except BaseException as error:
            self._forget(reserved)
            if isinstance(error, OSError):
                raise no_space() from error
            raise
        return [entry.path for entry in reserved]

    def _reserve(self, client: str, sizes: list[int]) -> list[_StoredUpload]:
        entries = [_StoredUpload(Path(), client, size) for size in sizes]
        with self._lock:
            self._remove(lambda entry, age: age > self.limits.keep_seconds)
            if self._full(client, sizes):
                self._remove(lambda entry, age: entry.client == client and age > self.limits.used_seconds)
            if self._full(client, sizes):
                raise RefusedError(
                    429, "too_many_uploads", "you have uploaded too many clips; wait two minutes", 120
                )
            if self._full(None, sizes):
                raise RefusedError(503, "busy", "the server has too many uploads; try again later", 120)
            self._stored += entries
        return entries

    def _full(self, client: str | None, sizes: list[int]) -> bool:
        """Whether a client, or all clients if it is None, would exceed the limits."""
        all_sizes = [entry.size for entry in self._stored if client in (None, entry.client)] + sizes
        limits = self.limits
        if client is None:
            return sum(all_sizes) > limits.total_bytes or len(all_sizes) > limits.total_files
        return sum(all_sizes) > limits.client_bytes or len(all_sizes) > limits.client_files

    def _remove(self, is_removable: Callable[[_StoredUpload, float], bool]) -> None:
        """Remove the files for which `is_removable(entry, age in seconds)` holds."""
        now = time.monotonic()
        old = [e for e in self._stored if e.path != Path() and is_removable(e, now - e.when)]
        self._stored = [entry for entry in self._stored if entry not in old]
        for entry in old:
            shutil.rmtree(entry.path.parent, ignore_errors=True)

    def _forget(self, entries: list[_StoredUpload]) -> None:
        with self._lock:
            self._stored = [entry for entry in self._stored if entry not in entries]
        for entry in entries:
            if entry.path != Path():
                shutil.rmtree(entry.path.parent, ignore_errors=True)

    def _write(self, name: str, content: BinaryIO) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="upload-"))
        try:
            with open(folder / _safe_name(name), "xb") as target:
                shutil.copyfileobj(content, target, _CHUNK)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder / _safe_name(name)


def no_space() -> RefusedError:
    """The error if a file cannot be written."""
    return RefusedError(507, "no_space", "the server's disk is full; try again later", 60)


def _safe_name(name: str) -> str:
    """Convert the client's name of a file to a name that is valid on all file systems.

    >>> _safe_name("../../etc/pass\\0wd"), _safe_name("..")
    ('pass_wd', 'clip')
    """
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = re.sub(r"[\x00-\x1f\x7f<>:\"|?*#%]", "_", name).strip(" .")
    name = name.encode("utf-8", "ignore")[-_MAX_NAME:].decode("utf-8", "ignore")
    return name.strip(" .") or "clip"
