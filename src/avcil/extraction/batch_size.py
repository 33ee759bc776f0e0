"""The batch size of an extraction: given, or measured once and recorded in the store.

With some encoders, batch composition can change the last bits of features. So a measured size is kept when the
extraction is resumed, also on other machines.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from avcil.errors import InputError
from avcil.features.index import locked_index
from avcil.utils.files import read_json, write_json

NAME = "batch_size.json"
MAX_BATCH_SIZE = 1 << 16


def resolve_batch_size(requested: int | Literal["auto"], store: Path, measure: Callable[[], int]) -> int:
    """The batch size of an extraction.

    Args:
        requested: A number, or "auto".
        store: Folder of the feature store.
        measure: Measures the best size, for the first call with "auto".

    Raises:
        InputError: `requested` is invalid, or the recorded size is damaged.
    """
    if requested != "auto":
        if isinstance(requested, str) or requested < 1:
            raise InputError(f"batch_size must be 1 or more, or auto; not {requested}")
        return requested
    path = store / NAME
    if not path.exists():
        measured = measure()
        with locked_index(store):  # of several processes, the first one decides
            if not path.exists():
                write_json(path, {"batch_size": measured})
    size = read_json(path)
    recorded = size.get("batch_size") if isinstance(size, dict) else None
    if type(recorded) is not int or not 1 <= recorded <= MAX_BATCH_SIZE:
        raise InputError(f"{path} is damaged: delete it, and run the command again")
    return recorded
