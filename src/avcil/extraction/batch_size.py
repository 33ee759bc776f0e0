"""How many clips are encoded together: as said, or measured once for a store, which remembers it.

The batches decide in which company a clip is encoded, and with some encoders its last bit; so a store that was begun
with a measured size goes on with it, whatever another machine would measure.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from avcil.errors import InputError
from avcil.features.index import locked_index
from avcil.utils.files import read_json, write_json

NAME = "batch_size.json"
LARGEST = 1 << 16


def settled_batch_size(asked: int | Literal["auto"], store: Path, measure: Callable[[], int]) -> int:
    """The batch size of an extraction into `store`, a folder; `measure` is called for "auto" the first time.

    :raises InputError: if `asked` is neither "auto" nor 1 or more, or the store's record is damaged.
    """
    if asked != "auto":
        if isinstance(asked, str) or asked < 1:
            raise InputError(f"batch_size must be 1 or more, or auto; not {asked}")
        return asked
    path = store / NAME
    if not path.exists():
        measured = measure()
        with locked_index(store):  # of several that measure at once, the first one's counts for all
            if not path.exists():
                write_json(path, {"batch_size": measured})
    size = read_json(path)
    found = size.get("batch_size") if isinstance(size, dict) else None
    if type(found) is not int or not 1 <= found <= LARGEST:
        raise InputError(f"{path} is damaged: delete it, and run the command again")
    return found
