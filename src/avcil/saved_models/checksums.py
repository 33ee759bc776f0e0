"""Checksums of a model's files in its config.json, to detect damage and manual changes.

They are not a signature: an attacker can also change the checksums. Models of earlier versions have none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from avcil.errors import InputError
from avcil.utils.input_files import regular_file_sha256

WEIGHT_FILES = ("labels.json", "model.safetensors")
LEARNING_FILES = ("learning.json", "learning.safetensors")
"""These may be removed: the model can predict without them."""
_FILES = WEIGHT_FILES + LEARNING_FILES
CHECKSUM_KEYS = ("checksums", "checksum")
"""Of the files, and of config.json without this entry."""


def add_checksums(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The config with the checksums of the files in `folder`."""
    value = {
        **config,
        "checksums": {
            name: regular_file_sha256(folder / name) for name in _FILES if (folder / name).exists()
        },
    }
    return {**value, "checksum": _json_sha256(value)}


def verify_checksums(config: Mapping[str, Any], folder: Path, files: Collection[str]) -> None:
    """Verify config.json and the given files; a model without checksums passes.

    Raises:
        InputError: A file differs from its checksum.
    """
    if not any(key in config for key in CHECKSUM_KEYS):
        return
    value = {key: entry for key, entry in config.items() if key != "checksum"}
    checksums = config.get("checksums")
    if config.get("checksum") != _json_sha256(value) or not isinstance(checksums, dict):
        raise _changed(folder / "config.json")
    for name, expected in checksums.items():
        if name not in _FILES:
            raise InputError(
                f"{folder / 'config.json'} has a checksum of {name!r:.60}, which is not a file of a model"
            )
        if name in files and regular_file_sha256(folder / name) != expected:
            raise _changed(folder / name)


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path} changed after the model was saved: its checksum differs. Copy the model again from its source. "
        "To rename a class, use Recognizer.rename, then save"
    )


def _json_sha256(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
