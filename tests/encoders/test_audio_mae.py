"""AudioMAE loaded from files, compared with the vision transformer of transformers."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import ASTFeatureExtractor, ViTConfig, ViTModel

from avcil.encoders.audio_mae import AudioMAE
from avcil.encoders.registry import audio_encoder, from_fingerprint
from avcil.errors import InputError

WIDTH, DEPTH, HIDDEN = 128, 2, 192


def noise(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, length).astype(np.float32)


def timm_weights() -> dict[str, torch.Tensor]:
    """Random weights under the names of AudioMAE's authors: encoder, norm and a part of the decoder."""
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 513, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 1, 16, 16),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
        "mask_token": (1, 1, 32),
        "decoder_embed.weight": (32, WIDTH),
        "decoder_blocks.0.attn.relative_position_bias_table": (49, 2),
    }
    for n in range(DEPTH):
        for name, shape in {
            "norm1": (WIDTH,),
            "norm2": (WIDTH,),
            "attn.qkv": (3 * WIDTH, WIDTH),
            "attn.proj": (WIDTH, WIDTH),
            "mlp.fc1": (HIDDEN, WIDTH),
            "mlp.fc2": (WIDTH, HIDDEN),
        }.items():
            shapes[f"blocks.{n}.{name}.weight"] = shape
            shapes[f"blocks.{n}.{name}.bias"] = shape[:1]
    generator = torch.Generator().manual_seed(5)
    return {key: 0.02 + 0.1 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the authors' training: the model, the optimizer and the arguments."""
    path = tmp_path_factory.mktemp("audiomae") / "pretrained.pth"
    settings = argparse.Namespace(lr=2e-4, mask_ratio=0.8, output_dir=None)
    torch.save({"model": timm_weights(), "optimizer": {"state": {}}, "epoch": 32, "args": settings}, path)
    return path


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> AudioMAE:
    return audio_encoder(f"audiomae:{checkpoint}")


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> ViTModel:
    """The same weights in the vision transformer of transformers, without its final norm."""
    folder, w = tmp_path_factory.mktemp("vit"), timm_weights()
    ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=WIDTH // 64,
        intermediate_size=HIDDEN,
        image_size=(1024, 128),
        num_channels=1,
        layer_norm_eps=1e-6,
    ).save_pretrained(folder)
    state = {
        "embeddings.cls_token": w["cls_token"],
        "embeddings.position_embeddings": w["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": w["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": w["patch_embed.proj.bias"],
        "layernorm.weight": w["norm.weight"],
        "layernorm.bias": w["norm.bias"],
    }
    names = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    for n in range(DEPTH):
        for kind in ("weight", "bias"):
            for ours, theirs in names.items():
                state[f"encoder.layer.{n}.{theirs}.{kind}"] = w[f"blocks.{n}.{ours}.{kind}"]
            parts = w[f"blocks.{n}.attn.qkv.{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                state[f"encoder.layer.{n}.attention.attention.{name}.{kind}"] = part.clone()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    model, result = ViTModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    assert not result["missing_keys"]
    model.layernorm = torch.nn.Identity()
    return model.eval()


def pooled(model: ViTModel, spectrograms: np.ndarray) -> np.ndarray:
    """The published pooling: mean of the 512 patch tokens, then a norm without scale and shift."""
    with torch.no_grad():
        tokens = model(torch.from_numpy(spectrograms).float()[:, None]).last_hidden_state[:, 1:].double()
    mean = tokens.mean(dim=1).numpy()
    return (mean - mean.mean(axis=1, keepdims=True)) / np.sqrt(mean.var(axis=1, keepdims=True) + 1e-6)


def test_vectors_equal_transformers_vision_transformer(encoder: AudioMAE, vit: ViTModel) -> None:
    """The same spectrogram and weights in another implementation give the same vector and tokens."""
    clips = [noise(1, 160_000), noise(2, 32_000), noise(3, 300_000)]
    spectrograms = np.stack([encoder.spectrogram(clip) for clip in clips])
    vectors = encoder.encode(clips)
    assert vectors.shape == (3, WIDTH)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - pooled(vit, spectrograms)).max() < 1e-4
    with torch.no_grad():
        expected = vit(torch.from_numpy(spectrograms).float()[:, None]).last_hidden_state[:, 1:].numpy()
    beside, tokens = encoder.encode_with_tokens(clips)
    assert np.array_equal(beside, vectors)
    assert np.abs(tokens - expected).max() < 1e-4
    assert tokens.shape[1] == encoder.token_count


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_preprocessing_equals_that_of_ast(encoder: AudioMAE) -> None:
    """The feature extractor of AST has the same bands, length, padding, mean and standard deviation."""
    waveform = noise(4, 160_000) + np.float32(0.1)
    theirs = ASTFeatureExtractor()(waveform - waveform.mean(), sampling_rate=16_000, return_tensors="np")
    assert np.abs(encoder.spectrogram(waveform) - theirs["input_values"][0]).max() < 1e-3


def test_script_variant(encoder: AudioMAE, checkpoint: Path) -> None:
    """The name and the fingerprint of the variant with 11,430 Hz and without normalization differ."""
    script = audio_encoder(f"audiomae@av-cil-script:{checkpoint}")
    assert (encoder.sample_rate, script.sample_rate) == (16_000, 11_430)
    silence = np.zeros(50_000, np.float32)
    assert script.spectrogram(silence)[0, 0] == pytest.approx(np.log(2.0**-23))
    assert encoder.spectrogram(silence)[0, 0] == pytest.approx((np.log(2.0**-23) + 4.2677393) / 9.1379948)
    assert script.spectrogram(silence)[-1, 0] == 0
    assert script.fingerprint()["preprocessing"] != encoder.fingerprint()["preprocessing"]


def test_deterministic_and_independent_of_batches(encoder: AudioMAE) -> None:
    """Equal clips give equal bits; other batches change only the rounding."""
    clips = [noise(seed, length) for seed, length in ((1, 20_000), (2, 1), (3, 170_000))]
    together = encoder.encode(clips)
    assert np.array_equal(together, encoder.encode(clips))
    apart = np.concatenate([encoder.encode([clip]) for clip in clips])
    np.testing.assert_allclose(together, apart, atol=1e-4)
    assert encoder.encode([]).shape == (0, WIDTH)


def test_fingerprint_rebuilds_the_encoder(encoder: AudioMAE) -> None:
    """A store has the fingerprint of its encoder in JSON."""
    fingerprint = json.loads(json.dumps(encoder.fingerprint()))
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint


def test_safetensors_and_pth_are_the_same_encoder(encoder: AudioMAE, tmp_path: Path) -> None:
    """The file format of the weights is not part of the fingerprint."""
    save_file(timm_weights(), tmp_path / "weights.safetensors")
    other = AudioMAE(source=str(tmp_path / "weights.safetensors"))
    assert other.fingerprint()["weights"] == encoder.fingerprint()["weights"]
    assert np.array_equal(other.encode([noise(1, 9000)]), encoder.encode([noise(1, 9000)]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"blocks.1.attn.qkv.bias": None}, "1 missing .blocks.1.attn.qkv.bias"),
        ({"blocks.0.attn.rel_pos": torch.zeros(3)}, "1 unexpected .blocks.0.attn.rel_pos"),
        ({"blocks.0.mlp.fc2.bias": torch.zeros(3)}, "1 of another shape .blocks.0.mlp.fc2.bias"),
        ({"pos_embed": torch.zeros(1, 197, WIDTH)}, "for another input"),
        ({"pos_embed": None}, "pos_embed or .* is missing"),
    ],
)
def test_wrong_weights_are_reported(change: dict, says: str, tmp_path: Path) -> None:
    """Missing weights are not initialized at random, and unknown ones are not ignored."""
    weights = {key: value for key, value in (timm_weights() | change).items() if value is not None}
    torch.save({"model": weights}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=says):
        AudioMAE(source=str(tmp_path / "weights.pth"))


