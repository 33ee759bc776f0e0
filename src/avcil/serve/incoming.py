"""Learning jobs that are accepted and not finished. Their clips are on the disk, so that a kill does not lose them.

incoming/N/0000, 0001, ...    the clips
incoming/N/teaching.json      written last; a job is accepted when this file exists
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avcil.errors import AvcilError
from avcil.utils.files import read_json, sync_folder, write_json

_FORMAT, VERSION = "avcil-teaching", 1
MAX_ATTEMPTS = 3
"""A job is reported as lost when more server processes than this ended while they ran it."""


@dataclass(frozen=True)
class Upload:
    """An uploaded file."""

    path: Path
    name: str
    """The client's name of the file, only for messages."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The record of an accepted job."""

    number: int
    label: str
    names: tuple[str, ...]
    """The client's names of the clips."""
    sizes: tuple[int, ...]
    """Sizes of the clips in bytes."""
    attempts: int = 0
    """Number of server processes that resumed the job."""

    def problem(self, folder: Path) -> str:
        """Why the job cannot be resumed; empty if it can."""
        if self.attempts >= MAX_ATTEMPTS:
            return f"the server ended {MAX_ATTEMPTS + 1} times while it learned the clips"
        for clip, size in zip(clip_paths(folder, len(self.names)), self.sizes, strict=True):
            if not clip.is_file() or clip.stat().st_size != size:
                return "the server was killed before all clips were on its disk"
        return ""


class Incoming:
    """The folder of accepted jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """The folder of a job."""
        return self.folder / str(number)

    def accept(self, number: int, label: str, clips: Sequence[Upload]) -> list[Upload]:
        """Copy the clips of a job and write its record, flushed to the disk; after an error, nothing is left.

        Returns:
            The copies.
        """
        folder = self.path(number)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            copies = [
                Upload(_copy(clip.path, target), clip.name)
                for clip, target in zip(clips, clip_paths(folder, len(clips)), strict=True)
            ]
            sizes = tuple(clip.path.stat().st_size for clip in copies)
            names = tuple(clip.name for clip in copies)
            self._record(Accepted(number=number, label=label, names=names, sizes=sizes))
            sync_folder(self.folder)
        except BaseException:
            self.remove(number)
            raise
        return copies

    def resume(self, accepted: Accepted) -> list[Upload]:
        """Record another attempt and return the clips."""
        self._record(Accepted(**asdict(accepted) | {"attempts": accepted.attempts + 1}))
        paths = clip_paths(self.path(accepted.number), len(accepted.names))
        return [Upload(path, name) for path, name in zip(paths, accepted.names, strict=True)]

    def _record(self, accepted: Accepted) -> None:
        head = {"format": _FORMAT, "version": VERSION}
        write_json(self.path(accepted.number) / "teaching.json", head | asdict(accepted))

    def remove(self, number: int) -> None:
        """Remove a job and its clips."""
        shutil.rmtree(self.path(number), ignore_errors=True)

    def found(self) -> list[Accepted]:
        """Jobs that an earlier process accepted, in order; incomplete ones are removed."""
        accepted = []
        for folder in self.folder.glob("*"):
            if (
                not re.fullmatch("[0-9]+", folder.name, re.ASCII)
                or folder.is_symlink()
                or not folder.is_dir()
            ):
                continue  # not written by a server
            record = _read(folder)
            if record is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                accepted.append(record)
        return sorted(accepted, key=lambda one: one.number)


def clip_paths(folder: Path, count: int) -> list[Path]:
    """The paths of the clips of a job."""
    return [folder / f"{position:04d}" for position in range(count)]


def _copy(source: Path, target: Path) -> Path:
    with open(source, "rb") as given, open(target, "wb") as copy:
        shutil.copyfileobj(given, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())
    return target


def _read(folder: Path) -> Accepted | None:
    try:
        record: Any = read_json(folder / "teaching.json")
        if (record.pop("format"), record.pop("version"), str(record["number"])) != (
            _FORMAT,
            VERSION,
            folder.name,
        ):
            return None
        names, sizes = tuple(map(str, record["names"])), tuple(map(int, record["sizes"]))
        accepted = Accepted(**record | {"names": names, "sizes": sizes})
        is_valid = isinstance(accepted.label, str) and isinstance(accepted.attempts, int) and names
        return accepted if is_valid and len(names) == len(sizes) else None
    except (AvcilError, OSError, AttributeError, KeyError, TypeError, ValueError):
        return None
