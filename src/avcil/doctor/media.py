"""Checks of decoding and of encoders, with a clip of a moving square and a tone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from avcil.doctor.result import CheckResult, pass_or_fail

_FRAMES, _FPS, _RATE, _TONE = 32, 32.0, 16_000, 440.0
"""Number of frames, frames per second, audio samples per second, frequency in Hz."""
_MIN_PSNR = 30.0
"""Decibels; about 36 are usual."""
_MAX_TONE_ERROR = 5.0
"""Hz."""
_ENCODERS = {
    "patch-motion": "visual",
    "efficientnet-lite0": "visual",
    "log-mel": "audio",
    "yamnet": "audio",
}
_SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 16,
}
_TRANSFORMERS = {
    "visual": ("VideoMAE", {"image_size": 32, "num_frames": 4}),
    "audio": ("AST", {"num_mel_bins": 128, "max_length": 128}),
}


def clip() -> tuple[np.ndarray, np.ndarray]:
    """Frames (F, H, W, 3) uint8, and the waveform (N,) float32 of the same length in time."""
    frames = np.full((_FRAMES, 72, 96, 3), 40, dtype=np.uint8)
    for t, frame in enumerate(frames):
        frame[24:48, 2 * t : 2 * t + 24] = (230, 180, 60)
    seconds = np.arange(int(_FRAMES / _FPS * _RATE)) / _RATE
    return frames, (0.3 * np.sin(2 * np.pi * _TONE * seconds)).astype(np.float32)


def decoding() -> Iterator[CheckResult]:
    """Write the clip as H.264 and AAC, read it, and compare."""
    from avcil.media import read_clip, write_video

    frames, waveform = clip()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, _FPS, waveform=waveform, sample_rate=_RATE)
        read = read_clip(path, frames=_FRAMES, sample_rate=_RATE)
    passed, detail = False, "; ".join(read.problems)
    if read.frames is not None and read.waveform is not None:
        mean_error = np.mean((frames.astype(np.float64) - read.frames) ** 2)
        psnr = 10 * np.log10(255**2 / max(mean_error, 1e-9))
        spectrum = np.abs(np.fft.rfft(read.waveform * np.hanning(len(read.waveform))))
        tone = np.fft.rfftfreq(len(read.waveform), 1 / _RATE)[spectrum.argmax()]
        passed = psnr >= _MIN_PSNR and abs(tone - _TONE) <= _MAX_TONE_ERROR
        detail = (
            f"H.264 and AAC written and read: {len(read.frames)} frames, "
            f"PSNR {psnr:.0f} dB (at least {_MIN_PSNR:.0f}); "
            f"{len(read.waveform) / _RATE:.2f} s of audio, tone of {tone:.0f} Hz ({_TONE:.0f} written)"
        )
    yield pass_or_fail("decode", passed, detail, advice="pip install --force-reinstall --no-deps av")


def encoders() -> Iterator[CheckResult]:
    """The encoders of the package."""
    for name, modality in _ENCODERS.items():
        yield _encode(modality, name, name=name, required=True)


def transformers_encoders() -> Iterator[CheckResult]:
    """A VideoMAE and an AST with random weights, saved and loaded; nothing if transformers is not installed."""
    if find_spec("transformers") is None:
        return  # the result of the extra says so
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    for modality, (family, options) in _TRANSFORMERS.items():
        with tempfile.TemporaryDirectory() as folder:
            config = getattr(transformers, f"{family}Config")(**_SMALL, **options)
            getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
            yield _encode(modality, f"hf:{folder}", name=f"hf: {family}", required=False)


def _encode(modality: str, encoder_name: str, *, name: str, required: bool) -> CheckResult:
    """Encode the clip twice. Features must be finite, not constant, and the same both times."""
    from avcil.encoders.registry import audio_encoder, visual_encoder

    encoder: Any = (visual_encoder if modality == "visual" else audio_encoder)(encoder_name)
    frames, waveform = clip()
    if modality == "visual":
        given = frames[np.arange(encoder.frames) * len(frames) // encoder.frames]
    else:
        given = waveform.repeat(max(1, encoder.sample_rate // _RATE))
    began = time.perf_counter()
    features = encoder.encode([given])
    milliseconds = 1000 * (time.perf_counter() - began)
    passed = np.isfinite(features).all() and features.std() > 0
    passed = passed and np.array_equal(features, encoder.encode([given]))
    shape = " x ".join(map(str, features.shape[1:]))
    detail = f"{shape} features of a clip in {milliseconds:.0f} ms on {getattr(encoder, 'device', 'cpu')}"
    if not passed:
        detail += "; they are not finite, constant, or differ from call to call"
    advice = "pip install --force-reinstall numpy torch, with the versions in constraints.txt"
    return pass_or_fail(name, passed, detail, advice=advice, required=required)
