"""The prior of psi in `blade`: smaller for features with less variance than typical."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avcil.encoders.constants import Constants
from avcil.errors import InputError
from avcil.methods._prior_psi import PRIOR_PSI
from avcil.methods.registry import load_method, parse_options

AUDIO, VISUAL = (2, 3), (1, 3)


def constants(audio: float = 1.0, visual: float = 1.0) -> dict[str, Constants]:
    """Typical deviations of all features of a modality."""
    return {
        name: Constants(
            center=np.zeros(sum(widths), np.float32), scale=np.full(sum(widths), scale, np.float32)
        )
        for name, widths, scale in (("audio", AUDIO, audio), ("visual", VISUAL, visual))
    }


def taught(clips, known, modality="audio-visual"):
    """A blade of two classes for each label."""
    kind = load_method("blade")
    method = kind(parse_options(kind, [], name="blade"), modality=modality)
    method.part_widths, method.constants = {"audio": AUDIO, "visual": VISUAL}, known
    method.add_classes(int(clips[2].max()) + 1)
    method.observe(*clips)
    method.solve()
    return method


def make_clips(classes: int = 12, each: int = 1):
    """Tokens are equal within a clip, so that their mean has the variance of the features."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(each)
    audio = torch.randn(len(labels), sum(AUDIO), generator=draw)
    visual = torch.randn(len(labels), 1, 1, sum(VISUAL), generator=draw).expand(-1, 2, 3, -1)
    return audio, visual, labels


def psi(method, view: int = 0) -> list[float]:
    return [value for name, value in method.head_states[view].fitted.items() if name.startswith("psi")]


def test_small_variance_gives_a_small_prior():
    """The formula of docs/concepts/blade-equations.md: the mean over the features of a part of min(1, 4 v / tau^2)."""
    audio, visual, labels = make_clips()
    result = psi(taught((audio, visual, labels), constants(audio=1e-3, visual=10.0)))
    variances = visual[:, 0, 0].double().var(dim=0)
    shares = [float(own.mean()) for own in (variances / 25).split(VISUAL)]
    expected = [PRIOR_PSI["audio"]] * 2 + [
        PRIOR_PSI[kind] * s for kind in ("mean", "deviation") for s in shares
    ]
    assert result == pytest.approx(expected)


@pytest.mark.parametrize("known", [{}, {"audio": constants()["audio"]}])
def test_prior_is_fixed_without_constants(known):
    """For a modality whose encoder has none."""
    clips = make_clips()
    assert psi(taught(clips, known))[2:] == [PRIOR_PSI["mean"]] * 2 + [PRIOR_PSI["deviation"]] * 2


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_prior_of_a_single_modality(modality):
    """With one modality, a model of both predicts like a model of this modality."""
    audio, visual, labels = make_clips()
    both = taught((audio, visual, labels), constants(3.0, 5.0))
    alone = taught((audio, visual, labels), constants(3.0, 5.0), modality)
    assert psi(both, 1 + (modality == "visual")) == pytest.approx(psi(alone))


def test_reduction_ends_with_two_clips_per_class():
    """Then psi does not depend on the constants; before, each additional clip reduces their effect."""
    fixed, reduced = (psi(taught(make_clips(each=2), known)) for known in ({}, constants(1e3, 1e3)))
    assert fixed == reduced
    clips = [part[[0, *range(1, 24, 2)]] for part in make_clips(each=2)]
    one_more, at_first = (psi(taught(own, constants(1e3, 1e3))) for own in (clips, make_clips()))
    assert all(
        0 < before < after < full for before, after, full in zip(at_first, one_more, fixed, strict=True)
    )


def test_saved_statistics_keep_the_constants():
    """A model is updated without the store that has them."""
    clips = make_clips()
    method = taught(clips, constants(3.0, 5.0))
    again = taught(clips, {})
    again.load(method.tensors())
    again.solve()
    assert psi(again) == psi(method)


def test_merging_keeps_the_constants():
    """In either order, also with a model of an earlier version without constants."""
    clips = make_clips()
    expected = psi(taught(clips, constants(3.0, 5.0)))
    half = [(clips[0][start::2], clips[1][start::2], torch.arange(6)) for start in (0, 1)]
    for known in [({}, constants(3.0, 5.0)), (constants(3.0, 5.0), {})]:
        one, other = (taught(own, given) for own, given in zip(half, known, strict=True))
        one.add_classes(6)
        one.merge(other, torch.arange(6, 12))
        one.solve()
        assert psi(one) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [("visual", torch.full((4,), -1.0)), ("visual", torch.ones(3)), ("touch", torch.ones(4))],
)
def test_invalid_constants_are_rejected(name, value):
    method = taught(make_clips(), constants())
    with pytest.raises(InputError):
        method.load(method.tensors() | {f"typical_deviation.{name}": value})
