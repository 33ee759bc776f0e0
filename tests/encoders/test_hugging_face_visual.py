"""Every family of vision models, from a saved folder to ordered tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from avcil.encoders.hugging_face.visual_families import FAMILIES
from avcil.encoders.registry import from_fingerprint, visual_encoder
from avcil.errors import InputError

SIZE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
VISION = SIZE | {"image_size": 32, "patch_size": 8}
PATCHES = SIZE | {"patch_size": 8, "num_patches": 16}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TEXT = SIZE | IDS | {"vocab_size": 30, "max_position_embeddings": 8}
DECODER = {f"decoder_{key}": value // 3 * 2 for key, value in SIZE.items()}
PREDICTOR = {
    "pred_hidden_size": 12,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
    "pred_num_mask_tokens": 1,
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "videomae": ("VideoMAE", VISION | {"num_frames": 4}),
    "vjepa2": ("VJEPA2", VISION | PREDICTOR | {"crop_size": 32, "frames_per_clip": 4, "mlp_ratio": 2.0}),
    "vivit": ("Vivit", SIZE | {"image_size": 32, "num_frames": 4, "tubelet_size": [2, 8, 8]}),
    "timesformer": ("Timesformer", VISION | {"num_frames": 4}),
    "clip": ("CLIP", {"vision_config": VISION, "text_config": TEXT, "projection_dim": 8}),
    "clip_vision_model": ("CLIPVision", VISION),
    "siglip": ("Siglip", {"vision_config": VISION, "text_config": TEXT}),
    "siglip_vision_model": ("SiglipVision", VISION),
    "siglip2": ("Siglip2", {"vision_config": PATCHES, "text_config": TEXT}),
    "siglip2_vision_model": ("Siglip2Vision", PATCHES),
    "dinov2": ("Dinov2", VISION | {"mlp_ratio": 2}),
    "dinov2_with_registers": ("Dinov2WithRegisters", VISION | {"mlp_ratio": 2, "num_register_tokens": 4}),
    "dinov3_vit": ("DINOv3ViT", VISION | {"num_register_tokens": 4}),
    "vit": ("ViT", VISION),
    "deit": ("DeiT", VISION),
    "vit_mae": ("ViTMAE", VISION | DECODER),
}
CLASSES = {"vit_mae": "ViTMAEForPreTraining"}
"""Class of the published model where it is not NAMEModel, because it includes the decoder."""
SLICES = {"videomae": 2, "vjepa2": 2, "vivit": 2, "timesformer": 4}
"""T; image models process 8 frames one by one."""


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory):
    """The folder of a small random model of a family; created once."""
    root, made = tmp_path_factory.mktemp("families"), {}

    def make(family: str) -> Path:
        if family not in made:
            name, options = CONFIGS[family]
            torch.manual_seed(1)
            config = getattr(transformers, f"{name}Config")(**options)
            model = getattr(transformers, CLASSES.get(family, f"{name}Model"))(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.normal_(0.01, 0.15)
            made[family] = root / family
            model.save_pretrained(made[family])
        return made[family]

    return make


def clip_of(frames: int, seed: int = 0, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def test_every_family_is_tested() -> None:
    """A new family requires a model here."""
    assert CONFIGS.keys() | {"pe_audio_video"} == FAMILIES.keys()  # PE-AV: test_pe_av.py


@pytest.mark.parametrize("family", CONFIGS)
def test_token_positions_match_the_frames(family: str, folder_of) -> None:
    """A change in one corner of one frame changes the token of this time slice and corner most."""
    encoder = visual_encoder(f"hf:{folder_of(family)}")
    assert encoder.token_grid == (SLICES.get(family, 8), 16)
    clip = clip_of(encoder.frames)
    changed = clip.copy()
    changed[-1, 24:, :8] = 255 - changed[-1, 24:, :8]  # the last frame, the last row's first patch
    tokens, other = encoder.encode([clip, changed])
    assert tokens.shape == (*encoder.token_grid, 24)
    assert np.isfinite(tokens).all()
    difference = np.abs(tokens - other).sum(axis=2)  # (T, S)
    assert np.unravel_index(difference.argmax(), difference.shape) == (encoder.token_grid[0] - 1, 12)
    if not encoder.family.is_video:
        assert difference[:-1].max() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_fingerprint_rebuilds_every_family(family: str, folder_of) -> None:
    """The same folder gives the same encoder, bit for bit."""
    encoder = visual_encoder(f"hf:{folder_of(family)}")
    again = from_fingerprint(json.loads(json.dumps(encoder.fingerprint())))
    clip = clip_of(encoder.frames)
    assert np.array_equal(encoder.encode([clip]), again.encode([clip]))


def test_image_models_process_frames_separately(folder_of) -> None:
    """T = F; the frames of all clips are one batch, and the order of tokens is that of the frames."""
    folder = folder_of("vit")
    encoder = visual_encoder(f"hf:{folder}", frames=3)
    clips = [clip_of(3, seed=1), clip_of(3, seed=2)]
    model = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    for clip, tokens in zip(clips, encoder.encode(clips), strict=True):
        for frame, slice_tokens in zip(clip, tokens, strict=True):
            pixels = torch.from_numpy(frame / 127.5 - 1).float().permute(2, 0, 1)[None]
            with torch.no_grad():
                expected = model(pixels).last_hidden_state[0, 1:].numpy()
            assert np.abs(slice_tokens - expected).max() < 1e-5


def test_vit_mae_uses_all_patches(folder_of) -> None:
    """The published model drops 75% of the patches at random."""
    encoder = visual_encoder(f"hf:{folder_of('vit_mae')}")
    clip = clip_of(8)
    assert np.array_equal(encoder.encode([clip]), encoder.encode([clip]))
    upper = clip.copy()
    upper[:, :8] = 0
    difference = np.abs(encoder.encode([clip]) - encoder.encode([upper])).sum(axis=(0, 1, 3))
    assert set(np.argsort(difference)[-4:]) == {0, 1, 2, 3}


def test_dinov2_uses_the_size_in_its_file(folder_of, tmp_path: Path) -> None:
    """Position embeddings for 518 pixels are interpolated to 224 pixels."""
    folder = shutil.copytree(folder_of("dinov2"), tmp_path / "model")
    settings = {
        "do_center_crop": True,
        "crop_size": {"height": 24, "width": 24},
        "size": {"shortest_edge": 28},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = visual_encoder(f"hf:{folder}")
    assert (encoder.short_side, encoder.token_grid) == (28, (8, 9))
    assert encoder.encode([clip_of(8, height=28, width=40)]).shape == (1, 8, 9, 24)


def test_dinov3_uses_the_size_in_its_file(folder_of, tmp_path: Path) -> None:
    """A square without a crop."""
    folder = shutil.copytree(folder_of("dinov3_vit"), tmp_path / "model")
    settings = {"size": {"height": 48, "width": 48}, "image_mean": [0.485, 0.456, 0.406]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = visual_encoder(f"hf:{folder}")
    assert (encoder.short_side, encoder.token_grid) == (48, (8, 36))
    assert encoder.encode([clip_of(8, height=48, width=90)]).shape == (1, 8, 36, 24)


def test_nested_processor_settings_are_used(folder_of, tmp_path: Path) -> None:
    """Newer models have these settings in the file of the processor."""
    folder = shutil.copytree(folder_of("vit"), tmp_path / "model")
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": {"image_mean": [0.25] * 3}}))
    preprocessing = visual_encoder(f"hf:{folder}").fingerprint()["preprocessing"]
    assert (preprocessing["mean"], preprocessing["source"]) == ([0.25] * 3, "the model's own file")


def test_video_models_have_a_fixed_number_of_frames(folder_of) -> None:
    """An option for another number is an error, and is not ignored."""
    with pytest.raises(InputError, match="a fixed number of frames"):
        visual_encoder(f"hf:{folder_of('videomae')}", frames=32)
    with pytest.raises(InputError, match="1 to 1024"):
        visual_encoder(f"hf:{folder_of('vit')}", frames=0)


def test_unknown_models_are_rejected(tmp_path: Path) -> None:
    """A text model, a folder without a model, a file, and an unknown family."""
    transformers.ResNetConfig().save_pretrained(tmp_path / "resnet")
    with pytest.raises(InputError, match=r"unknown family of vision models 'resnet'.*dinov2.*videomae"):
        visual_encoder(f"hf:{tmp_path / 'resnet'}")
    with pytest.raises(InputError, match=r"no config\.json"):
        visual_encoder(f"hf:{tmp_path}")
    with pytest.raises(InputError, match="is a file"):
        visual_encoder(f"hf:{tmp_path / 'resnet' / 'config.json'}")
    (tmp_path / "resnet" / "config.json").write_text('{"model_type": "no-such-family"}')
    with pytest.raises(InputError, match="cannot be loaded"):
        visual_encoder(f"hf:{tmp_path / 'resnet'}")


def test_folder_without_weights_is_rejected(folder_of, tmp_path: Path) -> None:
    """The state after a download that was interrupted after config.json."""
    (tmp_path / "config.json").write_bytes((folder_of("vit") / "config.json").read_bytes())
    with pytest.raises(InputError, match="cannot be loaded"):
        visual_encoder(f"hf:{tmp_path}")


def test_missing_transformers_is_an_error(folder_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional; the message has the command to install it."""
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'avcil\[encoders\]'"):
        visual_encoder(f"hf:{folder_of('vit')}")


