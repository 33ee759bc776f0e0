"""A long video as windows that overlap, decoded once, in memory that does not grow with its length.

F frames of H x W pixels, N samples of sound. Pictures are decoded from the first to the last; a frame goes into every
window that asks for it. Sound is decoded in stretches of `CHUNK` seconds, each once but for the run-up to it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from avcil.errors import InputError
from avcil.media.canvas import Canvases, FrameRequest, in_order
from avcil.media.container import FFMPEG_ERRORS, Deadline, MediaError, open_media, reason_of, survey
from avcil.media.frames import TrackReader
from avcil.media.probe import MediaInfo, probe
from avcil.media.sound import Sound, read_sound
from avcil.media.timeline import Timeline, timeline_of
from avcil.utils.frame_sampling import FrameSampling

CHUNK = 30.0
"""Seconds of sound that are decoded at once."""
TIMEOUT = 24 * 3600.0
"""Seconds that one file may take: whoever reads the windows does other work between them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A stretch of a file; what cannot be had of it is None."""

    start: float
    """Seconds."""
    end: float
    frames: np.ndarray | None
    """(F, H, W, 3) uint8 RGB, of the first sampling"""
    also: tuple[np.ndarray, ...]
    """Frames of the further samplings."""
    sound: np.ndarray | None
    """(N,) float32"""
    problems: tuple[str, ...]


def window_spans(duration: float, window: float, hop: float) -> list[tuple[float, float]]:
    """Starts and ends in seconds: a window every `hop`, and one that ends where the file ends.

    >>> window_spans(3.2, 2.0, 0.5)
    [(0.0, 2.0), (0.5, 2.5), (1.0, 3.0), (1.2000000000000002, 3.2)]
    """
    for name, value in (("window", window), ("hop", hop)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be seconds above 0, not {value!r}")
    if duration <= window:
        return [(0.0, duration)]
    count = int((duration - window) / hop + 1e-9) + 1
    spans = [(k * hop, k * hop + window) for k in range(count)]
    return spans if spans[-1][1] > duration - 1e-6 else [*spans, (duration - window, duration)]


def read_windows(
    path: Path,
    spans: Sequence[tuple[float, float]],
    *,
    samplings: Sequence[FrameSampling],
    sample_rate: int | None,
    max_packets: int | None = None,
) -> Iterator[Window]:
    """Read windows of a file, decoding its pictures once.

    Args:
        path: The file.
        spans: Start and end of each window in seconds, ascending.
        samplings: Which frames of each window are wanted; none for sound alone.
        sample_rate: Hertz of the sound wanted; None for pictures alone.
        max_packets: Most packets that are read, repeated passes over the file included; None does not count them.

    Yields:
        The windows in order.

    Raises:
        MediaError: If the file cannot be opened.
    """
    path = Path(path)
    deadline = Deadline(path, TIMEOUT, max_packets)
    with open_media(path, deadline) as container:
        timeline = timeline_of(path, container, survey(container), deadline)
    sounds = None if sample_rate is None else _Sounds(path, sample_rate, deadline, timeline)
    pictures: Iterator[tuple[list[np.ndarray], tuple[str, ...]]] = repeat(([], ()))
    if samplings:
        pictures = _pictures(path, spans, samplings, deadline, timeline)
    of_file = timeline.problems  # said once, with the first window
    for (start, end), (found, problems) in zip(spans, pictures, strict=False):
        heard, said = (None, ()) if sounds is None else sounds.between(start, end)
        yield Window(
            start=start,
            end=end,
            frames=found[0] if found else None,
            also=tuple(found[1:]),
            sound=heard,
            problems=(*of_file, *problems, *said),
        )
        of_file = ()


def duration_of(path: Path, probe: Callable[[Path], MediaInfo] = probe) -> float:
    """Seconds that a file lasts; `MediaError` if it is not a media file, or its duration is zero."""
    seconds = probe(path).duration
    if not seconds > 0:
        raise MediaError(f"{path}: its duration is zero; ask about it as one clip, without a window")
    return seconds


def _pictures(
    path: Path,
    spans: Sequence[tuple[float, float]],
    samplings: Sequence[FrameSampling],
    deadline: Deadline,
    timeline: Timeline,
) -> Iterator[tuple[list[np.ndarray], tuple[str, ...]]]:
    """Frames (F, H, W, 3) of each window, an array a sampling, with what is to be said of them; no arrays from where
    nothing can be decoded."""
    given = 0
    try:
        for pictures in _decoded(path, spans, samplings, deadline, timeline):
            given += 1
            yield pictures
    except (MediaError, *FFMPEG_ERRORS) as error:
        reason = str(error) if isinstance(error, MediaError) else reason_of(error)
        yield from repeat(([], (reason,)), len(spans) - given)


def _decoded(
    path: Path,
    spans: Sequence[tuple[float, float]],
    samplings: Sequence[FrameSampling],
    deadline: Deadline,
    timeline: Timeline,
) -> Iterator[tuple[list[np.ndarray], tuple[str, ...]]]:
    with open_media(path, deadline) as container:
        tracks = survey(container)
        if tracks.video is None:
            raise MediaError("no video track")
        if tracks.video.codec_context is None:
            raise MediaError("the video track's codec is unknown to FFmpeg")
        reader = TrackReader(container, tracks.video, timeline, deadline, seek=False, strict=False)
        requests = [[FrameRequest.of(sampling, start, end) for sampling in samplings] for start, end in spans]
        wanted = (zip(in_order(own), repeat(k)) for k, own in enumerate(requests))
        open_windows: dict[int, Canvases] = {}
        for (moment, number, index), k in heapq.merge(*wanted):
            frame = reader.frame_at(moment)
            if k not in open_windows:
                open_windows[k] = Canvases(requests[k], tracks.video.sample_aspect_ratio)
            open_windows[k].put(number, index, frame)
            if open_windows[k].is_full:
                canvases = open_windows.pop(k)
                yield canvases.frames, tuple(dict.fromkeys((*reader.problems(), *canvases.problems())))


class _Sounds:
    """Sound of a file, a stretch at a time; the last stretches are kept."""

    def __init__(self, path: Path, rate: int, deadline: Deadline, timeline: Timeline) -> None:
        self._path, self._rate, self._deadline, self._timeline = path, rate, deadline, timeline
        self._chunks: dict[int, Sound | str] = {}

    def between(self, start: float, end: float) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """Samples (N,) of [start, end] seconds and what is to be said of them; None where there is no sound at all."""
        first, last = int(start // CHUNK), int(max(start, end - 1e-9) // CHUNK)
        for number in [number for number in self._chunks if number < first]:
            del self._chunks[number]
        origin = round(first * CHUNK * self._rate)
        samples = np.zeros(round(end * self._rate) - origin, np.float32)
        reached = 0
        reasons: list[str] = []
        said: list[str] = []
        for number in range(first, last + 1):
            chunk = self._chunk(number)
            if isinstance(chunk, str):
                reasons.append(chunk)
                continue
            at = round(number * CHUNK * self._rate) - origin
            piece = chunk.samples[: len(samples) - at]
            samples[at : at + len(piece)] = piece
            reached = at + len(piece)
            said += chunk.mixing
        begin = round(start * self._rate) - origin
        if reached <= begin:
            return None, tuple(dict.fromkeys(reasons))
        return samples[begin:reached], tuple(dict.fromkeys(said))

    def _chunk(self, number: int) -> Sound | str:
        """The sound of a stretch, or why there is none."""
        if number not in self._chunks:
            begin, end = number * CHUNK, (number + 1) * CHUNK
            try:
                self._chunks[number] = read_sound(
                    self._path, begin, end, self._rate, self._deadline, self._timeline
                )
            except (MediaError, *FFMPEG_ERRORS) as error:
                self._chunks[number] = str(error) if isinstance(error, MediaError) else reason_of(error)
        return self._chunks[number]
