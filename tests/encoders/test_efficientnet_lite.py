"""EfficientNet-Lite0: equal to onnxruntime, the same bits in any batch and with any number of threads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avcil.encoders.efficientnet_lite import EfficientNetLite0
from avcil.encoders.registry import from_fingerprint, visual_encoder
from avcil.errors import InputError

REFERENCES = json.loads((Path(__file__).parent / "reference_values.json").read_text())["efficientnet-lite0"]
ENCODER = EfficientNetLite0(device="cpu")


def picture(side: int, shift: int = 0) -> np.ndarray:
    """The image computed by the formula of scripts/encoder_references.py: RGB uint8 (side, side, 3)."""
    y, x, color = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    waves = np.sin((x + shift) / (5 + color)) * np.cos(y / 9) + 0.5 * np.sin((x + 2 * y) / 31)
    return np.clip(127.5 + 80 * waves, 0, 255).astype(np.uint8)


def whole_map(side: int) -> np.ndarray:
    """Feature map (h, w, E) of that image, without projection and pooling."""
    encoder = EfficientNetLite0(frames=1, pixels=side, cells=side // 32, width=1280, device="cpu")
    return encoder.encode([picture(side)[None]])[0, 0].reshape(side // 32, side // 32, 1280)


@pytest.mark.parametrize("side", [224, 128])
def test_feature_map_equals_onnxruntime(side: int) -> None:
    """To float32 precision with the weights of the package, to float16 precision with the published ones."""
    expected = REFERENCES[str(side)]
    result = whole_map(side)
    kept = result[::3, ::3, :64].transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(kept, expected["packaged"], atol=1e-4)
    np.testing.assert_allclose(kept, expected["published"], atol=0.03)
    assert np.linalg.norm(result) == pytest.approx(expected["norm"], rel=1e-3)


def test_tokens_are_averages_over_cells() -> None:
    """One cell is the mean of the feature map; with 7 x 7 cells, the tokens equal the map."""
    encoder = EfficientNetLite0(frames=1, pixels=224, cells=1, width=1280, device="cpu")
    one = encoder.encode([picture(224)[None]])[0, 0, 0]
    np.testing.assert_allclose(one, whole_map(224).mean(axis=(0, 1)), atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_independent_of_batch_and_threads(threads: int) -> None:
    """Features do not depend on the number of cores or the order of clips."""
    sizes = (60, 300)
    clips = [np.stack([picture(side, shift) for shift in range(0, 40, 10)]) for side in sizes]
    expected = ENCODER.encode(clips)
    assert expected.shape == (2, 4, 25, 128)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = np.concatenate([ENCODER.encode([clip]) for clip in clips])
        turned = ENCODER.encode(clips[::-1])[::-1]
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(alone, expected)
    np.testing.assert_array_equal(turned, expected)


def test_cells_cover_the_whole_frame() -> None:
    """Frames are resized without cropping: the tokens at the right edge depend on the right edge."""
    frames = np.stack([picture(256)[:96]] * 4)
    other = frames.copy()
    other[:, :, 236:] = 255
    change = np.abs(ENCODER.encode([frames]) - ENCODER.encode([other]))[0, 0].sum(axis=1).reshape(5, 5)
    assert change[:, 4].sum() > 1.5 * change[:, 0].sum()


def test_constants_match_the_default_fingerprint() -> None:
    """New weights or default options need new constants."""
    assert ENCODER.center.any()
    assert ENCODER.scale.shape == (128,)
    assert (ENCODER.scale != 1).any()


def test_name_and_fingerprint_build_the_encoder() -> None:
    """A store has the fingerprint of its encoder in JSON."""
    encoder = visual_encoder("efficientnet-lite0", pixels=128, frames=2, device="cpu")
    fingerprint = json.loads(json.dumps(encoder.fingerprint()))
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint
    assert encoder.encode([]).shape == (0, 2, 25, 128)


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 0},
        {"frames": 10**9},
        {"pixels": 100},
        {"pixels": 32 * 10**9},
        {"cells": 0},
        {"width": 1000},
    ],
)
def test_invalid_options_are_rejected(options: dict) -> None:
    """The message names the option."""
    with pytest.raises(InputError, match=next(iter(options))):
        EfficientNetLite0(**options)


def test_wrong_number_of_frames_is_rejected() -> None:
    """The tokens would be those of other times."""
    with pytest.raises(InputError, match="needs 4 frames"):
        ENCODER.encode([np.zeros((3, 64, 64, 3), np.uint8)])
