"""The leading directions of a network's own classifier: a projection of its features that needs no data.

Shapes: E numbers of the network, R = 256 directions in the file, D width.

The right singular vectors of the classifier's matrix (classes x E), in the order of their singular values, are the
directions in which the network tells its classes apart; what is orthogonal to all of them changes no class score.

The square root comes first. Few of the network's numbers, which are 0 or more, are large in a map, and without it these
few decide distances and covariances (power normalization: Perronnin, Sanchez & Mensink, Improving the Fisher Kernel for
Large-Scale Image Classification, ECCV 2010).
"""

from __future__ import annotations

from torch import Tensor, nn

from avcil.encoders.convolution import SameConvolution
from avcil.errors import InputError


class SquareRoot(nn.Module):
    """The square root of numbers that are 0 or more."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


def projection(directions: Tensor, width: int, name: str) -> list[nn.Module]:
    """The layers from E channels to D: square root and a convolution of 1 x 1 pixel, or none where D is E.

    Args:
        directions: (R, E), rows orthonormal.
        width: D, 1 to R leading directions, or E.
        name: The encoder's, for errors.

    Raises:
        InputError: If `width` is neither 1 to R nor E.
    """
    most, whole = directions.shape
    if width == whole:
        return []
    if not 1 <= width <= most:
        raise InputError(
            f"{name}: width={width} must be 1 to {most}, or {whole} for all numbers of the network"
        )
    return [SquareRoot(), SameConvolution(directions[:width, :, None, None].float(), None, activated=False)]
