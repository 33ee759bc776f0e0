"""Constants that are shipped with encoders: the typical mean and standard deviation of each feature.

They are in constants/NAME.json, computed by scripts/feature_constants.py, and valid for one fingerprint: other options
or weights have none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

IDENTITY = ("name", "version", "options", "weights")
"""Entries of the fingerprint that must match."""


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Center and scale of the D features of an encoder."""

    center: np.ndarray
    """(D,) float32."""
    scale: np.ndarray
    """(D,) float32, above 0."""

    @classmethod
    def unknown(cls, width: int) -> Constants:
        """Zeros and ones."""
        return cls(center=np.zeros(width, np.float32), scale=np.ones(width, np.float32))


def constants_of(fingerprint: Mapping[str, Any], width: int) -> Constants:
    """The constants shipped for the encoder of a fingerprint; zeros and ones if there are none."""
    shipped = _shipped(str(fingerprint.get("name")))
    if shipped is None or any(shipped["encoder"].get(key) != fingerprint.get(key) for key in IDENTITY):
        return Constants.unknown(width)
    return Constants(
        center=np.array(shipped["center"], np.float32), scale=np.array(shipped["scale"], np.float32)
    )


@cache
def _shipped(name: str) -> dict[str, Any] | None:
    file = resources.files("avcil.encoders").joinpath("constants", f"{name}.json")
    return json.loads(file.read_text()) if file.is_file() else None


def typical_features(fingerprint: Mapping[str, Any], width: int) -> np.ndarray:
    """The typical mean of each feature of an encoder or a combination (D,) float32; zero if unknown.

    In a combination, it is zero for all parts but the first, which are centered (`combined`).

    Args:
        fingerprint: The encoder's.
        width: D.
    """
    parts = fingerprint.get("parts")
    if not parts:
        return constants_of(fingerprint, width).center
    first = constants_of(parts[0], fingerprint["widths"][0]).center
    return np.concatenate([first, np.zeros(width - len(first), np.float32)])
