"""Linear classifiers that replace a trained head, computed from features of the network or from the head.

D width of the features h, C classes seen so far. A classifier is a weight (C, D) and a bias (C,).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from avcil.closed_form.block_discriminant import BlockDiscriminant
from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.class_moments import ClassMoments
from avcil.methods._bias_correction import fit_corrections, held_rows
from avcil.methods.step import Step

_PRIOR_PSI = 0.4
"""psi of the features if no class has two clips, as for the mean tokens of `blade`."""
Classifier = tuple[Tensor, Tensor]


def blade_classifier(moments: ClassMoments, sample: tuple[Tensor, Tensor] | None = None) -> Classifier:
    """BLADE on moments of h.

    Args:
        moments: Moments of the features of all classes seen.
        sample: Features and labels of clips in the moments, to calibrate probabilities; None: probabilities of Gaussian
            classes.
    """
    discriminant = BlockDiscriminant.fit(moments, sizes=[moments.width], prior_psi=[_PRIOR_PSI])
    calibration = CalibrationSample(moments.width, size=0 if sample is None else len(sample[1]))
    if sample is not None:
        calibration.add(*sample)
    head = discriminant.head(calibration)
    weight = head.inverse_temperature * discriminant.inverse_deviation[:, None] * head.weight
    return weight.T, head.inverse_temperature * head.bias - discriminant.mean @ weight


def exemplar_classifier(step: Step, rows: Tensor) -> Classifier:
    """BLADE on the exemplars (`rows` of the pool), with features of the current network."""
    features, labels = step.features(rows).cpu(), step.pool.labels[rows].cpu()
    return blade_classifier(_extended(None, step, features, labels), (features, labels))


def add_step(moments: ClassMoments | None, step: Step) -> ClassMoments:
    """Moments of the features of earlier steps, plus those of the new clips from the current network."""
    rows = torch.arange(step.new_count)
    return _extended(moments, step, step.features(rows).cpu(), step.pool.labels[rows].cpu())


def _extended(moments: ClassMoments | None, step: Step, features: Tensor, labels: Tensor) -> ClassMoments:
    """Moments with all classes seen and more clips: features (n, D), labels (n,)."""
    moments = ClassMoments(features.shape[1]) if moments is None else moments
    moments.add_classes(step.total - moments.classes)
    moments.add(features, labels)
    return moments


def aligned_head(step: Step) -> Classifier:
    """The head, with the rows of each later step scaled to the mean norm of the rows of the first step (after WA)."""
    head = step.network.linear_head
    weight = head.weight.detach().clone()
    first, *later = weight.norm(dim=1).split(list(step.task_sizes))
    factors = [torch.ones_like(first), *((first.mean() / norms.mean()).expand_as(norms) for norms in later)]
    return torch.cat(factors)[:, None] * weight, head.bias.detach()


def corrected_head(step: Step, share: float) -> Classifier:
    """The head, with the logits of each later step corrected by a factor and an offset (after BiC).

    Args:
        step: The training step.
        share: Fraction of the exemplars of each old class that is held out to fit the correction.
    """
    head = step.network.linear_head
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    if step.index == 0:
        return weight, bias
    rows = held_rows(step, share)
    ends = torch.tensor(step.task_sizes).cumsum(0).tolist()
    groups = [slice(start, end) for start, end in itertools.pairwise(ends)]
    corrections = fit_corrections(head(step.features(rows)), step.pool.labels[rows], groups)
    for group, (factor, offset) in zip(groups, corrections, strict=True):
        weight[group] *= factor
        bias[group] = factor * bias[group] + offset
    return weight, bias
