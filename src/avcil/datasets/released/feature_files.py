"""Finding the authors' feature files in an unpacked folder, in the released archive, or in its parts."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from avcil.datasets.protocols import Protocol
from avcil.datasets.released.archive_parts import FileSlice, JoinedFile
from avcil.errors import InputError

AUDIO = ("audio_pretrained_feature_dict.npy",)
VISUAL = ("visual_pretrained_feature_dict.npy", "visual_features.h5")
_PART_SUFFIX = r"\.zip\.[a-z]{2}$"
_BUFFER_BYTES = 2**20
_MAX_EXPANSION = 100
"""Maximum ratio of uncompressed to compressed size; features compress to about 1/2, zeros to 1/1000."""
_LOCAL_HEADER = struct.Struct("<26xHH")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One feature file, on disk or in an archive."""

    name: str
    """Name for messages: the path, or the archive and the path in it."""
    paths: tuple[Path, ...]
    """The file, or the parts of the archive in order."""
    info: zipfile.ZipInfo | None = None
    """Its entry in the archive; None for a file on disk."""

    @property
    def is_h5(self) -> bool:
        """Whether it is an HDF5 file; otherwise it is a pickled dict in an .npy file."""
        return self.name.endswith(".h5")

    @property
    def size(self) -> int:
        """Uncompressed size in bytes."""
        return self.info.file_size if self.info else self.paths[0].stat().st_size

    @property
    def is_stored(self) -> bool:
        """Whether it is stored without compression."""
        return self.info is not None and self.info.compress_type == zipfile.ZIP_STORED

    def open(self) -> BinaryIO:
        """A stream of its bytes; for an archive, the checksum is verified at the end."""
        joined = _joined(self.paths)
        if self.info is None:
            return joined
        try:
            return _Entry(zipfile.ZipFile(joined), self.info)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            joined.close()
            raise unreadable(self.name, error) from None

    def slice(self) -> io.RawIOBase:
        """A seekable file of its bytes, for a file that is stored without compression."""
        assert self.info is not None
        joined = _joined(self.paths)
        joined.seek(self.info.header_offset)
        header = joined.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            joined.close()
            raise unreadable(
                self.name, "its entry is not at the position that the index of the archive states"
            )
        start = self.info.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
        return FileSlice(joined, start, self.info.file_size)


@dataclass(frozen=True, kw_only=True)
class ReleasedFiles:
    """The two feature files of one benchmark."""

    audio: Member
    visual: Member

    @property
    def is_archive(self) -> bool:
        """Whether they are inside an archive."""
        return self.visual.info is not None


def find_released(source: Path, protocol: Protocol) -> ReleasedFiles:
    """Find the feature files of a benchmark.

    Args:
        source: An unpacked folder, a folder with the archive, the archive, or one of its parts.
        protocol: The benchmark.

    Raises:
        InputError: A file is missing, encrypted or damaged, or there are several.
    """
    source = Path(source)
    if source.is_dir():
        archive = re.sub(_PART_SUFFIX, ".zip", protocol.feature_parts[0])
        for name in (archive, *protocol.feature_parts):
            if (source / name).exists():
                return _in_archive(_complete_parts(source / name, protocol))
        return _in_folder(source, protocol)
    if not source.exists():
        raise InputError(
            f"{source} does not exist. Give the unpacked folder of the features of {protocol.name}, "
            f"the archive {protocol.feature_parts[0]} or its folder; or download them with: "
            f"avcil import-features --download --benchmark {protocol.name} --out STORE"
        )
    return _in_archive(_complete_parts(source, protocol))


def unreadable(name: str, why: object) -> InputError:
    """The error for an archive that cannot be read."""
    return InputError(
        f"{name} is damaged ({why}). Download the parts of the archive again, and give all of them"
    )


def _joined(paths: Sequence[Path]) -> io.BufferedReader:
    return io.BufferedReader(JoinedFile(paths), _BUFFER_BYTES)


