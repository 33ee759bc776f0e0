"""Batches: sizes, order, exemplars."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.methods.step import Step
from avcil.training.gradient import batches


class Pool:
    """Clips whose only feature is their row."""

    def __init__(self, count: int) -> None:
        self.labels = torch.arange(count)

    def __len__(self) -> int:
        return len(self.labels)

    def stream(self, indices):
        return ((rows[:, None].double(), None) for rows in indices)


def rows_of(batching, *, new, old, size, exemplars, epoch=0, seed=0, index=1):
    """Each batch's rows of new clips and of exemplars."""
    step = Step(
        index=index,
        task_sizes=(1, 1),
        network=None,
        teacher=None,
        pool=Pool(new + old),
        new_count=new,
        seed=seed,
    )
    config = SimpleNamespace(batch_size=size, exemplar_batch_size=exemplars, drop_last=True)
    result = []
    method = SimpleNamespace(batching=batching, exemplar_batches="reshuffled", trained_rows=lambda step: None)
    for batch in batches(method, step, config, epoch):
        assert torch.equal(batch.audio[:, 0].long(), batch.rows)
        assert torch.equal(batch.labels, batch.rows)
        result.append((batch.rows[: batch.new_count].tolist(), batch.rows[batch.new_count :].tolist()))
    return result


sizes = st.integers(1, 40)


@given(new=sizes, old=st.integers(0, 40), size=sizes, exemplars=sizes)
@settings(deadline=None, max_examples=60)
def test_paired_batches(new, old, size, exemplars):
    """min(size, n) new clips each, none twice, without the last incomplete batch; exemplars are used evenly."""
    result = rows_of("paired", new=new, old=old, size=size, exemplars=exemplars)
    assert len(result) == new // min(size, new)
    assert all(len(fresh) == min(size, new) for fresh, _ in result)
    seen = [row for fresh, _ in result for row in fresh]
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(range(new))
    if not old:
        assert not any(rest for _, rest in result)
        return
    batch = min(exemplars, old)
    assert all(len(rest) == len(set(rest)) == batch for _, rest in result)
    assert {row for _, rest in result for row in rest} <= set(range(new, new + old))
    whole = old // batch  # batches before the stream begins again with another shuffle
    for start in range(0, len(result), whole):
        used = Counter(row for _, rest in result[start : start + whole] for row in rest)
        assert set(used.values()) == {1}


def test_exemplar_stream_repeats_within_an_epoch():
    """With few exemplars and many new clips, each exemplar occurs once per pass, and passes have other orders."""
    result = rows_of("paired", new=24, old=4, size=2, exemplars=2)
    rests = [tuple(rest) for _, rest in result]
    assert len(rests) == 12
    assert set(Counter(row for rest in rests for row in rest).values()) == {6}
    assert len(set(rests)) > 2


def test_order_depends_on_seed_step_and_epoch_only():
    """Batches depend only on seed, step and epoch, not on the global generator."""
    case = {"new": 30, "old": 9, "size": 7, "exemplars": 4}
    first = rows_of("paired", **case)
    torch.rand(5)
    assert rows_of("paired", **case) == first
    for change in ({"epoch": 1}, {"seed": 1}, {"index": 2}):
        assert rows_of("paired", **case, **change) != first


@pytest.mark.parametrize("batching", ["mixed", "all"])
def test_mixed_batches(batching):
    """New clips and exemplars are shuffled together: every clip at most once per epoch, all treated as new."""
    result = rows_of(batching, new=10, old=11, size=5, exemplars=3)
    assert [len(fresh) for fresh, rest in result if not rest] == [5, 5, 5, 5]
    assert len({row for fresh, _ in result for row in fresh}) == 20
