"""Linear classifiers that answer in place of a trained head, from a network's features or its head.

D width of the features h, C classes, K classes seen. Each function returns weight (C, D) and bias (C,).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from avcil.closed_form.block_discriminant import BlockDiscriminant
from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.class_moments import ClassMoments
from avcil.methods._bias_correction import features_of, fit_corrections, held_rows
from avcil.methods.base import Step
from avcil.nn.heads import LinearHead

PRIOR_PSI = 0.4
"""psi of the features before any class has two clips, as for the mean tokens of `blade`."""
Classifier = tuple[Tensor, Tensor]


def blade_classifier(moments: ClassMoments, sample: tuple[Tensor, Tensor] | None = None) -> Classifier:
    """BLADE on moments of h.

    Args:
        moments: Of all classes seen.
        sample: Features and labels of clips that are in the moments, to calibrate probabilities; None: probabilities
            are those of Gaussian classes.
    """
    found = BlockDiscriminant(moments, sizes=[moments.width], prior_psi=[PRIOR_PSI])
    kept = CalibrationSample(moments.width, size=0 if sample is None else len(sample[1]))
    if sample is not None:
        kept.add(*sample)
    head = found.head(kept)
    weight = head.inverse_temperature * found.inverse_deviation[:, None] * head.weight
    return weight.T, head.inverse_temperature * head.bias - found.mean @ weight


def exemplar_classifier(step: Step, rows: Tensor) -> Classifier:
    """BLADE on rows of the pool, the exemplars, with the network's present features."""
    features, labels = features_of(step, rows).cpu().double(), step.pool.labels[rows].cpu()
    moments = ClassMoments(features.shape[1])
    moments.grow(step.total)
    moments.add(features, labels)
    return blade_classifier(moments, (features, labels))


def with_step(moments: ClassMoments | None, step: Step) -> ClassMoments:
    """Moments of the earlier steps' features and of the new clips with the network's present features."""
    rows = torch.arange(step.new_count)
    features = features_of(step, rows).cpu()
    moments = ClassMoments(features.shape[1]) if moments is None else moments
    moments.grow(step.total - moments.classes)
    moments.add(features, step.pool.labels[rows].cpu())
    return moments


def aligned_head(step: Step) -> Classifier:
    """The head, rows of each later step scaled to the mean norm of the first step's (after WA)."""
    head = _linear_head(step)
    weight = head.weight.detach().clone()
    first, *later = weight.norm(dim=1).split(list(step.task_sizes))
    factors = [torch.ones_like(first), *((first.mean() / norms.mean()).expand_as(norms) for norms in later)]
    return torch.cat(factors)[:, None] * weight, head.bias.detach()


def corrected_head(step: Step, share: float) -> Classifier:
    """The head, logits of each later step corrected by a factor and an offset on clips held out (after BiC)."""
    head = _linear_head(step)
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    if step.index == 0:
        return weight, bias
    rows = held_rows(step, share)
    ends = torch.tensor(step.task_sizes).cumsum(0).tolist()
    groups = [slice(start, end) for start, end in itertools.pairwise(ends)]
    corrections = fit_corrections(head(features_of(step, rows)), step.pool.labels[rows], groups)
    for group, (factor, offset) in zip(groups, corrections, strict=True):
        weight[group] *= factor
        bias[group] = factor * bias[group] + offset
    return weight, bias


def _linear_head(step: Step) -> LinearHead:
    head = step.network.head
    assert isinstance(head, LinearHead)
    return head
