"""Every family of audio models, from a saved folder to one vector per clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from avcil.encoders.hugging_face.audio_families import FAMILIES
from avcil.encoders.registry import audio_encoder, from_fingerprint
from avcil.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter")
SIZE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
WAVE = SIZE | {
    "conv_dim": [16, 16],
    "conv_kernel": [20, 16],
    "conv_stride": [20, 16],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
CLAP_AUDIO = {
    "patch_embeds_hidden_size": 8,
    "hidden_size": 64,
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "projection_dim": 24,
    "enable_fusion": True,
}
TEXT = SIZE | {"vocab_size": 30, "max_position_embeddings": 8}
WHISPER = {
    "d_model": 24,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "vocab_size": 30,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "audio-spectrogram-transformer": ("ASTModel", "ASTConfig", SIZE | {"max_length": 200}),
    "clap": (
        "ClapModel",
        "ClapConfig",
        {"audio_config": CLAP_AUDIO, "text_config": TEXT, "projection_dim": 24},
    ),
    "clap_audio_model": ("ClapAudioModelWithProjection", "ClapAudioConfig", CLAP_AUDIO),
    "whisper": ("WhisperModel", "WhisperConfig", WHISPER),
    "wav2vec2": ("Wav2Vec2Model", "Wav2Vec2Config", WAVE),
    "hubert": ("HubertModel", "HubertConfig", WAVE),
    "wavlm": ("WavLMModel", "WavLMConfig", WAVE),
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory):
    """The folder of a small random model of a family; created once."""
    root, made = tmp_path_factory.mktemp("families"), {}

    def make(family: str) -> Path:
        if family not in made:
            model_class, config_class, options = CONFIGS[family]
            torch.manual_seed(1)
            model = getattr(transformers, model_class)(getattr(transformers, config_class)(**options))
            made[family] = root / family
            model.save_pretrained(made[family])
        return made[family]

    return make


def noise(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, length).astype(np.float32)


def test_every_family_is_tested() -> None:
    """A new family requires a model here."""
    assert CONFIGS.keys() | {"pe_audio_video"} == FAMILIES.keys()  # PE-AV: test_pe_av.py


@pytest.mark.parametrize("family", CONFIGS)
def test_finite_vectors_for_any_length(family: str, folder_of) -> None:
    """From one sample to more than the model's input length, with the same bits in any batch."""
    encoder = audio_encoder(f"hf:{folder_of(family)}")
    rate = encoder.sample_rate
    clips = [noise(1, rate), noise(2, 1), noise(3, 11 * rate)]
    vectors = encoder.encode(clips)
    assert vectors.shape == (3, encoder.width) == (3, 24)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.array_equal(vectors, encoder.encode(clips))
    apart = np.concatenate([encoder.encode([clip]) for clip in clips])
    np.testing.assert_allclose(vectors, apart, atol=1e-4)
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-4
    assert encoder.encode([]).shape == (0, 24)


@pytest.mark.parametrize("family", CONFIGS)
def test_fingerprint_rebuilds_every_family(family: str, folder_of) -> None:
    """A store has the fingerprint of its encoder in JSON."""
    fingerprint = json.loads(json.dumps(audio_encoder(f"hf:{folder_of(family)}").fingerprint()))
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint


def test_ast_input_equals_its_feature_extractor(folder_of) -> None:
    """The vector equals that of the published feature extractor and model."""
    folder, waveform = folder_of("audio-spectrogram-transformer"), noise(5, 160_000)
    extractor = transformers.ASTFeatureExtractor(max_length=200)
    inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = transformers.ASTModel.from_pretrained(folder).eval()(**inputs).pooler_output.numpy()
    assert np.abs(audio_encoder(f"hf:{folder}").encode([waveform]) - expected).max() < 1e-3


def test_audio_tokens_of_ast(folder_of) -> None:
    """Patches of AST in the order of the model, with an unchanged vector; other families raise an error."""
    folder, clips = folder_of("audio-spectrogram-transformer"), [noise(5, 160_000), noise(6, 16_000)]
    encoder = audio_encoder(f"hf:{folder}")
    vectors, tokens = encoder.encode_with_tokens(clips)
    assert np.array_equal(vectors, encoder.encode(clips))
    extractor = transformers.ASTFeatureExtractor(max_length=200)
    inputs = extractor(clips, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        states = transformers.ASTModel.from_pretrained(folder).eval()(**inputs).last_hidden_state.numpy()
    assert tokens.shape == (2, encoder.token_count, encoder.width)
    assert np.abs(tokens - states[:, 2:]).max() < 1e-3
    without = audio_encoder(f"hf:{folder_of('wav2vec2')}")
    assert without.token_count is None
    with pytest.raises(NotImplementedError):
        without.encode_with_tokens(clips)


def test_wav2vec2_input_equals_its_feature_extractor(folder_of) -> None:
    """Each audio signal is normalized to mean 0 and variance 1; the vector is the mean over time."""
    folder, waveform = folder_of("wav2vec2"), noise(5, 16_000) + np.float32(0.1)
    inputs = transformers.Wav2Vec2FeatureExtractor()(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        states = transformers.Wav2Vec2Model.from_pretrained(folder).eval()(inputs.input_values)
    expected = states.last_hidden_state.mean(dim=1).numpy()
    assert np.abs(audio_encoder(f"hf:{folder}").encode([waveform]) - expected).max() < 1e-4


def test_whisper_averages_without_padding(folder_of) -> None:
    """Of the 30 s input, only the states of the audio's own length are averaged."""
    folder, waveform = folder_of("whisper"), noise(5, 16_000)
    inputs = transformers.WhisperFeatureExtractor()(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        states = transformers.WhisperModel.from_pretrained(folder).eval().get_encoder()(inputs.input_features)
    expected = states.last_hidden_state[:, :50].mean(dim=1).numpy()
    assert np.abs(audio_encoder(f"hf:{folder}").encode([waveform]) - expected).max() < 1e-4


def test_settings_file_of_the_model_is_used(folder_of, tmp_path: Path) -> None:
    """The file sets another sample rate and no normalization."""
    import shutil

    folder = shutil.copytree(folder_of("wav2vec2"), tmp_path / "model")
    settings = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "sampling_rate": 8000,
        "do_normalize": False,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = audio_encoder(f"hf:{folder}")
    assert encoder.sample_rate == 8000
    published = audio_encoder(f"hf:{folder_of('wav2vec2')}")
    for model, feels in ((encoder, True), (published, False)):
        quiet, loud = model.encode([noise(1, 8000) / 100]), model.encode([noise(1, 8000)])
        assert (np.abs(quiet - loud).max() > 1e-3) is np.bool_(feels)


def test_unknown_families_are_rejected(tmp_path: Path) -> None:
    """A vision model is not an audio encoder; the error has the most similar family."""
    transformers.ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="unknown family of audio models 'vit'"):
        audio_encoder(f"hf:{tmp_path}")


def test_invalid_audio_is_rejected(folder_of) -> None:
    """NaN must not be stored as features."""
    with pytest.raises(InputError, match="NaN"):
        audio_encoder(f"hf:{folder_of('wav2vec2')}").encode([np.full(500, np.nan, np.float32)])
