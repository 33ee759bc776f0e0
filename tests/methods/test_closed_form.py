"""What learners in closed form promise beyond the common suite: order, batches, forgetting, resuming."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.encoders.constants import Constants
from avcil.errors import InputError
from avcil.methods.base import ClosedFormMethod
from avcil.methods.model import Model
from avcil.methods.registry import load_method, method_names, parse_options
from avcil.runs.run_files import read_run
from avcil.training.config import TrainConfig
from avcil.training.run import train

SAMPLE = "calibration_clips=20"
SMALL = {"ranpac": ["features=30", SAMPLE], "slda": ["features=30", SAMPLE], "blade": [SAMPLE]}
CASES = [
    *((name, tuple(words)) for name, words in SMALL.items()),
    ("slda", ("kernel=linear", SAMPLE)),
    ("blade", ("calibration_clips=0", "pooling=mean")),
    ("rls", ("features=30", "compensation=0")),
    ("ncm", ("calibration_clips=20",)),
    ("ncm", ("metric=euclidean", "calibration_clips=20")),
    ("fecam", ("calibration_clips=20",)),
    ("acil", ("features=30", SAMPLE)),
    ("randumb", ("features=30", SAMPLE)),
    ("anacp", ("features=20", "drawn_clips=30", SAMPLE)),
]
PROMISES = [
    *CASES,
    ("ds-al", ("features=30",)),
    ("rls", ("features=30", "stream_features=8", "compensation=0.5")),
]
CLASSES, CLIPS = 4, 12
each_case = pytest.mark.parametrize(("name", "words"), CASES, ids=[" ".join((n, *w)) for n, w in CASES])
each_promise = pytest.mark.parametrize(
    ("name", "words"), PROMISES, ids=[" ".join((n, *w)) for n, w in PROMISES]
)


def new(name: str, words: tuple[str, ...], modality: str = "audio-visual", seed: int = 0) -> ClosedFormMethod:
    kind = load_method(name)
    method = kind(parse_options(kind, words, name=name), modality=modality)
    method.seed = seed
    return method


def make_clips(seed: int = 0, clips: int = CLIPS):
    """Audio (n, 5), visual (n, 2, 3, 4), labels (n,)."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(clips)
    audio = torch.randn(CLASSES, 5, generator=draw)[labels] + torch.randn(len(labels), 5, generator=draw)
    visual = torch.randn(CLASSES, 1, 1, 4, generator=draw)[labels]
    return audio, visual + torch.randn(len(labels), 2, 3, 4, generator=draw), labels


def learn(method: ClosedFormMethod, clips, steps, size: int = 1000) -> Model:
    """Steps are lists of rows; classes grow as they come; batches of `size`."""
    audio, visual, labels = clips
    known, model = 0, None
    for rows in steps:
        rows = torch.as_tensor(rows)
        fresh = max(0, int(labels[rows].max()) + 1 - known)
        method.add_classes(fresh)
        known += fresh
        for part in rows.split(size):
            method.observe(audio[part], visual[part], labels[part])
        model = method.solve()
    assert model is not None
    return model


each_modality = pytest.mark.parametrize("modality", ["audio-visual", "audio", "visual"])
TWO_STEPS = [list(range(2 * CLIPS)), list(range(2 * CLIPS, 4 * CLIPS))]


@each_promise
@each_modality
@settings(deadline=None, max_examples=4)
@given(random=st.randoms(use_true_random=False), size=st.integers(1, 30))
def test_order_and_batches_do_not_matter(name, words, modality, random, size):
    """Clips of a step in any order and batch size give the same scores."""
    clips = make_clips()
    shuffled = [random.sample(rows, len(rows)) for rows in TWO_STEPS]
    one = learn(new(name, words, modality), clips, TWO_STEPS).scores(*clips[:2])
    other = learn(new(name, words, modality), clips, shuffled, size).scores(*clips[:2])
    torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-8)


