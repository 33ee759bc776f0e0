"""The interface of encoders: frozen functions from frames to tokens, from audio to a vector, or both together.

Shapes: F sampled frames, H x W pixels, T time slices, S spatial tokens per slice, D width, N audio samples.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from avcil.encoders.constants import constants_of
from avcil.encoders.info import EncoderInfo
from avcil.errors import InputError
from avcil.utils.frame_sampling import SLICE_CENTERS, FrameSampling

Frames = np.ndarray | tuple[np.ndarray, ...]
"""Frames of a clip: uint8 RGB (F, H, W, 3), or a tuple of such arrays for several samplings."""


class Encoder(ABC):
    """Base class of all encoders."""

    name: str
    info: ClassVar[EncoderInfo] = EncoderInfo(license="not stated", purpose="not stated")
    """License, weights and intended use, for `avcil encoders`."""
    width: int
    """D."""
    libraries: tuple[str, ...] = ()
    """Further packages whose versions are recorded in the feature store."""
    runs_on_gpu: bool = False
    """Whether it has a method `to(device, precision)` (`encoders.device`)."""

    version: ClassVar[int] = 1
    """To be increased when the features change."""
    options: dict[str, Any]
    """Arguments of the constructor that affect the features."""

    def fingerprint(self) -> dict[str, Any]:
        """Name, version, options and weight hash, as JSON. Encoders with equal fingerprints give equal features."""
        return {
            "name": self.name,
            "version": self.version,
            "options": dict(self.options),
            "weights": self._weights_hash(),
        }

    def _weights_hash(self) -> str:
        """Hash of the weights; not needed by a class that overrides `fingerprint`."""
        raise NotImplementedError(f"{self.name}: define fingerprint or _weights_hash")

    @property
    def parts(self) -> tuple[Encoder, ...]:
        """The encoders whose features are concatenated along D; (self,) unless it is a combination."""
        return (self,)

    @cached_property
    def center(self) -> np.ndarray:
        """(D,) float32: the typical mean of each feature, shipped with the encoder; zeros if unknown."""
        return constants_of(self.fingerprint(), self.width).center

    @cached_property
    def scale(self) -> np.ndarray:
        """(D,) float32, above 0: the typical standard deviation of each feature; ones if unknown."""
        return constants_of(self.fingerprint(), self.width).scale


class FrameEncoder(Encoder):
    """Base class of visual and joint encoders."""

    frames: int
    """F, frames per clip."""
    frame_choice: str = SLICE_CENTERS
    """Rule of the frame times; see `media.read_clip`."""
    short_side: int | None
    """Pixels of the shorter side of decoded frames; None keeps the original size."""
    token_grid: tuple[int, int]
    """(T, S)."""

    @property
    def samplings(self) -> tuple[FrameSampling, ...]:
        """The samplings of frames that `encode` needs: one, unless it is a combination."""
        return (
            FrameSampling(frames=self.frames, short_side=self.short_side, frame_choice=self.frame_choice),
        )

    @property
    def spatial_grid(self) -> tuple[int, int]:
        """(h, w) of the S tokens of a slice, in row-major order; a square by default."""
        side = math.isqrt(self.token_grid[1])
        if side * side != self.token_grid[1]:
            raise NotImplementedError(
                f"{self.name}: {self.token_grid[1]} tokens do not form a square; define spatial_grid"
            )
        return side, side


class AudioInputEncoder(Encoder):
    """Base class of audio and joint encoders."""

    sample_rate: int
    """Sample rate of the mono input in Hz."""
    token_count: int | None = None
    """N, if it has tokens (`AudioEncoder.encode_with_tokens`)."""


class VisualEncoder(FrameEncoder):
    """Computes visual tokens from frames."""

    @abstractmethod
    def encode(self, clips: Sequence[Any]) -> np.ndarray:
        """Encode clips.

        Args:
            clips: B clips, each uint8 RGB (F, H, W, 3), or a tuple of such arrays for several
                `samplings`; sizes may differ between clips.

        Returns:
            Tokens (B, T, S, D) float32.
        """


class AudioEncoder(AudioInputEncoder):
    """Computes a vector from audio."""

    def encode_with_tokens(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (B, D) as from `encode`, and tokens (B, N, D), float32."""
        raise NotImplementedError(f"{self.name} has no tokens")

    @abstractmethod
    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (B, D) float32 of B mono waveforms, each float32 (N,) in [-1, 1]; lengths may differ."""


class JointEncoder(FrameEncoder, AudioInputEncoder):
    """Computes visual tokens and an audio vector from frames and audio, each of which depends on both.

    A clip must have both modalities. A store has the same fingerprint for visual and audio features.
    """

    @abstractmethod
    def encode(self, clips: Sequence[Any], waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Encode clips.

        Args:
            clips: Frames of B clips; see `VisualEncoder.encode`.
            waveforms: The mono waveforms of the clips, each float32 (N,) in [-1, 1]; lengths may differ.

        Returns:
            Visual tokens (B, T, S, D) and audio vectors (B, D), float32.
        """


def check_waveform(waveform: np.ndarray, name: str) -> np.ndarray:
    """Mono audio (N,) as float64; InputError if it is empty or not finite."""
    waveform = np.asarray(waveform)
    if waveform.ndim != 1 or waveform.size == 0:
        raise InputError(f"{name} needs mono audio of shape (N,), N above 0; got shape {waveform.shape}")
    if not np.isfinite(waveform).all():
        raise InputError(
            f"{name}: the audio contains NaN or infinite samples; decode the clip again or remove it"
        )
    return waveform.astype(np.float64)
