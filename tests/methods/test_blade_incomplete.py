"""BLADE on clips that lack audio or frames: statistics are sums, and their order does not matter."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from avcil.closed_form.discriminant import Discriminant
from avcil.closed_form.discriminant_sum import prediction_weight
from avcil.data.modality import Modality
from avcil.data.presence import Presence
from avcil.errors import InputError
from avcil.methods.blade import BladeMethod, BladeOptions

CLASSES, CLIPS = 5, 60
BOTH = Modality.AUDIO_VISUAL


class Clips:
    """Gaussian clips about class means; every third has no audio, and other ones have no frames."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.labels = torch.arange(CLIPS) % CLASSES
        self.audio = 3 + torch.randn(CLASSES, 7, generator=draw)[self.labels]
        self.audio += 0.6 * torch.randn(CLIPS, 7, generator=draw)
        self.visual = torch.randn(CLASSES, 6, generator=draw)[self.labels][:, None, None]
        self.visual = self.visual + 0.6 * torch.randn(CLIPS, 2, 3, 6, generator=draw)
        number = torch.arange(CLIPS)
        self.presence = Presence(audio=(number % 3 != 0).numpy(), visual=(number % 3 != 1).numpy())

    def give(self, call, rows: Sequence[int]) -> None:
        """Call `observe` or `forget` with the clips `rows`, grouped by their modalities."""
        rows = list(rows)
        for modality, at in self.presence.take(rows).groups(BOTH).items():
            own = [rows[i] for i in at]
            audio = self.audio[own] if modality.has_audio else None
            call(audio, self.visual[own] if modality.has_visual else None, self.labels[own])


@pytest.fixture(scope="module")
def clips() -> Clips:
    return Clips()


def method_with(clips: Clips, *batches: Sequence[int]) -> BladeMethod:
    method = BladeMethod(BladeOptions(), modality=BOTH)
    method.add_classes(CLASSES)
    for rows in batches:
        clips.give(method.observe, rows)
        method.flush()
    return method


def assert_equal(one: BladeMethod, other: BladeMethod, clips: Clips, tolerance: float = 1e-8) -> None:
    """The same scores and p-values from both modalities and from each."""
    first, second = one.solve(), other.solve()
    for given in ((clips.audio, clips.visual), (clips.audio, None), (None, clips.visual)):
        for name in ("scores", "p_values"):
            expected = getattr(second, name)(*given)
            scale = float(expected.abs().max())
            assert torch.allclose(getattr(first, name)(*given), expected, rtol=0, atol=tolerance * scale)


def test_order_and_grouping_do_not_matter(clips):
    """All at once; in seven groups in another order; and class by class."""
    once = method_with(clips, range(CLIPS))
    mixed = torch.randperm(CLIPS, generator=torch.Generator().manual_seed(1)).split(9)
    assert_equal(method_with(clips, *(rows.tolist() for rows in mixed)), once, clips)
    by_class = BladeMethod(BladeOptions(), modality=BOTH)
    for label in range(CLASSES):
        by_class.add_classes(1)
        clips.give(by_class.observe, range(label, CLIPS, CLASSES))
    assert_equal(by_class, once, clips)


def test_merge_and_forget(clips):
    """Two halves merge to the whole; after forgetting the second half, the model is that of the first."""
    first, second, whole = range(40), range(40, CLIPS), method_with(clips, range(CLIPS))
    merged = method_with(clips, first)
    merged.merge(method_with(clips, second), torch.arange(CLASSES))
    assert_equal(merged, whole, clips)
    clips.give(merged.forget, second)
    assert_equal(merged, method_with(clips, first), clips)


def test_after_all_incomplete_clips_are_forgotten(clips):
    """The model is that of the complete clips."""
    complete = [row for row in range(CLIPS) if clips.presence.complete(BOTH)[row]]
    method = method_with(clips, range(CLIPS))
    clips.give(method.forget, [row for row in range(CLIPS) if row not in complete])
    assert_equal(method, method_with(clips, complete), clips)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_only_clips_with_the_same_modalities_can_be_forgotten(clips, row):
    """More clips without audio, without frames or with both than were learned: an error, and nothing changes."""
    method = method_with(clips, range(CLIPS))
    same = [number for number in range(CLIPS) if number % 3 == row]
    clips.give(method.forget, same[1:])
    method.solve()
    before = method.tensors()
    for too_many in ([same[0], same[0]], [*same[:1], *same[5:6]]):
        with pytest.raises(InputError, match="more clips are to be forgotten than were learned"):
            clips.give(method.forget, too_many)
        assert all(torch.equal(value, before[name]) for name, value in method.tensors().items())
    clips.give(method.forget, same[:1])
    assert_equal(method, method_with(clips, [n for n in range(CLIPS) if n not in same]), clips)


@pytest.mark.parametrize("whole_classes", [False, True])
def test_modality_without_remaining_clips(clips, whole_classes):
    """After all clips with audio are forgotten, or their classes are removed, its moments are exactly 0."""
    with_audio = [row for row in range(CLIPS) if clips.presence.audio[row]]
    method = method_with(clips, range(CLIPS))
    if whole_classes:
        for number in reversed(range(CLASSES)):
            method.remove_class(number)
    else:
        clips.give(method.forget, with_audio)
        visual = method.statistics.moments["visual"]
        assert visual.total == CLIPS - len(with_audio)
    assert not method.statistics.moments["audio"].within.any()
    assert not method.statistics.moments["audio"].means.any()