@each_case
@each_modality
def test_statistics_are_those_of_all_clips(name, words, modality):
    """Class after class, old classes coming back too: statistics of the joint set, to 1e-10."""
    clips = make_clips()
    first = list(range(2 * CLIPS))
    late = [0, 1, 2]
    stepwise, joint = new(name, words, modality), new(name, words, modality)
    steps = [first, list(range(2 * CLIPS, 3 * CLIPS)), late, list(range(3 * CLIPS, 4 * CLIPS))]
    learn(stepwise, clips, steps)
    learn(joint, clips, [first, [*range(2 * CLIPS, 4 * CLIPS), *late]])
    one, other = stepwise.tensors(), joint.tensors()
    for key in one:
        if key.startswith(("moments.", "stream")):
            torch.testing.assert_close(one[key], other[key], rtol=1e-10, atol=1e-10)


@each_case
@each_modality
def test_forgetting(name, words, modality):
    """After forgetting, the statistics equal those without the clips, and the model predicts."""
    clips = make_clips()
    learned, never = new(name, words, modality), new(name, words, modality)
    learn(learned, clips, TWO_STEPS)
    gone = torch.tensor([2 * CLIPS, 2 * CLIPS + 5, 4 * CLIPS - 1])
    learned.forget(clips[0][gone], clips[1][gone], clips[2][gone])
    stay = [row for row in TWO_STEPS[1] if row not in gone.tolist()]
    learn(never, clips, [TWO_STEPS[0], stay])
    assert learned.solve().scores(*clips[:2]).isfinite().all()
    one, other = learned.tensors(), never.tensors()
    for key in one:
        if key.startswith(("moments.", "stream")):
            torch.testing.assert_close(one[key], other[key], rtol=1e-10, atol=1e-10)


@each_promise
def test_no_head_of_statistics_gone_by(name, words):
    """After a change without a later step, `solve` uses the current statistics, as after loading."""
    clips = make_clips()
    learned, loaded = new(name, words), new(name, words)
    learn(learned, clips, TWO_STEPS)

    def check():
        loaded.load(learned.tensors())
        assert torch.equal(learned.solve().scores(*clips[:2]), loaded.solve().scores(*clips[:2]))

    learned.observe(*clips)
    learned.flush()  # and nobody asks
    before = learned.tensors()
    if name not in ("rls", "ds-al") or "compensation=0" in words:
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


def blade_of(clips, groups, forgotten=(), known=True):
    """A BLADE of all classes and groups of rows, after rows of them were forgotten; `known`: with constants."""
    method = new("blade", ("calibration_clips=20",))
    method.constants = CONSTANTS if known else {}
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
    gone=st.sets(st.integers(0, CLASSES * 4 - 1), max_size=10),
    apart=st.integers(1, CLASSES * 4 - 1),
    rare=st.booleans(),
    known=st.booleans(),
)
def test_blade_is_a_function_of_the_clips(seed, order, cuts, gone, apart, rare, known):
    """Order, grouping, merging and forgetting give the model of the same clips learned at once: scores to 1e-8."""
    clips = make_clips(seed, clips=4)
    if rare:  # features that are 0 in most clips, as rectified ones are
        clips = (clips[0] - 1.5).relu(), (clips[1] - 1.5).relu(), clips[2]
    edges = [0, *sorted(cuts), len(order)]
    groups = [order[start:stop] for start, stop in itertools.pairwise(edges)]
    at_once = blade_of(clips, [range(len(order))], known=known)
    grouped = blade_of(clips, groups, known=known)
    merged = blade_of(clips, [order[:apart]], known=known)
    merged.merge(blade_of(clips, [order[apart:]], known=known), torch.arange(CLASSES))
    for method in (grouped, merged):
        assert_same_model(method.solve(), at_once.solve(), clips)
    kept = [row for row in range(len(order)) if row not in gone]
    rest = blade_of(clips, [kept], known=known).solve()
    assert_same_model(blade_of(clips, groups, gone, known).solve(), rest, clips)


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
CONSTANTS = {
    "audio": Constants(center=np.full(5, 0.2, np.float32), scale=np.float32([1, 2, 1, 1, 1.5])),
    "visual": Constants(center=np.zeros(4, np.float32), scale=np.float32([1, 1, 2, 1])),
}


