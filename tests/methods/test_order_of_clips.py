"""Closed-form methods: order, batches and grouping of clips, and clips that were forgotten, do not matter."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from closed_form_cases import (
    CLASSES,
    CLIPS,
    CONSTANTS,
    SAMPLE,
    TWO_STEPS,
    each_case,
    each_modality,
    each_of_all_cases,
    learn,
    make_clips,
    new,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.encoders.constants import Constants


@each_of_all_cases
@each_modality
@settings(deadline=None, max_examples=4)
@given(random=st.randoms(use_true_random=False), size=st.integers(1, 30))
def test_order_and_batches_do_not_matter(name, options, modality, random, size):
    """Clips of a step in any order and batch size give the same scores."""
    clips = make_clips()
    shuffled = [random.sample(rows, len(rows)) for rows in TWO_STEPS]
    one = learn(new(name, options, modality), clips, TWO_STEPS).scores(*clips[:2])
    other = learn(new(name, options, modality), clips, shuffled, size).scores(*clips[:2])
    torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-8)


@each_case
@each_modality
def test_forgetting(name, options, modality):
    """After forgetting, the statistics equal those without the clips, and the model predicts."""
    clips = make_clips()
    learned, never = new(name, options, modality), new(name, options, modality)
    learn(learned, clips, TWO_STEPS)
    forgotten_rows = torch.tensor([2 * CLIPS, 2 * CLIPS + 5, 4 * CLIPS - 1])
    learned.forget(clips[0][forgotten_rows], clips[1][forgotten_rows], clips[2][forgotten_rows])
    stay = [row for row in TWO_STEPS[1] if row not in forgotten_rows.tolist()]
    learn(never, clips, [TWO_STEPS[0], stay])
    assert learned.solve().scores(*clips[:2]).isfinite().all()
    one, other = learned.tensors(), never.tensors()
    for key in one:
        if key.startswith(("moments.", "stream")):
            torch.testing.assert_close(one[key], other[key], rtol=1e-10, atol=1e-10)


def make_blade(clips, groups, forgotten=(), known=True):
    """A BLADE of all classes and groups of rows, some of which were forgotten; `known`: with constants."""
    method = new("blade", ("calibration_clips=20",))
    return learn_and_forget(method, CONSTANTS if known else {}, clips, groups, forgotten)


def learn_and_forget(method, constants, clips, groups, forgotten):
    """The method after learning groups of rows with these constants and forgetting some rows."""
    method.constants = constants
    method.add_classes(CLASSES)
    for rows in map(list, groups):
        method.observe(*(part[rows] for part in clips))
        method.flush()
    if forgotten:
        method.forget(*(part[list(forgotten)] for part in clips))
    return method


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 100),
    order=st.permutations(range(CLASSES * 4)),
    cuts=st.sets(st.integers(1, CLASSES * 4 - 1)),
    forgotten_rows=st.sets(st.integers(0, CLASSES * 4 - 1), max_size=10),
    apart=st.integers(1, CLASSES * 4 - 1),
    rare=st.booleans(),
    known=st.booleans(),
)
def test_blade_depends_only_on_the_clips(seed, order, cuts, forgotten_rows, apart, rare, known):
    """Order, grouping, merging and forgetting give the model of the same clips learned at once: scores to 1e-8."""
    clips = make_clips(seed, clips=4)
    if rare:  # features that are 0 in most clips, as after a ReLU
        clips = (clips[0] - 1.5).relu(), (clips[1] - 1.5).relu(), clips[2]
    edges = [0, *sorted(cuts), len(order)]
    groups = [order[start:stop] for start, stop in itertools.pairwise(edges)]
    at_once = make_blade(clips, [range(len(order))], known=known)
    grouped = make_blade(clips, groups, known=known)
    merged = make_blade(clips, [order[:apart]], known=known)
    merged.merge(make_blade(clips, [order[apart:]], known=known), torch.arange(CLASSES))
    for method in (grouped, merged):
        assert_same_model(method.solve(), at_once.solve(), clips)
    kept = [row for row in range(len(order)) if row not in forgotten_rows]
    rest = make_blade(clips, [kept], known=known).solve()
    assert_same_model(make_blade(clips, groups, forgotten_rows, known).solve(), rest, clips)


def assert_same_model(one, other, clips):
    expected = other.scores(*clips[:2])
    torch.testing.assert_close(one.scores(*clips[:2]), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(one.p_values(*clips[:2]), other.p_values(*clips[:2]))
    clear = expected.topk(2).values.diff().abs()[:, 0] > 1e-8
    assert torch.equal(one.scores(*clips[:2]).argmax(1)[clear], expected.argmax(1)[clear])


ORDER_FREE = [
    ("ranpac", ("features=30", SAMPLE), True),
    ("slda", ("features=30", SAMPLE), True),
    ("slda", ("kernel=linear", SAMPLE), True),
    ("slda", ("kernel=linear", SAMPLE), False),
    ("rls", ("features=30", "compensation=0"), True),
    ("ncm", ("normalize=encoder", SAMPLE), True),
    ("ncm", ("normalize=encoder", "metric=euclidean", SAMPLE), True),
    ("fecam", ("normalize=encoder", SAMPLE), True),
]
"""Method, options, and whether constants of the encoders are known."""


@pytest.mark.parametrize(
    ("name", "options", "known"), ORDER_FREE, ids=[f"{n} {' '.join(w)} {k}" for n, w, k in ORDER_FREE]
)
@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 100),
    order=st.permutations(range(CLASSES * 4)),
    cuts=st.sets(st.integers(1, CLASSES * 4 - 1)),
    forgotten_rows=st.sets(st.integers(0, CLASSES * 4 - 1), max_size=10),
    center=st.sampled_from([0.0, 1e3]),
)
def test_independent_of_the_first_step(name, options, known, seed, order, cuts, forgotten_rows, center):
    """With constants of the encoders, and for linear features without: any order, grouping and forgetting of the same
    clips give the same scores to 1e-8 of the largest."""
    audio, visual, labels = make_clips(seed, clips=4)
    clips = audio + center, visual + center, labels
    scale = {
        part: Constants(center=result.center + np.float32(center), scale=result.scale)
        for part, result in CONSTANTS.items()
    }

    def trained(groups, forgotten=()):
        method = learn_and_forget(new(name, options), scale if known else {}, clips, groups, forgotten)
        model = method.solve()
        assert model.notes == ()
        scores = model.scores(*clips[:2])
        return (
            scores / method.report()["inverse_temperature"] if name == "rls" else scores
        )  # the steps' clips calibrate rls

    edges = [0, *sorted(cuts), len(order)]
    groups = [order[start:stop] for start, stop in itertools.pairwise(edges)]
    expected = trained([range(len(order))])
    largest = float(expected.abs().max())
    torch.testing.assert_close(trained(groups), expected, rtol=0, atol=1e-8 * largest)
    kept = [row for row in range(len(order)) if row not in forgotten_rows]
    torch.testing.assert_close(trained(groups, forgotten_rows), trained([kept]), rtol=0, atol=1e-8 * largest)
