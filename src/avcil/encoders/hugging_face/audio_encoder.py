"""Audio models of Hugging Face, of the families in `audio_families`, as audio encoders.

Shapes: B clips, N samples, P patch tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from avcil.encoders.base import AudioEncoder, check_waveform
from avcil.encoders.device import inference
from avcil.encoders.hugging_face.audio_families import AudioFamily, audio_family
from avcil.encoders.hugging_face.loading import (
    HuggingFaceModel,
    Source,
    load_config,
    load_settings,
    load_transformers_model,
)
from avcil.encoders.info import EncoderInfo

_BATCH_SIZE = 16
"""Clips that go through the model together (larger numbers need more memory and are not faster)."""
_SETTINGS_FILES = ("preprocessor_config.json", "processor_config.json#feature_extractor")
_NOT_SETTINGS = ("feature_extractor_type", "processor_class", "image_processor_type")
"""Entries of a preprocessor file that are not settings."""


class HuggingFaceAudio(HuggingFaceModel, AudioEncoder):
    """`hf:NAME_OR_FOLDER`; rate, mean and deviation are those of the file that comes with the model, else
    those published with its family."""

    name: str = "hf-audio"
    info: ClassVar[EncoderInfo] = EncoderInfo(
        license="of the model",
        purpose="any audio model of the families in docs/encoders.md",
        extra="encoders",
        needs_source=True,
    )

    def __init__(self, *, source: str = "", device: str | None = None) -> None:
        """
        Args:
            source: Hub name, optionally with @REVISION, or local folder.
            device: "cpu", "cuda", "cuda:1"; None is a GPU if there is one. It is not part of the fingerprint.
                On a GPU, matrix products are computed in bfloat16.
        """
        whole, self.source = load_config(Source.of(source))
        self.model_type: str = whole.model_type
        self.family = audio_family(self.model_type)
        config = self.family.config(whole)
        self.settings = audio_settings(self.source, self.family)
        self.sample_rate = int(self.settings["sampling_rate"])
        self.width = int(getattr(config, self.family.width))
        if self.family.token_count is not None:
            self.token_count = self.family.token_count(config)
        self.options = {"source": self._fingerprint_source(source)}
        self._prepare = self.family.preparation(self.settings, config)
        self._model = load_transformers_model(
            self.source, self.family.model, config, optional_weights=self.family.optional_weights
        )
        self.to(device)

    def encode(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (B, D) float32 of B mono waveforms, each float32 (N,) in [-1, 1]; lengths may differ."""
        batch_size = 1 if self.family.variable_length else _BATCH_SIZE
        parts = [self._encode_some(clips[i : i + batch_size]) for i in range(0, len(clips), batch_size)]
        return np.concatenate([np.zeros((0, self.width), np.float32), *parts])

    def _encode_some(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        with inference(self.device, self.precision):
            given = self.family.run(self._model, self._inputs(clips), [len(clip) for clip in clips])
        return given.float().cpu().numpy()

    def encode_with_tokens(self, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (B, D) as from `encode`, and states of the patches (B, P, D) of the last layer, float32."""
        run = self.family.run_with_tokens
        if run is None:
            return super().encode_with_tokens(clips)
        vectors = [np.zeros((0, self.width), np.float32)]
        tokens = [np.zeros((0, self.token_count or 0, self.width), np.float32)]
        for begin in range(0, len(clips), _BATCH_SIZE):
            with inference(self.device, self.precision):
                vector, token = run(self._model, self._inputs(clips[begin : begin + _BATCH_SIZE]))
            vectors.append(vector.float().cpu().numpy())
            tokens.append(token.float().cpu().numpy())
        return np.concatenate(vectors), np.concatenate(tokens)

    def _inputs(self, clips: Sequence[np.ndarray]) -> Tensor:
        waveforms = [check_waveform(clip, f"hf:{self.source.location}") for clip in clips]
        inputs = np.stack([self._prepare(waveform) for waveform in waveforms]).astype(np.float32)
        return torch.from_numpy(inputs).to(self.device)

    def _preprocessing_fingerprint(self) -> dict[str, Any]:
        return {**self.settings, "hears": self.family.coverage}


def audio_settings(source: Source, family: AudioFamily) -> dict[str, Any]:
    """Settings of the preprocessor file, otherwise those of the model family."""
    saved = load_settings(source, *_SETTINGS_FILES) or {}
    return {**family.defaults, **{key: value for key, value in saved.items() if key not in _NOT_SETTINGS}}
