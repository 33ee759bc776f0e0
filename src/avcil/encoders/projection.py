"""The leading directions of a network's own classifier: a projection of its features that needs no data.

Shapes: E numbers of the network, R = 256 directions in the file, D width.

The right singular vectors of the classifier's matrix (classes x E), in the order of their singular values, are the
directions in which the network tells its classes apart; what is orthogonal to all of them changes no class score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from avcil.encoders.convolution import SameConvolution
from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A projection to D numbers, and the mean and standard deviation of these on ordinary clips."""

    layers: tuple[SameConvolution, ...]
    """A convolution of 1 x 1 pixel from E to D channels; empty where all E numbers are kept."""
    center: np.ndarray
    """(D,) float32."""
    scale: np.ndarray
    """(D,) float32, above 0."""

    @classmethod
    def of(cls, weights: dict[str, Tensor], width: int, name: str) -> Projection:
        """The first `width` directions in an encoder's weights, or all numbers of the network.

        Raises:
            InputError: if `width` is neither 1 to R nor E.
        """
        directions = weights["directions"]
        most, whole = directions.shape
        if width == whole:
            center, scale = (weights[f"whole.{part}"].numpy() for part in ("center", "scale"))
            return cls(layers=(), center=center, scale=scale)
        if not 1 <= width <= most:
            raise InputError(
                f"{name}: width={width} must be 1 to {most}, or {whole} for all numbers of the network"
            )
        kernel = directions[:width, :, None, None].float()
        center, scale = (weights[part][:width].numpy() for part in ("center", "scale"))
        return cls(layers=(SameConvolution(kernel, None, activated=False),), center=center, scale=scale)
