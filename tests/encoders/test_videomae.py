"""VideoMAE loaded from files, compared with an independent implementation of its architecture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from avcil.encoders.registry import from_fingerprint, visual_encoder
from avcil.errors import InputError

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def noise(seed: int, count: int, height: int = 32, width: int = 45) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def encoder(videomae_folder: Path):
    return visual_encoder(f"videomae-base:{videomae_folder}")


def transcribed(weights: dict[str, torch.Tensor], clip: np.ndarray, heads: int = 3) -> torch.Tensor:
    """Tokens (F / 2 * h * w, D) in float64 of a clip (F, 32, W, 3), from the weights in the file."""
    w = {key.removeprefix("videomae."): value.double() for key, value in weights.items()}
    left = (clip.shape[2] - 32) // 2
    pixels = torch.from_numpy((clip[:, :, left : left + 32] / 255.0 - MEAN) / STD)  # (F, 32, 32, 3)
    kernel = w["embeddings.patch_embeddings.projection.weight"]  # (D, 3, 2, 16, 16)
    tokens = []
    for t in range(0, len(clip), 2):
        for y in range(0, 32, 16):
            for x in range(0, 32, 16):
                cube = pixels[t : t + 2, y : y + 16, x : x + 16].permute(3, 0, 1, 2)
                tokens.append((kernel * cube).sum(dim=(1, 2, 3, 4)))
    h = torch.stack(tokens) + w["embeddings.patch_embeddings.projection.bias"]
    h = h + sinusoids(*h.shape)
    for n in range(2):
        p = f"encoder.layer.{n}."
        a = normed(h, w, p + "layernorm_before")
        q = a @ w[p + "attention.attention.query.weight"].T + w[p + "attention.attention.q_bias"]
        k = a @ w[p + "attention.attention.key.weight"].T
        v = a @ w[p + "attention.attention.value.weight"].T + w[p + "attention.attention.v_bias"]
        q, k, v = (part.unflatten(1, (heads, -1)).transpose(0, 1) for part in (q, k, v))  # (heads, N, d)
        mixed = torch.softmax(q @ k.transpose(1, 2) / q.shape[2] ** 0.5, dim=2) @ v
        h = h + linear(mixed.transpose(0, 1).flatten(1), w, p + "attention.output.dense")
        inner = functional.gelu(linear(normed(h, w, p + "layernorm_after"), w, p + "intermediate.dense"))
        h = h + linear(inner, w, p + "output.dense")
    return normed(h, w, "layernorm")


def linear(x: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def normed(x: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    centered = x - x.mean(dim=1, keepdim=True)
    scaled = centered / (centered.square().mean(dim=1, keepdim=True) + 1e-12).sqrt()
    return scaled * w[name + ".weight"] + w[name + ".bias"]


def sinusoids(count: int, width: int) -> torch.Tensor:
    """sin for even and cos for odd channels j of position / 10000 ** (2 floor(j / 2) / D)."""
    table = torch.zeros(count, width, dtype=torch.float64)
    for position in range(count):
        for j in range(width):
            angle = position / 10000 ** (2 * (j // 2) / width)
            table[position, j] = np.sin(angle) if j % 2 == 0 else np.cos(angle)
    return table


def test_tokens_equal_an_independent_implementation(encoder, videomae_folder: Path) -> None:
    """Preprocessing, position embeddings, q and v biases, norms and the order of tokens are as published."""
    clip = noise(1, 4)
    expected = transcribed(load_file(videomae_folder / "model.safetensors"), clip)
    tokens = encoder.encode([clip])
    assert tokens.shape == (1, 2, 4, 24)
    assert tokens.dtype == np.float32
    assert np.abs(tokens[0].reshape(8, 24) - expected.numpy()).max() < 2e-5


def test_deterministic_and_independent_of_batches(encoder) -> None:
    """Equal clips give equal bits; other batches change only the rounding."""
    clips = [noise(seed, 4, width=width) for seed, width in ((1, 45), (2, 32), (3, 90))]
    together = encoder.encode(clips)
    assert np.array_equal(together, encoder.encode(clips))
    apart = np.concatenate([encoder.encode([clip]) for clip in clips])
    np.testing.assert_allclose(together, apart, atol=1e-5)
    assert encoder.encode([]).shape == (0, 2, 4, 24)


def test_published_preprocessing(encoder) -> None:
    """Number of frames and size are those of the model; mean and standard deviation those of ImageNet."""
    assert (encoder.frames, encoder.short_side, encoder.frame_choice) == (4, 32, "slice-centres")
    preprocessing = encoder.fingerprint()["preprocessing"]
    assert (preprocessing["mean"], preprocessing["std"], preprocessing["fit"]) == (
        MEAN.tolist(),
        STD.tolist(),
        "crop",
    )


def test_videomae_base_ignores_the_processor_file(videomae_folder: Path, tmp_path: Path) -> None:
    """`videomae-base` uses the published values; `hf:` uses the file of the model."""
    folder = shutil.copytree(videomae_folder, tmp_path / "model")
    settings = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 40, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    clip = noise(1, 4, 40, 50)
    named, generic = visual_encoder(f"videomae-base:{folder}"), visual_encoder(f"hf:{folder}")
    assert (named.short_side, generic.short_side) == (32, 40)
    assert not np.allclose(named.encode([clip]), generic.encode([clip]), atol=1e-2)


def test_fingerprint_rebuilds_the_encoder(encoder) -> None:
    """A store has it in JSON; it contains the variant and not the device."""
    fingerprint = json.loads(json.dumps(encoder.fingerprint()))
    again = from_fingerprint(fingerprint)
    assert again.fingerprint() == fingerprint
    assert np.array_equal(again.encode([noise(5, 4)]), encoder.encode([noise(5, 4)]))
    script = visual_encoder(f"videomae-base@av-cil-script:{encoder.options['source']}")
    assert script.frame_choice == "av-cil-script-10fps"
    assert script.fingerprint() != fingerprint


def test_other_weights_are_rejected(videomae_folder: Path, tmp_path: Path) -> None:
    """The same folder with other weights would give other features than those of the training."""
    folder = shutil.copytree(videomae_folder, tmp_path / "model")
    before = visual_encoder(f"videomae-base:{folder}").fingerprint()
    weights = load_file(folder / "model.safetensors")
    weights["videomae.layernorm.bias"] += 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="another encoder"):
        from_fingerprint(before)


def test_environment_variable_for_moved_weights(
    videomae_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, the folder in the fingerprint may not exist."""
    folder = shutil.copytree(videomae_folder, tmp_path / "here" / "model")
    fingerprint = visual_encoder(f"videomae-base:{folder}").fingerprint()
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(InputError, match="AVCIL_WEIGHTS"):
        from_fingerprint(fingerprint)
    monkeypatch.setenv("AVCIL_WEIGHTS", str(tmp_path / "there"))
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint


