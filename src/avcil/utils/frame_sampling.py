"""Which frames of a clip are wanted, and how large."""

from __future__ import annotations

from dataclasses import dataclass

SLICE_CENTERS = "slice-centres"
"""The default rule: the frames on display at the centers of equal slices of the clip."""
SCRIPT_FPS = {"": "av-cil-script-10fps", "-8fps": "av-cil-script-8fps"}
"""The rule of AV-CIL's scripts at AVE's rate, and at that of the other benchmarks."""


@dataclass(frozen=True, kw_only=True)
class FrameSampling:
    """One choice of frames of a clip."""

    frames: int
    """F, how many."""
    short_side: int | None = None
    """Pixels of the frames' shorter side; None leaves their size."""
    frame_choice: str = SLICE_CENTERS
    """The rule that gives their times (media/frame_choice.py)."""
