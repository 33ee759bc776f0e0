"""Discriminant analysis of leave-one-out predictions; tests/methods/test_blade_oracles.py has its oracle."""

from __future__ import annotations

import pytest
import torch

from avcil.closed_form.discriminant import Discriminant
from avcil.closed_form.discriminant_sum import DiscriminantSum, mean_square_score, prediction_weight
from avcil.closed_form.moments import Moments
from avcil.closed_form.prediction_discriminant import PredictionDiscriminant


def moments_of(features: torch.Tensor, labels: torch.Tensor, classes: int) -> Moments:
    """Of centered features."""
    moments = Moments(features.shape[1])
    moments.add_classes(classes)
    moments.add(features - features.mean(dim=0), labels)
    return moments


def gaussian_classes(clips: int, width: int, *, distance: float, equal: bool = False):
    """Features (4 `clips`, width) of four classes, float64, and labels; `equal`: classes 0 and 1 have the same mean."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(clips)
    means = distance * torch.randn(4, width, generator=draw)
    if equal:
        means[1] = means[0]
    return (means[labels] + torch.randn(len(labels), width, generator=draw)).double(), labels


def of(
    features: torch.Tensor, labels: torch.Tensor, penalty: float, classes: int = 4
) -> PredictionDiscriminant:
    moments = moments_of(features, labels, classes)
    return PredictionDiscriminant(Discriminant(moments, torch.full((features.shape[1],), penalty)))


def test_many_clips_give_the_discriminant_of_class_means():
    """With many clips and few features, nothing is overfitted: both discriminants have the same boundaries."""
    features, labels = gaussian_classes(5000, 3, distance=1)
    moments = moments_of(features, labels, 4)
    means = Discriminant(moments, torch.ones(3))
    found = PredictionDiscriminant(means)
    for weight, expected in ((found.weight, means.weight), (found.bias[None], means.bias[None])):
        difference = weight - weight.mean(dim=1, keepdim=True)
        torch.testing.assert_close(
            difference, expected - expected.mean(dim=1, keepdim=True), rtol=0.02, atol=0.02
        )


def test_features_without_information_are_not_used():
    """Leave-one-out predictions from noise are no better than chance: the weights are 0, or nearly."""
    features, labels = gaussian_classes(5, 60, distance=0)
    moments = moments_of(features, labels, 4)
    means = Discriminant(moments, torch.full((60,), 10.0))
    found = PredictionDiscriminant(means)
    assert mean_square_score(found.weight, moments) < 0.05 * mean_square_score(means.weight, moments)


def test_indistinguishable_classes_get_equal_scores():
    """Two of four classes have the same distribution: their difference is not predictable, so it is not scored."""
    features, labels = gaussian_classes(30, 80, distance=0.5, equal=True)
    moments = moments_of(features, labels, 4)
    means = Discriminant(moments, torch.full((80,), 10.0))
    sizes = []
    for found in (means, PredictionDiscriminant(means)):
        within = (found.weight[:, 0] - found.weight[:, 1]).norm()
        sizes.append(float(within / (found.weight[:, 0] - found.weight[:, 2]).norm()))
    assert sizes[1] < sizes[0] / 2


def test_numbers_of_classes_do_not_matter():
    """Renumbered classes, also with equal features, give the same scores: no basis of the classes is preferred."""
    features, labels = gaussian_classes(6, 10, distance=1)
    features = torch.cat([features, features])  # pairs of classes with equal clips
    labels = torch.cat([labels, labels + 4])
    numbers = torch.tensor([3, 7, 0, 5, 1, 6, 2, 4])
    found, renumbered = of(features, labels, 2.0, 8), of(features, numbers[labels], 2.0, 8)
    torch.testing.assert_close(found.weight, renumbered.weight[:, numbers], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.bias, renumbered.bias[numbers], rtol=1e-9, atol=1e-9)


def test_class_without_clips_has_no_weight():
    """And does not change the scores of the others."""
    features, labels = gaussian_classes(6, 5, distance=1)
    features, labels = features[:-3], labels[:-3]  # not balanced
    found, more = of(features, labels, 1.0), of(features, labels, 1.0, classes=5)
    torch.testing.assert_close(more.weight[:, :4], found.weight)
    assert not more.weight[:, 4].any()
    assert float(more.bias[4]) == 0
    sums = []
    for classes in (4, 5):
        means = Discriminant(moments_of(features, labels, classes), torch.ones(5))
        sums.append(DiscriminantSum([means], [PredictionDiscriminant(means)]))
    torch.testing.assert_close(sums[1].weight[:, :4], sums[0].weight)
    torch.testing.assert_close(sums[1].bias[:4], sums[0].bias)


@pytest.mark.parametrize("row", [0, 7, 19])
def test_leave_one_out_predictions_are_exact(row):
    """Equal to predictions of a ridge regression with intercept, fitted without the clip."""
    features, labels = gaussian_classes(5, 8, distance=1)
    features = features - features.mean(dim=0)
    found = of(features, labels, 3.0)
    target = torch.nn.functional.one_hot(labels, 4).double() / 5**0.5
    rest = torch.arange(20) != row
    center = features[rest].mean(dim=0)
    z, away = features[rest] - center, target[rest] - target[rest].mean(dim=0)
    theta = torch.linalg.solve(z.T @ z + 3 * torch.eye(8, dtype=torch.float64), z.T @ away)
    prediction = (features[row] - center) @ theta + target[rest].mean(dim=0) - target.mean(dim=0)
    expected = prediction @ found.map + found.bias
    torch.testing.assert_close(found.leave_one_out(features[[row]], labels[[row]])[0], expected)


def test_without_predictions_the_class_means_decide():
    """If predictions say nothing, and with one clip per class, the scores are those of class means."""
    features, labels = gaussian_classes(1, 6, distance=1)
    assert prediction_weight(torch.ones(4)) == 0
    means = Discriminant(moments_of(features, labels, 4), torch.full((6,), 5.0))
    for predictions in (None, PredictionDiscriminant(means)):
        found = DiscriminantSum([means], [predictions])
        torch.testing.assert_close(found.weight, means.weight)


def test_predictions_near_chance_are_not_scaled_up():
    """As they approach chance, their part of the scores goes to 0."""
    features, labels = gaussian_classes(5, 12, distance=1)
    moments = moments_of(features, labels, 4)
    means = Discriminant(moments, torch.full((12,), 5.0))
    predictions = PredictionDiscriminant(means)
    predictions.weight, predictions.bias = 1e-9 * predictions.weight, 1e-9 * predictions.bias
    found = DiscriminantSum([means], [predictions])
    share = prediction_weight(means.counts)
    torch.testing.assert_close(found.weight, (1 - share) * means.weight, rtol=1e-5, atol=1e-5)
