"""AudioMAE as an audio encoder: Kaldi filterbanks, the pre-trained ViT-B, the mean of its patch tokens.

Shapes: B clips, N samples, L = 1024 windows, M = 128 mel bands, S = 512 patch tokens, D width.

    audio minus its mean -> log-mel energies (L, M), the first 1024 windows, zero-padded
    (x + 4.2677393) / (2 * 4.5689974)
    ViT -> tokens (S, D) -> their mean -> LayerNorm without scale and shift
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avcil.encoders.audio_vit import BANDS, EPSILON, PATCHES, WINDOWS, audio_vit, read_checkpoint
from avcil.encoders.base import AudioEncoder, check_waveform
from avcil.encoders.device import TorchEncoder, inference
from avcil.encoders.hugging_face.loading import Source, absolute_source, hub_file, local_path
from avcil.encoders.info import EncoderInfo
from avcil.encoders.kaldi_fbank import fbank, pad_or_trim
from avcil.errors import InputError, unknown_name

_HUB = "gaunernst/vit_base_patch16_1024_128.audiomae_as2m"
"""The authors' pre-trained weights (AudioSet-2M, not fine-tuned) as safetensors."""
_LOCAL_FILE_ADVICE = (
    "To use a downloaded pretrained.pth of the authors (ViT-B, AudioSet-2M): audiomae:/path/to/pretrained.pth"
)
_BATCH_SIZE = 16
"""Clips that go through the model together (larger numbers need more memory and are not faster)."""


@dataclass(frozen=True, kw_only=True)
class _AudioPreprocessing:
    """Sample rate and normalization of the input."""

    sample_rate: int = 16_000
    """Hz."""
    mean: float = -4.2677393
    std: float = 4.5689974
    normalize: bool = True
    """Whether to apply (x - mean) / (2 std), as in the training of the model."""


_VARIANTS = {
    "published": _AudioPreprocessing(),
    "av-cil-script": _AudioPreprocessing(sample_rate=11_430, normalize=False),
}
"""`av-cil-script` is the preprocessing of AV-CIL's release: another sample rate, no normalization."""


class AudioMAE(TorchEncoder, AudioEncoder):
    """`audiomae`, or `audiomae:/path/to/pretrained.pth` (or .safetensors) with a local checkpoint."""

    name: str = "audiomae"
    info: ClassVar[EncoderInfo] = EncoderInfo(
        license="CC-BY-4.0",
        purpose="audio of any kind, self-supervised on AudioSet; used in the AV-CIL paper",
        downloaded_bytes=343_000_000,
        extra="encoders",
        features=(768,),
    )
    token_count = PATCHES

    def __init__(self, *, source: str = _HUB, variant: str = "published", device: str | None = None) -> None:
        """
        Args:
            source: File of the checkpoint, or hub name of a model with model.safetensors.
            variant: "published" or "av-cil-script".
            device: "cpu", "cuda", "cuda:1"; None is a GPU if there is one. It is not part of the fingerprint.
                On a GPU, matrix products are computed in bfloat16.
        """
        if variant not in _VARIANTS:
            raise unknown_name("variant of encoder 'audiomae':", variant, _VARIANTS)
        self.preprocessing = _VARIANTS[variant]
        self.sample_rate = self.preprocessing.sample_rate
        path, pinned = _checkpoint_file(source)
        self.options = {"source": pinned, "variant": variant}
        self._model = audio_vit(read_checkpoint(path), str(path))
        self.to(device)
        self.width = self._model.pos_embed.shape[2]

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (B, D) float32 of B mono waveforms, each float32 (N,) in [-1, 1]; lengths may differ."""
        parts = [self._pooled(self._tokens(part)).cpu().numpy() for part in _batches(clips)]
        return np.concatenate([np.zeros((0, self.width), np.float32), *parts])

    def encode_with_tokens(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (B, D), and patch tokens (B, 512, D), whose means they are: 64 time steps by 8 frequencies;
        float32."""
        parts = [self._tokens(part) for part in _batches(clips)]
        vectors = [
            np.zeros((0, self.width), np.float32),
            *(self._pooled(part).cpu().numpy() for part in parts),
        ]
        tokens = [np.zeros((0, PATCHES, self.width), np.float32), *(part.cpu().numpy() for part in parts)]
        return np.concatenate(vectors), np.concatenate(tokens)

    def fingerprint(self) -> dict[str, Any]:
        """Also has the preprocessing. The source in the options is a hub name with its commit, or a file."""
        settings = asdict(self.preprocessing)
        settings["normalised"] = settings.pop("normalize")  # the key in existing fingerprints
        return super().fingerprint() | {
            "preprocessing": {
                "fbank": f"Kaldi, {BANDS} bands, 25 ms every 10 ms, Hann, first {WINDOWS} windows",
                **settings,
            },
            "pooling": "mean of the patch tokens, LayerNorm without affine",
        }

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """The input of the model (L, M) float64 from a waveform (N,)."""
        waveform = check_waveform(waveform, self.name)
        energies = pad_or_trim(fbank(waveform - waveform.mean(), self.sample_rate, BANDS), WINDOWS)
        if self.preprocessing.normalize:
            energies = (energies - self.preprocessing.mean) / (2 * self.preprocessing.std)
        return energies

    def _tokens(self, clips: Sequence[np.ndarray]) -> Tensor:
        stacked = np.stack([self.spectrogram(clip) for clip in clips]).astype(np.float32)
        with inference(self.device, self.precision):
            return self._model(torch.from_numpy(stacked)[:, None].to(self.device)).float()

    def _pooled(self, tokens: Tensor) -> Tensor:
        with torch.inference_mode():
            return functional.layer_norm(tokens.mean(dim=1), (self.width,), eps=EPSILON)


def _batches(clips: Sequence[np.ndarray]) -> list[Sequence[np.ndarray]]:
    return [clips[i : i + _BATCH_SIZE] for i in range(0, len(clips), _BATCH_SIZE)]


def _checkpoint_file(source: str) -> tuple[Path, str]:
    """The checkpoint at a path, in a folder or on the Hugging Face Hub; and the source, a hub name with its commit."""
    path = local_path(source)
    if path is None and Path(source).suffix not in (".pth", ".pt", ".safetensors"):
        return _from_hub(Source.of(source))
    if path is not None and path.is_dir():
        path = path / "model.safetensors"
    if path is None or not path.is_file():
        raise InputError(f"there is no AudioMAE checkpoint {path or source}. {_LOCAL_FILE_ADVICE}")
    return path, absolute_source(source)


def _from_hub(source: Source) -> tuple[Path, str]:
    try:
        path = hub_file(source, "model.safetensors")
    except InputError as error:
        raise InputError(f"{error}. {_LOCAL_FILE_ADVICE}") from None
    if path is None:
        raise InputError(f"the model {source} has no model.safetensors. {_LOCAL_FILE_ADVICE}")
    return path, f"{source.location}@{path.parent.name}"
