"""The statistics of BLADE do not depend on order, grouping or merging, also if clips lack a modality."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.closed_form.block_discriminant import BladeStatistics
from avcil.errors import InputError

CLASSES, CLIPS, WIDTHS = 3, 14, {"audio": 2, "visual": 3}
KINDS = (None, "audio", "visual")
"""The modalities of a clip: both, or only one."""

seeds = st.integers(0, 1000)
kinds = st.lists(st.sampled_from(KINDS), min_size=CLIPS, max_size=CLIPS)
orders = st.permutations(range(CLIPS))
cuts = st.lists(st.integers(0, CLIPS), max_size=4)
centers = st.sampled_from([0.0, 1e3, -1e6])


class Clips:
    """Random clips, each with its modalities."""

    def __init__(self, seed: int, kinds: list[str | None], center: float = 0.0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, CLASSES, (CLIPS,), generator=draw)
        self.kinds = kinds
        noise = torch.randn(CLIPS, sum(WIDTHS.values()), generator=draw, dtype=torch.float64)
        self.features = noise + self.labels[:, None] + center

    def give(self, call, rows: list[int]) -> None:
        """Call `add` or `remove` with the clips `rows`, grouped by their modalities."""
        audio, visual = self.features.split(list(WIDTHS.values()), dim=1)
        features = {None: self.features, "audio": audio, "visual": visual}
        for kind in KINDS:
            if own := [row for row in rows if self.kinds[row] == kind]:
                call(features[kind][own], self.labels[own], only=kind)

    def statistics(self, *batches: list[int]) -> BladeStatistics:
        """Statistics of the clips in batches of rows."""
        result = BladeStatistics(WIDTHS, calibration_clips=8)
        result.add_classes(CLASSES)
        for rows in batches:
            self.give(result.add, rows)
        return result


def pieces(order: list[int], cuts: list[int]) -> list[list[int]]:
    return [list(order[a:b]) for a, b in itertools.pairwise([0, *sorted(cuts), CLIPS])]


def assert_equal(one: BladeStatistics, other: BladeStatistics, *, sample: bool = True) -> None:
    assert torch.equal(one.complete_counts, other.complete_counts)
    for name in WIDTHS:
        first, second = one.moments[name], other.moments[name]
        assert torch.equal(first.counts, second.counts)
        torch.testing.assert_close(first.means, second.means, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(first.within, second.within, rtol=1e-7, atol=1e-7)
    if sample:
        assert torch.equal(one.sample.vectors, other.sample.vectors)
        assert torch.equal(one.sample.labels, other.sample.labels)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, kinds=kinds, order=orders, cuts=cuts, center=centers)
def test_order_grouping_and_merging(seed, kinds, order, cuts, center):
    """Also for features far from 0, and for batches of a single clip or none."""
    clips = Clips(seed, kinds, center)
    whole, batches = clips.statistics(list(range(CLIPS))), pieces(order, cuts)
    assert_equal(clips.statistics(*batches), whole)
    merged = clips.statistics()
    for rows in batches:
        merged.merge(clips.statistics(rows), torch.arange(CLASSES))
    assert_equal(merged, whole)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, kinds=kinds, order=orders, count=st.integers(0, CLIPS), center=centers)
def test_removed_clips_have_no_effect(seed, kinds, order, count, center):
    """The statistics are those of the other clips; without clips of a modality, its moments are exactly 0."""
    clips = Clips(seed, kinds, center)
    result = clips.statistics(list(range(CLIPS)))
    for start in range(0, count, 3):
        clips.give(result.remove, list(order[start : min(start + 3, count)]))
    expected = clips.statistics(list(order[count:]))
    assert_equal(result, expected, sample=False)  # removed clips of the sample are not replaced
    for name in WIDTHS:
        if not expected.moments[name].total:
            assert not result.moments[name].within.any()
            assert not result.moments[name].means.any()


@settings(deadline=None, max_examples=40)
@given(seed=seeds, kinds=kinds, row=st.integers(0, CLIPS - 1), kind=st.sampled_from(KINDS))
def test_removing_too_many_clips_of_a_modality(seed, kinds, row, kind):
    """Also if the class has enough clips with other modalities: an error, and nothing is removed."""
    clips = Clips(seed, kinds)
    result = clips.statistics(list(range(CLIPS)))
    same = [n for n in range(CLIPS) if kinds[n] == kind and clips.labels[n] == clips.labels[row]]
    clips.kinds = [kind] * CLIPS
    with pytest.raises(InputError, match="more clips are to be forgotten than were learned"):
        clips.give(result.remove, [*same, row])
    clips.kinds = kinds
    assert_equal(result, clips.statistics(list(range(CLIPS))))


@settings(deadline=None, max_examples=20)
@given(seed=seeds, kinds=kinds, numbers=st.permutations(range(CLASSES + 1)))
def test_renumbered_and_removed_classes(seed, kinds, numbers):
    """Counts and means of each class; the sample has the new numbers."""
    clips = Clips(seed, kinds)
    result, numbers = clips.statistics(list(range(CLIPS))), torch.tensor(numbers[:CLASSES])
    expected = BladeStatistics(WIDTHS, calibration_clips=8)
    expected.add_classes(CLASSES + 1)
    clips.labels = numbers[clips.labels]
    clips.give(expected.add, list(range(CLIPS)))
    result.renumber(numbers, CLASSES + 1)
    assert_equal(result, expected)
    for number in reversed(range(CLASSES + 1)):
        result.remove_class(number)
        assert result.classes == number
        assert torch.equal(result.complete_counts, expected.complete_counts[:number])
    assert not any(moments.within.any() for moments in result.moments.values())
