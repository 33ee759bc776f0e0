"""Class moments do not depend on the order, grouping or merging of clips, nor on the location of features."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.class_moments import ClassMoments
from avcil.errors import InputError

CLASSES, WIDTH = 3, 4


def clips(seed: int, count: int, center: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=draw)
    features = torch.randn(count, WIDTH, generator=draw, dtype=torch.float64) + labels[:, None]
    return features + center, labels


def moments_of(*batches) -> ClassMoments:
    moments = ClassMoments(WIDTH)
    moments.add_classes(CLASSES)
    for features, labels in batches:
        moments.add(features, labels)
    return moments


def assert_equal(one: ClassMoments, other: ClassMoments, scale: float = 1.0) -> None:
    torch.testing.assert_close(one.counts, other.counts)
    torch.testing.assert_close(one.means, other.means, rtol=1e-12, atol=1e-12 * scale)
    torch.testing.assert_close(one.within, other.within, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1000), count=st.integers(1, 30), cuts=st.lists(st.integers(0, 30), max_size=4))
def test_any_grouping_and_merging(seed, count, cuts):
    """Batches of any size and order, or merged parts, give the moments of all clips."""
    features, labels = clips(seed, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [order[start:stop] for start, stop in itertools.pairwise(edges)]
    batches = [(features[part], labels[part]) for part in parts]
    whole = moments_of((features, labels))
    assert_equal(moments_of(*batches), whole)
    merged = moments_of()
    for batch in batches:
        merged.merge(moments_of(batch))
    assert_equal(merged, whole)


@pytest.mark.parametrize("center", [0.0, 1e6])
def test_variances_of_all_clips(center):
    """About the common mean, also for features far from 0; 0 for a single clip."""
    features, labels = clips(0, 20, center)
    torch.testing.assert_close(
        moments_of((features, labels)).variances(), features.var(dim=0), rtol=1e-9, atol=0
    )
    assert not moments_of((features[:1], labels[:1])).variances().any()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1000), kept=st.integers(0, 20), gone=st.integers(1, 20))
def test_removed_clips_have_no_effect(seed, kept, gone):
    """The result is the moments of the other clips."""
    stay, leave = clips(seed, kept), clips(seed + 1, gone)
    moments = moments_of(stay, leave)
    moments.remove(*leave)
    assert_equal(moments, moments_of(stay))


@pytest.mark.parametrize("level", [0.0, 0.7, 1e4])
def test_features_constant_after_removal(level):
    """Their variance is exactly 0, without rounding errors that would be scaled to variance 1."""
    stay, leave = clips(0, 12), clips(1, 5)
    stay[0][:, 1] = level
    moments = moments_of(stay, leave)
    moments.remove(*leave)
    assert_equal(moments, moments_of(stay), scale=max(level, 1.0))
    assert moments.standardized().inverse_deviation[1] == 0
    assert (moments.within[1] == 0).all()
    assert (moments.within[:, 1] == 0).all()


@pytest.mark.parametrize("center", [1e3, 1e6, -1e8])
def test_features_far_from_zero(center):
    """The scatter about means keeps its precision where sums of squares would lose all of it."""
    near, far = moments_of(clips(0, 40)), moments_of(clips(0, 20, center), clips(0, 40, center))
    again = moments_of(clips(0, 20), clips(0, 40))
    np.testing.assert_allclose(far.within, again.within, rtol=1e-6 * max(abs(center) / 1e6, 1))
    z, centered = far.standardized(), again.standardized()
    np.testing.assert_allclose(z.moments.gram, centered.moments.gram, rtol=1e-4)
    assert near.total == 40


def test_constant_features_that_later_vary():
    """A constant feature has weight 0, and the same weight as others once it varies."""
    features, labels = clips(0, 20)
    still = features.clone()
    still[:, 1] = 7.0
    moments = moments_of((still, labels))
    assert moments.standardized().inverse_deviation[1] == 0
    assert (moments.standardized().inverse_deviation[[0, 2, 3]] > 0).all()
    moments.add(features, labels)
    assert moments.standardized().inverse_deviation[1] > 0


def test_standardized_moments():
    """Mean 0 and variance 1 over all clips; some columns give the corresponding part of the result."""
    features, labels = clips(3, 30)
    moments = moments_of((features, labels))
    result = moments.standardized()
    z = (features - result.mean) * result.inverse_deviation
    torch.testing.assert_close(result.moments.gram, z.T @ z)
    torch.testing.assert_close(z.std(dim=0, correction=0), torch.ones(WIDTH, dtype=torch.float64))
    part = moments.part(torch.tensor([0, 2])).standardized()
    torch.testing.assert_close(part.moments.gram, result.moments.gram[[0, 2]][:, [0, 2]])


def test_pareto_scaling_by_block():
    """Division by the geometric mean of own and typical deviation: larger features stay larger, blocks are equal."""
    features, labels = clips(3, 200)
    features = features * torch.tensor([1.0, 4.0, 100.0, 100.0])
    result = moments_of((features, labels)).standardized(sizes=[2, 2])
    z = (features - result.mean) * result.inverse_deviation
    torch.testing.assert_close(result.moments.gram, z.T @ z)
    variance = z.var(dim=0, correction=0)
    deviation = features.std(dim=0, correction=0)
    assert float(variance[1] / variance[0]) == pytest.approx(float(deviation[1] / deviation[0]))
    assert 0.7 < float(variance[2:].mean() / variance[:2].mean()) < 1.5


def test_invalid_input():
    """NaN, unknown classes, and removing more clips than were added."""
    features, labels = clips(0, 5)
    moments = moments_of((features, labels))
    with pytest.raises(InputError, match="NaN"):
        moments.add(features * torch.nan, labels)
    with pytest.raises(InputError, match="0 to 2"):
        moments.add(features, labels + CLASSES)
    with pytest.raises(InputError, match="more clips"):
        moments.remove(torch.cat([features, features]), torch.cat([labels, labels]))


def test_saved_bit_for_bit():
    """Loaded moments equal the saved ones."""
    moments = moments_of(clips(0, 9))
    again = ClassMoments(WIDTH)
    again.load(moments.tensors())
    assert torch.equal(again.within, moments.within)
    assert torch.equal(again.means, moments.means)


def sample_of(*batches, size: int = 8) -> CalibrationSample:
    sample = CalibrationSample(WIDTH, size=size)
    for features, labels in batches:
        sample.add(features, labels)
    return sample


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), count=st.integers(0, 30), cut=st.integers(0, 30))
def test_sample_does_not_depend_on_order(seed, count, cut):
    """Batches in any order, or merged samples, give the sample of all clips, with at most its size."""
    features, labels = clips(seed, count)
    first, second = (features[:cut], labels[:cut]), (features[cut:], labels[cut:])
    whole = sample_of((features, labels))
    assert len(whole.labels) == min(count, 8)
    merged = sample_of(first)
    part = sample_of(second)
    merged.add(part.vectors, part.labels)
    for other in (sample_of(second, first), merged):
        assert torch.equal(other.vectors, whole.vectors)
        assert torch.equal(other.labels, whole.labels)


def test_sample_after_removal_and_renumbering():
    """Removed clips are not in it, and classes after a removed one have smaller numbers."""
    features, labels = clips(0, 6)
    sample = sample_of((features, labels))
    sample.remove(features[:2], labels[:2])
    assert len(sample.labels) == 4
    sample.remove_class(0)
    assert sorted(sample.labels.tolist()) == sorted(int(label) - 1 for label in labels[2:] if label > 0)


def test_sample_keeps_equal_clips_that_were_not_removed():
    """Of two equal clips one is removed, as for the moments."""
    features, labels = clips(0, 6)
    sample = sample_of((features, labels), (features[:1], labels[:1]))
    sample.remove(features[:1], labels[:1])
    assert torch.equal(sample.vectors, sample_of((features, labels)).vectors)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), numbers=st.permutations(range(CLASSES + 1)))
def test_renumbered(seed, numbers):
    """Moments of the same clips with other class numbers and more classes."""
    features, labels = clips(seed, 15)
    numbers = torch.tensor(numbers[:CLASSES])
    expected = ClassMoments(WIDTH)
    expected.add_classes(CLASSES + 1)
    expected.add(features, numbers[labels])
    assert_equal(moments_of((features, labels)).renumbered(numbers, CLASSES + 1), expected)
