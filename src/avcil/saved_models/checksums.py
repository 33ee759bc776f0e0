"""Checksums of a model's files, kept in its config.json: damage and changes by hand are noticed when it is loaded.

They are no signature: who changes a file on purpose can change the checksum too. Models of earlier versions have none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from avcil.errors import InputError
from avcil.utils.input_files import open_regular

MODEL = ("labels.json", "model.safetensors")
LEARNING = ("learning.json", "learning.safetensors")
"""May be taken away: the model answers without them."""
FILES = MODEL + LEARNING
NAMES = ("checksums", "checksum")
"""Of the files, and of config.json without this."""


def added(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The config with the checksums of the files in `folder`."""
    there = [name for name in FILES if (folder / name).exists()]
    value = {**config, "checksums": {name: _of_file(folder / name) for name in there}}
    return {**value, "checksum": _of_value(value)}


def compare(config: Mapping[str, Any], folder: Path, files: Collection[str]) -> None:
    """Raise InputError naming the first of these files that is not as it was saved, or config.json.

    A model of an earlier version, which has no checksums, passes.
    """
    if not any(name in config for name in NAMES):
        return
    value = {name: entry for name, entry in config.items() if name != "checksum"}
    sums = config.get("checksums")
    if config.get("checksum") != _of_value(value) or not isinstance(sums, dict):
        raise _changed(folder / "config.json")
    for name, expected in sums.items():
        if name not in FILES:
            raise InputError(
                f"{folder / 'config.json'} has a checksum of {name!r:.60}, which is no file of a model"
            )
        if name in files and _of_file(folder / name) != expected:
            raise _changed(folder / name)


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path} changed after the model was saved: its checksum differs. Take the model again from where it came. "
        "To rename a class, use Recognizer.rename, then save"
    )


def _of_file(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_value(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