@pytest.mark.parametrize(
    ("name", "words", "known"), ORDER_FREE, ids=[f"{n} {' '.join(w)} {k}" for n, w, k in ORDER_FREE]
)
@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 100),
    order=st.permutations(range(CLASSES * 4)),
    cuts=st.sets(st.integers(1, CLASSES * 4 - 1)),
    gone=st.sets(st.integers(0, CLASSES * 4 - 1), max_size=10),
    center=st.sampled_from([0.0, 1e3]),
)
def test_the_first_step_does_not_matter(name, words, known, seed, order, cuts, gone, center):
    """With constants of the encoders, and for linear features without: any order, grouping and forgetting of the same
    clips give the same scores to 1e-8 of the largest."""
    audio, visual, labels = make_clips(seed, clips=4)
    clips = audio + center, visual + center, labels
    scale = {
        part: Constants(center=found.center + np.float32(center), scale=found.scale)
        for part, found in CONSTANTS.items()
    }

    def trained(groups, forgotten=()):
        method = new(name, words)
        method.constants = scale if known else {}
        method.add_classes(CLASSES)
        for rows in map(list, groups):
            method.observe(*(part[rows] for part in clips))
            method.flush()
        if forgotten:
            method.forget(*(part[list(forgotten)] for part in clips))
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
    kept = [row for row in range(len(order)) if row not in gone]
    torch.testing.assert_close(trained(groups, gone), trained([kept]), rtol=0, atol=1e-8 * largest)


each_with_constants = pytest.mark.parametrize(
    ("name", "words"),
    [(name, ("features=30",)) for name in ("ranpac", "slda", "rls", "ds-al")]
    + [(name, ("normalize=encoder",)) for name in ("ncm", "fecam")],
)


@each_with_constants
def test_without_constants_the_first_step_scales(name, words):
    """The model has a note; constants of one modality are not used for both."""
    clips = make_clips()
    for constants in ({}, {"audio": CONSTANTS["audio"]}):
        method = new(name, words)
        method.constants = constants
        model = learn(method, clips, TWO_STEPS)
        assert "first step" in model.notes[0]
        again = new(name, words)
        again.constants = CONSTANTS  # of a store that has them: what was saved stays
        again.load(method.tensors())
        assert again.solve().notes == model.notes
        assert torch.equal(again.solve().scores(*clips[:2]), model.scores(*clips[:2]))


@each_with_constants
def test_constants_are_saved_with_the_statistics(name, words):
    """A model goes on without the store that it came from."""
    clips = make_clips()
    first = new(name, words)
    first.constants = CONSTANTS
    learn(first, clips, TWO_STEPS[:1])
    again = new(name, words)
    again.load(first.tensors())
    for method in (first, again):
        method.add_classes(2)
        method.observe(*(part[TWO_STEPS[1]] for part in clips))
    assert torch.equal(again.solve().scores(*clips[:2]), first.solve().scores(*clips[:2]))


def test_one_class_has_one_inverse_temperature():
    """With one class every inverse temperature fits alike; none is chosen by rounding."""
    audio, visual, labels = make_clips()
    method = new("blade", ("calibration_clips=20",))
    learn(method, (audio, visual, labels * 0), [range(len(labels))])
    assert method.report()["inverse_temperature"] == 1.0


def test_compensation_cannot_forget():
    """A method whose statistics are not plain sums cannot forget."""
    clips = make_clips()
    method = new("rls", ("features=30", "compensation=0.5"))
    learn(method, clips, TWO_STEPS)
    with pytest.raises(InputError, match="compensation=0"):
        method.forget(*(part[:1] for part in clips))


