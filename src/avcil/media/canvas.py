"""Chosen frames of a clip as upright RGB pictures of one size.

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
from avcil.media.sizes import plausible_aspect, scaled_size, square_pixel_size
from avcil.utils.frame_sampling import FrameSampling

MAX_BYTES = 4 * 2**30
"""The most that the frames of one clip may take in memory."""
UNSPECIFIED = 2
"""FFmpeg's and H.273's number for a color space that is not told; FFmpeg then takes that of BT.601."""
SCALING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
"""Bilinear, widened to an average when shrinking; the same bits on every processor."""


@dataclass(frozen=True, kw_only=True)
class FrameRequest:
    """The frames of one sampling of a stretch."""

    times: np.ndarray
    """(F,) float64, ascending: the frames displayed at these seconds are wanted."""
    short_side: int | None
    """Pixels of their shorter side; None leaves their size."""

    @classmethod
    def of(cls, sampling: FrameSampling, start: float, end: float) -> FrameRequest:
        """What a sampling asks of the stretch from `start` to `end` seconds."""
        times = sample_times(start, end, sampling.frames, sampling.frame_choice)
        return cls(times=times, short_side=sampling.short_side)


def in_order(requests: Sequence[FrameRequest]) -> list[tuple[float, int, int]]:
    """The moments of all requests in ascending order, each with its request's number and its place there."""
    return sorted(
        (moment, number, index)
        for number, request in enumerate(requests)
        for index, moment in enumerate(request.times.tolist())
    )


class Canvases:
    """Collects the frames of several requests as RGB."""

    def __init__(self, requests: Sequence[FrameRequest], pixel_aspect: Any) -> None:
        self._canvases = [
            FrameBuffer(len(request.times), request.short_side, pixel_aspect) for request in requests
        ]
        self._left = sum(len(request.times) for request in requests)

    def put(self, number: int, index: int, frame: Any) -> None:
        """Convert a PyAV frame into row `index` of request `number`."""
        self._canvases[number].put(index, frame)
        self._left -= 1

    @property
    def is_full(self) -> bool:
        """Whether every frame is there."""
        return not self._left

    @property
    def frames(self) -> list[np.ndarray]:
        """(F, H, W, 3) for each request."""
        return [canvas.frames for canvas in self._canvases]

    def problems(self) -> tuple[str, ...]:
        """What is to be said of the frames."""
        return tuple(dict.fromkeys(said for canvas in self._canvases for said in canvas.problems()))


class FrameBuffer:
    """Collects the frames of a clip as RGB, all in the size of the first one asked for."""

    def __init__(self, count: int, short_side: int | None, pixel_aspect: Any) -> None:
        self._count, self._short_side, self._pixel_aspect = count, short_side, pixel_aspect
        self._reformatter = VideoReformatter()
        self._orientation, self._size, self._stored = Orientation(), (0, 0), (0, 0)
        self._last: tuple[int, Any] | None = None
        self.frames = np.empty((0, 0, 0, 3), np.uint8)
        self._said: list[str] = []
        self._damaged = 0

    def put(self, index: int, frame: Any) -> None:
        """Convert a PyAV frame into row `index`; the same frame twice is converted once."""
        self._damaged += frame.is_corrupt
        if self._last is not None and self._last[1] is frame:
            self.frames[index] = self.frames[self._last[0]]
            return
        if self._last is None:
            self._begin(frame)
        elif (frame.width, frame.height) != self._stored:
            self._say(
                f"the picture's size changes; all frames are brought to {self._size[0]}x{self._size[1]}"
            )
        self.frames[index] = self._orientation.apply(self._rgb(frame))
        self._last = (index, frame)

    def _begin(self, frame: Any) -> None:
        self._stored = (frame.width, frame.height)
        self._orientation, off = orientation_of(display_matrix(frame))
        if off > 1:
            self._say(
                f"the file asks to turn the picture by {off:.0f} degrees more than quarter turns; it is not"
            )
        if self._pixel_aspect and not plausible_aspect(self._pixel_aspect):
            self._say(f"the pixel aspect {self._pixel_aspect} is not believed; pixels are taken as square")
        self._size = scaled_size(
            *square_pixel_size(frame.width, frame.height, self._pixel_aspect), self._short_side
        )
        width, height = self._size[::-1] if self._orientation.transpose else self._size
        if width * height > MAX_PIXELS or width * height * 3 * self._count > MAX_BYTES:
            raise MediaError(
                f"{self._count} frames of {width}x{height} pixels take too much memory; ask for a short_side"
            )
        self.frames = np.empty((self._count, height, width, 3), np.uint8)

    def _rgb(self, frame: Any) -> np.ndarray:
        try:
            return self._converted(frame)
        except FILE_ERRORS as error:
            if frame.colorspace == UNSPECIFIED:
                raise MediaError(
                    f"a frame of {frame.width}x{frame.height} pixels ({frame.format.name}) cannot be converted "
                    f"to RGB: {reason_of(error)}"
                ) from None
            self._say(
                f"the color space (number {frame.colorspace} of ITU-T H.273) is unknown; colors may be wrong"
            )
            frame.colorspace = UNSPECIFIED
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

    def _say(self, problem: str) -> None:
        if problem not in self._said:
            self._said.append(problem)

    def problems(self) -> tuple[str, ...]:
        """What is to be said of the frames."""
        damaged = f"{self._damaged} of {self._count} frames are damaged" if self._damaged else ""
        return (*self._said, damaged) if damaged else tuple(self._said)
