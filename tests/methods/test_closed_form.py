"""Closed-form methods beyond the common suite: statistics, saving, calibration, one modality, options."""

from __future__ import annotations

import json

import pytest
import torch
from closed_form_cases import (
    ALL_CASES,
    CLASSES,
    CLIPS,
    CONSTANTS,
    TWO_STEPS,
    each_case,
    each_modality,
    each_of_all_cases,
    learn,
    make_clips,
    new,
)

from avcil.errors import InputError
from avcil.methods.base import ClosedFormMethod
from avcil.methods.registry import load_method, method_names, parse_options
from avcil.runs.run_files import read_run
from avcil.training.config import TrainConfig
from avcil.training.run import train


@each_case
@each_modality
def test_statistics_equal_those_of_all_clips(name, options, modality):
    """Class by class, also with more clips of old classes: statistics of joint training, to 1e-10."""
    clips = make_clips()
    first = list(range(2 * CLIPS))
    late = [0, 1, 2]
    stepwise, joint = new(name, options, modality), new(name, options, modality)
    steps = [first, list(range(2 * CLIPS, 3 * CLIPS)), late, list(range(3 * CLIPS, 4 * CLIPS))]
    learn(stepwise, clips, steps)
    learn(joint, clips, [first, [*range(2 * CLIPS, 4 * CLIPS), *late]])
    one, other = stepwise.tensors(), joint.tensors()
    for key in one:
        if key.startswith(("moments.", "stream")):
            torch.testing.assert_close(one[key], other[key], rtol=1e-10, atol=1e-10)


@each_of_all_cases
def test_solve_uses_current_statistics(name, options):
    """After a change without a later step, `solve` uses the current statistics, as after loading."""
    clips = make_clips()
    learned, loaded = new(name, options), new(name, options)
    learn(learned, clips, TWO_STEPS)

    def check():
        loaded.load(learned.tensors())
        assert torch.equal(learned.solve().scores(*clips[:2]), loaded.solve().scores(*clips[:2]))

    learned.observe(*clips)
    learned.flush()  # without asking for predictions
    before = learned.tensors()
    if name not in ("rls", "ds-al") or "compensation=0" in options:
        learned.forget(*(part[:5] for part in clips))
        check()
    learned.observe(*clips)
    learned.flush()
    learned.load(before)
    check()
    learned.observe(*clips)
    learned.add_classes(1)
    check()
    learned.observe(*clips)
    learned.flush()
    learned.remove_class(1)
    check()
    assert learned.solve().classes == CLASSES


def test_one_class_has_one_inverse_temperature():
    """With one class, every inverse temperature fits equally; the choice must not depend on rounding."""
    audio, visual, labels = make_clips()
    method = new("blade", ("calibration_clips=20",))
    learn(method, (audio, visual, labels * 0), [range(len(labels))])
    assert method.report()["inverse_temperature"] == 1.0


def test_compensation_cannot_forget():
    """A method whose statistics are not sums cannot forget."""
    clips = make_clips()
    method = new("rls", ("features=30", "compensation=0.5"))
    learn(method, clips, TWO_STEPS)
    with pytest.raises(InputError, match="compensation=0"):
        method.forget(*(part[:1] for part in clips))


@each_of_all_cases
@each_modality
def test_saved_statistics_can_learn(name, options, modality):
    """Learning in two sessions with saved statistics equals learning in one, bit for bit."""
    clips = make_clips()
    if modality == "audio":
        clips = clips[0], clips[1] * torch.nan, clips[2]
    one, first, second = (new(name, options, modality, seed=3) for _ in range(3))
    expected = learn(one, clips, TWO_STEPS)
    learn(first, clips, TWO_STEPS[:1])
    second.load(first.tensors())
    second.add_classes(2)
    rows = TWO_STEPS[1]
    second.observe(clips[0][rows], clips[1][rows], clips[2][rows])
    got = second.solve()
    assert torch.equal(got.scores(*clips[:2]), expected.scores(*clips[:2]))
    if name == "blade":
        assert torch.equal(got.p_values(*clips[:2]), expected.p_values(*clips[:2]))
    rebuilt = load_method(name).load_model(got.to_config(), got.tensors())
    assert torch.equal(rebuilt.scores(*clips[:2]), expected.scores(*clips[:2]))
    assert rebuilt.scores(*clips[:2]).isfinite().all()


