"""Second-order statistics of features, and what can be computed from them alone: no clip is kept."""

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
