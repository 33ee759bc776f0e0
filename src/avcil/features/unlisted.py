"""`unlisted.json` of a feature store: stored clips that the last clip list does not contain.

`FeatureStore` hides them, so that training does not use them. If a later list contains them, they are used again
without encoding.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from avcil.errors import InputError
from avcil.utils.files import read_json, write_json

NAME = "unlisted.json"


def read_unlisted(folder: Path) -> frozenset[str]:
    """Ids of the hidden clips."""
    path = Path(folder) / NAME
    if not path.exists():
        return frozenset()
    value = read_json(path)
    ids = value.get("clips") if isinstance(value, dict) else None
    if not isinstance(ids, list) or not all(isinstance(clip_id, str) for clip_id in ids):
        raise InputError(f"{path} is damaged. Run the avcil extract command that made the store again")
    return frozenset(ids)


def write_unlisted(folder: Path, ids: Iterable[str]) -> None:
    """Write the list atomically; an empty list removes the file."""
    path, ids = Path(folder) / NAME, sorted(ids)
    if ids:
        write_json(path, {"clips": ids})
    else:
        path.unlink(missing_ok=True)
