"""The prior variance of class means, relative to the variance within classes.

In the two-covariance model (Ioffe, ECCV 2006; Prince & Elder, ICCV 2007) a class mean is drawn from N(mu, psi W) and
a clip from N(mean_c, W). Given n_c clips, the expected class mean is their average shrunk toward mu:

    mean_c = mu + alpha_c (average_c - mu),   alpha_c = psi n_c / (1 + psi n_c)

Each block of features has its own psi. It is 0 for a block that does not discriminate between classes. It is estimated
by the method of moments (one-way analysis of variance), from the traces of the between-class and within-class scatter
of standardized features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avcil.closed_form.moments import Moments

_PRIOR_CLIPS = 10.0
"""Weight of the prior value of psi, in clips beyond the first of each class."""
_FACTOR = 2.0
"""Factor of the moment estimate. The traces weight all features equally; the discriminant gives more weight to
discriminative features, whose psi is larger. Chosen on validation clips (docs/log.md)."""
_MAX_PSI = 10.0
"""Upper bound of the estimate; the average is then hardly shrunk."""
_FULL_VARIANCE = 0.25
"""A feature counts fully if its variance is at least this fraction of the typical one (docs/log.md)."""


def variance_share(variances: Tensor, typical_deviation: Tensor | None) -> Tensor:
    """min(1, 4 v / tau^2) of each feature: 1 if its deviation is at least half of the typical one.

    Features that hardly differ between the clips, such as those of frames that all show the same scene, are unlikely to
    separate classes. The mean share of a block reduces its prior psi.

    Args:
        variances: v (M,), over all clips.
        typical_deviation: tau (M,), over clips of all kinds, from the encoder's constants; None: unknown.

    Returns:
        (M,); ones if the typical deviation is unknown.

    >>> variance_share(torch.tensor([4.0, 0.25, 0.0]), torch.tensor([2.0, 2.0, 2.0])).tolist()
    [1.0, 0.25, 0.0]
    """
    if typical_deviation is None:
        return torch.ones_like(variances)
    return (variances / (_FULL_VARIANCE * typical_deviation.square())).clamp(max=1.0)


def mean_variance(moments: Moments, sizes: Sequence[int], prior: Sequence[float]) -> list[float]:
    """psi of each block.

    Args:
        moments: Of standardized features.
        sizes: (B,), number of features of each block; their sum is M.
        prior: (B,), psi if no class has two clips.

    Returns:
        (B,)
    """
    counts = moments.counts[moments.counts > 0]
    classes, total = len(counts), float(counts.sum())
    within_dof = total - classes
    if classes < 2 or within_dof <= 0:
        return list(prior)
    within = moments.within_scatter().diagonal().clamp(min=0)
    between = (moments.gram.diagonal() - within).clamp(min=0)
    mean_count = (total - float(counts.square().sum()) / total) / (classes - 1)
    psi = []
    for block_within, block_between, prior_psi in zip(
        within.split(list(sizes)), between.split(list(sizes)), prior, strict=True
    ):
        within_variance = float(block_within.sum()) / within_dof
        between_variance = float(block_between.sum()) / (classes - 1)
        ratio = between_variance / within_variance if within_variance > 0 else float("inf")
        estimate = min(max(_FACTOR * (ratio - 1) / mean_count, 0.0), _MAX_PSI)
        psi.append((within_dof * estimate + _PRIOR_CLIPS * prior_psi) / (within_dof + _PRIOR_CLIPS))
    return psi


def expected_means(averages: Tensor, counts: Tensor, psi: Tensor) -> Tensor:
    """Expected class means, given the averages of their clips.

    Args:
        averages: (C, M), of centered features.
        counts: (C, 1), number of clips of each class; or (C, M), number of its clips that have each feature.
        psi: (M,), psi of the block of each feature.

    Returns:
        (C, M)

    >>> import torch
    >>> expected_means(torch.tensor([[4.0]]), torch.tensor([[1.0]]), torch.tensor([1.0])).item()
    2.0
    """
    ratio = psi * counts
    return averages * (ratio / (1 + ratio))
