"""The penalized discriminant compared with a direct computation, also with each clip left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avcil.closed_form import Moments
from avcil.closed_form.calibration import Calibration
from avcil.closed_form.discriminant import Discriminant, nonconformity, relative_distance
from avcil.closed_form.discriminant_sum import DiscriminantSum
from avcil.closed_form.p_values import NonconformityHistogram, conformal_p_values
from avcil.closed_form.shrinkage import oas_weight

PENALTY = np.array([0.5, 0.5, 7.0, 7.0, 7.0, 0.1])


def direct_scores(features, labels, asked) -> np.ndarray:
    """Minus half the Mahalanobis distances, times N, without terms common to all classes."""
    H, y = features.numpy(), labels.numpy()
    means = np.stack([H[y == c].mean(axis=0) for c in range(3)])
    away = H - means[y]
    K = np.linalg.inv(away.T @ away + np.diag(PENALTY))
    x = asked.numpy()
    distance = [np.einsum("ij,jk,ik->i", x - mean, K, x - mean) for mean in means]
    return len(y) * (np.einsum("ij,jk,ik->i", x, K, x)[:, None] - np.stack(distance, axis=1)) / 2


def moments_of(features, labels) -> Moments:
    moments = Moments(6)
    moments.add_classes(3)
    moments.add(features, labels)
    return moments


def discriminant_of(features, labels) -> Discriminant:
    return Discriminant(moments_of(features, labels), torch.from_numpy(PENALTY))


def test_scores(make_clips):
    """They are differences of Mahalanobis distances."""
    features, labels = make_clips(0)
    result = discriminant_of(features, labels)
    np.testing.assert_allclose(
        features @ result.weight + result.bias, direct_scores(features, labels, features), rtol=1e-9
    )


def test_leave_one_out(make_clips):
    """Scores of each clip equal those of a discriminant of the other clips, up to the factor N instead of N - 1."""
    features, labels = make_clips(1)
    scores, lengths = discriminant_of(features, labels).leave_one_out(features, labels)
    for i in range(40):
        rest = torch.arange(40) != i
        expected = direct_scores(features[rest], labels[rest], features[i : i + 1])[0]
        np.testing.assert_allclose(scores[i] * 39 / 40, expected, rtol=1e-8, atol=1e-8)
        clip = features[i].double()
        without = discriminant_of(features[rest], labels[rest]).inverse()
        assert float(lengths[i]) * 39 / 40 == pytest.approx(float(clip @ without @ clip), rel=1e-8)


def shrunk_scores(features, labels, asked, psi) -> np.ndarray:
    """Like `direct_scores`, with the posterior means of the two-covariance model, for unscaled features."""
    H, y, x = features.numpy(), labels.numpy(), asked.numpy()
    averages = np.stack([H[y == c].mean(axis=0) for c in range(3)])
    away = H - averages[y]
    K = np.linalg.inv(away.T @ away + np.diag(PENALTY))
    counts = np.bincount(y, minlength=3)[:, None]
    means = averages * psi / (psi + 1 / counts)  # B (B + W / n)^-1 with B = psi W, where W is diagonal
    distance = [np.einsum("ij,jk,ik->i", x - mean, K, x - mean) for mean in means]
    return len(y) * (np.einsum("ij,jk,ik->i", x, K, x)[:, None] - np.stack(distance, axis=1)) / 2


def test_leave_one_out_with_shrunk_means(make_clips):
    """The mean of the clip's own class is that without the clip, with more shrinkage."""
    features, labels = make_clips(1)
    psi = np.array([0.2, 0.2, 0.5, 0.5, 0.5, 0.0])
    result = Discriminant(moments_of(features, labels), torch.from_numpy(PENALTY), torch.from_numpy(psi))
    np.testing.assert_allclose(
        features @ result.weight + result.bias, shrunk_scores(features, labels, features, psi), rtol=1e-9
    )
    scores, _ = result.leave_one_out(features, labels)
    for i in range(0, 40, 3):
        rest = torch.arange(40) != i
        expected = shrunk_scores(features[rest], labels[rest], features[i : i + 1], psi)[0]
        np.testing.assert_allclose(scores[i] * 39 / 40, expected, rtol=1e-8, atol=1e-8)


