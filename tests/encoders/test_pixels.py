"""Preprocessing of frames compared with the processors that are published with the models."""

from __future__ import annotations

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avcil.encoders.pixels import NORMALIZATIONS, FramePreprocessing, from_processor
from avcil.errors import InputError

MEAN, STD = NORMALIZATIONS["imagenet"]


def frames_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth images, like photographs: uint8 (2, H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse]
    )


PROCESSORS = {
    "CLIPImageProcessorPil": {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "resample": 2,
    },
    "BitImageProcessorPil": {
        "size": {"shortest_edge": 36},
        "crop_size": {"height": 32, "width": 32},
        "resample": 2,
    },
    "ViTImageProcessorPil": {"size": {"height": 32, "width": 32}},
    "SiglipImageProcessorPil": {"size": {"height": 32, "width": 32}, "resample": 2},
    "VideoMAEImageProcessorPil": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    "VivitImageProcessor": {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
}


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("size", [(48, 96), (60, 40), (36, 36)])
def test_pixels_equal_the_published_processor(name: str, size: tuple[int, int]) -> None:
    """Size, crop, mean and standard deviation are those of the processor's file; resizing differs by one gray level.

    Only sizes that scale to whole pixels: otherwise the processor rounds down, and avcil rounds to the nearest.
    """
    processor = getattr(transformers, name)(**PROCESSORS[name])
    clip = frames_of(*size)
    expected = processor(list(clip), return_tensors="np")["pixel_values"].reshape(2, 3, 32, 32)
    pixels = from_processor(
        processor.to_dict(), side=32, accepts_other_sizes=False, fit="squash", normalization="imagenet"
    )
    ours = pixels.normalized(pixels.batch([clip], "example"))[0].numpy()
    level = 1 / (255 * min(pixels.std))
    assert np.abs(ours - expected).max() < 1.01 * level
    assert np.abs(ours - expected).mean() < 0.3 * level


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 80), width=st.integers(1, 80), fit=st.sampled_from(["crop", "squash"]))
def test_any_size_is_resized(height: int, width: int, fit: str) -> None:
    """Frames of any size are resized to the size of the model."""
    pixels = FramePreprocessing(side=16, short_side=20, fit=fit, mean=MEAN, std=STD)
    batch = pixels.batch([np.full((2, height, width, 3), 77, np.uint8)], "example")
    assert batch.shape == (1, 2, 16, 16, 3)
    assert (batch == 77).all()


def test_center_crop() -> None:
    """A wide frame is cropped equally on the left and the right."""
    clip = np.zeros((1, 16, 48, 3), np.uint8)
    clip[:, :, 16:32] = 255
    pixels = FramePreprocessing(side=16, short_side=16, mean=MEAN, std=STD)
    assert (pixels.batch([clip], "example") == 255).all()


def test_published_values_without_a_file() -> None:
    """The fingerprint contains the source of mean and standard deviation."""
    pixels = from_processor(None, side=16, accepts_other_sizes=False, fit="crop", normalization="clip")
    assert pixels.to_dict()["source"] == "published: clip"
    assert pixels.mean == NORMALIZATIONS["clip"][0]


def test_invalid_sizes_and_frames_are_rejected() -> None:
    """A crop larger than the frame, float values, gray frames, and no frames."""
    with pytest.raises(InputError, match="are smaller than the crop"):
        FramePreprocessing(side=32, short_side=16, mean=MEAN, std=STD)
    pixels = FramePreprocessing(side=16, short_side=16, mean=MEAN, std=STD)
    for bad in (np.zeros((2, 9, 9, 3)), np.zeros((2, 9, 9), np.uint8), np.zeros((2, 0, 9, 3), np.uint8)):
        with pytest.raises(InputError, match="example needs RGB frames"):
            pixels.batch([bad], "example")
