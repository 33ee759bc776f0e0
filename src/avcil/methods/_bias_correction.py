"""Bias correction of BiC: a linear correction of logits, fitted to held-out clips. Wu et al., CVPR 2019.

n clips, K classes, P groups of classes:   z_group <- a z_group + b   with a and b for each group
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.methods.step import Step
from avcil.utils.rng import generator

_DECAY = 2e-4
"""Weight decay of a and b, so that a minimum exists also if all held-out clips are classified correctly."""
_NEWTON_STEPS = 100


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
        of_class = (labels == label).nonzero()[:, 0]
        held.append(of_class[torch.randperm(len(of_class), generator=draw)[:count]])
    return torch.cat(held)


def rows_without(step: Step, held: Tensor) -> Tensor:
    """The rows that are not held out; all rows of a class if none would remain."""
    is_held = torch.zeros(len(step.pool), dtype=torch.bool)
    is_held[held] = True
    labels = step.pool.labels.cpu()
    for label in labels.unique():
        is_of_class = labels == label
        if is_held[is_of_class].all():
            is_held[is_of_class] = False
    return (~is_held).nonzero()[:, 0]


@torch.no_grad()
def fit_corrections(logits: Tensor, labels: Tensor, groups: Sequence[slice]) -> list[tuple[float, float]]:
    """Fit a and b of each group of classes: they minimize the cross-entropy over all K logits.

    Args:
        logits: (n, K)
        labels: (n,)
        groups: Ranges of classes; the logits of other classes are not corrected.
    """
    logits = logits.double()
    uncorrected, by_parameter = logits.clone(), []
    for group in groups:
        uncorrected[:, group] = 0
        is_in_group = torch.zeros_like(logits)
        is_in_group[:, group] = 1
        by_parameter += [logits * is_in_group, is_in_group]
    slope = torch.stack(by_parameter)  # (2 P, n, K), derivatives of the corrected logits by each a and b
    parameters = torch.tensor([1.0, 0.0] * len(groups)).to(logits)
    target = F.one_hot(labels, logits.shape[1]).to(logits)

    def corrected(parameters: Tensor) -> Tensor:
        return uncorrected + torch.einsum("p,pnk->nk", parameters, slope)

    def loss(parameters: Tensor) -> Tensor:
        return F.cross_entropy(corrected(parameters), labels) + _DECAY / 2 * parameters.square().sum()

    for _ in range(_NEWTON_STEPS):
        probability = corrected(parameters).softmax(dim=1)
        gradient = torch.einsum("nk,pnk->p", probability - target, slope) / len(labels) + _DECAY * parameters
        mean = torch.einsum("nk,pnk->pn", probability, slope)
        hessian = torch.einsum("nk,pnk,qnk->pq", probability, slope, slope) - mean @ mean.T
        hessian = hessian / len(labels)
        hessian.diagonal().add_(_DECAY)
        direction = torch.linalg.solve(hessian, gradient)
        length = 1.0
        while loss(parameters - length * direction) > loss(parameters) and length > 1e-6:  # overshoot
            length /= 2
        parameters = parameters - length * direction
        if float(direction.abs().max()) < 1e-12:
            break
    return [(float(a), float(b)) for a, b in parameters.view(-1, 2)]
