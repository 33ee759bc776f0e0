"""Projection of a network's features on the leading directions of its classifier, which needs no data.

Shapes: E channels of the network, R = 256 directions in the file, D width.

The right singular vectors of the classifier's matrix (classes x E), sorted by singular value, are the directions
that discriminate between its classes; orthogonal directions do not change the logits.

The square root is applied first: otherwise, a few large values dominate distances and covariances (power normalization:
Perronnin, Sanchez & Mensink, Improving the Fisher Kernel for Large-Scale Image Classification, ECCV 2010).
"""

from __future__ import annotations

from torch import Tensor, nn

from avcil.encoders.convolution import SameConvolution
from avcil.errors import InputError


class _SquareRoot(nn.Module):
    """Square root of non-negative numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


def projection(directions: Tensor, width: int, name: str) -> list[nn.Module]:
    """The layers from E to D channels: square root and 1 x 1 convolution, or none if D = E.

    Args:
        directions: (R, E), rows orthonormal.
        width: D, 1 to R leading directions, or E.
        name: Name of the encoder in error messages.

    Raises:
        InputError: `width` is neither 1 to R nor E.
    """
    most, whole = directions.shape
    if width == whole:
        return []
    if not 1 <= width <= most:
        raise InputError(
            f"{name}: width={width} must be 1 to {most}, or {whole} for all channels of the network"
        )
    return [_SquareRoot(), SameConvolution(directions[:width, :, None, None].float(), None, activated=False)]
