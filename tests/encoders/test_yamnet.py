"""YAMNet: equal to LiteRT and onnxruntime, the same bits in any batch and with any number of threads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avcil.encoders.registry import audio_encoder, from_fingerprint
from avcil.encoders.yamnet import Yamnet
from avcil.errors import InputError

REFERENCES = json.loads((Path(__file__).parent / "reference_values.json").read_text())["yamnet"]
ENCODER = Yamnet(device="cpu")
WHOLE = Yamnet(width=1024, device="cpu")


def waveform(kind: str, samples: int = 15_600) -> np.ndarray:
    """By the formula of scripts/encoder_references.py: mono float32 (N,) at 16 kHz: "tone", "sweep", or
    "noise"."""
    time = np.arange(samples) / 16_000
    if kind == "tone":
        return (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    if kind == "sweep":
        return (0.3 * np.sin(2 * np.pi * (200 + 1500 * time) * time)).astype(np.float32)
    steps = np.arange(samples, dtype=np.int64) ** 2 * 7919 % 65_537
    return (steps / 65_537 - 0.5).astype(np.float32)


@pytest.mark.parametrize("kind", REFERENCES)
def test_spectrogram_equals_litert(kind: str) -> None:
    """LiteRT computes it in float32 from the published file."""
    result = ENCODER.spectrogram(waveform(kind))
    assert result.shape == (96, 64)
    np.testing.assert_allclose(result[::19, ::7].ravel(), REFERENCES[kind]["spectrogram"], atol=2e-4)


@pytest.mark.parametrize("kind", REFERENCES)
def test_embedding_equals_onnxruntime(kind: str) -> None:
    """onnxruntime computes the same network with the published constants."""
    expected = REFERENCES[kind]
    (result,) = WHOLE.encode([waveform(kind)])
    np.testing.assert_allclose(result[: len(expected["embedding"])], expected["embedding"], atol=5e-5)
    assert np.linalg.norm(result) == pytest.approx(expected["embedding_norm"], rel=1e-5)


def test_projection_is_orthonormal() -> None:
    """128 orthonormal directions of the embedding in a fixed order; 16 are the first of 128."""
    clip = [waveform("sweep")]
    few, many = Yamnet(width=16, device="cpu").encode(clip), ENCODER.encode(clip)
    np.testing.assert_allclose(few, many[:, :16], atol=1e-5)
    assert 0.2 < np.linalg.norm(many) / np.linalg.norm(WHOLE.encode(clip)) < 1.001


@pytest.mark.parametrize("threads", [1, 2])
def test_independent_of_batch_and_threads(threads: int) -> None:
    """Features do not depend on the number of cores or the order of clips."""
    clips = [
        waveform("noise", 9_000),
        waveform("sweep", 38_400),
        waveform("tone", 15_601),
        waveform("noise", 90_000),
    ]
    expected = ENCODER.encode(clips)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = np.concatenate([ENCODER.encode([clip]) for clip in clips])
        turned = ENCODER.encode(clips[::-1])[::-1]
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(alone, expected)
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize(("samples", "patches"), [(1, 1), (15_600, 1), (15_601, 2), (23_280, 2), (38_400, 4)])
def test_last_patch_is_zero_padded(samples: int, patches: int) -> None:
    """As in the published code: to one patch, then to multiples of half a patch."""
    assert len(ENCODER.spectrogram(waveform("noise", samples))) == 96 + 48 * (patches - 1)


def test_tokens_are_means_over_time_slices() -> None:
    """The vector is the mean of the tokens; audio that changes has different tokens."""
    clip = np.concatenate([waveform("tone", 40_000), waveform("noise", 40_000)])
    vectors, tokens = ENCODER.encode_with_tokens([clip, clip[:5000]])
    assert tokens.shape == (2, ENCODER.token_count, ENCODER.width)
    np.testing.assert_array_equal(vectors, ENCODER.encode([clip, clip[:5000]]))
    np.testing.assert_allclose(tokens.mean(axis=1), vectors, atol=1e-5)
    assert np.linalg.norm(tokens[0, 0] - tokens[0, -1]) > 1
    assert Yamnet(segments=2, device="cpu").encode_with_tokens([])[1].shape == (0, 2, 128)


def test_constants_match_the_default_fingerprint() -> None:
    """New weights or default options need new constants."""
    assert ENCODER.center.any()
    assert ENCODER.scale.shape == (128,)
    assert (ENCODER.scale != 1).any()


def test_name_and_fingerprint_build_the_encoder() -> None:
    """A store has the fingerprint of its encoder in JSON."""
    encoder = audio_encoder("yamnet", width=64, device="cpu")
    fingerprint = json.loads(json.dumps(encoder.fingerprint()))
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint


@pytest.mark.parametrize("options", [{"width": 0}, {"width": 500}, {"segments": 0}, {"segments": 10**9}])
def test_invalid_options_are_rejected(options: dict) -> None:
    """The message names the option."""
    with pytest.raises(InputError, match=next(iter(options))):
        Yamnet(**options)


@pytest.mark.parametrize("bad", [np.zeros(0, np.float32), np.full(500, np.nan, np.float32)])
def test_invalid_audio_is_rejected(bad: np.ndarray) -> None:
    """No sample, or NaN."""
    with pytest.raises(InputError, match="yamnet"):
        ENCODER.encode([bad])
