"""Overlapping windows of a long video, decoded once, with memory independent of its length.

Shapes: F frames of H x W pixels, N audio samples. Video is decoded in one pass; a frame is used in every window that
contains it. Audio is decoded in chunks of `CHUNK` seconds.
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
from avcil.media.audio import DecodedAudio, read_audio
from avcil.media.container import (
    FFMPEG_ERRORS,
    Deadline,
    MediaError,
    open_media,
    reason_of,
    stream_info,
    video_track,
)
from avcil.media.frame_buffer import FrameBuffers, FrameRequest, sorted_times
from avcil.media.frames import TrackReader
from avcil.media.probe import MediaInfo, probe
from avcil.media.timeline import Timeline, timeline_of
from avcil.utils.frame_sampling import FrameSampling

CHUNK = 30.0
"""Seconds of audio that are decoded together."""
_TIMEOUT = 24 * 3600.0
"""Time limit of a file in seconds; it includes the time that the caller spends between windows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipWindow:
    """A segment of a file; None for what cannot be read."""

    start: float
    """Seconds."""
    end: float
    frames: np.ndarray | None
    """(F, H, W, 3) uint8 RGB, of the first sampling."""
    extra_frames: tuple[np.ndarray, ...]
    """Frames of the other samplings."""
    waveform: np.ndarray | None
    """(N,) float32."""
    problems: tuple[str, ...]


def window_spans(duration: float, window: float, hop: float) -> list[tuple[float, float]]:
    """Starts and ends in seconds: a window every `hop`, and one at the end of the file.

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
) -> Iterator[ClipWindow]:
    """Read windows of a file, decoding the video once.

    Args:
        path: The file.
        spans: Start and end of each window in seconds, ascending.
        samplings: The frames of each window; empty for audio only.
        sample_rate: Sample rate of the audio in Hz; None for video only.
        max_packets: Maximum number of packets, including repeated passes over the file; None does not count them.

    Yields:
        The windows in order.

    Raises:
        MediaError: The file cannot be opened.
    """
    path = Path(path)
    deadline = Deadline(path, _TIMEOUT, max_packets)
    with open_media(path, deadline) as container:
        timeline = timeline_of(path, container, stream_info(container), deadline)
    audio = None if sample_rate is None else _AudioChunks(path, sample_rate, deadline, timeline)
    video: Iterator[tuple[list[np.ndarray], tuple[str, ...]]] = repeat(([], ()))
    if samplings:
        video = _video(path, spans, samplings, deadline, timeline)
    file_problems = timeline.problems  # reported once, with the first window
    for (start, end), (found, problems) in zip(spans, video, strict=False):
        waveform, audio_problems = (None, ()) if audio is None else audio.between(start, end)
        yield ClipWindow(
            start=start,
            end=end,
            frames=found[0] if found else None,
            extra_frames=tuple(found[1:]),
            waveform=waveform,
            problems=(*file_problems, *problems, *audio_problems),
        )
        file_problems = ()


def duration_of(path: Path, probe: Callable[[Path], MediaInfo] = probe) -> float:
    """Duration of a file in seconds; `MediaError` if it is not a media file, or its duration is zero."""
    seconds = probe(path).duration
    if not seconds > 0:
        raise MediaError(f"{path}: its duration is zero; predict it as one clip, without windows")
    return seconds


def _video(
    path: Path,
    spans: Sequence[tuple[float, float]],
    samplings: Sequence[FrameSampling],
    deadline: Deadline,
    timeline: Timeline,
) -> Iterator[tuple[list[np.ndarray], tuple[str, ...]]]:
    """For each window, its frames (F, H, W, 3) for each sampling, and problems; no arrays after decoding has failed."""
    count = 0
    try:
        for frames in _decoded(path, spans, samplings, deadline, timeline):
            count += 1
            yield frames
    except (MediaError, *FFMPEG_ERRORS) as error:
        reason = str(error) if isinstance(error, MediaError) else reason_of(error)
        yield from repeat(([], (reason,)), len(spans) - count)


def _decoded(
    path: Path,
    spans: Sequence[tuple[float, float]],
    samplings: Sequence[FrameSampling],
    deadline: Deadline,
    timeline: Timeline,
) -> Iterator[tuple[list[np.ndarray], tuple[str, ...]]]:
    with open_media(path, deadline) as container:
        track = video_track(stream_info(container))
        reader = TrackReader(container, track, timeline, deadline, seek=False, strict=False)
        requests = [[FrameRequest.of(sampling, start, end) for sampling in samplings] for start, end in spans]
        wanted = (zip(sorted_times(own), repeat(k)) for k, own in enumerate(requests))
        open_windows: dict[int, FrameBuffers] = {}
        for (time, number, index), k in heapq.merge(*wanted):
            frame = reader.frame_at(time)
            if k not in open_windows:
                open_windows[k] = FrameBuffers(requests[k], track.sample_aspect_ratio)
            open_windows[k].put(number, index, frame)
            if open_windows[k].is_full:
                buffers = open_windows.pop(k)
                yield buffers.frames, tuple(dict.fromkeys((*reader.problems(), *buffers.problems())))


class _AudioChunks:
    """Reads the audio of a file in chunks and caches those that the next windows need."""

    def __init__(self, path: Path, rate: int, deadline: Deadline, timeline: Timeline) -> None:
        self._path, self._rate, self._deadline, self._timeline = path, rate, deadline, timeline
        self._chunks: dict[int, DecodedAudio | str] = {}

    def between(self, start: float, end: float) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """Samples (N,) of [start, end] seconds and problems; None if there is no audio."""
        first, last = int(start // CHUNK), int(max(start, end - 1e-9) // CHUNK)
        for number in [number for number in self._chunks if number < first]:
            del self._chunks[number]
        origin = round(first * CHUNK * self._rate)
        samples = np.zeros(round(end * self._rate) - origin, np.float32)
        reached = 0
        reasons: list[str] = []
        problems: list[str] = []
        for number in range(first, last + 1):
            chunk = self._chunk(number)
            if isinstance(chunk, str):
                reasons.append(chunk)
                continue
            at = round(number * CHUNK * self._rate) - origin
            piece = chunk.samples[: len(samples) - at]
            samples[at : at + len(piece)] = piece
            reached = at + len(piece)
            problems += chunk.channel_problems
        begin = round(start * self._rate) - origin
        if reached <= begin:
            return None, tuple(dict.fromkeys(reasons))
        return samples[begin:reached], tuple(dict.fromkeys(problems))

    def _chunk(self, number: int) -> DecodedAudio | str:
        """The audio of a chunk, or the reason why there is none."""
        if number not in self._chunks:
            begin, end = number * CHUNK, (number + 1) * CHUNK
            try:
                self._chunks[number] = read_audio(
                    self._path, begin, end, self._rate, self._deadline, self._timeline
                )
            except (MediaError, *FFMPEG_ERRORS) as error:
                self._chunks[number] = str(error) if isinstance(error, MediaError) else reason_of(error)
        return self._chunks[number]
