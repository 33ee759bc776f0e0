"""The features of one modality in a feature store: their shape, their encoder, and its typical values.

Shapes: T time slices, S spatial tokens per slice, N audio tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from avcil.encoders.constants import Constants, constants_of
from avcil.encoders.parts import EncoderPart, parts_of
from avcil.errors import InputError

if TYPE_CHECKING:
    from avcil.encoders.base import Encoder


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """Shape of the features of a modality, and fingerprint of their encoder."""

    shape: tuple[int, ...]
    """(T, S, D) of visual tokens, (D,) of an audio vector, (N, D) of audio tokens."""
    encoder: Mapping[str, Any] = field(default_factory=dict)
    center: tuple[float, ...] | None = None
    """Typical mean of each of the D features, from the encoder; None: 0."""
    scale: tuple[float, ...] | None = None
    """Typical standard deviation of each of the D features; None: 1."""

    def __post_init__(self) -> None:
        for name in ("center", "scale"):
            values = getattr(self, name)
            if values is not None and not self._is_valid(name, values):
                raise InputError(
                    f"the {name} of features of shape {self.shape} must have {self.shape[-1]} finite numbers, above "
                    f"0 for scale; not {values!s:.80}"
                )

    def _is_valid(self, name: str, values: tuple[float, ...]) -> bool:
        float32 = np.finfo(np.float32)
        lowest = float(float32.tiny if name == "scale" else float32.min)  # they are used as float32
        highest = float(float32.max)
        numbers = all(type(value) in (int, float) and lowest <= value <= highest for value in values)
        return numbers and [len(values)] == list(self.shape[-1:])

    @property
    def parts(self) -> tuple[EncoderPart, ...]:
        """The encoders of the D features."""
        return parts_of(self.encoder, self.shape[-1])

    @property
    def constants(self) -> Constants | None:
        """Center and scale of the D features, from the store or shipped for its encoder.

        None if they are unknown for the encoder or for a part of it.
        """
        width = self.shape[-1]
        known_constants = constants_of(self.encoder, width)
        if self.scale is not None:
            center = self.center or (0.0,) * width
            known_constants = Constants(
                center=np.asarray(center, np.float32), scale=np.asarray(self.scale, np.float32)
            )
        for part in self.parts:  # an unknown part has the same scale for all its features
            part_scale = known_constants.scale[part.start : part.stop]
            if (part_scale == part_scale[0]).all():
                return None
        return known_constants

    @classmethod
    def of(cls, encoder: Encoder, shape: tuple[int, ...]) -> FeatureSpec:
        """The specification of features of `shape` from an encoder."""
        center, scale = (tuple(map(float, values)) for values in (encoder.center, encoder.scale))
        return cls(
            shape=shape,
            encoder=encoder.fingerprint(),
            center=center if any(center) else None,
            scale=scale if set(scale) != {1.0} else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with constants only if they are known."""
        value: dict[str, Any] = {"shape": list(self.shape), "encoder": dict(self.encoder)}
        known = {"center": self.center, "scale": self.scale}
        return value | {name: list(values) for name, values in known.items() if values is not None}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> FeatureSpec:
        """The inverse of `to_dict`."""
        known = {name: tuple(value[name]) for name in ("center", "scale") if value.get(name) is not None}
        return cls(shape=tuple(value["shape"]), encoder=json_object(value, "encoder"), **known)


def json_object(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The JSON object under a name; TypeError for another value."""
    if not isinstance(holder[name], dict):
        raise TypeError(f"{name} is not a JSON object")
    return holder[name]
