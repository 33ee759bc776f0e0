"""Reading the audio of a segment of a file: mono, float32, resampled, aligned with the video.

Shapes: N samples, C channels. Sample 0 is at the start of the segment; if the audio track starts later, zeros come
first. FFmpeg removes the priming and padding of the encoder.

Channels are averaged with equal weights, unless they cancel (channels.py); then only the strongest is used.

Time stamps determine the position of the first sample and of each jump of more than `MIN_GAP` seconds. Between jumps,
samples are counted, since many formats round time stamps to milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avcil.media.channels import SILENCE, Channels, ChannelsCancel
from avcil.media.container import (
    FILE_ERRORS,
    CannotSeek,
    Deadline,
    MediaError,
    PacketCounts,
    decoded,
    open_media,
    reason_of,
    seconds_of,
    stream_info,
)
from avcil.media.resampler import Resampler
from avcil.media.timeline import Timeline

MIN_GAP = 0.1
"""Seconds by which time stamps may be ahead of the sample count before zeros are inserted (FFmpeg's limit)."""
MIN_SEEK_START = 60.0
"""Start of a segment in seconds from which seeking is faster than decoding."""
_PREROLL = 0.5
"""Seconds decoded before the segment after seeking, for codecs that depend on earlier samples."""
MAX_SAMPLES = 2**28
"""Maximum length: 4.6 hours at 16 kHz, 1 GiB."""


@dataclass(frozen=True, kw_only=True)
class DecodedAudio:
    """Audio of a clip, and where its track ends."""

    samples: np.ndarray
    """(N,) float32 in [-1, 1]."""
    track_end: float | None
    """Seconds at which the last sample ends; None if decoding did not reach the end of the track."""
    channel_problems: tuple[str, ...]
    """Problems with the channels; `problems` contains them as well."""
    problems: tuple[str, ...]


def read_audio(
    path: Path, start: float, end: float, rate: int, deadline: Deadline, timeline: Timeline
) -> DecodedAudio:
    """Read mono audio (N,) of [start, end] seconds at `rate` Hz; `MediaError` with the reason if there is none."""
    seek = start > MIN_SEEK_START and not timeline.has_offsets
    strongest: dict[int, int] = {}
    while True:
        try:
            return _read(path, start, end, rate, deadline, timeline, seek=seek, strongest=strongest)
        except CannotSeek:
            seek = False
        except ChannelsCancel as cancelled:
            strongest = cancelled.strongest


def _read(
    path: Path,
    start: float,
    end: float,
    rate: int,
    deadline: Deadline,
    timeline: Timeline,
    *,
    seek: bool,
    strongest: Mapping[int, int],
) -> DecodedAudio:
    with open_media(path, deadline) as container:
        tracks = stream_info(container)
        track = tracks.audio
        if track is None:
            raise MediaError("no audio track")
        if track.codec_context is None:
            raise MediaError("the audio track's codec is unknown to FFmpeg or not described in the file")
        if seek:
            _seek(container, track, timeline.origin + start - _PREROLL)
        decoder = _Decoder(container, track, deadline, timeline)
        channels = Channels(strongest)
        buffer = _AudioBuffer(
            start=start, end=end, rate=rate, origin=timeline.origin, after_seek=seek, channels=channels
        )
        for frame in decoder.frames():
            if not buffer.put(frame):
                break
        buffer.close()
        if not buffer.length and not decoder.has_frames:
            raise MediaError(
                f"the audio track has no frame that can be decoded{decoder.packets.reason_suffix()}"
            )
        samples, problems = buffer.finish()
        return DecodedAudio(
            samples=samples,
            track_end=buffer.end_time if decoder.ended else None,
            channel_problems=channels.problems(),
            problems=(*decoder.packets.problems(), *problems, *channels.problems()),
        )


def _seek(container: Any, track: Any, time: float) -> None:
    try:
        container.seek(round(time / track.time_base), stream=track, backward=True)
    except FILE_ERRORS:
        raise CannotSeek from None


class _Decoder:
    """Decodes the frames of an audio track in order; packets that cannot be decoded are counted."""

    def __init__(self, container: Any, track: Any, deadline: Deadline, timeline: Timeline) -> None:
        self._container, self._track = container, track
        self._deadline, self._timeline = deadline, timeline
        self.packets = PacketCounts(kind="audio")
        self.has_frames = self.ended = False

    def frames(self) -> Iterator[Any]:
        packets = self._timeline.packets(self._container, self._track)
        for frames in decoded(packets, self._deadline, self.packets):
            for frame in frames:
                if frame.samples:
                    self.has_frames = True
                    yield frame
        self.ended = True


class _AudioBuffer:
    """The waveform of a segment, filled frame by frame."""

    def __init__(
        self, *, start: float, end: float, rate: int, origin: float, after_seek: bool, channels: Channels
    ) -> None:
        self._start, self._end, self._rate, self._origin = start, end, rate, origin
        self._after_seek, self._channels = after_seek, channels
        self._pieces: list[tuple[int, np.ndarray]] = []
        self._resampler: Resampler | None = None
        self._format: tuple[Any, ...] = ()
        self._position = 0
        self._gaps = 0.0
        self._not_finite = 0
        self.end_time = 0.0
        """Seconds from the start of the file at which the samples received so far end."""
        self._begun = False

    @property
    def length(self) -> int:
        """Number of samples up to the last one within the segment, including zeros before and between."""
        return max((index + len(piece) for index, piece in self._pieces), default=0)

    def put(self, frame: Any) -> bool:
        """Add the next frame; False once the segment is complete."""
        time = self._time_of(frame)
        if self._begun and time - self.end_time > MIN_GAP:
            self._gaps += time - max(self.end_time, self._start)
            self.close()
        elif self._begun:
            time = self.end_time
        elif self._after_seek and time > self._start:
            raise CannotSeek
        frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_format != self._format:
            self.close()
        if time >= self._end:
            return False
        if self._resampler is None:
            self._open(frame, frame_format, time)
        self._begun = True
        self.end_time = time + frame.samples / frame.sample_rate
        self._push(frame)
        return True

    def _time_of(self, frame: Any) -> float:
        if frame.pts is None or frame.time_base is None:
            return self.end_time
        return seconds_of(frame.pts, frame.time_base) - self._origin

    def _open(self, frame: Any, frame_format: tuple[Any, ...], time: float) -> None:
        try:
            self._resampler = Resampler(frame, self._rate)
        except FILE_ERRORS as error:
            raise _unusable(error) from None
        self._format = frame_format
        self._position = round((time - self._start) * self._rate)

    def close(self) -> None:
        """Flush the resampler."""
        if self._resampler is not None:
            self._push(None)
        self._resampler = None

    def _push(self, frame: Any) -> None:
        assert self._resampler is not None
        try:
            if frame is not None:
                frame.pts = None  # the buffer tracks time, not the resampler
            # packed (interleaved channels): PyAV crashes with more than eight planes
            converted = [
                piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
                for piece in self._resampler.resample(frame)
            ]
        except FILE_ERRORS as error:
            raise _unusable(error) from None
        for samples in converted:  # (n, C)
            self._store(samples)

    def _store(self, samples: np.ndarray) -> None:
        piece = self._channels.mixed(samples)
        index, self._position = self._position, self._position + len(piece)
        if self._position > MAX_SAMPLES:
            raise MediaError(
                f"the audio is longer than {MAX_SAMPLES / self._rate / 3600:.1f} hours; give start and end"
            )
        inside = slice(max(0, -index), None)
        if math.isfinite(self._end):
            inside = slice(inside.start, max(0, round((self._end - self._start) * self._rate) - index))
        piece, index = piece[inside], max(0, index)
        if len(piece):
            self._channels.measure(samples[inside], piece)
            self._not_finite += int(np.count_nonzero(~np.isfinite(piece)))
            self._pieces.append((index, piece))

    def finish(self) -> tuple[np.ndarray, list[str]]:
        """The waveform (N,) and its problems."""
        if self._not_finite:
            raise MediaError(f"the audio has {self._not_finite} samples that are NaN or infinite")
        if not self.length:
            raise MediaError("the audio track is outside the segment")
        self._channels.check()
        samples, peak = np.zeros(self.length, np.float32), 0.0
        # zeros between the pieces are not written, so that they take no memory
        for index, piece in self._pieces:
            peak = max(peak, float(np.abs(piece).max()))
            np.clip(piece, -1, 1, out=samples[index : index + len(piece)])
        problems = []
        if self._gaps >= MIN_GAP:
            problems.append(f"the audio has gaps of {self._gaps:.2f} s in total; they are filled with zeros")
        if peak < SILENCE:
            problems.append("the audio is silent")
        if peak > 2:
            problems.append(f"the audio reaches {peak:.3g} times full scale; it is clipped")
        return samples, problems


def _unusable(error: BaseException) -> MediaError:
    return MediaError(f"the audio cannot be resampled: {reason_of(error)}")
