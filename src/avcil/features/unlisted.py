"""Clips that a store keeps although the last clip list does not name them: `unlisted.json` in its folder.

They are no part of what `FeatureStore` shows, so that training does not see them. A list that names them again brings
them back without encoding them anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from avcil.errors import InputError
from avcil.utils.files import read_json, write_json

NAME = "unlisted.json"


def read_unlisted(folder: Path) -> frozenset[str]:
    """Ids of the clips that are not in use; none where there is no such file."""
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
