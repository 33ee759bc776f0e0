"""Error messages for clients, without paths of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avcil.errors import AvcilError, StorageError
from avcil.serve.learning_job import FULL_DISK
from avcil.utils.files import is_storage_error


@contextmanager
def without_server_paths() -> Iterator[None]:
    """Raise errors of a full or read-only disk as a `StorageError` without paths of this machine."""
    try:
        yield
    except (StorageError, OSError) as error:
        if not is_storage_error(error):
            raise
        raise StorageError(FULL_DISK) from error


def public_message(error: BaseException, path: Path | None = None, name: str = "the clip") -> str:
    """The message of an error without paths of this machine; `path` is replaced by `name`."""
    if is_storage_error(error):
        return FULL_DISK
    text = str(error) if isinstance(error, AvcilError) else f"unexpected {type(error).__name__}"
    if path is not None:
        text = text.replace(str(path), name).replace(str(path.parent), "the upload")
    return text
