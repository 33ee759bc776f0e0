"""YAMNet, trained on the 521 classes of AudioSet, as an audio encoder.

Shapes: B clips, N samples, L windows, M = 64 mel bands, P patches of a clip, E = 1024 channels of the network, D width.

    windows of 25 ms every 10 ms -> magnitude spectrum -> 64 mel bands -> log(x + 0.001)
    patches of 96 windows (0.96 s) every 48 windows -> convolutions -> (P, 3, 2, E)
    mean over the 3 x 2 -> (P, E), the network's embedding
    square root, projection on the leading right singular vectors of the network's own classifier matrix -> (P, D)
    mean over the patches -> (D,)

The network is that of Google's lite-model_yamnet_classification_tflite_1 (Apache-2.0; Plakal and Ellis, YAMNet, 2020;
MobileNet v1 of Howard et al., 2017), with its 8-bit weights converted to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from avcil.encoders.base import AudioEncoder, check_waveform
from avcil.encoders.convolution import SameConvolution
from avcil.encoders.device import TorchEncoder, inference
from avcil.encoders.fixed import area_weights
from avcil.encoders.info import EncoderInfo
from avcil.encoders.one_thread import one_thread
from avcil.encoders.packaged_weights import SHA256, packaged_weights
from avcil.encoders.parallel import in_groups, in_parallel
from avcil.encoders.projection import projection
from avcil.errors import InputError

_WINDOW, _HOP, FFT = 400, 160, 512
"""Samples at 16 kHz."""
_OFFSET = 0.001
PATCH, _PATCH_HOP = 96, 48
"""Windows."""
STRIDES = (2, *(1, 1), *(2, 1), *(1, 1), *(2, 1), *(1, 1), *(2, 1), *(1, 1) * 5, *(2, 1), *(1, 1))
"""Of the 27 convolutions: the first, then a depthwise and a pointwise one in turn."""
_MAX_SEGMENTS = 1024
_BATCH_SIZE = 16
"""Patches that go through the network together on a CPU (larger numbers need more memory and are not faster)."""
_WINDOW_BATCH_SIZE = 4096


class Yamnet(TorchEncoder, AudioEncoder):
    """`yamnet`: the mean of the embeddings of patches of 0.96 s."""

    name: str = "yamnet"
    info: ClassVar[EncoderInfo] = EncoderInfo(
        license="Apache-2.0",
        purpose="kind of sound: animals, vehicles, instruments (trained on AudioSet)",
        packaged="yamnet.safetensors",
    )
    version: ClassVar[int] = 2
    sample_rate = 16_000

    def __init__(self, *, width: int = 128, segments: int = 4, device: str | None = None) -> None:
        """
        Args:
            width: D, 1 to 256 leading directions of the classifier; 1024 is the whole embedding.
            segments: Number of tokens of `encode_with_tokens`, 1 to 1024 equal parts of the clip.
            device: "cpu", "cuda", "cuda:1"; None is a GPU if there is one. It is not part of the fingerprint. On
                a GPU, matrix products are computed in bfloat16.
        """
        if not 1 <= segments <= _MAX_SEGMENTS:
            raise InputError(f"yamnet: segments={segments} must be 1 to {_MAX_SEGMENTS}")
        weights = packaged_weights("yamnet")
        self.options = {"width": width, "segments": segments}
        self.width = width
        self.token_count: int = segments
        self._window, self._mel = weights["window"].numpy(), weights["mel"].numpy()
        projected = projection(weights["directions"], width, self.name)
        self._model = nn.Sequential(*_layers(weights), nn.AdaptiveAvgPool2d(1), *projected)
        self.to(device)

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (B, D) float32 of B mono waveforms at 16 kHz, each float32 (N,) in [-1, 1]; lengths may differ."""
        parts = [patches.mean(axis=0) for patches in self._patch_vectors(clips)]
        return np.stack(parts) if parts else np.zeros((0, self.width), np.float32)

    def encode_with_tokens(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (B, D), and tokens (B, segments, D): means of the patches in equal parts of the clip; float32."""
        every = self._patch_vectors(clips)
        tokens = [area_weights(len(patches), self.token_count) @ patches for patches in every]
        if not tokens:
            return np.zeros((0, self.width), np.float32), np.zeros(
                (0, self.token_count, self.width), np.float32
            )
        return np.stack([patches.mean(axis=0) for patches in every]), np.stack(tokens)

    def _weights_hash(self) -> str:
        return SHA256["yamnet"]

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel energies (L, M) float32 of a waveform (N,), L >= 96; the last patch is zero-padded."""
        waveform = check_waveform(waveform, self.name).astype(np.float32)
        hop = _PATCH_HOP * _HOP
        least = (PATCH - 1) * _HOP + _WINDOW
        patches = 1 + max(0, -(-(len(waveform) - least) // hop))
        padded = np.pad(waveform, (0, max(0, least + (patches - 1) * hop - len(waveform))))
        windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
        with one_thread():
            return np.concatenate(
                [
                    self._energies(windows[i : i + _WINDOW_BATCH_SIZE])
                    for i in range(0, len(windows), _WINDOW_BATCH_SIZE)
                ]
            )

    def _energies(self, windows: np.ndarray) -> np.ndarray:
        magnitude = np.abs(np.fft.rfft(windows * self._window, FFT)).astype(np.float32)
        return np.log(magnitude @ self._mel.T + np.float32(_OFFSET))

    def _patch_vectors(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(P, D) float32 of each clip; patches of several clips are processed together."""
        if not len(clips):
            return []
        patches = in_parallel(lambda clip: _patches(self.spectrogram(clip)), clips, self.device)
        vectors = np.concatenate(
            in_groups(self._embedded, np.concatenate(patches), self.device, most=_BATCH_SIZE)
        )
        return np.split(vectors, np.cumsum([len(part) for part in patches])[:-1])

    def _embedded(self, patches: np.ndarray) -> np.ndarray:
        """(P, D) of patches (P, 96, M)."""
        images = torch.from_numpy(patches)[:, None]
        with inference(self.device, self.precision):
            vectors = self._model(images.to(self.device, memory_format=torch.channels_last))
            return vectors.float().flatten(1).cpu().numpy()


def _patches(energies: np.ndarray) -> np.ndarray:
    """(P, 96, M) of a spectrogram (L, M)."""
    return np.lib.stride_tricks.sliding_window_view(energies, PATCH, axis=0)[::_PATCH_HOP].swapaxes(1, 2)


def _layers(weights: dict[str, Tensor]) -> list[SameConvolution]:
    return [
        SameConvolution(
            weights[f"layers.{i}.weight"].float() * weights[f"layers.{i}.scale"][:, None, None, None],
            weights[f"layers.{i}.bias"],
            stride=stride,
            depthwise=i % 2 == 1,
        )
        for i, stride in enumerate(STRIDES)
    ]
