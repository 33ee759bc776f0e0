"""Writing small videos with audio: H.264 and AAC in MP4, deterministic.

Shapes: H x W pixels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import numpy as np

from avcil.errors import InputError
from avcil.media.container import reason_of
from avcil.utils.files import write_atomically

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Sample rates of AAC in Hz."""
_AAC_BLOCK = 1024
_MACROBLOCK = 16
"""Width of a macroblock of H.264 in pixels."""


def write_video(
    path: Path | str,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    waveform: np.ndarray | None = None,
    sample_rate: int | None = None,
    quality: int = 20,
) -> None:
    """Write frames and mono audio as an MP4 file, atomically.

    Args:
        path: The file.
        frames: uint8 RGB (H, W, 3), H and W even.
        fps: Frame rate; frame i is displayed at i / fps seconds.
        waveform: float32 (N,), starting with frame 0; None writes no audio.
        sample_rate: Sample rate of `waveform` in Hz.
        quality: Constant rate factor of x264, from 0 (lossless except for chroma) to 51 (worst).

    Raises:
        InputError: MP4 does not support the arguments.
    """
    path = Path(path)
    _check(path, fps, waveform, sample_rate)
    write_atomically(path, lambda file: _write(path, file, frames, fps, waveform, sample_rate, quality))


def _check(path: Path, fps: float, waveform: np.ndarray | None, sample_rate: int | None) -> None:
    if not 0 < fps <= 1000:
        raise InputError(f"{path}: fps must be above 0 and at most 1000, not {fps!r}")
    if (waveform is None) != (sample_rate is None):
        raise InputError(f"{path}: give waveform and sample_rate together, or neither")
    if waveform is None:
        return
    if sample_rate not in _AAC_RATES:
        raise InputError(
            f"{path}: sample_rate {sample_rate!r} is not one of AAC's: {', '.join(map(str, _AAC_RATES))}"
        )
    if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
        raise InputError(
            f"{path}: the waveform must be finite numbers of shape (N,), N above 0, not {waveform.shape}"
        )


def _write(
    path: Path,
    file: BinaryIO,
    frames: Iterable[np.ndarray],
    fps: float,
    waveform: np.ndarray | None,
    sample_rate: int | None,
    quality: int,
) -> None:
    try:
        with av.open(file, "w", format="mp4") as container:
            video = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            video.pix_fmt = "yuv420p"
            video.codec_context.thread_count = 1  # the output of x264 depends on the number of threads
            video.options = {"crf": str(quality)}
            audio, blocks = None, iter(())
            if waveform is not None and sample_rate is not None:
                audio = container.add_stream("aac", rate=sample_rate, layout="mono")
                blocks = _blocks(waveform, sample_rate)
            _interleave(path, container, video, audio, frames, blocks)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):  # of the disk; `write_atomically` explains it
            raise
        raise InputError(f"{path} cannot be written: {reason_of(error)}") from None


def _interleave(
    path: Path, container: Any, video: Any, audio: Any, frames: Iterable[np.ndarray], blocks: Iterator[Any]
) -> None:
    """Encode video and audio interleaved by time."""
    count, audio_end = 0, Fraction(0)
    for count, frame in enumerate(frames, start=1):
        if count == 1:
            _set_size(path, video, frame)
        if frame.shape != (video.height, video.width, 3) or frame.dtype != np.uint8:
            raise InputError(
                f"{path}: frame {count - 1} is {frame.dtype} {frame.shape}; all must be uint8 "
                f"({video.height}, {video.width}, 3)"
            )
        video_frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        video_frame.pts, video_frame.time_base = count - 1, 1 / video.codec_context.framerate
        container.mux(video.encode(video_frame))
        while audio_end < count / video.codec_context.framerate and (block := next(blocks, None)) is not None:
            container.mux(audio.encode(block))
            audio_end += Fraction(block.samples, block.sample_rate)
    if not count:
        raise InputError(f"{path}: there is no frame to write")
    container.mux(video.encode(None))
    if audio is not None:
        for block in blocks:
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def _set_size(path: Path, video: Any, frame: np.ndarray) -> None:
    height, width = frame.shape[:2]
    if height % 2 or width % 2 or not height or not width:
        raise InputError(f"{path}: width and height must be even for H.264, not {width}x{height}")
    video.width, video.height = width, height
    # Otherwise, the macroblock tree (mbtree) of x264 reads uninitialized memory behind each row of macroblocks, and
    # equal frames give different bytes.
    if width % (8 * _MACROBLOCK):
        video.options = {**video.options, "x264-params": "mbtree=0"}


def _blocks(waveform: np.ndarray, sample_rate: int) -> Iterator[Any]:
    samples = np.clip(waveform, -1, 1).astype(np.float32)
    for begin in range(0, len(samples), _AAC_BLOCK):
        block = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None, begin : begin + _AAC_BLOCK]), format="fltp", layout="mono"
        )
        block.sample_rate, block.pts, block.time_base = sample_rate, begin, Fraction(1, sample_rate)
        yield block
