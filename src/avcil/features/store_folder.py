"""The folder of a feature store: creating it, and checking its files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from avcil.errors import InputError
from avcil.utils.files import disk_error

INDEX_NAME = "index.jsonl"
NOT_A_FILE = "a link or folder instead of a file"
OTHER_FOLDER = "Choose another --out, or delete that folder first"


def create_folder(path: Path) -> None:
    """Create the folder of a store, unless it is one already.

    Raises:
        InputError: The path is a file, or the folder has other content.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a feature store is a folder. Choose another --out")
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    others = {name for name in names if not name.startswith(".")} - {"shards", INDEX_NAME}
    if others and "manifest.json" not in names:
        raise InputError(f"the folder {path} contains other files and is not a feature store. {OTHER_FOLDER}")
    try:
        (path / "shards").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, path / "shards") from error


def check_no_links(folder: Path) -> None:
    """Reject a store that contains links, so that writing and removing files cannot affect other folders.

    Raises:
        InputError: manifest.json or index.jsonl is not a regular file, or shards is not a folder.
    """
    for name, is_right in (
        ("manifest.json", stat.S_ISREG),
        (INDEX_NAME, stat.S_ISREG),
        ("shards", stat.S_ISDIR),
    ):
        path = Path(folder) / name
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not is_right(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file or folder"
            raise InputError(
                f"{path} is {kind}, which is not allowed in a feature store. Copy the whole store into a new folder "
                "(cp -rL)"
            )


def shard_damage(folder: Path, shard: str, size: int) -> str | None:
    """A quick check of a shard's file: why it is damaged (missing, a link, wrong size), or None."""
    try:
        status = (Path(folder) / "shards" / shard).lstat()
    except FileNotFoundError:
        return "missing"
    if not stat.S_ISREG(status.st_mode):
        return NOT_A_FILE
    return None if status.st_size == size else f"{status.st_size} bytes instead of {size}"