def test_heads_use_all_clips_of_their_modality(clips):
    """The audio head equals that of an audio-only method with the same clips."""
    method = method_with(clips, range(CLIPS))
    alone = BladeMethod(BladeOptions(), modality=Modality.AUDIO)
    alone.add_classes(CLASSES)
    has = torch.from_numpy(clips.presence.audio)
    alone.observe(clips.audio[has], None, clips.labels[has])
    head, expected = method.solve().heads[Modality.AUDIO], alone.solve().heads[Modality.AUDIO]
    assert torch.allclose(head.weight, expected.weight)
    assert torch.allclose(head.bias, expected.bias)


def test_scores_are_the_sum_over_modalities(clips):
    """Each modality has its two discriminants, with a common ratio; also with a single complete clip."""
    one_complete = [row for row in range(CLIPS) if row % 3 < 2] + [2]
    for rows in (range(CLIPS), one_complete):
        method = method_with(clips, rows)
        model = method.solve()
        ratios = []
        for name, columns in ((Modality.AUDIO, slice(0, 7)), (Modality.VISUAL, slice(7, 19))):
            own = method._discriminants[name].discriminant
            means, predictions = own.parts[0], own.predictions[0]
            basis = torch.stack([means.weight.flatten(), predictions.weight.flatten()], dim=1)
            weight = model.heads[BOTH].weight[columns].flatten()
            factors = torch.linalg.lstsq(basis, weight).solution
            torch.testing.assert_close(basis @ factors, weight)
            share = prediction_weight(means.counts)
            assert float(factors[0]) == pytest.approx(1 - share)
            ratios.append(float(factors[1]) / share)
        assert ratios[0] == pytest.approx(ratios[1])
        predicted = model.scores(clips.audio, clips.visual).argmax(dim=1)
        assert (predicted == clips.labels).double().mean() > 0.9


def test_class_without_audio(clips):
    """It is predicted from both modalities and from frames; its expected audio mean is that of all clips."""
    rows = [row for row in range(CLIPS) if clips.labels[row] or not clips.presence.audio[row]]
    model = method_with(clips, rows).solve()
    own = clips.labels == 0
    assert (model.scores(clips.audio[own], clips.visual[own]).argmax(dim=1) == 0).double().mean() > 0.8
    assert (model.scores(None, clips.visual[own]).argmax(dim=1) == 0).double().mean() > 0.8
    assert not model.heads[Modality.AUDIO].weight[:, 0].any()


def test_leave_one_out_scores(clips):
    """Leave-one-out scores of complete clips are those of the model without the clip, for its penalties and psi."""
    method = method_with(clips, range(CLIPS))
    method.solve()
    result = method._discriminants[BOTH]
    left_out = result.leave_one_out(method.statistics.sample)
    probabilities, labels = method.leave_one_out(BOTH)
    assert len(labels) == int(clips.presence.complete(BOTH).sum())
    assert (probabilities.argmax(dim=1) == labels).double().mean() > 0.8
    for row in range(2, CLIPS, 15):
        audio, visual = clips.audio[row : row + 1], clips.visual[row : row + 1]
        vector = torch.cat(method.pooled(audio, visual), dim=1)
        at = int((method.statistics.sample.vectors == vector.float()).all(dim=1).nonzero())
        expected = 0
        label = clips.labels[row : row + 1]
        for part, predictions, own, (of_means, of_predictions) in zip(
            result.discriminant.parts,
            result.discriminant.predictions,
            result.scaled(vector).split([7, 12], dim=1),
            result.discriminant.factors,
            strict=True,
        ):
            rest = part.moments.without(own, label)
            one = Discriminant(rest, part.penalty, part.psi)
            scores = (own @ one.weight + one.bias) * part.moments.total / rest.total
            expected = expected + of_means * scores
            expected = expected + of_predictions * predictions.leave_one_out(own, label)
        torch.testing.assert_close(
            left_out.scores[at], expected[0], rtol=1e-4, atol=1e-4
        )  # vectors are float32


def test_saved_statistics(clips):
    """They give the same model, bit for bit; damaged ones are errors."""
    method = method_with(clips, range(CLIPS))
    model, tensors = method.solve(), method.tensors()
    again = BladeMethod(BladeOptions(), modality=BOTH)
    again.load(tensors)
    assert torch.equal(
        again.solve().scores(clips.audio, clips.visual), model.scores(clips.audio, clips.visual)
    )
    name = "moments.audio.counts"
    for damaged in (
        {name: tensors[name][:-1]},
        {"moments.smell.counts": tensors[name]},
        {name: -tensors[name]},
        {"complete_counts": tensors[name] + 1},
        {"complete_counts": -tensors[name]},
        {"complete_counts": tensors[name][:-1]},
    ):
        with pytest.raises(InputError):
            BladeMethod(BladeOptions(), modality=BOTH).load(tensors | damaged)


def test_first_step_needs_both_modalities(clips):
    """The number of features would be unknown."""
    method = BladeMethod(BladeOptions(), modality=BOTH)
    method.add_classes(CLASSES)
    method.observe(clips.audio, None, clips.labels)
    with pytest.raises(InputError, match=r"no clip with visual features.*--modality audio"):
        method.solve()
