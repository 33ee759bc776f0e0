"""k-means: a few centers that stand for many points.

n points, D width, k centers.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_ROUNDS = 100


def k_means(points: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
    """`count` centers (k, D) of points (n, D): Lloyd's rounds from a k-means++ start drawn by `generator`.

    With n <= k every point is a center, and points are taken again in order until there are k.

    >>> points = torch.tensor([[0.0], [1.0], [9.0], [11.0]])
    >>> centers = k_means(points, 2, generator=torch.Generator().manual_seed(0))
    >>> sorted(centers.flatten().tolist())
    [0.5, 10.0]
    """
    if len(points) <= count:
        return points[torch.arange(count) % len(points)]
    centers = _spread_start(points, count, generator)
    assigned = None
    for _ in range(MAX_ROUNDS):
        nearest = _squared_distances(points, centers).argmin(dim=1)
        if assigned is not None and torch.equal(nearest, assigned):
            break
        assigned = nearest
        sums = torch.zeros_like(centers).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        # A center that lost all its points stays where it was.
        centers = torch.where(sizes > 0, sums / sizes.clamp_min(1), centers)
    return centers


def _spread_start(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next center is drawn in proportion to its squared distance from those there are."""
    first = int(torch.randint(len(points), (), generator=generator))
    chosen = [first]
    distance = _squared_distances(points, points[[first]])[:, 0]
    while len(chosen) < count:
        # with fewer different points than centers every distance is 0, and the points are taken in turn
        far = bool(distance.sum() > 0)
        following = int(torch.multinomial(distance, 1, generator=generator)) if far else len(chosen)
        chosen.append(following)
        distance = distance.minimum(_squared_distances(points, points[[following]])[:, 0])
    return points[chosen]


def _squared_distances(points: Tensor, centers: Tensor) -> Tensor:
    """(n, k), by differences: a point's distance from itself is exactly zero."""
    return torch.stack([(points - center).square().sum(dim=1) for center in centers], dim=1)
