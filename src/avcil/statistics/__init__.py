"""Second-order statistics of features, and what can be computed from them alone: no clip is kept."""

from avcil.statistics.moments import Moments
from avcil.statistics.ridge import (
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