def test_relative_paths_are_stored_as_absolute(
    videomae_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recognizer may be used in another working directory than the extraction."""
    monkeypatch.chdir(videomae_folder.parent)
    fingerprint = visual_encoder(f"videomae-base:{videomae_folder.name}").fingerprint()
    monkeypatch.chdir(tmp_path)
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint


def test_missing_weights_are_an_error(videomae_folder: Path, tmp_path: Path) -> None:
    """Missing weights must not be initialized at random."""
    folder = shutil.copytree(videomae_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["videomae.encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 are missing .*layer.1.output.dense.weight"):
        visual_encoder(f"videomae-base:{folder}")


def test_weights_of_another_shape_are_an_error(videomae_folder: Path, tmp_path: Path) -> None:
    """The config of another model is an error."""
    folder = shutil.copytree(videomae_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    with pytest.raises(InputError, match="have another shape"):
        visual_encoder(f"videomae-base:{folder}")


def test_fine_tuned_model_is_rejected(videomae_folder: Path, tmp_path: Path) -> None:
    """It has no final LayerNorm; the error refers to `hf:`, which loads it."""
    folder = shutil.copytree(videomae_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"use_mean_pooling": True}))
    with pytest.raises(InputError, match="no final LayerNorm"):
        visual_encoder(f"videomae-base:{folder}")
    assert visual_encoder(f"hf:{folder}").token_grid == (2, 4)


def test_wrong_number_of_frames_is_rejected(encoder) -> None:
    """The position embeddings have a fixed number of frames."""
    with pytest.raises(InputError, match="needs 4 frames"):
        encoder.encode([noise(1, 6)])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf", "a model is missing"),
        ("hf:/no/such/folder", "there is no folder"),
        ("videomae-base:nobody/nothing", "HF_HUB_OFFLINE.*hf:/path/to/folder"),
        ("videomae-base@publishd:x/y", "did you mean published"),
        ("patch-motion:/weights", "option of encoder 'patch-motion': 'source'"),
    ],
)
def test_unavailable_sources_are_errors(name: str, says: str) -> None:
    """Each message says what to do next."""
    with pytest.raises(InputError, match=says):
        visual_encoder(name)


def test_missing_gpu_is_an_error(videomae_folder: Path) -> None:
    """The encoder does not use the CPU instead."""
    with pytest.raises(InputError, match="cuda:97"):
        visual_encoder(f"videomae-base:{videomae_folder}", device="cuda:97")
