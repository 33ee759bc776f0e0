"""Families of audio models: preprocessing, class of the model, and pooling of its output.

Shapes: B clips, N samples, L windows, M mel bands, P patch tokens, D width. The `prepare` of a
family converts a mono waveform (N,) to the input of the model; its `run` computes vectors (B, D) from inputs (B, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avcil.encoders.hugging_face.loading import TransformersModel, need_transformers
from avcil.encoders.kaldi_fbank import fbank, pad_or_trim
from avcil.errors import InputError, unknown_name

Settings = Mapping[str, Any]
Prepare = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class AudioFamily:
    """A `model_type` of transformers."""

    model: str
    """Name of the model class in transformers."""
    preparation: Callable[[Settings, Any], Prepare]
    """Makes `prepare` from preprocessor settings and configuration."""
    run: Callable[[TransformersModel, Tensor, list[int]], Tensor]
    """Computes vectors (B, D) from model, inputs (B, ...) and numbers of samples."""
    coverage: str
    """Description of the used part of the audio and of the vector, for the fingerprint."""
    defaults: Settings
    """Settings for models without a preprocessor file."""
    config: Callable[[Any], Any] = lambda whole: getattr(whole, "audio_config", whole)
    """Selects the configuration of `model` from that of the whole model."""
    width: str = "hidden_size"
    """Field of the configuration for D."""
    variable_length: bool = False
    """Whether inputs differ in length, so that clips are processed one by one."""
    optional_weights: tuple[str, ...] = ()
    token_count: Callable[[Any], int] | None = None
    """Computes P from the configuration, for families with tokens."""
    run_with_tokens: Callable[[TransformersModel, Tensor], tuple[Tensor, Tensor]] | None = None
    """Computes vectors (B, D) as `run`, and tokens (B, P, D)."""


def _ast_patches(config: Any) -> int:
    across = (config.max_length - config.patch_size) // config.time_stride + 1
    down = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    return across * down


def _run_ast_with_tokens(model: TransformersModel, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The patches' states follow those of the class and distillation tokens."""
    given = model(input_values=inputs)
    return given.pooler_output, given.last_hidden_state[:, 2:]


def _ast(settings: Settings, config: Any) -> Prepare:
    """Kaldi filterbanks (L, M), zero-padded, normalized as for AudioSet."""

    def prepare(waveform: np.ndarray) -> np.ndarray:
        energies = pad_or_trim(
            fbank(waveform, settings["sampling_rate"], config.num_mel_bins), config.max_length
        )
        if settings["do_normalize"]:
            energies = (energies - settings["mean"]) / (2 * settings["std"])
        return energies

    return prepare


def _clap(settings: Settings, config: Any) -> Prepare:
    """Mel spectrograms by CLAP's own extractor, from the middle of long audio (the extractor would select a random
    part)."""
    extractor = need_transformers().ClapFeatureExtractor(**settings)
    most = extractor.nb_max_samples

    def prepare(waveform: np.ndarray) -> np.ndarray:
        first = max(0, len(waveform) - most) // 2
        middle = waveform[first : first + most]
        return extractor(middle, sampling_rate=extractor.sampling_rate)["input_features"][0]

    return prepare


def _whisper(settings: Settings, config: Any) -> Prepare:
    extractor = need_transformers().WhisperFeatureExtractor(**settings)
    return lambda waveform: extractor(waveform, sampling_rate=extractor.sampling_rate)["input_features"][0]


def _wave(settings: Settings, config: Any) -> Prepare:
    """The waveform, normalized to mean 0 and variance 1; very short ones are zero-padded."""
    field = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        field = (field - 1) * stride + kernel

    def prepare(waveform: np.ndarray) -> np.ndarray:
        if settings["do_normalize"]:
            waveform = (waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)
        return np.pad(waveform, (0, max(0, field - len(waveform))))

    return prepare


def _pe_audio(settings: Settings, config: Any) -> Prepare:
    """The waveform (1, N), reflection-padded to a multiple of the codec's hop."""
    hop = config.dac_config.hop_length

    def prepare(waveform: np.ndarray) -> np.ndarray:
        return np.pad(waveform, (0, -len(waveform) % hop), mode="reflect")[None]

    return prepare


def _run_clap(model: TransformersModel, inputs: Tensor, samples: list[int]) -> Tensor:
    longer = torch.zeros(len(inputs), 1, dtype=torch.bool, device=inputs.device)
    return model(input_features=inputs, is_longer=longer).audio_embeds


def _run_whisper(model: TransformersModel, inputs: Tensor, samples: list[int]) -> Tensor:
    """The mean over the states (20 ms each) within the audio, without the padding to 30 s."""
    states = model.get_encoder()(inputs).last_hidden_state  # (B, 1500, D)
    lengths = [min(states.shape[1], max(1, -(-count // 320))) for count in samples]
    return torch.stack([clip[:count].mean(dim=0) for clip, count in zip(states, lengths, strict=True)])


def _wave_family(model: str) -> AudioFamily:
    return AudioFamily(
        model=model,
        preparation=_wave,
        run=lambda model, inputs, samples: model(inputs).last_hidden_state.mean(dim=1),
        coverage="all of it; the mean over time of the last hidden state",
        defaults={"sampling_rate": 16_000, "do_normalize": True},
        variable_length=True,
        optional_weights=("masked_spec_embed",),
    )


CLAP = AudioFamily(
    model="ClapAudioModelWithProjection",
    preparation=_clap,
    run=_run_clap,
    coverage="the middle 10 s, shorter ones repeated; the projected audio embedding",
    defaults={"sampling_rate": 48_000, "truncation": "fusion", "padding": "repeatpad"},
    width="projection_dim",
)
FAMILIES: dict[str, AudioFamily] = {
    "audio-spectrogram-transformer": AudioFamily(
        model="ASTModel",
        preparation=_ast,
        run=lambda model, inputs, samples: model(input_values=inputs).pooler_output,
        coverage="the first windows that fit; the mean of the class and distillation tokens",
        defaults={"sampling_rate": 16_000, "mean": -4.2677393, "std": 4.5689974, "do_normalize": True},
        token_count=_ast_patches,
        run_with_tokens=_run_ast_with_tokens,
    ),
    "clap": CLAP,
    "clap_audio_model": CLAP,
    "whisper": AudioFamily(
        model="WhisperModel",
        preparation=_whisper,
        run=_run_whisper,
        coverage="the first 30 s; the mean over time of the encoder's last hidden state",
        defaults={"sampling_rate": 16_000},
        width="d_model",
    ),
    "wav2vec2": _wave_family("Wav2Vec2Model"),
    "hubert": _wave_family("HubertModel"),
    "wavlm": _wave_family("WavLMModel"),
    "pe_audio_video": AudioFamily(
        model="PeAudioEncoder",
        preparation=_pe_audio,
        run=lambda model, inputs, samples: model(input_values=inputs).pooler_output,
        coverage="all of it; the state of the class token",
        defaults={"sampling_rate": 48_000},
        config=lambda whole: whole.audio_video_config.audio_config,
        variable_length=True,
    ),
}


def audio_family(model_type: str) -> AudioFamily:
    """The family of this `model_type`; InputError with the nearest ones for any other."""
    if model_type not in FAMILIES:
        error = unknown_name("family of audio models", model_type, FAMILIES)
        raise InputError(
            f"{error}. Other families need an adapter in encoders/hugging_face/audio_families.py first"
        )
    return FAMILIES[model_type]
