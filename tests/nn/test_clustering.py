"""k-means: centers are means of their points, deterministic, for any number of points."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.nn.clustering import k_means


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), n=st.integers(3, 40), k=st.integers(1, 10))
def test_lloyd_fixed_point(seed, n, k):
    """Every center is the mean of its nearest points, and equal seeds give equal bits."""
    points = torch.randn(n, 4, generator=generator(seed), dtype=torch.float64)
    centers = k_means(points, k, generator=generator(seed))
    assert centers.shape == (k, 4)
    assert torch.equal(centers, k_means(points, k, generator=generator(seed)))
    if n > k:
        nearest = [
            min(range(k), key=lambda j: float((point - centers[j]).square().sum())) for point in points
        ]
        for j in range(k):
            own = [points[i] for i in range(n) if nearest[i] == j]
            if own:
                torch.testing.assert_close(centers[j], torch.stack(own).mean(dim=0))


def test_separated_clusters():
    """Distant clusters get one center each, for any initial centers."""
    means = 100 * torch.eye(5)
    points = torch.cat([mean + torch.randn(12, 5, generator=generator(1)) for mean in means])
    for seed in range(10):
        centers = k_means(points, 5, generator=generator(seed))
        expected = points.reshape(5, 12, 5).mean(dim=1)
        order = torch.cdist(expected, centers).argmin(dim=1)
        torch.testing.assert_close(centers[order], expected)


@pytest.mark.parametrize("n", [1, 3, 10])
def test_few_points(n):
    """If there are no more points than centers, every point is a center, and points repeat in order."""
    points = torch.randn(n, 3, generator=generator())
    centers = k_means(points, 10, generator=generator())
    assert torch.equal(centers, torch.stack([points[i % n] for i in range(10)]))


def test_equal_points():
    """Equal points give their value as center, without a division by zero."""
    centers = k_means(torch.ones(20, 3), 10, generator=generator())
    assert torch.equal(centers, torch.ones(10, 3))
