"""k-means: centres that are means of their points, the same each time, with any number of points."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.models.clustering import k_means


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), n=st.integers(3, 40), k=st.integers(1, 10))
def test_lloyd_fixed_point(seed, n, k):
    """Every centre is the mean of the points nearest to it, and the same seed gives the same bits."""
    points = torch.randn(n, 4, generator=generator(seed), dtype=torch.float64)
    centres = k_means(points, k, generator=generator(seed))
    assert centres.shape == (k, 4)
    assert torch.equal(centres, k_means(points, k, generator=generator(seed)))
    if n > k:
        nearest = [
            min(range(k), key=lambda j: float((point - centres[j]).square().sum())) for point in points
        ]
        for j in range(k):
            own = [points[i] for i in range(n) if nearest[i] == j]
            if own:
                torch.testing.assert_close(centres[j], torch.stack(own).mean(dim=0))


def test_finds_clouds():
    """Far clouds get a centre each, whatever the start."""
    means = 100 * torch.eye(5)
    points = torch.cat([mean + torch.randn(12, 5, generator=generator(1)) for mean in means])
    for seed in range(10):
        centres = k_means(points, 5, generator=generator(seed))
        expected = points.reshape(5, 12, 5).mean(dim=1)
        order = torch.cdist(expected, centres).argmin(dim=1)
        torch.testing.assert_close(centres[order], expected)


@pytest.mark.parametrize("n", [1, 3, 10])
def test_few_points(n):
    """With no more points than centres every point is a centre, and points repeat in order."""
    points = torch.randn(n, 3, generator=generator())
    centres = k_means(points, 10, generator=generator())
    assert torch.equal(centres, torch.stack([points[i % n] for i in range(10)]))


def test_equal_points():
    """Clips that are all alike give that one centre, without a division by zero."""
    centres = k_means(torch.ones(20, 3), 10, generator=generator())
    assert torch.equal(centres, torch.ones(10, 3))
