"""k-means: a few centres that stand for many points.

n points, D width, k centres.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_ROUNDS = 100


def k_means(points: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
    """`count` centres (k, D) of points (n, D): Lloyd's rounds from a k-means++ start drawn by `generator`.

    With n <= k every point is a centre, and points are taken again in order until there are k.

    >>> points = torch.tensor([[0.0], [1.0], [9.0], [11.0]])
    >>> centres = k_means(points, 2, generator=torch.Generator().manual_seed(0))
    >>> sorted(centres.flatten().tolist())
    [0.5, 10.0]
    """
    if len(points) <= count:
        return points[torch.arange(count) % len(points)]
    centres = _spread_start(points, count, generator)
    assigned = None
    for _ in range(MAX_ROUNDS):
        nearest = _squared_distances(points, centres).argmin(dim=1)
        if assigned is not None and torch.equal(nearest, assigned):
            break
        assigned = nearest
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        # A centre that lost all its points stays where it was.
        centres = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres)
    return centres


def _spread_start(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next centre is drawn in proportion to its squared distance from those there are."""
    first = int(torch.randint(len(points), (), generator=generator))
    chosen = [first]
    distance = _squared_distances(points, points[[first]])[:, 0]
    while len(chosen) < count:
        # with fewer different points than centres every distance is 0, and the points are taken in turn
        far = bool(distance.sum() > 0)
        following = int(torch.multinomial(distance, 1, generator=generator)) if far else len(chosen)
        chosen.append(following)
        distance = distance.minimum(_squared_distances(points, points[[following]])[:, 0])
    return points[chosen]


def _squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """(n, k), by differences: a point's distance from itself is exactly zero."""
    return torch.stack([(points - centre).square().sum(dim=1) for centre in centres], dim=1)
