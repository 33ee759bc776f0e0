"""Exemplar memory: quotas, order, random selection. Herding is tested with the methods that use it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.errors import InputError
from avcil.methods.exemplars import ExemplarMemory, choose_random
from avcil.utils.rng import generator


@given(total=st.integers(1, 200), classes=st.integers(1, 60))
@settings(deadline=None, max_examples=50)
def test_memory_quotas(total, classes):
    """The total is divided with rounding down; a quota below one clip is an error with the required size."""
    memory = ExemplarMemory(total=total)
    if total < classes:
        with pytest.raises(InputError, match=f"--exemplars {classes} or more"):
            memory.quota(classes)
        return
    assert memory.quota(classes) * classes <= total < (memory.quota(classes) + 1) * classes


def test_memory_per_class_is_constant():
    """So many of each class, however many classes there are."""
    memory = ExemplarMemory(per_class=4)
    assert memory.quota(1) == memory.quota(100) == 4


def test_old_classes_keep_their_first_exemplars():
    """Shrinking keeps the order of selection."""
    memory = ExemplarMemory(total=4, clip_ids={"a": ["3", "1", "2"], "b": ["9"]})
    memory.shrink(2)
    assert memory.clip_ids == {"a": ["3", "1"], "b": ["9"]}
    assert len(memory) == 3


def test_random_selection_is_deterministic():
    """The same seed and class give the same clips, others give other clips; all clips if there are few."""
    draw = [choose_random(100, 10, generator=generator(0, "exemplars", "dog")) for _ in range(2)]
    assert draw[0] == draw[1]
    assert len(set(draw[0])) == 10
    assert draw[0] != choose_random(100, 10, generator=generator(0, "exemplars", "cat"))
    assert draw[0] != choose_random(100, 10, generator=generator(1, "exemplars", "dog"))
    assert sorted(choose_random(3, 10, generator=generator(0, "exemplars", "owl"))) == [0, 1, 2]
