"""Scaling by constants of the encoders, or by the first step if there are none."""

from __future__ import annotations

import pytest
import torch
from closed_form_cases import (
    CONSTANTS,
    TWO_STEPS,
    learn,
    make_clips,
    new,
)

each_with_constants = pytest.mark.parametrize(
    ("name", "options"),
    [(name, ("features=30",)) for name in ("ranpac", "slda", "rls", "ds-al")]
    + [(name, ("normalize=encoder",)) for name in ("ncm", "fecam")],
)


@each_with_constants
def test_first_step_scales_without_constants(name, options):
    """The model has a note; constants of one modality are not used for both."""
    clips = make_clips()
    for constants in ({}, {"audio": CONSTANTS["audio"]}):
        method = new(name, options)
        method.constants = constants
        model = learn(method, clips, TWO_STEPS)
        assert "first step" in model.notes[0]
        again = new(name, options)
        again.constants = CONSTANTS  # of a store that has them: the saved ones are used
        again.load(method.tensors())
        assert again.solve().notes == model.notes
        assert torch.equal(again.solve().scores(*clips[:2]), model.scores(*clips[:2]))


@each_with_constants
def test_constants_are_saved_with_the_statistics(name, options):
    """The model can learn without the store."""
    clips = make_clips()
    first = new(name, options)
    first.constants = CONSTANTS
    learn(first, clips, TWO_STEPS[:1])
    again = new(name, options)
    again.load(first.tensors())
    for method in (first, again):
        method.add_classes(2)
        method.observe(*(part[TWO_STEPS[1]] for part in clips))
    assert torch.equal(again.solve().scores(*clips[:2]), first.solve().scores(*clips[:2]))
