"""Unpacking a model's folder from a zip file that may come from anyone.

What `GET /api/model` sends is accepted: the files of a model's folder, in the folder `model/` or in none. Everything
else is refused before it is unpacked. Source of the format: https://pkware.cachefly.net/webdocs/APPNOTE/APPNOTE-6.3.9.TXT.
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

USED = frozenset({"config.json", "labels.json", "model.safetensors", "learning.json", "learning.safetensors"})
"""Files that are unpacked; the model card and an exported model are not needed."""
PREFIX = "model/"
RATIO = 100
"""Bytes of a file for each byte that it takes in the zip file, at most; more is no model, but made to fill memory."""
END = struct.Struct("<4s4H2LH")
"""The end record: signature, 2 disk numbers, entries on the disk and in all, size and place of the list, comment."""
LIST_BYTES = 1 << 16
"""Size of the list of files, at most: a model has fewer than ten."""


class NotAZipError(InputError):
    """A file that is no zip file at all."""


def unpack_model(archive: Path, folder: Path, *, most_bytes: int) -> None:
    """Unpack the files of a model that `load_saved` reads.

    Args:
        archive: The zip file.
        folder: Where they go; it must not exist.
        most_bytes: Bytes of all files of the model together, unpacked, at most.

    Raises:
        NotAZipError: It is no zip file.
        InputError: It is cut off or damaged, has other files than a model, or larger ones.
    """
    _check_list(archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _checked(opened.infolist(), archive.stat().st_size, most_bytes)
            folder.mkdir()
            for name in sorted(entries.keys() & USED):
                with opened.open(entries[name]) as source, open(folder / name, "xb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(f"the zip file is damaged: {error}. Download the model again") from None


def _check_list(archive: Path) -> None:
    """Check the size of the list of files before `zipfile` reads it into memory."""
    size = archive.stat().st_size
    with open(archive, "rb") as file:
        if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise NotAZipError("this is no zip file; send the one that GET /api/model gives")
        file.seek(max(0, size - END.size))
        end = file.read()
    signature, *_, entries, list_bytes, start, comment = END.unpack(end.rjust(END.size, b"\0"))
    if signature != b"PK\x05\x06" or comment:
        raise InputError("the zip file is cut off, or was not made by avcil. Download the model again")
    if list_bytes > LIST_BYTES or start + list_bytes + END.size != size:
        raise InputError(
            f"the zip file is damaged, or lists {entries} files; a model has at most {len(MODEL_FILES)}. Send the one "
            "that GET /api/model gives"
        )


def _checked(
    entries: list[zipfile.ZipInfo], archive_bytes: int, most_bytes: int
) -> dict[str, zipfile.ZipInfo]:
    """The entries by file name, all of them files of a model of allowed size."""
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        if entry.filename == PREFIX and entry.file_size == 0:
            continue
        name = entry.orig_filename.removeprefix(PREFIX)
        if name not in MODEL_FILES or name in found:
            raise InputError(
                f"the zip file holds {entry.orig_filename[:60]!r}{' twice' if name in found else ''}, which is no part "
                "of a model. Send the one that GET /api/model gives"
            )
        _check_entry(entry, archive_bytes)
        found[name] = entry
    total = sum(entry.file_size for entry in found.values())
    if total > most_bytes:
        raise InputError(
            f"the model takes {total / 1e6:.0f} MB unpacked; at most {most_bytes / 1e6:g} MB are accepted"
        )
    return found


def _check_entry(entry: zipfile.ZipInfo, archive_bytes: int) -> None:
    """Refuse what is no regular, plainly packed file, and what is packed too tightly."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise InputError(f"{entry.filename} in the zip file is a link or device, not a regular file")
    if entry.flag_bits & 0x1:
        raise InputError(f"{entry.filename} in the zip file is encrypted; send it without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{entry.filename} in the zip file is compressed by another method than deflate")
    if not 0 <= entry.header_offset < archive_bytes or entry.compress_size > archive_bytes:
        raise InputError("the zip file is damaged: a file lies outside it. Download the model again")
    if entry.file_size > RATIO * max(1, entry.compress_size):
        raise InputError(
            f"{entry.filename} in the zip file is compressed more than {RATIO} times, as no model is"
        )
