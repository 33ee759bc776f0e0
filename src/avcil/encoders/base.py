"""What an encoder is: a frozen function from frames to tokens, or from sound to a vector.

Shapes: F sampled frames, H x W pixels, T time slices, S spatial tokens per slice, D width, N samples of
sound.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np


class VisualEncoder(ABC):
    """Frames to visual tokens."""

    name: ClassVar[str]
    frames: int
    """How many frames of a clip it looks at."""
    frame_choice: str = "slice-centres"
    """Which ones: a name that `media.read_clip` takes; evenly spaced unless an encoder says otherwise."""
    short_side: int | None
    """The frames' short side in pixels as it wants them decoded; None takes them as they are."""
    token_grid: tuple[int, int]
    """(T, S) of what it returns."""
    width: int
    """D of what it returns."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages whose versions a feature store should name, besides avcil's own requirements."""
    runs_on_gpu: ClassVar[bool] = False
    """Whether it has a `place(device, precision)` that moves it (encoders/device.py)."""

    @property
    def spatial_grid(self) -> tuple[int, int]:
        """(h, w) of the S tokens of a slice, row by row; a square unless an encoder says otherwise."""
        side = math.isqrt(self.token_grid[1])
        if side * side != self.token_grid[1]:
            raise NotImplementedError(
                f"{self.name}: {self.token_grid[1]} tokens are no square; define spatial_grid"
            )
        return side, side

    @abstractmethod
    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Tokens (B, T, S, D) float32 of B clips, each uint8 RGB (F, H, W, 3); sizes may differ between
        clips."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Name, version, options and weight hash, as JSON: two encoders with equal fingerprints encode
        alike."""


class AudioEncoder(ABC):
    """Sound to a vector."""

    name: ClassVar[str]
    sample_rate: int
    """Hertz of the mono sound it wants."""
    width: int
    """D of what it returns."""
    token_count: int | None = None
    """N tokens behind the vector, where it can give them (`encode_with_tokens`)."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages whose versions a feature store should name, besides avcil's own requirements."""
    runs_on_gpu: ClassVar[bool] = False
    """Whether it has a `place(device, precision)` that moves it (encoders/device.py)."""

    def encode_with_tokens(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (B, D) as `encode` gives them, and tokens (B, N, D), both float32."""
        raise NotImplementedError(f"{self.name} has no tokens")

    @abstractmethod
    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (B, D) float32 of B mono waveforms, each float32 (N,) in [-1, 1]; lengths may differ."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Name, version, options and weight hash, as JSON: two encoders with equal fingerprints encode
        alike."""
