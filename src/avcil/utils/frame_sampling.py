"""Which frames of a clip are sampled, and their size."""

from __future__ import annotations

from dataclasses import dataclass

SLICE_CENTERS = "slice-centres"
"""The default rule: the frames displayed at the centers of equal slices of the clip."""
SCRIPT_FPS = {"": "av-cil-script-10fps", "-8fps": "av-cil-script-8fps"}
"""The rules of AV-CIL's scripts, by suffix: 10 frames per second for AVE, 8 for the other benchmarks."""


@dataclass(frozen=True, kw_only=True)
class FrameSampling:
    """Number, size and times of the frames sampled from a clip."""

    frames: int
    """F."""
    short_side: int | None = None
    """Pixels of the shorter side; None keeps the original size."""
    frame_choice: str = SLICE_CENTERS
    """Name of the rule that gives the times (`media.frame_choice`)."""