def test_gap_and_variance_of_gaussian_classes():
    """Known means and unit variance: the softmax of the scores is the posterior, so gap and variance are equal."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(5000)
    features = 2 * torch.randn(4, 3, generator=draw)[labels] + torch.randn(20_000, 3, generator=draw)
    moments = Moments(3)
    moments.add_classes(4)
    moments.add(features, labels)
    discriminant = Discriminant(moments, torch.zeros(3))
    gap, variance = discriminant.gap_and_variance(discriminant.weight)
    assert gap / variance == pytest.approx(1, rel=0.01)


def inverse_of(found: DiscriminantSum) -> torch.Tensor:
    """N K (M, M)"""
    return torch.block_diag(*(part.inverse() for part in found.parts))


def test_sum_of_discriminants(make_clips):
    """The discriminant of features whose scatter between the parts is 0, also without each clip; no predictions."""
    features, labels = make_clips(1)
    psi, penalty = torch.tensor([0.2, 0.2, 0.5, 0.5, 0.5, 0.0]).double(), torch.from_numpy(PENALTY)
    columns = torch.arange(6).split([2, 4])
    moments = moments_of(features, labels)
    parts = [Discriminant(moments.part(own), penalty[own], psi[own]) for own in columns]
    result = DiscriminantSum(parts, [None, None])
    within = torch.block_diag(*(moments.within_scatter()[own[:, None], own] for own in columns))
    joint = Moments(6)
    joint.counts, joint.sums = moments.counts, moments.sums
    joint.gram = within + moments.sums @ moments.means()
    expected = Discriminant(joint, penalty, psi)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name))
    torch.testing.assert_close(inverse_of(result), expected.inverse())
    assert result.gap_and_variance() == pytest.approx(expected.gap_and_variance(expected.weight))
    scores, _, lengths = result.leave_one_out(features, labels)
    background = result.leave_one_out_background(features.double())
    for i in range(0, 40, 5):
        rest = torch.arange(40) != i
        without = moments_of(features[rest], labels[rest])
        one = DiscriminantSum(
            [Discriminant(without.part(own), penalty[own], psi[own]) for own in columns], [None, None]
        )
        clip = features[i].double()
        torch.testing.assert_close(scores[i] * 39 / 40, clip @ one.weight + one.bias)
        assert float(lengths[i]) * 39 / 40 == pytest.approx(float(clip @ inverse_of(one) @ clip))
    single = [
        part.leave_one_out_background(features[:, own].double())
        for part, own in zip(parts, columns, strict=True)
    ]
    torch.testing.assert_close(background, single[0] + single[1])


def test_oddity_is_a_ratio_of_distances(make_clips):
    """Smallest Mahalanobis distance from a class mean divided by that from the origin, computed directly."""
    features, labels = make_clips(2)
    result = discriminant_of(features, labels)
    clips, inverse = features.double(), result.inverse()
    length = ((clips @ inverse) * clips).sum(dim=1)
    away = clips[:, None] - result.moments.means()
    expected = torch.einsum("ncm,mk,nck->nc", away, inverse, away).min(dim=1).values / length
    got = nonconformity(clips @ result.weight + result.bias, length)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_relative_distance(make_clips):
    """Distance from the nearest class mean minus that from the origin under the scatter of all clips,
    computed directly."""
    features, labels = make_clips(2)
    features = features.double() - features.double().mean(dim=0)
    result = discriminant_of(features, labels)
    scatter = features.T @ features + torch.diag(torch.from_numpy(PENALTY))
    background = len(labels) * ((features @ torch.linalg.inv(scatter)) * features).sum(dim=1)
    inverse = result.inverse()
    length = ((features @ inverse) * features).sum(dim=1)
    away = features[:, None] - result.moments.means()
    nearest = torch.einsum("ncm,mk,nck->nc", away, inverse, away).min(dim=1).values
    got = relative_distance(features @ result.weight + result.bias, length, background)
    torch.testing.assert_close(got, nearest - background, rtol=1e-9, atol=1e-9)
    own = ((features @ result.background_inverse()) * features).sum(dim=1)
    torch.testing.assert_close(own, background, rtol=1e-9, atol=1e-9)


def test_leave_one_out_background(make_clips):
    """Distance of each clip from the origin under the scatter of the others about their own mean."""
    features, labels = make_clips(2)
    features = features.double() - features.double().mean(dim=0)
    got = discriminant_of(features, labels).leave_one_out_background(features)
    for i in range(0, 40, 3):
        rest = features[torch.arange(40) != i]
        away = rest - rest.mean(dim=0)
        K = torch.linalg.inv(away.T @ away + torch.diag(torch.from_numpy(PENALTY)))
        assert float(got[i]) == pytest.approx(40 * float(features[i] @ K @ features[i]), rel=1e-8)


def test_error_rate_of_the_p_value():
    """For values from the same distribution, a share of at most, and nearly, alpha has a p-value of at most alpha."""
    draw = torch.Generator().manual_seed(0)
    seen = NonconformityHistogram()
    for _ in range(4):
        seen.add(torch.rand(500, generator=draw))
    p = seen.p_values(torch.rand(20_000, generator=draw))
    for alpha in (0.01, 0.05, 0.2):
        refused = float((p <= alpha).double().mean())
        assert 0.8 * alpha - 0.005 < refused < alpha + 0.01
    values = torch.rand(20_000, generator=draw)
    exact = conformal_p_values(torch.rand(2000, generator=draw).sort().values, values)
    assert 0.035 < float((exact <= 0.05).double().mean()) < 0.065
    nothing = torch.tensor([0.0, 9.0])
    assert NonconformityHistogram().p_values(nothing).tolist() == [1.0, 1.0]
    assert conformal_p_values(torch.zeros(0), nothing).tolist() == [1.0, 1.0]


def test_shrinkage_decreases_with_more_clips():
    """Many clips of an anisotropic distribution need less shrinkage than few."""
    covariance = torch.diag(torch.tensor([9.0, 1.0, 0.1], dtype=torch.float64))
    assert 0 < oas_weight(covariance, 1000) < oas_weight(covariance, 10) <= 1


def make_scores(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=draw)
    scores = torch.randn(count, 4, generator=draw, dtype=torch.float64)
    scores[torch.arange(count), labels] += 1
    return scores, labels


def test_inverse_temperature_is_optimal():
    """Scores with exact log odds give the factor that was applied to them, within a step of the list."""
    draw = torch.Generator().manual_seed(0)
    odds = torch.randn(20_000, 4, generator=draw, dtype=torch.float64)
    labels = torch.multinomial(odds.softmax(dim=1), 1, generator=draw)[:, 0]
    calibration = Calibration()
    calibration.add(odds / 5, labels)
    assert 5 / 10 ** (1 / 8) < calibration.inverse_temperature < 5 * 10 ** (1 / 8)


def test_calibration_is_additive():
    """Steps in any order give the same curve, and an empty step changes nothing."""
    one, other = Calibration(), Calibration()
    for seed in (1, 2):
        one.add(*make_scores(seed, 50))
        other.add(*make_scores(3 - seed, 50))
    one.add(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    torch.testing.assert_close(one.losses, other.losses)


def test_few_clips_give_no_certainty():
    """Few clips that are all correct must not give probabilities near 1."""
    calibration = Calibration()
    calibration.add(torch.eye(4, dtype=torch.float64), torch.arange(4))
    best = (calibration.inverse_temperature * torch.eye(4)).softmax(dim=1).max()
    assert 0.5 < best < 0.95
