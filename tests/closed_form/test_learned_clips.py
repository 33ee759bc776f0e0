"""The record of learned clips: it is a multiset, and does not depend on order or grouping."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.closed_form.learned_clips import LearnedClips, hashes

clips = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 2)), max_size=12)


def recorded(*groups: list[tuple[int, int]]) -> LearnedClips:
    learned = LearnedClips()
    for group in groups:
        pairs = torch.tensor(group, dtype=torch.int64).reshape(-1, 2)
        learned.add(pairs[:, 0], pairs[:, 1])
    return learned


def content(learned: LearnedClips) -> list[tuple[int, int]]:
    saved = learned.tensors()
    return list(zip(saved["hashes"].tolist(), saved["labels"].tolist(), strict=True))


@settings(deadline=None)
@given(first=clips, second=clips, removed=clips)
def test_record_is_a_multiset(first, second, removed):
    """Grouping does not matter; of equal clips, only as many are removed as are given; unknown ones are ignored."""
    one, other = recorded(first, second), recorded(second + first)
    assert content(one) == content(other) == sorted(first + second)
    pairs = torch.tensor(removed, dtype=torch.int64).reshape(-1, 2)
    one.remove(pairs[:, 0], pairs[:, 1])
    assert Counter(content(one)) == Counter(first + second) - Counter(removed)


def test_classes():
    """A removed class is unknown, and the numbers of later classes decrease."""
    learned = recorded([(5, 0), (6, 1), (7, 2)])
    learned.remove_class(1)
    assert learned.classes_of(torch.tensor([5, 6, 7, 8])) == [0, None, 1, None]
    assert learned.shared(recorded([(7, 0), (7, 1), (6, 0)])) == 1


def test_hashes():
    """Vectors that are equal in float32 have the same hash in any batch; others have another one."""
    vectors = torch.arange(1, 13, dtype=torch.float64).reshape(4, 3)
    together = hashes(vectors)
    assert together.dtype == torch.int64
    assert len(set(together.tolist())) == 4
    assert torch.equal(torch.cat([hashes(row[None]) for row in vectors]), together)
    assert torch.equal(hashes(vectors + 1e-12), together)
    assert not (hashes(vectors + 1e-3) == together).any()
