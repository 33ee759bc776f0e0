"""Teachings that were accepted and are not finished: their clips on the disk, so that a kill does not lose them.

incoming/N/0000, 0001, ...    the clips
incoming/N/teaching.json      written last: the teaching is accepted once this file exists
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

FORMAT, VERSION = "avcil-teaching", 1
MAX_ATTEMPTS = 3
"""Server processes that may end while they learn a teaching, before it is reported as lost."""


@dataclass(frozen=True)
class Upload:
    """A file that somebody sent."""

    path: Path
    name: str
    """As the sender calls it; only ever shown."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A teaching that was accepted."""

    number: int
    label: str
    names: tuple[str, ...]
    """Of the clips, as the sender calls them."""
    sizes: tuple[int, ...]
    """Bytes of the clips."""
    attempts: int = 0
    """How many server processes began to learn it after the one that accepted it."""

    def problem(self, folder: Path) -> str:
        """Why it cannot be resumed; empty where it can."""
        if self.attempts >= MAX_ATTEMPTS:
            return f"the server ended {MAX_ATTEMPTS + 1} times while it learned them"
        for clip, size in zip(clip_paths(folder, len(self.names)), self.sizes, strict=True):
            if not clip.is_file() or clip.stat().st_size != size:
                return "the server was killed, and not all clips are on its disk"
        return ""


class Incoming:
    """The folder of accepted teachings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """The folder of one teaching."""
        return self.folder / str(number)

    def accept(self, number: int, label: str, clips: Sequence[Upload]) -> list[Upload]:
        """Copy the clips of a teaching and put it on record; on the disk when this returns, or nothing of it.

        Returns:
            The copies.
        """
        folder = self.path(number)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            kept = [
                Upload(_copy(clip.path, target), clip.name)
                for clip, target in zip(clips, clip_paths(folder, len(clips)), strict=True)
            ]
            sizes = tuple(clip.path.stat().st_size for clip in kept)
            names = tuple(clip.name for clip in kept)
            self._record(Accepted(number=number, label=label, names=names, sizes=sizes))
            sync_folder(self.folder)
        except BaseException:
            self.remove(number)
            raise
        return kept

    def begin_again(self, accepted: Accepted) -> list[Upload]:
        """Note one more attempt; the clips."""
        self._record(Accepted(**asdict(accepted) | {"attempts": accepted.attempts + 1}))
        paths = clip_paths(self.path(accepted.number), len(accepted.names))
        return [Upload(path, name) for path, name in zip(paths, accepted.names, strict=True)]

    def _record(self, accepted: Accepted) -> None:
        head = {"format": FORMAT, "version": VERSION}
        write_json(self.path(accepted.number) / "teaching.json", head | asdict(accepted))

    def remove(self, number: int) -> None:
        """Forget a teaching and its clips."""
        shutil.rmtree(self.path(number), ignore_errors=True)

    def found(self) -> list[Accepted]:
        """Teachings that an earlier process accepted, in order; what was not accepted is removed."""
        accepted = []
        for folder in self.folder.glob("*"):
            if (
                not re.fullmatch("[0-9]+", folder.name, re.ASCII)
                or folder.is_symlink()
                or not folder.is_dir()
            ):
                continue  # not of a server
            record = _read(folder)
            if record is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                accepted.append(record)
        return sorted(accepted, key=lambda one: one.number)


def clip_paths(folder: Path, count: int) -> list[Path]:
    """Where the clips of a teaching are."""
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
            FORMAT,
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