class Hostile:
    """Writes a file if it is unpickled without restrictions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "harm"))


def test_checkpoint_with_code_is_rejected(tmp_path: Path) -> None:
    """A .pth file is a pickle; functions that it names are not called."""
    harm = tmp_path / "harm"
    torch.save({"model": timm_weights(), "args": Hostile(harm)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"model": Hostile(harm)}))
    for name, says in (
        ("zip.pth", "needs getattr.* may be malicious"),
        ("bare.pth", "not a file of weights"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            AudioMAE(source=str(tmp_path / name))
        assert "weights_only" not in str(caught.value)  # the message of torch suggests weights_only=False
    assert not harm.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b"no pickle at all" * 50, "cannot be read"),
        ({"epoch": 3}, "contains no weights"),
        ([1, 2], "contains no weights"),
    ],
)
def test_invalid_checkpoints_are_rejected(content: object, says: str, tmp_path: Path) -> None:
    """Empty, truncated and other files give a clear message."""
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InputError, match=says):
        AudioMAE(source=str(path))


def test_truncated_safetensors_file_is_rejected(tmp_path: Path) -> None:
    """The file of an interrupted download."""
    save_file(timm_weights(), tmp_path / "weights.safetensors")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes((tmp_path / "weights.safetensors").read_bytes()[:100_000])
    with pytest.raises(InputError, match="is damaged"):
        AudioMAE(source=str(torn))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("audiomae:/no/such/pretrained.pth", "the authors .*audiomae:/path"),
        ("audiomae", "audiomae:/path/to"),
        ("audiomae@script:/x.pth", "did you mean av-cil-script"),
    ],
)
def test_unavailable_sources_are_errors(name: str, says: str) -> None:
    """Each message says what to do next."""
    with pytest.raises(InputError, match=says):
        audio_encoder(name)


def test_invalid_audio_is_rejected(encoder: AudioMAE) -> None:
    """NaN must not be stored as features."""
    with pytest.raises(InputError, match="audiomae"):
        encoder.encode([np.full(500, np.nan, np.float32)])
