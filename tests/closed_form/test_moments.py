"""Sums do not depend on order and batches of clips, and clips can be removed from them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.closed_form import Moments
from avcil.errors import InputError


def moments_of(features, labels, classes: int, batches=None) -> Moments:
    moments = Moments(features.shape[1])
    moments.add_classes(classes)
    for rows in batches or [range(len(labels))]:
        moments.add(features[list(rows)], labels[list(rows)])
    return moments


def assert_close(one: Moments, other: Moments) -> None:
    for name, tensor in one.tensors().items():
        torch.testing.assert_close(tensor, other.tensors()[name], rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False), st.integers(1, 17))
def test_any_order_and_batch_size(make_clips, seed, random, size):
    """Shuffled clips in batches of any size give the sums of one batch."""
    features, labels = make_clips(seed)
    order = list(range(len(labels)))
    random.shuffle(order)
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    assert_close(moments_of(features, labels, 3, batches), moments_of(features, labels, 3))


def test_classes_can_be_added_later(make_clips):
    """Adding classes between batches, and more clips of old classes, gives the same sums."""
    features, labels = make_clips(0)
    moments = Moments(6)
    for known in range(1, 4):
        moments.add_classes(1)
        moments.add(features[labels == known - 1][1:], labels[labels == known - 1][1:])
    first = [int((labels == c).nonzero()[0, 0]) for c in range(3)]
    moments.add(features[first], labels[first])
    assert_close(moments, moments_of(features, labels, 3))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sets(st.integers(0, 39), min_size=1, max_size=30))
def test_forgetting_is_exact(make_clips, seed, gone):
    """Adding and removing clips gives the sums of the others."""
    features, labels = make_clips(seed)
    stay = [row for row in range(40) if row not in gone]
    moments = moments_of(features, labels, 3)
    moments.remove(features[list(gone)], labels[list(gone)])
    assert_close(moments, moments_of(features[stay], labels[stay], 3))


def test_means_and_scatter(make_clips):
    """Equal to a loop over the classes."""
    features, labels = make_clips(1)
    moments = moments_of(features, labels, 3)
    scatter = torch.zeros(6, 6, dtype=torch.float64)
    for c in range(3):
        own = features[labels == c]
        torch.testing.assert_close(moments.means()[c], own.mean(dim=0))
        scatter += (own - own.mean(dim=0)).T @ (own - own.mean(dim=0))
    torch.testing.assert_close(moments.within_scatter(), scatter)


def test_removed_class(make_clips):
    """The other classes' means and the scatter about all means are unchanged, without any effect of its mean."""
    features, labels = make_clips(5)
    moments = moments_of(features, labels, 3)
    scatter, means = moments.within_scatter(), moments.means()
    moments.remove_class(1)
    torch.testing.assert_close(moments.within_scatter(), scatter)
    torch.testing.assert_close(moments.means(), means[[0, 2]])
    assert moments.total == int((labels != 1).sum())


def test_saved_bit_for_bit(make_clips):
    """Only half of a symmetric matrix is saved."""
    moments = moments_of(*make_clips(2), 3)
    again = Moments(moments.width)
    again.load(moments.tensors())
    assert torch.equal(again.gram, moments.gram)
    assert torch.equal(again.sums, moments.sums)
    assert torch.equal(again.counts, moments.counts)


def test_memory_is_constant(make_clips):
    """8 (M M + M C + C) bytes for any number of clips."""
    features, labels = make_clips(3, count=400)
    few, many = moments_of(features[:9], labels[:9], 3), moments_of(features, labels, 3)
    assert few.bytes == many.bytes == 8 * (6 * 7 // 2 + 6 * 3 + 3)


def test_invalid_input(make_clips):
    """An unknown class, and forgetting more clips than were added."""
    features, labels = make_clips(4)
    moments = moments_of(features, labels, 3)
    with pytest.raises(InputError, match="unknown"):
        moments.add(features[:1], torch.tensor([3]))
    before = moments.gram.clone()
    with pytest.raises(InputError, match="more clips are to be forgotten"):
        moments.remove(features[:1].expand(60, -1), torch.zeros(60, dtype=torch.int64))
    assert torch.equal(moments.gram, before)


def test_balanced_moments(make_clips):
    """With equal counts nothing changes; otherwise counts become equal, and means and within-class scatter are kept."""
    features, labels = make_clips(0)
    equal = torch.cat([(labels == c).nonzero()[:4, 0] for c in range(3)])
    assert_close(*(lambda m: (m.balanced(), m))(moments_of(features[equal], labels[equal], 3)))
    few = moments_of(features[labels != 1][3:], labels[labels != 1][3:], 3)
    balanced = few.balanced()
    assert balanced.counts.tolist() == [few.total / 2, 0, few.total / 2]
    torch.testing.assert_close(balanced.means(), few.means())
    torch.testing.assert_close(balanced.within_scatter(), few.within_scatter())
