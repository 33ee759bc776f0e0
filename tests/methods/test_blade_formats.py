"""Statistics of BLADE in the model formats 3 and 4: they are converted, and continue to learn, merge and forget."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from blade_formats import dense_unknown_test, heads_of_class_means
from torch import Tensor

from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.embedding import pool
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.methods.blade import BladeMethod, BladeOptions
from avcil.utils.tensor_names import add_prefix

CLASSES, CLIPS, KNOWN = 4, 48, 36
BOTH = Modality.AUDIO_VISUAL
ROWS = {
    3: {BOTH: range(KNOWN)},
    4: {BOTH: range(12), Modality.AUDIO: range(12, 24), Modality.VISUAL: range(24, KNOWN)},
}
"""The modalities of the learned clips: only in format 4, some clips lack a modality."""
NEW = range(KNOWN, CLIPS)


class Clips:
    """Gaussian clips about class means, far from 0."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.labels = torch.arange(CLIPS) % CLASSES
        self.audio = 50 + 2 * torch.randn(CLASSES, 5, generator=draw)[self.labels]
        self.audio += torch.randn(CLIPS, 5, generator=draw)
        self.visual = 2 * torch.randn(CLASSES, 1, 1, 4, generator=draw)[self.labels]
        self.visual = self.visual + torch.randn(CLIPS, 2, 3, 4, generator=draw)

    def part(self, modality: Modality, rows: Sequence[int]) -> tuple[Tensor | None, Tensor | None]:
        """The features of clips of one modality."""
        rows = list(rows)
        return (
            self.audio[rows] if modality.has_audio else None,
            self.visual[rows] if modality.has_visual else None,
        )

    def give(self, call, modality: Modality, rows: Sequence[int]) -> None:
        """Call `observe` or `forget`."""
        call(*self.part(modality, rows), self.labels[list(rows)])


@pytest.fixture(scope="module")
def clips() -> Clips:
    return Clips()


def method_with(
    clips: Clips, groups: dict[Modality, Sequence[int]], modality: Modality = BOTH
) -> BladeMethod:
    method = BladeMethod(BladeOptions(), modality=modality)
    method.add_classes(CLASSES)
    for own, rows in groups.items():
        clips.give(method.observe, own, rows)
    method.solve()
    return method


def tensors_before_format_5(clips: Clips, groups: dict[Modality, Sequence[int]], modality: Modality = BOTH):
    """The tensors that format 3 or 4 has: moments of all features together, and those of incomplete clips apart."""
    method = method_with(clips, groups, modality)
    saved = {
        name: tensor
        for name, tensor in method.tensors().items()
        if not name.startswith(("moments.", "complete_counts"))
    }
    for own, rows in groups.items():
        features = torch.cat(pool(*clips.part(own, rows), own, "mean-deviation"), dim=1)
        moments = ClassMoments(features.shape[1])
        moments.add_classes(CLASSES)
        moments.add(features, clips.labels[list(rows)])
        saved |= add_prefix("moments" if own is modality else f"incomplete.{own}", moments.tensors())
    return saved


def loaded(tensors: dict[str, Tensor], modality: Modality = BOTH) -> BladeMethod:
    method = BladeMethod(BladeOptions(), modality=modality)
    method.load(tensors)
    return method


def assert_equal(one: BladeMethod, other: BladeMethod, clips: Clips) -> None:
    """The same saved statistics, scores and p-values, up to rounding."""
    first, second = one.solve(), other.solve()
    saved = other.tensors()
    assert one.tensors().keys() == saved.keys()
    for name, tensor in one.tensors().items():
        torch.testing.assert_close(tensor, saved[name], rtol=1e-9, atol=1e-9)
    for modality in first.input_modalities:
        given = clips.part(modality, range(CLIPS))
        for name in ("scores", "p_values"):
            torch.testing.assert_close(
                getattr(first, name)(*given), getattr(second, name)(*given), rtol=1e-9, atol=1e-9
            )


@pytest.mark.parametrize("version", [3, 4])
def test_old_statistics_are_converted(clips, version):
    """Learning, forgetting clips of each kind and removing a class equal those with statistics of format 5."""
    old, new = loaded(tensors_before_format_5(clips, ROWS[version])), method_with(clips, ROWS[version])
    assert_equal(old, new, clips)
    for method in (old, new):
        method.add_classes(1)
        for modality in (BOTH, Modality.AUDIO, Modality.VISUAL):
            clips.give(method.observe, modality, NEW)
    assert_equal(old, new, clips)
    for method in (old, new):
        for modality, rows in ROWS[version].items():
            clips.give(method.forget, modality, rows[:6])
        method.remove_class(1)
    assert_equal(old, new, clips)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("old_first", [True, False])
def test_old_statistics_merge_with_format_5(clips, version, old_first):
    """In either order, the result is a model of all clips."""
    old = loaded(tensors_before_format_5(clips, ROWS[version]))
    new = method_with(clips, {BOTH: NEW})
    one, other = (old, new) if old_first else (new, old)
    one.merge(other, torch.arange(CLASSES))
    groups = {modality: [*rows] for modality, rows in ROWS[version].items()}
    groups[BOTH] += NEW
    assert_equal(one, method_with(clips, groups), clips)


@pytest.mark.parametrize("modality", [Modality.AUDIO, Modality.VISUAL])
def test_models_of_one_modality(clips, modality):
    groups = {modality: range(KNOWN)}
    old = loaded(tensors_before_format_5(clips, groups, modality), modality)
    assert_equal(old, method_with(clips, groups, modality), clips)


def test_damaged_statistics_of_format_4(clips):
    tensors = tensors_before_format_5(clips, ROWS[4])
    name = "incomplete.audio.counts"
    for damaged in (
        {name: tensors[name][:-1]},
        {"incomplete.smell.counts": tensors[name]},
        {name: -tensors[name]},
        {"moments.counts": tensors["moments.counts"][:-1]},
    ):
        with pytest.raises(InputError):
            loaded(tensors | damaged)


def test_matrices_of_the_unknown_test(clips):
    """They are saved once; earlier models, with one matrix or without scores of their own, give the same p-values."""
    model = method_with(clips, ROWS[4]).solve()
    tensors, config = model.tensors(), model.to_config()
    names = [name for name in tensors if name.endswith("unknown.inverse")]
    assert names == ["head.audio.unknown.inverse", "head.visual.unknown.inverse"]
    earlier = dense_unknown_test(tensors)
    for saved in (tensors, earlier):
        again = BladeMethod.load_model(config, saved)
        assert again.tensors().keys() == saved.keys()
        for modality in model.input_modalities:
            given = clips.part(modality, range(CLIPS))
            assert torch.equal(again.p_values(*given), model.p_values(*given))
    earlier = BladeMethod.load_model(config, heads_of_class_means(tensors))
    for modality in model.input_modalities:
        given = clips.part(modality, range(CLIPS))
        torch.testing.assert_close(earlier.p_values(*given), model.p_values(*given))
    name = "head.audio-visual.unknown.weight"
    with pytest.raises(InputError, match=r"unknown tensors: unknown\.weight"):
        BladeMethod.load_model(config, tensors | {name: tensors["head.audio-visual.weight"]})
    del tensors["head.audio.unknown.inverse"]
    with pytest.raises(InputError, match=r"'unknown\.inverse' is missing"):
        BladeMethod.load_model(config, tensors)
