"""The interface of encoders: frozen functions from frames to tokens, from sound to a vector, or from both to both.

Shapes: F sampled frames, H x W pixels, T time slices, S spatial tokens per slice, D width, N samples of
sound.
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
from avcil.utils.frame_sampling import SLICE_CENTERS, FrameSampling

Frames = np.ndarray | tuple[np.ndarray, ...]
"""A clip's frames: uint8 RGB (F, H, W, 3), or one such array for each of several samplings."""


class Encoder(ABC):
    """What visual and audio encoders have in common."""

    name: str
    info: ClassVar[EncoderInfo] = EncoderInfo(license="not stated", purpose="not stated")
    """License, weights and intended use, for `avcil encoders`."""
    width: int
    """D of what it returns."""
    libraries: tuple[str, ...] = ()
    """Packages whose versions a feature store should name, besides avcil's own requirements."""
    runs_on_gpu: bool = False
    """Whether it has a `place(device, precision)` that moves it (encoders/device.py)."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Name, version, options and weight hash, as JSON: two encoders with equal fingerprints encode
        alike."""

    @property
    def parts(self) -> tuple[Encoder, ...]:
        """The encoders whose features lie side by side along D; itself alone unless it is a combination."""
        return (self,)

    @cached_property
    def center(self) -> np.ndarray:
        """(D,) float32: the typical mean of each feature, shipped with the encoder; zeros where unknown.

        An encoder that has it elsewhere than in constants/ (constants.py) assigns it.
        """
        return constants_of(self.fingerprint(), self.width).center

    @cached_property
    def scale(self) -> np.ndarray:
        """(D,) float32, above 0: the typical standard deviation of each feature; ones where unknown."""
        return constants_of(self.fingerprint(), self.width).scale


class FrameEncoder(Encoder):
    """What encoders that take frames have in common: visual and joint ones."""

    frames: int
    """How many frames of a clip it looks at."""
    frame_choice: str = SLICE_CENTERS
    """Which ones: a name that `media.read_clip` takes; evenly spaced unless an encoder says otherwise."""
    short_side: int | None
    """The frames' short side in pixels as it wants them decoded; None takes them as they are."""
    token_grid: tuple[int, int]
    """(T, S) of what it returns."""

    @property
    def samplings(self) -> tuple[FrameSampling, ...]:
        """The choices of frames that `encode` takes of each clip: one, unless it is a combination."""
        return (
            FrameSampling(frames=self.frames, short_side=self.short_side, frame_choice=self.frame_choice),
        )

    @property
    def spatial_grid(self) -> tuple[int, int]:
        """(h, w) of the S tokens of a slice, row by row; a square unless an encoder says otherwise."""
        side = math.isqrt(self.token_grid[1])
        if side * side != self.token_grid[1]:
            raise NotImplementedError(
                f"{self.name}: {self.token_grid[1]} tokens are no square; define spatial_grid"
            )
        return side, side


class SoundEncoder(Encoder):
    """What encoders that take sound have in common: audio and joint ones."""

    sample_rate: int
    """Hertz of the mono sound it wants."""
    token_count: int | None = None
    """N tokens behind the vector, where it can give them (`AudioEncoder.encode_with_tokens`)."""


class VisualEncoder(FrameEncoder):
    """Frames to visual tokens."""

    @abstractmethod
    def encode(self, clips: Sequence[Any]) -> np.ndarray:
        """Encode clips.

        Args:
            clips: B clips, each uint8 RGB (F, H, W, 3), or a tuple of such arrays where there are several
                `samplings`; sizes may differ between clips.

        Returns:
            Tokens (B, T, S, D) float32.
        """


class AudioEncoder(SoundEncoder):
    """Sound to a vector."""

    def encode_with_tokens(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (B, D) as `encode` gives them, and tokens (B, N, D), both float32."""
        raise NotImplementedError(f"{self.name} has no tokens")

    @abstractmethod
    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (B, D) float32 of B mono waveforms, each float32 (N,) in [-1, 1]; lengths may differ."""


class JointEncoder(FrameEncoder, SoundEncoder):
    """Frames and sound together to visual tokens and an audio vector, each of which depends on both.

    It needs both modalities of a clip. A store has its fingerprint for the visual and for the audio features.
    """

    @abstractmethod
    def encode(self, clips: Sequence[Any], sounds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Encode clips.

        Args:
            clips: The frames of B clips, as `VisualEncoder.encode` takes them.
            sounds: Their mono waveforms, each float32 (N,) in [-1, 1]; lengths may differ.

        Returns:
            Visual tokens (B, T, S, D) and audio vectors (B, D), float32.
        """
