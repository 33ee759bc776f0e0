"""Guided attention compared with its equation in plain loops, and properties for any input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.nn.attention import guided_attention


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), t=st.integers(1, 3), s=st.integers(1, 4), scale=st.floats(0, 30))
def test_sums_to_one(seed, t, s, scale):
    """Spatial attention sums to one over S and temporal attention over T, for each channel and any temperature."""
    result = guided_attention(
        draw(seed, 2, t, s, 3), scale * draw(seed + 1, 2, t, s, 3), draw(seed + 2, 2, 3)
    )
    torch.testing.assert_close(result.spatial_log.exp().sum(dim=2), torch.ones(2, t, 3, dtype=torch.float64))
    torch.testing.assert_close(result.temporal_log.exp().sum(dim=1), torch.ones(2, 3, dtype=torch.float64))


def test_equals_explicit_loops():
    """The equation for each channel in NumPy: raw tokens are summed, projected tokens determine the weights."""
    tokens, keys, query = draw(0, 2, 3, 4, 5), draw(1, 2, 3, 4, 5), draw(2, 2, 5)
    got = guided_attention(tokens, keys, query).attended.numpy()
    for b in range(2):
        for d in range(5):
            p = float(query[b, d])
            slices, summaries = [], []
            for t in range(3):
                weight = np.exp(keys[b, t, :, d].numpy() * p)
                weight /= weight.sum()
                slices.append(float(weight @ tokens[b, t, :, d].numpy()))
                summaries.append(float(weight @ keys[b, t, :, d].numpy()))
            temporal = np.exp(np.array(summaries) * p)
            assert got[b, d] == pytest.approx(float(temporal / temporal.sum() @ np.array(slices)))


def test_one_token():
    """With T = S = 1, the result is the token itself."""
    tokens = draw(0, 3, 1, 1, 4)
    torch.testing.assert_close(
        guided_attention(tokens, draw(1, 3, 1, 1, 4), draw(2, 3, 4)).attended, tokens[:, 0, 0]
    )


def test_gradients():
    """Gradients equal finite differences, also through the logarithms."""
    parts = [
        draw(seed, *shape).requires_grad_() for seed, shape in enumerate([(2, 2, 3, 2), (2, 2, 3, 2), (2, 2)])
    ]
    assert torch.autograd.gradcheck(guided_attention, parts)
