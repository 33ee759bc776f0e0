"""Constants that are shipped with encoders: the typical mean and standard deviation of each feature.

They are kept in constants/NAME.json beside this file, computed by scripts/feature_constants.py, and hold for
the encoder of one fingerprint: other options or other weights have none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from avcil.encoders.base import Encoder

IDENTITY = ("name", "version", "options", "weights")
"""The entries of a fingerprint for which constants hold."""


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Of an encoder of D features."""

    center: np.ndarray
    """(D,) float32."""
    scale: np.ndarray
    """(D,) float32, above 0."""

    @classmethod
    def unknown(cls, width: int) -> Constants:
        """Zeros and ones, which change nothing."""
        return cls(center=np.zeros(width, np.float32), scale=np.ones(width, np.float32))


def constants_of(encoder: Encoder) -> Constants:
    """The constants shipped for an encoder; zeros and ones if there are none for its options and weights."""
    shipped = _shipped(encoder.name)
    if shipped is not None:
        fingerprint = encoder.fingerprint()
        if all(shipped["encoder"].get(key) == fingerprint.get(key) for key in IDENTITY):
            return Constants(
                center=np.array(shipped["center"], np.float32), scale=np.array(shipped["scale"], np.float32)
            )
    return Constants.unknown(encoder.width)


@cache
def _shipped(name: str) -> dict[str, Any] | None:
    file = resources.files("avcil.encoders").joinpath("constants", f"{name}.json")
    return json.loads(file.read_text()) if file.is_file() else None