class _Entry(io.BufferedReader):
    """A buffered entry of an archive. Closing it closes the archive."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo):
        self._archive = archive
        super().__init__(archive.open(info), _BUFFER_BYTES)  # type: ignore[arg-type]

    def close(self) -> None:
        super().close()
        joined = self._archive.fp
        self._archive.close()
        if joined is not None:
            joined.close()


def _in_folder(folder: Path, protocol: Protocol) -> ReleasedFiles:
    def one(names: Sequence[str]) -> Member:
        matches = sorted(path for name in names for path in folder.rglob(name) if path.is_file())
        _exactly_one([str(path) for path in matches], names, str(folder), protocol.feature_parts)
        return Member(name=str(matches[0]), paths=(matches[0],))

    return ReleasedFiles(audio=one(AUDIO), visual=one(VISUAL))


def _complete_parts(path: Path, protocol: Protocol) -> tuple[Path, ...]:
    """All parts of the archive that `path` belongs to, in order."""
    if not re.search(_PART_SUFFIX, path.name):
        return (path,)
    stem = re.sub(_PART_SUFFIX, ".zip", path.name)
    if any(part.startswith(stem + ".") for part in protocol.feature_parts):
        expected = protocol.feature_parts
    else:
        last = max(p.name for p in path.parent.glob(f"{stem}.[a-z][a-z]"))
        letters = [chr(97 + i) + chr(97 + j) for i in range(26) for j in range(26)]
        expected = tuple(f"{stem}.{two}" for two in letters if f"{stem}.{two}" <= last)
    parts = tuple(path.parent / name for name in expected)
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise InputError(
            f"parts of {stem} are missing in {path.parent}: {', '.join(missing[:5])}. All of "
            f"{expected[0]} to {expected[-1]} are needed"
        )
    return parts


def _in_archive(parts: tuple[Path, ...]) -> ReleasedFiles:
    shown = str(parts[0]) if len(parts) == 1 else f"{parts[0]} (with {len(parts) - 1} more parts)"
    try:
        with _joined(parts) as joined, zipfile.ZipFile(joined) as archive:
            entries = [entry for entry in archive.infolist() if not _is_ignored(entry)]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError, struct.error) as error:
        raise unreadable(shown, error) from None

    def one(names: Sequence[str]) -> Member:
        matches = [entry for entry in entries if PurePosixPath(entry.filename).name in names]
        _exactly_one([entry.filename for entry in matches], names, shown, ())
        _check_entry(matches[0], shown)
        return Member(name=f"{shown}: {matches[0].filename}", paths=parts, info=matches[0])

    return ReleasedFiles(audio=one(AUDIO), visual=one(VISUAL))


def _is_ignored(entry: zipfile.ZipInfo) -> bool:
    return entry.is_dir() or "__MACOSX" in PurePosixPath(entry.filename).parts


def _exactly_one(matches: Sequence[str], names: Sequence[str], where: str, archives: Sequence[str]) -> None:
    expected = " or ".join(names)
    if not matches:
        archive = f" (nor {archives[0]})" if archives else ""
        raise InputError(
            f"there is no {expected} in {where}{archive}. Give the folder or archive of released features"
        )
    if len(matches) > 1:
        raise InputError(
            f"{where} contains {expected} several times: {', '.join(matches[:4])}. Keep only one of them"
        )


def _check_entry(entry: zipfile.ZipInfo, where: str) -> None:
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in path.parts[0]:
        raise InputError(
            f"{where} contains {entry.filename!r:.120}, a path outside of its folder, which is not allowed"
        )
    if entry.file_size > _MAX_EXPANSION * max(entry.compress_size, 1):
        raise InputError(
            f"{where}: {entry.filename} would expand from {entry.compress_size} to {entry.file_size} bytes, more than "
            f"{_MAX_EXPANSION} times, which features never do, so it is not read. Download the parts again"
        )
    if entry.flag_bits & 0x1:
        raise InputError(f"{where}: {entry.filename} is encrypted. Unpack the archive and give the folder")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{where}: {entry.filename} is compressed by method {entry.compress_type}, which is not supported. "
            "Unpack the archive and give the folder"
        )