@each_of_all_cases
def test_memory_does_not_grow_with_clips(name, options):
    """The bytes reported are those of the tensors kept, and a thousand clips take as many as a few.

    Beside them, there is a record of which clips were learned, of 16 bytes for each.
    """
    audio, visual, labels = make_clips()
    few, many = new(name, options), new(name, options)
    learn(few, (audio, visual, labels), [range(len(labels))])
    repeated = [torch.cat([part] * 20) for part in (audio, visual, labels)]
    learn(many, repeated, [range(20 * len(labels))])
    assert few.report()["bytes"] == many.report()["bytes"]
    assert few.report()["jitter"] == 0 if "jitter" in few.report() else True
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in many.tensors().items()}
    record = sum(sizes.pop(f"learned.{name}") for name in ("hashes", "labels"))
    assert record == 16 * 20 * len(labels)
    kept = sum(sizes.values())
    assert 0 <= kept - many.report()["bytes"] < 300, "only widths and fitted values are not counted"


@pytest.mark.parametrize(
    ("name", "options"), [("blade", ()), ("slda", ("kernel=linear",))], ids=["blade", "slda kernel=linear"]
)
@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_missing_modality_equals_single_modality_training(name, options, modality):
    """The prediction of a clip without a modality equals that of a model trained on the other modality."""
    clips = make_clips()
    both = learn(new(name, options), clips, TWO_STEPS)
    alone = learn(new(name, options, modality), clips, TWO_STEPS)
    lacking = (clips[0], None) if modality == "audio" else (None, clips[1])
    torch.testing.assert_close(both.scores(*lacking), alone.scores(*lacking), rtol=1e-7, atol=1e-9)
    rebuilt = load_method(name).load_model(both.to_config(), both.tensors())
    assert torch.equal(rebuilt.scores(*lacking), both.scores(*lacking))
    assert set(both.input_modalities) == {"audio-visual", "audio", "visual"}
    assert alone.input_modalities == (modality,)


def test_mixed_features_do_not_predict_from_one_modality():
    """Random features of both modalities cannot be computed from one: this is an error."""
    clips = make_clips()
    model = learn(new("ranpac", ("features=30",)), clips, TWO_STEPS)
    with pytest.raises(InputError, match="can predict clips with audio-visual, not with audio"):
        model.scores(clips[0], None)


def test_clips_of_unknown_classes_have_small_p_values():
    """p-values of known classes cover (0, 1), those of an unknown class are small."""
    audio, visual, labels = make_clips()
    audio, visual = (
        audio + 4 * make_clips(1)[0][labels * CLIPS],
        visual + 4 * make_clips(1)[1][labels * CLIPS],
    )
    trained = 3 * CLIPS
    clips = audio[:trained], visual[:trained], labels[:trained]
    steps = [list(range(2 * CLIPS)), list(range(2 * CLIPS, trained))]
    model = learn(new("blade", ()), clips, steps)
    known, unknown = model.p_values(*clips[:2]), model.p_values(audio[trained:], visual[trained:])
    assert float((known <= 0.1).double().mean()) <= 0.1
    assert float(unknown.max()) < 0.1 < float(known.median())
    rebuilt = load_method("blade").load_model(model.to_config(), model.tensors())
    assert torch.equal(rebuilt.p_values(*clips[:2]), known)
    assert learn(new("slda", ("features=30",)), clips, steps).p_values(*clips[:2]) is None


@pytest.mark.parametrize("selection", ["gcv", "leave-one-out", "hold-out"])
def test_selections_of_the_penalty(selection):
    """Each way of selection gives a penalty of the list, and learns."""
    clips = make_clips()
    method = new("ranpac", ("features=30", f"selection={selection}"))
    model = learn(method, clips, TWO_STEPS)
    assert method.report()["ridge"] > 0
    assert (model.scores(*clips[:2]).argmax(dim=1) == clips[2]).double().mean() > 0.6


