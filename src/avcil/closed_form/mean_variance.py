"""How far class means lie apart, relative to the spread of clips within a class: the prior on class means.

In the two-covariance model (Ioffe, ECCV 2006; Prince & Elder, ICCV 2007) a class mean is drawn from N(mu, psi W) and
a clip from N(mean_c, W). Given n_c clips, the expected class mean is their average moved toward mu:

    mean_c = mu + alpha_c (average_c - mu),   alpha_c = psi n_c / (1 + psi n_c)

psi is one number for each block of features: it is 0 for a block that does not tell classes apart, whose averages
differ by chance alone. It is estimated by the method of moments (one-way analysis of variance), from the traces of
the scatter between and within classes of standardized features.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from avcil.closed_form.moments import Moments

PRIOR_CLIPS = 10.0
"""How many clips, beyond the first of each class, weigh as much as the prior value of psi."""
FACTOR = 2.0
"""By which the moment estimate is multiplied. The traces weigh all features alike; the discriminant weighs those most
that tell classes apart, where psi is larger. Chosen on validation clips (docs/log.md)."""
LARGEST = 10.0
"""psi is not estimated larger: the average is then used nearly as it is."""


def mean_variance(moments: Moments, sizes: Sequence[int], prior: Sequence[float]) -> list[float]:
    """psi of each block.

    Args:
        moments: Of standardized features.
        sizes: (B,), features of each block; they add up to M.
        prior: (B,), psi where no class has two clips yet.

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
    found = []
    for own_within, own_between, expected in zip(
        within.split(list(sizes)), between.split(list(sizes)), prior, strict=True
    ):
        inside = float(own_within.sum()) / within_dof
        ratio = float(own_between.sum()) / (classes - 1) / inside if inside > 0 else float("inf")
        estimate = min(max(FACTOR * (ratio - 1) / mean_count, 0.0), LARGEST)
        found.append((within_dof * estimate + PRIOR_CLIPS * expected) / (within_dof + PRIOR_CLIPS))
    return found


def expected_means(averages: Tensor, counts: Tensor, psi: Tensor) -> Tensor:
    """Class means given the averages of their clips, relative to the mean of all clips.

    Args:
        averages: (C, M), of centered features.
        counts: (C,), clips of each class.
        psi: (M,), that of each feature's block.

    Returns:
        (C, M)

    >>> import torch
    >>> expected_means(torch.tensor([[4.0]]), torch.tensor([1.0]), torch.tensor([1.0])).item()
    2.0
    """
    ratio = psi * counts[:, None]
    return averages * (ratio / (1 + ratio))
