"""Sampled frames of a clip as upright RGB images of one size.

Shapes: F frames of H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from avcil.media.container import FILE_ERRORS, MAX_PIXELS, MediaError, reason_of
from avcil.media.frame_choice import sample_times
from avcil.media.orientation import Orientation, display_matrix, orientation_of
from avcil.media.sizes import is_plausible_aspect, scaled_size, square_pixel_size
from avcil.utils.frame_sampling import FrameSampling

MAX_BYTES = 4 * 2**30
"""Maximum memory for the frames of one clip."""
_UNSPECIFIED = 2
"""Number of an unspecified color space in FFmpeg and H.273; FFmpeg then assumes BT.601."""
SCALING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""Bilinear, with averaging when downscaling; bit-identical on all CPUs."""


@dataclass(frozen=True, kw_only=True)
class FrameRequest:
    """The frames to read for one sampling of a segment."""

    times: np.ndarray
    """(F,) float64, ascending: seconds at which the frames are displayed."""
    short_side: int | None
    """Pixels of the shorter side; None keeps the original size."""

    @classmethod
    def of(cls, sampling: FrameSampling, start: float, end: float) -> FrameRequest:
        """The frames of a sampling between `start` and `end` seconds."""
        times = sample_times(start, end, sampling.frames, sampling.frame_choice)
        return cls(times=times, short_side=sampling.short_side)


def sorted_times(requests: Sequence[FrameRequest]) -> list[tuple[float, int, int]]:
    """Times of all requests in ascending order, each with the index of its request and its index in that request."""
    return sorted(
        (time, number, index)
        for number, request in enumerate(requests)
        for index, time in enumerate(request.times.tolist())
    )


class FrameBuffers:
    """A `_FrameBuffer` for each of several requests."""

    def __init__(self, requests: Sequence[FrameRequest], pixel_aspect: Any) -> None:
        self._buffers = [
            _FrameBuffer(len(request.times), request.short_side, pixel_aspect) for request in requests
        ]
        self._remaining = sum(len(request.times) for request in requests)

    def put(self, number: int, index: int, frame: Any) -> None:
        """Convert a PyAV frame into row `index` of request `number`."""
        self._buffers[number].put(index, frame)
        self._remaining -= 1

    @property
    def is_full(self) -> bool:
        """Whether all frames have been put."""
        return not self._remaining

    @property
    def frames(self) -> list[np.ndarray]:
        """(F, H, W, 3) for each request."""
        return [buffer.frames for buffer in self._buffers]

    def problems(self) -> tuple[str, ...]:
        """Problems of the frames, as sentences."""
        return tuple(dict.fromkeys(text for buffer in self._buffers for text in buffer.problems()))


class _FrameBuffer:
    """Converts frames to RGB, all with the size of the first one."""

    def __init__(self, count: int, short_side: int | None, pixel_aspect: Any) -> None:
        self._count, self._short_side, self._pixel_aspect = count, short_side, pixel_aspect
        self._reformatter = VideoReformatter()
        self._orientation, self._size, self._stored = Orientation(), (0, 0), (0, 0)
        self._last: tuple[int, Any] | None = None
        self.frames = np.empty((0, 0, 0, 3), np.uint8)
        self._problems: list[str] = []
        self._damaged = 0

    def put(self, index: int, frame: Any) -> None:
        """Convert a PyAV frame into row `index`; consecutive calls with the same frame convert it once."""
        self._damaged += frame.is_corrupt
        if self._last is not None and self._last[1] is frame:
            self.frames[index] = self.frames[self._last[0]]
            return
        if self._last is None:
            self._allocate(frame)
        elif (frame.width, frame.height) != self._stored:
            self._add_problem(
                f"the frame size changes; all frames are scaled to {self._size[0]}x{self._size[1]}"
            )
        self.frames[index] = self._orientation.apply(self._rgb(frame))
        self._last = (index, frame)

    def _allocate(self, frame: Any) -> None:
        self._stored = (frame.width, frame.height)
        self._orientation, residual = orientation_of(display_matrix(frame))
        if residual > 1:
            self._add_problem(
                f"the rotation in the file is {residual:.0f} degrees off a multiple of 90; this part is ignored"
            )
        if self._pixel_aspect and not is_plausible_aspect(self._pixel_aspect):
            self._add_problem(
                f"the pixel aspect ratio {self._pixel_aspect} is implausible; pixels are treated as square"
            )
        self._size = scaled_size(
            *square_pixel_size(frame.width, frame.height, self._pixel_aspect), self._short_side
        )
        width, height = self._size[::-1] if self._orientation.transpose else self._size
        if width * height > MAX_PIXELS or width * height * 3 * self._count > MAX_BYTES:
            raise MediaError(
                f"{self._count} frames of {width}x{height} pixels take too much memory; set short_side"
            )
        self.frames = np.empty((self._count, height, width, 3), np.uint8)

    def _rgb(self, frame: Any) -> np.ndarray:
        try:
            return self._converted(frame)
        except FILE_ERRORS as error:
            if frame.colorspace == _UNSPECIFIED:
                raise MediaError(
                    f"a frame of {frame.width}x{frame.height} pixels ({frame.format.name}) cannot be converted "
                    f"to RGB: {reason_of(error)}"
                ) from None
            self._add_problem(
                f"the color space (number {frame.colorspace} of ITU-T H.273) is unknown; colors may be wrong"
            )
            frame.colorspace = _UNSPECIFIED
            return self._rgb(frame)

    def _converted(self, frame: Any) -> np.ndarray:
        return self._reformatter.reformat(
            frame,
            width=self._size[0],
            height=self._size[1],
            format="rgb24",
            interpolation=SCALING,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        ).to_ndarray()

    def _add_problem(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.append(problem)

    def problems(self) -> tuple[str, ...]:
        """Problems of the frames, as sentences."""
        damaged = f"{self._damaged} of {self._count} frames are damaged" if self._damaged else ""
        return (*self._problems, damaged) if damaged else tuple(self._problems)