class Hostile:
    """Writes a file if it is unpickled without restrictions."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "harm"))


def test_weights_with_code_are_rejected(folder_of, tmp_path: Path) -> None:
    """Older models have pickled weights; functions that these name are not called."""
    folder, harm = tmp_path / "model", tmp_path / "harm"
    folder.mkdir()
    shutil.copy(folder_of("vit") / "config.json", folder)
    torch.save(
        {"embeddings.cls_token": torch.zeros(1, 1, 24), "x": Hostile(harm)}, folder / "pytorch_model.bin"
    )
    with pytest.raises(InputError, match="may be malicious") as caught:
        visual_encoder(f"hf:{folder}")
    assert "weights_only" not in str(caught.value)  # the message of torch suggests weights_only=False
    assert not harm.exists()


def test_plain_pickled_weights_are_loaded(folder_of, tmp_path: Path) -> None:
    """An older model without safetensors gives the same tokens."""
    from safetensors.torch import load_file

    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(folder_of("vit") / "config.json", folder)
    torch.save(load_file(folder_of("vit") / "model.safetensors"), folder / "pytorch_model.bin")
    ours, other = visual_encoder(f"hf:{folder}"), visual_encoder(f"hf:{folder_of('vit')}")
    assert ours.fingerprint()["weights"] == other.fingerprint()["weights"]