def test_fixed_penalty_is_joint_ridge_regression():
    """Scores are those of a direct solve over all clips, features made by the same embedding."""
    clips = make_clips()
    method = new("ranpac", ("features=30", "ridge=2"))
    model = learn(method, clips, TWO_STEPS)
    features = model.embedding(method.pooled(*clips[:2]))
    targets = torch.eye(CLASSES, dtype=torch.float64)[clips[2]]
    stacked = torch.cat([features, 2**0.5 * torch.eye(30, dtype=torch.float64)])
    theta = torch.linalg.lstsq(stacked, torch.cat([targets, torch.zeros(30, CLASSES)])).solution
    torch.testing.assert_close(
        model.scores(*clips[:2]) / method.report()["inverse_temperature"],
        features @ theta,
        rtol=1e-8,
        atol=1e-8,
    )


def test_balanced_regression_predicts_rare_classes():
    """Three clips of two classes, 60 of the others: rare classes are predicted more often, others hardly less."""
    rows = torch.arange(CLASSES * 60)
    audio, visual, labels = make_clips(clips=60)
    kept = rows[(labels < 2) | (rows % 60 < 3)]
    right = {}
    for word in ("balanced=false", "balanced=true"):
        method = new("ranpac", ("features=30", word))
        method.add_classes(CLASSES)
        method.observe(audio[kept], visual[kept], labels[kept])
        right[word] = method.solve().scores(audio, visual).argmax(dim=1) == labels
    rare = {word: float(result[labels > 1].double().mean()) for word, result in right.items()}
    all_of = {word: float(result.double().mean()) for word, result in right.items()}
    assert rare["balanced=true"] > rare["balanced=false"] + 0.1
    assert all_of["balanced=true"] > all_of["balanced=false"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ranpac", "features=0"),
        ("ranpac", "ridge=-1"),
        ("slda", "shrinkage=2"),
        ("blade", "calibration_clips=-1"),
    ],
)
def test_invalid_options(name, word):
    """The error has the name of the option."""
    with pytest.raises(InputError, match=word.split("=")[0]):
        parse_options(load_method(name), (word,), name=name)


def test_report_and_log_of_a_run(store, tmp_path):
    """The report reads a run without a loss; the log has the penalty and the bytes."""
    config = TrainConfig(features=store, out=tmp_path / "run", method="blade", classes_per_step=2)
    train(config, quiet=True)
    run = read_run(tmp_path / "run")
    assert [epoch.loss for epoch in run.epochs] == [None] * 3
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["report"]["bytes"] > 0
    assert line["report"]["penalty0"] > 0


def test_every_closed_form_method_is_tested():
    """None is forgotten by these checks."""
    closed = {name for name in method_names() if issubclass(load_method(name), ClosedFormMethod)}
    assert closed == {name for name, _ in ALL_CASES}


@each_of_all_cases
@pytest.mark.parametrize("equal", [False, True])
def test_one_clip_of_each_class(name, options, equal):
    """Without scatter within classes, also for equal clips, each clip is predicted as its class."""
    clips = make_clips(clips=1)
    if equal:
        clips = tuple(torch.cat([part] * 3) for part in clips)
    if name in ("ncm", "fecam"):  # by default, the first step's clips scale their features
        options = (*options, "normalize=encoder")
    method = new(name, options)
    method.constants = CONSTANTS
    model = None
    for number in range(CLASSES):
        method.add_classes(1)
        method.observe(*(part[clips[2] == number] for part in clips))
        model = method.solve()
    scores = model.scores(*clips[:2])
    assert scores.isfinite().all()
    assert torch.equal(scores.argmax(dim=1), clips[2])


def test_former_name_of_an_option():
    """Saved runs and scripts may have `normalise`."""
    method = load_method("ranpac")
    former = parse_options(method, ("normalise=length",), name="ranpac")
    assert former == parse_options(method, ("normalize=length",), name="ranpac")
