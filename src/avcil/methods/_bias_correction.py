"""Bias correction of BiC: a linear correction of logits, fitted to held-out clips. Wu et al., CVPR 2019.

n clips, K classes, P groups of classes:   z_group <- a z_group + b,   a and b for each group, one after the other
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import Step
from avcil.utils.rng import generator

DECAY = 2e-4
"""Weight decay of a and b, so that a minimum exists also if all held-out clips are classified correctly."""
NEWTON_STEPS = 100


def held_rows(step: Step, share: float) -> Tensor:
    """Select held-out rows of the pool: the same number for each class, or all clips of a class that has fewer.

    Args:
        step: A step after the first.
        share: Fraction of the exemplars of each old class; at least one clip.
    """
    labels = step.pool.labels.cpu()
    fewest = min(int((labels == label).sum()) for label in range(step.known))
    count = max(1, int(share * fewest))
    draw = generator(step.seed, "held out", step.index)
    held = []
    for label in range(step.total):
        own = (labels == label).nonzero()[:, 0]
        held.append(own[torch.randperm(len(own), generator=draw)[:count]])
    return torch.cat(held)


def rows_without(step: Step, held: Tensor) -> Tensor:
    """The rows that are not held out; all rows of a class if none would remain."""
    is_held = torch.zeros(len(step.pool), dtype=torch.bool)
    is_held[held] = True
    labels = step.pool.labels.cpu()
    for label in labels.unique():
        own = labels == label
        if is_held[own].all():
            is_held[own] = False
    return (~is_held).nonzero()[:, 0]


def features_of(step: Step, rows: Tensor) -> Tensor:
    """h (n, D) of rows of the pool, computed by the current network."""
    with torch.no_grad():
        parts = step.pool.stream(rows.split(step.pool.eval_batch_size))
        return torch.cat([step.network(*taken).feature for taken in parts])


@torch.no_grad()
def fit_corrections(logits: Tensor, labels: Tensor, groups: Sequence[slice]) -> list[tuple[float, float]]:
    """Fit a and b of each group of classes: they minimize the cross-entropy over all K logits.

    Args:
        logits: (n, K)
        labels: (n,)
        groups: Ranges of classes; the logits of other classes are not corrected.
    """
    logits = logits.double()
    fixed, slopes = (
        logits.clone(),
        [],
    )  # slopes: derivatives of the corrected logits by each a and b, (2 P, n, K)
    for group in groups:
        fixed[:, group] = 0
        inside = torch.zeros_like(logits)
        inside[:, group] = 1
        slopes += [logits * inside, inside]
    slope = torch.stack(slopes)
    at = torch.tensor([1.0, 0.0] * len(groups)).to(logits)
    target = F.one_hot(labels, logits.shape[1]).to(logits)

    def corrected(at: Tensor) -> Tensor:
        return fixed + torch.einsum("p,pnk->nk", at, slope)

    def loss(at: Tensor) -> Tensor:
        return F.cross_entropy(corrected(at), labels) + DECAY / 2 * at.square().sum()

    for _ in range(NEWTON_STEPS):
        share = corrected(at).softmax(dim=1)
        gradient = torch.einsum("nk,pnk->p", share - target, slope) / len(labels) + DECAY * at
        mean = torch.einsum("nk,pnk->pn", share, slope)
        curvature = torch.einsum("nk,pnk,qnk->pq", share, slope, slope) - mean @ mean.T
        curvature = curvature / len(labels)
        curvature.diagonal().add_(DECAY)
        move = torch.linalg.solve(curvature, gradient)
        length = 1.0
        while loss(at - length * move) > loss(at) and length > 1e-6:  # a full Newton step may overshoot
            length /= 2
        at = at - length * move
        if float(move.abs().max()) < 1e-12:
            break
    return [(float(a), float(b)) for a, b in at.view(-1, 2)]
