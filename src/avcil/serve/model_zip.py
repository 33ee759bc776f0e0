"""Unpack a model folder from an untrusted zip file.

A zip file from `GET /api/model` is accepted: the files of a model folder, with or without the prefix `model/`. All
other content is rejected before unpacking. Format: https://pkware.cachefly.net/webdocs/APPNOTE/APPNOTE-6.3.9.TXT.
"""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from avcil.errors import InputError
from avcil.saved_models.folder import MODEL_FILES

_USED = frozenset(
    {"config.json", "labels.json", "model.safetensors", "learning.json", "learning.safetensors"}
)
"""Files that are unpacked; the model card and an exported model are not needed."""
_PREFIX = "model/"
_MAX_RATIO = 100
"""Maximum compression ratio; a higher one is probably an attack."""
END = struct.Struct("<4s4H2LH")
"""The end record: signature, 2 disk numbers, entries on the disk and in total, size and offset of the list, comment."""
_LIST_BYTES = 1 << 16
"""Maximum size of the list of files; a model has fewer than ten."""


class NotAZipError(InputError):
    """The file is not a zip file."""


def unpack_model(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpack the files that `load_saved` reads.

    Args:
        archive: The zip file.
        folder: The target, which must not exist.
        max_bytes: Maximum total size of the unpacked files.

    Raises:
        NotAZipError: It is not a zip file.
        InputError: It is incomplete, damaged or too large, or has files that are not part of a model.
    """
    _check_list(archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _checked(opened.infolist(), archive.stat().st_size, max_bytes)
            folder.mkdir()
            for name in sorted(entries.keys() & _USED):
                with opened.open(entries[name]) as source, open(folder / name, "xb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(f"the zip file is damaged: {error}. Download the model again") from None


def _check_list(archive: Path) -> None:
    """Check the size of the list of files before `zipfile` reads it into memory."""
    size = archive.stat().st_size
    with open(archive, "rb") as file:
        if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise NotAZipError("this is not a zip file; send one from GET /api/model")
        file.seek(max(0, size - END.size))
        end = file.read()
    signature, *_, entries, list_bytes, start, comment = END.unpack(end.rjust(END.size, b"\0"))
    if signature != b"PK\x05\x06" or comment:
        raise InputError("the zip file is incomplete, or not from avcil. Download the model again")
    if list_bytes > _LIST_BYTES or start + list_bytes + END.size != size:
        raise InputError(
            f"the zip file is damaged, or has {entries} files; a model has at most {len(MODEL_FILES)}. Send one from "
            "GET /api/model"
        )


def _checked(
    entries: list[zipfile.ZipInfo], archive_bytes: int, max_bytes: int
) -> dict[str, zipfile.ZipInfo]:
    """The entries by file name, after checking names and sizes."""
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        if entry.filename == _PREFIX and entry.file_size == 0:
            continue
        name = entry.orig_filename.removeprefix(_PREFIX)
        if name not in MODEL_FILES or name in members:
            raise InputError(
                f"the zip file contains {entry.orig_filename[:60]!r}{' twice' if name in members else ''}, which is "
                "not part of a model. Send one from GET /api/model"
            )
        _check_entry(entry, archive_bytes)
        members[name] = entry
    total = sum(entry.file_size for entry in members.values())
    if total > max_bytes:
        raise InputError(f"the unpacked model has {total / 1e6:.0f} MB; the limit is {max_bytes / 1e6:g} MB")
    return members


def _check_entry(entry: zipfile.ZipInfo, archive_bytes: int) -> None:
    """Reject entries that are not regular files, or have an unsupported or excessive compression."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise InputError(f"{entry.filename} in the zip file is a link or device, not a regular file")
    if entry.flag_bits & 0x1:
        raise InputError(f"{entry.filename} in the zip file is encrypted; send it without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{entry.filename} in the zip file has another compression than deflate")
    if not 0 <= entry.header_offset < archive_bytes or entry.compress_size > archive_bytes:
        raise InputError("the zip file is damaged: an offset is outside the file. Download the model again")
    if entry.file_size > _MAX_RATIO * max(1, entry.compress_size):
        raise InputError(
            f"{entry.filename} in the zip file has a compression ratio above {_MAX_RATIO}, as no model has"
        )
