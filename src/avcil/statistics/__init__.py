"""Second-order statistics of features, and what can be computed from them alone: no clip is kept."""

from avcil.statistics.moments import Moments
from avcil.statistics.ridge import (
    RIDGES,
    RidgePath,
    cholesky_with_jitter,
    held_out,
    hold_out_error,
    solve_ridge,
)

__all__ = [
    "RIDGES",
    "Moments",
    "RidgePath",
    "cholesky_with_jitter",
    "held_out",
    "hold_out_error",
    "solve_ridge",
]
