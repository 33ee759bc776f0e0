"""Thresholds of single classes: named by the user or chosen for a precision; they reach the API, the commands and the
timeline."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from avcil.closed_form.thresholds import thresholds_for_precision
from avcil.errors import InputError
from avcil.inference import Recognizer
from avcil.inference.rejection import Rejection


@pytest.fixture(scope="module")
def run(taught, avcil, tmp_path_factory) -> Path:
    """A model of blade."""
    out = tmp_path_factory.mktemp("thresholds") / "blade"
    words = ["--classes-per-step", 2, "--method", "blade", "--out", out]
    assert avcil("train", taught / "features", *words) == 0
    return out


@pytest.fixture(scope="module")
def clip(taught) -> Path:
    return taught / "clips" / "test-0-0.mp4"


def probabilities(*highest: tuple[int, float]) -> torch.Tensor:
    """Scores of two classes; the first has the given probability."""
    rows = [[p, 1 - p] if label == 0 else [1 - p, p] for label, p in highest]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("highest", "labels", "precision", "kept"),
    [
        ([(0, 0.9), (0, 0.6), (1, 0.7)], [0, 0, 1], 1.0, [0, 1, 2]),
        ([(0, 0.9), (0, 0.8), (0, 0.7), (0, 0.6)], [0, 0, 1, 0], 1.0, [0, 1]),
        ([(0, 0.9), (0, 0.8), (0, 0.7), (0, 0.6)], [0, 0, 1, 0], 0.75, [0, 1, 2, 3]),
        ([(0, 0.9), (0, 0.8), (0, 0.8), (0, 0.7)], [0, 0, 1, 1], 1.0, [0]),
        ([(0, 0.9), (0, 0.8)], [1, 0], 0.9, []),
    ],
    ids=["all right", "until the first error", "lower precision", "equal probabilities", "not reached"],
)
def test_chosen_thresholds(highest, labels, precision, kept):
    """The threshold keeps as many clips as the precision allows; a class without predictions has none."""
    given = probabilities(*highest)
    found = thresholds_for_precision(given, torch.tensor(labels), precision)
    top, predicted = given.max(dim=1)
    assert [number for number in range(len(labels)) if top[number] >= found[predicted[number]]] == kept
    assert [value is None for value in found] == [number not in predicted for number in range(2)]


def test_given_threshold(run, clip):
    """Below it a prediction is unknown, also where the p-value is large; at it the p-value decides alone. Other classes
    have none."""
    recognizer = Recognizer.load(run)
    recognizer.alpha = 0.0
    before = recognizer.answer(clip)
    assert (before.in_distribution, before.threshold) == (True, None)
    for threshold, known in ((before.probability, True), (1.0, before.probability >= 1.0)):
        recognizer.rejection = Rejection(alpha=0.0, thresholds={before.label: threshold})
        answer = recognizer.answer(clip)
        assert (answer.in_distribution, answer.threshold, answer.label) == (known, threshold, before.label)
    assert "below the threshold" in answer.why_unknown
    other = next(label for label in recognizer.classes_ if label != before.label)
    recognizer.rejection = Rejection(alpha=0.0, thresholds={other: 1.0})
    assert recognizer.answer(clip).threshold is None


def test_methods_without_a_p_value(taught, clip):
    """Thresholds can be given but not chosen."""
    recognizer = Recognizer.load(taught / "av")
    answer = recognizer.answer(clip)
    assert answer.in_distribution is None
    recognizer.rejection = Rejection(thresholds={answer.label: min(1.0, answer.probability + 0.01)})
    assert recognizer.answer(clip).in_distribution is False
    recognizer.rejection = Rejection(precision=0.95)
    with pytest.raises(InputError, match="method blade"):
        recognizer.answer(clip)


def test_thresholds_for_a_precision(run, clip):
    """They come from leave-one-out predictions, given thresholds take precedence, and learning updates them."""
    recognizer = Recognizer.load(run)
    recognizer.rejection = Rejection(precision=1.0)
    found = recognizer.thresholds()
    assert found
    assert set(found) <= set(recognizer.classes_)
    assert recognizer.thresholds("audio").keys() | recognizer.thresholds("visual").keys() <= set(
        recognizer.classes_
    )
    name = recognizer.classes_[0]
    recognizer.rejection = Rejection(precision=1.0, thresholds={name: 0.25})
    assert recognizer.thresholds() == found | {name: 0.25}
    recognizer.rename(name, "renamed")
    assert recognizer.thresholds()["renamed"] == 0.25
    assert recognizer.answer(clip).label in recognizer.classes_


def test_output_of_the_command(run, clip, avcil, capsys):
    """As text, in JSON and CSV, and in a timeline."""
    label = Recognizer.load(run).predict(clip)
    words = ["predict", run, clip, "--error-rate", 0, "--threshold", f"{label}=1"]
    assert avcil(*words) == 0
    assert "possibly an unknown class: its probability is below the threshold of this class, 100 %" in (
        capsys.readouterr().out
    )
    assert avcil(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)[0]
    assert (found["in_distribution"], found["threshold"]) == (False, 1.0)
    assert avcil(*words, "--format", "csv") == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (row["in_distribution"], float(row["threshold"])) == ("no", 1.0)
    assert avcil(*words, "--window", "0.5s", "--json") == 0
    assert {event["in_distribution"] for event in json.loads(capsys.readouterr().out)} <= {False, True}
    assert avcil("predict", run, clip, "--precision", 0.9) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "0.8"], "CLASS=PROBABILITY"),
        (["--threshold", "cat=2"], "CLASS=PROBABILITY"),
        (["--threshold", "nothing=0.5"], "class of a threshold"),
        (["--precision", "1.5"], "--precision"),
        (["--precision", "0"], "--precision"),
    ],
)
def test_invalid_options(run, clip, avcil, capsys, words, message):
    """Errors occur before any clip is read; `avcil serve` has the same options."""
    assert avcil("predict", run, clip, *words) == 2
    assert message in capsys.readouterr().err
    assert avcil("serve", run, "--port", 0, *words) == 2
    assert message in capsys.readouterr().err
