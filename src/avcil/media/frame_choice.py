"""Times at which the F frames of a clip are sampled.

The default is the centers of F equal slices; encoders that were published with another rule declare it as
`frame_choice`.

The scripts of AV-CIL's release write a clip as N images at 10 (AVE) or 8 frames per second and use the images 1, then
1 + int((i + 1) N / (F - 1) + 0.5) for i = 0 .. F - 3, then N. If this exceeds N (clips of 7 images or fewer, for which
the scripts crash), the last image is used.
"""

from __future__ import annotations

import numpy as np

from avcil.errors import unknown_name
from avcil.utils.frame_sampling import SLICE_CENTERS as SLICE_CENTERS

_RATES = {"av-cil-script-10fps": 10.0, "av-cil-script-8fps": 8.0}
_BEFORE_TIE = 2e-6
"""Seconds: a frame exactly between two images belongs to the later one."""


def sample_times(start: float, end: float, count: int, choice: str = SLICE_CENTERS) -> np.ndarray:
    """Ascending times (F,) float64 in a segment; by default start + (i + 0.5) (end - start) / F.

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
    images = script_images(max(1, int((end - start) * rate + 0.5)), count)
    # FFmpeg rounds a frame's time to the nearest image: image k is the frame displayed just before k - 0.5
    return start + np.maximum((images - 0.5) / rate - _BEFORE_TIE, 0.0)


def script_images(written: int, count: int) -> np.ndarray:
    """Numbers (F,), counted from 1, of the images that the scripts use of `written` images.

    >>> script_images(100, 16).tolist()
    [1, 8, 14, 21, 28, 34, 41, 48, 54, 61, 68, 74, 81, 88, 94, 100]
    """
    middle = 1 + (np.arange(1, count - 1) * written / max(count - 1, 1) + 0.5).astype(int)
    return np.minimum(np.array([1, *middle, written][:count]), written)
