"""PE-AV as a visual and as an audio encoder, compared with the model of transformers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from tiny_pe_av import save_tiny_pe_av

from avcil.encoders.registry import audio_encoder, from_fingerprint, visual_encoder
from avcil.errors import InputError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder and model."""
    folder = tmp_path_factory.mktemp("pe-av")
    return folder, save_tiny_pe_av(folder)


def test_tokens_equal_the_model(saved):
    """One token per frame from the temporal encoder; equal after rebuilding from the fingerprint."""
    folder, model = saved
    encoder = visual_encoder(f"hf,frames=4:{folder}")
    assert (encoder.token_grid, encoder.spatial_grid, encoder.width) == ((4, 1), (1, 1), 24)
    clip = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    pixels = torch.from_numpy(clip / 127.5 - 1).float().permute(0, 3, 1, 2)[None]
    with torch.no_grad():
        expected = model.video_model.video_encoder(pixel_values_videos=pixels).last_hidden_state[0]
    tokens = encoder.encode([clip, clip[::-1]])
    np.testing.assert_allclose(tokens[0, :, 0], expected, atol=1e-5)
    assert np.abs(tokens[1, ::-1] - tokens[0]).max() > 1e-4  # the order of frames matters
    again = from_fingerprint(json.loads(json.dumps(encoder.fingerprint())))
    assert np.array_equal(again.encode([clip]), encoder.encode([clip]))


def test_vector_equals_the_model(saved):
    """Audio of any length at 48 kHz, padded by reflection to whole hops of the codec."""
    folder, model = saved
    encoder = audio_encoder(f"hf:{folder}")
    assert (encoder.sample_rate, encoder.width) == (48_000, 24)
    waveforms = [np.random.default_rng(n).uniform(-0.3, 0.3, n).astype(np.float32) for n in (800, 1003, 1)]
    vectors = encoder.encode(waveforms)
    padded = np.concatenate([waveforms[1], waveforms[1][-2:-7:-1]])  # 1003 + 5 samples are 126 hops of 8
    for vector, waveform in ((vectors[0], waveforms[0]), (vectors[1], padded)):
        with torch.no_grad():
            expected = model.audio_model.audio_encoder(torch.from_numpy(waveform)[None, None]).pooler_output[
                0
            ]
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert np.isfinite(vectors).all()
    fingerprint = json.loads(json.dumps(encoder.fingerprint()))
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint


def test_missing_timm_is_an_error(saved, tmp_path):
    """The published weights need timm for frames; the error says so and lists available encoders."""
    pytest.importorskip("transformers")
    if "timm" in sys.modules:
        pytest.skip("timm is installed")
    folder, _ = saved
    config = json.loads((folder / "config.json").read_text())
    config["audio_video_config"]["video_config"]["vision_config"] = {
        "model_type": "timm_wrapper",
        "architecture": "vit_pe_core_large_patch14_336",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    with pytest.raises(InputError, match=r"timm and a torchvision .* audio only"):
        visual_encoder(f"hf:{tmp_path}")
    assert audio_encoder(f"hf:{tmp_path}").width == 24
