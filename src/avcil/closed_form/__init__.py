"""Statistics of features (counts, sums, second moments), and classifiers that are computed from them."""

from avcil.closed_form.moments import Moments
from avcil.closed_form.ridge import (
    RIDGES,
    RidgeFit,
    RidgePath,
    cholesky_with_jitter,
    held_out,
    hold_out_error,
)

__all__ = [
    "RIDGES",
    "Moments",
    "RidgeFit",
    "RidgePath",
    "cholesky_with_jitter",
    "held_out",
    "hold_out_error",
]
