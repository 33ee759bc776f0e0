"""Convolutions of the packaged networks: padding as in TensorFlow, and equality of both implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from avcil.encoders.convolution import SameConvolution
from avcil.encoders.packaged_weights import SHA256, packaged_weights
from avcil.encoders.registry import audio_encoder, visual_encoder
from avcil.errors import AvcilError


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_padding_equals_that_of_tensorflow(kernel: int, stride: int, depthwise: bool) -> None:
    """SAME: the smallest number of zeros; if it is odd, the additional zero is at the end."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 1 if depthwise else 6, kernel, kernel, generator=draw)
    bias, x = torch.randn(6, generator=draw), torch.randn(2, 6, 8, 12, generator=draw)
    total = max(kernel - stride, 0)
    padded = functional.pad(x, (total // 2, total - total // 2) * 2)
    groups = 6 if depthwise else 1
    expected = functional.conv2d(padded, weight, bias, stride, groups=groups).clamp(0, 6)
    layer = SameConvolution(weight, bias, stride=stride, depthwise=depthwise)
    with torch.inference_mode():
        result = layer(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_odd_sizes_with_stride_2_are_rejected() -> None:
    """The implementation pads with zeros in the kernel, which is correct for even sizes only."""
    layer = SameConvolution(torch.ones(1, 1, 3, 3), None, stride=2)
    with pytest.raises(ValueError, match="even height and width"):
        layer(torch.zeros(1, 1, 7, 8))


@pytest.mark.parametrize("kind", ["visual", "audio"])
def test_bfloat16_is_close_to_float32(kind: str) -> None:
    """The implementation for a GPU uses other operators and rounded products."""
    rng = np.random.default_rng(0)
    if kind == "visual":
        encoder = visual_encoder("efficientnet-lite0", pixels=64, device="cpu")
        clips = [rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)]
    else:
        encoder = audio_encoder("yamnet", device="cpu")
        clips = [rng.standard_normal(16_000).cumsum().astype(np.float32) / 300]
    exact = encoder.encode(clips)
    encoder.to("cpu", "bfloat16")  # type: ignore[union-attr]
    rounded = encoder.encode(clips)
    assert 0 < np.linalg.norm(exact - rounded) < 0.1 * np.linalg.norm(exact)


def test_changed_weights_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint contains the SHA-256 of the weights, so it is checked."""
    monkeypatch.setitem(SHA256, "yamnet", "0" * 64)
    packaged_weights.cache_clear()
    try:
        with pytest.raises(AvcilError, match="damaged or of another version"):
            packaged_weights("yamnet")
    finally:
        packaged_weights.cache_clear()