@each_promise
@each_modality
def test_saved_statistics_go_on(name, words, modality):
    """Learning in two sittings, statistics saved between them, is learning in one: bit for bit."""
    clips = make_clips()
    if modality == "audio":
        clips = clips[0], clips[1] * torch.nan, clips[2]
    one, first, second = (new(name, words, modality, seed=3) for _ in range(3))
    wanted = learn(one, clips, TWO_STEPS)
    learn(first, clips, TWO_STEPS[:1])
    second.load(first.tensors())
    second.add_classes(2)
    rows = TWO_STEPS[1]
    second.observe(clips[0][rows], clips[1][rows], clips[2][rows])
    got = second.solve()
    assert torch.equal(got.scores(*clips[:2]), wanted.scores(*clips[:2]))
    if name == "blade":
        assert torch.equal(got.p_values(*clips[:2]), wanted.p_values(*clips[:2]))
    rebuilt = load_method(name).load_model(got.to_config(), got.tensors())
    assert torch.equal(rebuilt.scores(*clips[:2]), wanted.scores(*clips[:2]))
    assert rebuilt.scores(*clips[:2]).isfinite().all()


@each_promise
def test_memory_does_not_grow_with_clips(name, words):
    """The bytes reported are those of the tensors kept, and a thousand clips take as many as a few."""
    audio, visual, labels = make_clips()
    few, many = new(name, words), new(name, words)
    learn(few, (audio, visual, labels), [range(len(labels))])
    repeated = [torch.cat([part] * 20) for part in (audio, visual, labels)]
    learn(many, repeated, [range(20 * len(labels))])
    assert few.report()["bytes"] == many.report()["bytes"]
    assert few.report()["jitter"] == 0 if "jitter" in few.report() else True
    kept = sum(tensor.numel() * tensor.element_size() for tensor in many.tensors().values())
    assert kept < 1.2 * many.report()["bytes"] + 500  # what is saved of a symmetric matrix is half


@pytest.mark.parametrize(
    ("name", "words"), [("blade", ()), ("slda", ("kernel=linear",))], ids=["blade", "slda kernel=linear"]
)
@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_one_modality_predicts_as_if_trained_alone(name, words, modality):
    """A clip that lacks a modality is answered for by what training on the other alone would have given."""
    clips = make_clips()
    both = learn(new(name, words), clips, TWO_STEPS)
    alone = learn(new(name, words, modality), clips, TWO_STEPS)
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
    """p-values of known classes are spread over (0, 1), those of an unknown class are small."""
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
    """Each way to choose comes to a penalty of the list, and learns."""
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
    """Three clips of two classes, 60 of the other two: the rare ones are answered more often, others hardly less."""
    rows = torch.arange(CLASSES * 60)
    audio, visual, labels = make_clips(clips=60)
    kept = rows[(labels < 2) | (rows % 60 < 3)]
    right = {}
    for word in ("balanced=false", "balanced=true"):
        method = new("ranpac", ("features=30", word))
        method.add_classes(CLASSES)
        method.observe(audio[kept], visual[kept], labels[kept])
        right[word] = method.solve().scores(audio, visual).argmax(dim=1) == labels
    rare = {word: float(found[labels > 1].double().mean()) for word, found in right.items()}
    all_of = {word: float(found.double().mean()) for word, found in right.items()}
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
def test_refused_options(name, word):
    """Values that make no sense are refused at once."""
    with pytest.raises(InputError, match=word.split("=")[0]):
        parse_options(load_method(name), (word,), name=name)


def test_run_can_be_read_and_seen(store, tmp_path):
    """The report reads a run without a loss; the log has the penalty and the bytes."""
    config = TrainConfig(features=store, out=tmp_path / "run", method="blade", classes_per_step=2)
    train(config, quiet=True)
    run = read_run(tmp_path / "run")
    assert [epoch.loss for epoch in run.epochs] == [None] * 3
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["report"]["bytes"] > 0
    assert line["report"]["penalty0"] > 0


def test_every_closed_form_method_is_here():
    """None is forgotten by these checks."""
    closed = {name for name in method_names() if issubclass(load_method(name), ClosedFormMethod)}
    assert closed == {name for name, _ in PROMISES}


@each_promise
@pytest.mark.parametrize("equal", [False, True])
def test_one_clip_of_each_class(name, words, equal):
    """Without scatter within classes, also if all clips of a class are equal, each clip is predicted as its class."""
    clips = make_clips(clips=1)
    if equal:
        clips = tuple(torch.cat([part] * 3) for part in clips)
    if name in ("ncm", "fecam"):  # by default, the first step's clips scale their features
        words = (*words, "normalize=encoder")
    method = new(name, words)
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
