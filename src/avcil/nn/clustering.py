"""k-means clustering.

n points, D width, k centers.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MAX_ITERATIONS = 100


def k_means(points: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
    """Centers (k, D) of points (n, D) by Lloyd's algorithm with k-means++ initialization.

    With n <= k, the points are repeated in order until there are k centers.

    >>> points = torch.tensor([[0.0], [1.0], [9.0], [11.0]])
    >>> centers = k_means(points, 2, generator=torch.Generator().manual_seed(0))
    >>> sorted(centers.flatten().tolist())
    [0.5, 10.0]
    """
    if len(points) <= count:
        return points[torch.arange(count) % len(points)]
    centers = _initial_centers(points, count, generator)
    assigned = None
    for _ in range(_MAX_ITERATIONS):
        nearest = _squared_distances(points, centers).argmin(dim=1)
        if assigned is not None and torch.equal(nearest, assigned):
            break
        assigned = nearest
        sums = torch.zeros_like(centers).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        # A center without points is not moved.
        centers = torch.where(sizes > 0, sums / sizes.clamp_min(1), centers)
    return centers


def _initial_centers(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++: centers are drawn with probability proportional to the squared distance from the previous ones."""
    first = int(torch.randint(len(points), (), generator=generator))
    chosen = [first]
    distance = _squared_distances(points, points[[first]])[:, 0]
    while len(chosen) < count:
        # with fewer distinct points than centers, all distances are 0, and the points are used in order
        far = bool(distance.sum() > 0)
        following = int(torch.multinomial(distance, 1, generator=generator)) if far else len(chosen)
        chosen.append(following)
        distance = distance.minimum(_squared_distances(points, points[[following]])[:, 0])
    return points[chosen]


def _squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """(n, k), computed from differences, so that the distance of a point to itself is exactly 0."""
    return torch.stack([(points - center).square().sum(dim=1) for center in centers], dim=1)
