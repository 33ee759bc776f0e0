"""The scikit-learn estimator: scikit-learn's checks, any order gives the same model, agreement with `blade`."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import avcil
from avcil.encoders.parts import part_widths
from avcil.features import FeatureStore
from avcil.methods._prior_psi import PRIOR_PSI
from avcil.methods.registry import load_method, parse_options

CLASSES = ["cat", "hen", "owl", "wolf"]
WIDTH, BLOCKS = 6, ((0, 2), (2, 6))


def samples(seed: int = 0, each: int = 6, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """`each` samples of every class, separable by the first two features."""
    rng = np.random.default_rng(seed)
    y = np.repeat(CLASSES, each)
    means = np.zeros((len(CLASSES), WIDTH))
    means[:, :2] = [[0, 0], [0, 4], [4, 0], [4, 4]]
    X = np.repeat(means, each, axis=0) + rng.normal(size=(len(y), WIDTH)) + offset
    return X, y


def assert_same(one: avcil.Blade, other: avcil.Blade, X: np.ndarray) -> None:
    """Equal scores to 1e-8 of the largest, probabilities, p-values and predictions."""
    assert one.classes_.tolist() == other.classes_.tolist()
    expected = other.decision_function(X)
    largest = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(one.decision_function(X), expected, rtol=0, atol=1e-8 * largest)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(one.p_values(X), other.p_values(X))
    assert (one.predict(X) == other.predict(X)).mean() > 0.99  # ties are decided by rounding


@parametrize_with_checks([avcil.Blade(), avcil.Blade(calibration_samples=0)])
def test_scikit_learn_checks(estimator, check):
    """All of scikit-learn's estimator checks, without an expected failure."""
    check(estimator)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 100),
    order=st.permutations(range(24)),
    cuts=st.sets(st.integers(1, 23)),
    offset=st.sampled_from([0.0, 1e3, -1e6]),
)
def test_partial_fit_in_any_order_and_grouping(seed, order, cuts, offset):
    """Equal to `fit` of all samples, also with features far from 0."""
    X, y = samples(seed, offset=offset)
    pieces = [order[start:stop] for start, stop in itertools.pairwise([0, *sorted(cuts), 24])]
    apart = avcil.Blade(blocks=BLOCKS)
    for rows in pieces:
        apart.partial_fit(X[rows], y[rows])
    assert_same(apart, avcil.Blade(blocks=BLOCKS).fit(X, y), X)


@pytest.mark.parametrize("names", [CLASSES, CLASSES[::-1]])
def test_one_class_at_a_time(names):
    """In either order, with predictions in between: equal to `fit` of all samples; classes are sorted."""
    X, y = samples()
    blade = avcil.Blade()
    for name in names:
        blade.partial_fit(X[y == name], y[y == name])
        assert blade.predict(X[y == name][:1]).tolist() in ([name], *([other] for other in names))
    assert blade.classes_.tolist() == sorted(CLASSES)
    assert_same(blade, avcil.Blade().fit(X, y), X)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 100), rows=st.sets(st.integers(0, 23), min_size=1, max_size=23))
def test_merged_equals_fit_of_all_samples(seed, rows):
    """For any shared classes; the other estimator is not modified."""
    X, y = samples(seed)
    part = np.isin(np.arange(24), list(rows))
    one, other = (avcil.Blade(blocks=BLOCKS).fit(X[own], y[own]) for own in (part, ~part))
    before = other.decision_function(X)
    assert_same(one.merge(other), avcil.Blade(blocks=BLOCKS).fit(X, y), X)
    np.testing.assert_array_equal(other.decision_function(X), before)


def test_blocks_have_separate_penalties():
    """An uninformative block gets a large penalty and a small psi, and more unknown samples are found; as one
    block, it shares the penalty of the informative features."""
    X, y = samples(each=8)
    X[:, 2:] *= 3
    blocks = avcil.Blade(blocks=BLOCKS).fit(X, y)
    one = avcil.Blade().fit(X, y)
    assert blocks.penalties_[1] > 3 * blocks.penalties_[0]
    assert blocks.psi_[0] > 3 * blocks.psi_[1]
    assert blocks.penalties_.shape == (2,)
    assert one.penalties_.shape == (1,)
    X_test, y_test = samples(1, each=60)
    X_test[:, 2:] *= 3
    assert blocks.score(X_test, y_test) > one.score(X_test, y_test)


