"""Metrics compared with a published example and explicit loops, and properties for any matrix."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.errors import InputError
from avcil.runs import metrics

NAN = float("nan")
PUBLISHED = np.array([[60, NAN, NAN, NAN], [70, 80, NAN, NAN], [65, 85, 90, NAN], [75, 50, 70, 88]])
SIZES = np.array([100, 100, 100, 50])


@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average_incremental_accuracy", 70.82),
        ("average_incremental_accuracy_task_mean", 71.44),
        ("last_accuracy", 68.29),
        ("last_accuracy_task_mean", 70.75),
        ("forgetting", 16.67),
        ("mean_forgetting", 2.22),
        ("forgetting_all_max", 18.33),
        ("forgetting_first", 11.67),
        ("backward_transfer", -11.67),
        ("backward_transfer_all", -2.50),
        ("accuracy_lower_triangle", 73.30),
    ],
)
def test_published_example(name, expected, scale):
    """The published example, in percent and as fractions."""
    assert metrics.all_metrics(PUBLISHED * scale, SIZES)[name] / scale == pytest.approx(expected, abs=0.005)


def test_published_accuracy_per_step():
    """The accuracy of each step, weighted by the sizes of the tasks."""
    assert np.round(metrics.accuracy_per_step(PUBLISHED, SIZES), 2).tolist() == [60, 75, 80, 68.29]


def matrices(least=2):
    """Random accuracy matrices of up to 6 steps with their task sizes."""

    def build(steps, seed):
        generator = np.random.default_rng(seed)
        R = np.where(np.tri(steps, dtype=bool), generator.random((steps, steps)), NAN)
        return R, generator.integers(1, 40, steps)

    return st.builds(build, st.integers(least, 6), st.integers(0, 2**32 - 1))


@given(matrices())
@settings(deadline=None, max_examples=30)
def test_equals_explicit_loops(case):
    """Each definition as a sum over cells."""
    R, n = case
    K = len(R)
    at = {}
    for s in range(1, K):
        drops = []
        for i in range(s):
            best = -math.inf
            for r in range(i, s):
                best = max(best, R[r][i])
            drops.append(best - R[s][i])
        at[s] = sum(drops) / len(drops)
    steps = []
    for s in range(K):
        hits = total = 0
        for i in range(s + 1):
            hits += n[i] * R[s][i]
            total += n[i]
        steps.append(hits / total)
    pairs = [R[s][i] - R[i][i] for s in range(K) for i in range(s)]
    got = metrics.all_metrics(R, n)
    assert got["forgetting"] == pytest.approx(at[K - 1])
    assert got["mean_forgetting"] == pytest.approx(sum(at.values()) / (K - 1))
    assert got["average_incremental_accuracy"] == pytest.approx(sum(steps) / K)
    assert got["last_accuracy"] == pytest.approx(steps[-1])
    assert got["backward_transfer_all"] == pytest.approx(sum(pairs) / len(pairs))
    all_max = [max(R[r][i] for r in range(i, K)) - R[K - 1][i] for i in range(K - 1)]
    assert got["forgetting_all_max"] == pytest.approx(sum(all_max) / len(all_max))
    cells = [R[s][i] for s in range(K) for i in range(s + 1)]
    assert got["accuracy_lower_triangle"] == pytest.approx(sum(cells) / len(cells))


@given(matrices())
@settings(deadline=None, max_examples=30)
def test_relations_between_the_definitions(case):
    """The kinds of forgetting are ordered, and scale with the unit."""
    R, n = case
    got = metrics.all_metrics(R, n)
    assert got["forgetting_all_max"] >= max(got["forgetting"], 0) - 1e-12
    assert got["forgetting"] >= got["forgetting_first"] - 1e-12
    assert got["forgetting_first"] == -got["backward_transfer"]
    percent = metrics.all_metrics(100 * R, n)
    assert percent["mean_forgetting"] == pytest.approx(100 * got["mean_forgetting"])
    equal = metrics.all_metrics(R, np.full(len(R), 7))
    task_mean = got["average_incremental_accuracy_task_mean"]
    assert equal["average_incremental_accuracy"] == pytest.approx(task_mean)


@pytest.mark.parametrize("steps", [2, 5])
def test_perfect_run(steps):
    """A run without errors has accuracy 1 and forgetting 0."""
    R = np.where(np.tri(steps, dtype=bool), 1.0, NAN)
    got = metrics.all_metrics(R, np.arange(1, steps + 1), joint=R)
    ones = ("average_incremental_accuracy", "last_accuracy", "accuracy_lower_triangle")
    assert all(got[name] == 1 for name in ones)
    zeros = ("forgetting", "mean_forgetting", "forgetting_all_max", "backward_transfer", "intransigence")
    assert all(got[name] == 0 for name in zeros)


def test_one_step_has_no_forgetting():
    """With one step, forgetting is undefined: None, not 0."""
    got = metrics.all_metrics([[0.7]], [10])
    undefined = {name for name, value in got.items() if value is None}
    assert undefined == {
        "forgetting", "mean_forgetting", "forgetting_all_max", "forgetting_first", "backward_transfer",
        "backward_transfer_all", "intransigence", "forward_transfer",
    }  # fmt: skip
    assert got["average_incremental_accuracy"] == got["last_accuracy"] == 0.7


def test_all_metrics_is_json():
    """The dictionary can be written to results.json."""
    text = json.dumps(metrics.all_metrics(PUBLISHED, SIZES), allow_nan=False)
    assert json.loads(text)["forward_transfer"] is None


def test_cells_of_unseen_tasks_are_not_read():
    """Values above the diagonal have no effect."""
    filled = np.where(np.isnan(PUBLISHED), 1e9, PUBLISHED)
    assert metrics.all_metrics(filled, SIZES) == metrics.all_metrics(PUBLISHED, SIZES)


@pytest.mark.parametrize(
    ("R", "n", "words"),
    [
        ([[1.0, NAN]], [1, 1], "has the shape"),
        ([[1.0, NAN], [NAN, 1.0]], [1, 1], "after step 1 for task 0"),
        ([[1.0]], [1, 2], "needs 1 numbers of test clips"),
        ([[1.0]], [0], "at least one test clip"),
    ],
)
def test_invalid_matrices(R, n, words):
    """The error states what is missing or wrong."""
    with pytest.raises(InputError, match=words):
        metrics.all_metrics(R, n)


def test_intransigence_needs_the_same_steps():
    """A joint run of another benchmark is an error."""
    assert metrics.intransigence(PUBLISHED, PUBLISHED + 2) == pytest.approx(2)
    with pytest.raises(InputError, match="same steps"):
        metrics.intransigence(PUBLISHED, [[1.0]])
