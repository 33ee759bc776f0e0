"""Which moments of a clip its frames are taken from.

Shapes: F moments. The default is the centers of F equal slices; encoders that were published with another
rule name it in their `frame_choice`.

The scripts of AV-CIL's release write a clip out as N pictures at 10 (AVE) or 8 frames a second and take the
pictures 1, then 1 + int((i + 1) N / (F - 1) + 0.5) for i = 0 .. F - 3, then N. Where that names a picture
behind the last (clips of 7 pictures or fewer, on which the scripts crash) the last is taken.
"""

from __future__ import annotations

import numpy as np

from avcil.errors import unknown_name
from avcil.utils.frame_sampling import SLICE_CENTERS as SLICE_CENTERS

_RATES = {"av-cil-script-10fps": 10.0, "av-cil-script-8fps": 8.0}
_BEFORE_TIE = 2e-6
"""Seconds: a frame exactly between two pictures belongs to the later one."""


def sample_times(start: float, end: float, count: int, choice: str = SLICE_CENTERS) -> np.ndarray:
    """Ascending moments (F,) float64 of a stretch; by default start + (i + 0.5) (end - start) / F.

    >>> sample_times(0.0, 2.0, 4).tolist()
    [0.25, 0.75, 1.25, 1.75]
    >>> sample_times(0.0, 10.0, 16, "av-cil-script-10fps").round(2).tolist()[:3]
    [0.05, 0.75, 1.35]
    """
    if choice == SLICE_CENTERS:
        return start + (np.arange(count) + 0.5) * ((end - start) / count)
    if choice not in _RATES:
        raise unknown_name("choice of frames", choice, [SLICE_CENTERS, *_RATES])
    rate = _RATES[choice]
    pictures = script_pictures(max(1, int((end - start) * rate + 0.5)), count)
    # FFmpeg rounds a frame's time to the nearest picture: picture k shows what was on just before k - 0.5
    return start + np.maximum((pictures - 0.5) / rate - _BEFORE_TIE, 0.0)


def script_pictures(written: int, count: int) -> np.ndarray:
    """The numbers (F,), from 1 on, that the scripts take of `written` pictures.

    >>> script_pictures(100, 16).tolist()
    [1, 8, 14, 21, 28, 34, 41, 48, 54, 61, 68, 74, 81, 88, 94, 100]
    """
    middle = 1 + (np.arange(1, count - 1) * written / max(count - 1, 1) + 0.5).astype(int)
    return np.minimum(np.array([1, *middle, written][:count]), written)