def test_estimator_equals_blade(store):
    """Equal scores, probabilities and p-values for the pooled vectors of a feature store."""
    opened = FeatureStore(store)
    rows = [row for row, clip in enumerate(opened.clips) if clip.split == "train"]
    labels = np.array([opened.clips[row].label for row in rows])
    names, numbers = np.unique(labels, return_inverse=True)
    audio, visual = (torch.tensor(part(rows)) for part in (opened.audio, opened.visual))
    kind = load_method("blade")
    method = kind(parse_options(kind, [], name="blade"), modality="audio-visual")
    method.part_widths = part_widths(opened)
    method.add_classes(len(names))
    method.observe(audio, visual, torch.tensor(numbers))
    model = method.solve()
    X = torch.cat(method.pooled(audio, visual), dim=1).numpy()
    view = method.head_states[0]
    stops = np.cumsum(view.sizes).tolist()
    blade = avcil.Blade(
        blocks=list(zip([0, *stops], stops, strict=False)),
        modalities=["audio" if kind == "audio" else "visual" for kind in view.kinds],
        prior_psi=[PRIOR_PSI[kind] for kind in view.kinds],
    ).fit(X, labels)
    np.testing.assert_allclose(blade.decision_function(X), model.scores(audio, visual), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(blade.p_values(X), model.p_values(audio, visual))
    assert blade.penalties_.tolist() == pytest.approx([view.fitted[f"penalty{n}"] for n in range(len(stops))])


def test_classes_without_a_sample():
    """Classes may be named before they have samples, and are then never predicted."""
    X, y = samples()
    few = y != "owl"
    blade = avcil.Blade().partial_fit(X[few], y[few], classes=CLASSES)
    assert blade.classes_.tolist() == CLASSES
    assert (blade.predict_proba(X)[:, 2] == 0).all()
    assert "owl" not in blade.predict(X)
    assert_same(blade.partial_fit(X[~few], y[~few]), avcil.Blade().fit(X, y), X)


def test_unknown_classes_have_small_p_values():
    """Samples far from all classes have small p-values; learned samples do not."""
    X, y = samples(each=20)
    blade = avcil.Blade().fit(X, y)
    assert np.median(blade.p_values(X)) > 0.5
    X[:, 2] += 20
    assert np.median(blade.p_values(X)) < 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": [(0, 2)]}, "blocks must be"),
        ({"blocks": [(0, 3), (2, 6)]}, "blocks must be"),
        ({"blocks": [(0, 6), (6, 6)]}, "blocks must be"),
        ({"prior_psi": 0.0}, "prior_psi"),
        ({"blocks": BLOCKS, "prior_psi": [1.0]}, "prior_psi"),
        ({"blocks": BLOCKS, "modalities": ["audio"]}, "modalities must be"),
        (
            {"blocks": [(0, 1), (1, 2), (2, 6)], "modalities": ["audio", "visual", "audio"]},
            "next to each other",
        ),
        ({"calibration_samples": -1}, "calibration_samples"),
        ({"calibration_samples": 0.5}, "calibration_samples"),
    ],
)
def test_invalid_parameters(changes, message):
    """`fit` raises the error, as in scikit-learn."""
    with pytest.raises(ValueError, match=message):
        avcil.Blade(**changes).fit(*samples())


def test_invalid_calls():
    """Labels outside `classes`, labels of another type, other features, parameters that changed, and merging what
    does not fit."""
    X, y = samples()
    blade = avcil.Blade().fit(X, y)
    with pytest.raises(ValueError, match="`classes` lacks"):
        blade.partial_fit(X, y, classes=["cat"])
    with pytest.raises(ValueError, match="another type"):
        blade.partial_fit(X, np.arange(24) % 4)
    with pytest.raises(ValueError, match="4 features"):
        blade.partial_fit(X[:, :4], y)
    with pytest.raises(ValueError, match="must not change"):
        blade.set_params(blocks=BLOCKS).partial_fit(X, y)
    with pytest.raises(ValueError, match="same blocks"):
        blade.merge(avcil.Blade(blocks=BLOCKS).fit(X, y))
    with pytest.raises(NotFittedError):
        blade.merge(avcil.Blade())


def test_missing_scikit_learn():
    """The error names the extra."""
    code = "import sys; sys.modules['sklearn'] = None; import avcil; avcil.Blade"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'avcil[sklearn]'" in done.stderr.splitlines()[-1]
