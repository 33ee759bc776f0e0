"""Thresholds of single classes: named by the user or chosen for a precision; they reach the API, the commands and the
timeline."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from avcil.closed_form.thresholds import threshold_for_precision
from avcil.errors import InputError
from avcil.inference import Recognizer
from avcil.inference.rejection import Rejection


@pytest.fixture(scope="module")
def run(trained, avcil, tmp_path_factory) -> Path:
    """A model of blade."""
    out = tmp_path_factory.mktemp("thresholds") / "blade"
    arguments = ["--classes-per-step", 2, "--method", "blade", "--out", out]
    assert avcil("train", trained / "features", *arguments) == 0
    return out


@pytest.fixture(scope="module")
def clip(trained) -> Path:
    return trained / "clips" / "test-0-0.mp4"


@pytest.mark.parametrize(
    ("given", "precision", "accepted"),
    [
        ([0.9, 0.6, 0.7], 0.7, 3),
        ([0.9, 0.8, 0.7, 0.6], 0.8, 3),
        ([0.6, 0.9, 0.7, 0.8], 0.85, 2),
        ([0.9, 0.6, 0.6], 0.75, 1),
        ([0.9, 0.8], 0.95, 0),
        ([], 0.95, 0),
    ],
    ids=["all", "mean", "any order", "equal probabilities", "not reached", "no predictions"],
)
def test_chosen_threshold(given, precision, accepted):
    """As many predictions as their mean probability allows; at least those with the required probability."""
    result = threshold_for_precision(torch.tensor(given, dtype=torch.float64), precision)
    assert sum(value >= result for value in given) == accepted
    assert result <= precision


def test_precision_of_many_classes_is_reached():
    """Calibrated predictions of 51 classes with ten clips each, half of them correct."""
    draw = torch.Generator().manual_seed(0)
    chosen = torch.rand(510, generator=draw, dtype=torch.float64)
    new, chance = torch.rand(2, 51_000, generator=draw, dtype=torch.float64)
    is_correct = chance < new
    accepted = new >= threshold_for_precision(chosen, 0.95)
    assert accepted.any()
    assert float(is_correct[accepted].double().mean()) > 0.92


def test_given_threshold(run, clip):
    """Below it a prediction is unknown for any p-value; above it only the p-value decides. Other classes have none."""
    recognizer = Recognizer.load(run)
    recognizer.alpha = 0.0
    before = recognizer.predict_clip(clip)
    assert (before.in_distribution, before.threshold) == (True, None)
    for threshold, known in ((before.probability, True), (1.0, before.probability >= 1.0)):
        recognizer.rejection = Rejection(alpha=0.0, thresholds={before.label: threshold})
        result = recognizer.predict_clip(clip)
        assert (result.in_distribution, result.threshold, result.label) == (known, threshold, before.label)
    assert "below the threshold" in result.why_unknown
    other = next(label for label in recognizer.classes_ if label != before.label)
    recognizer.rejection = Rejection(alpha=0.0, thresholds={other: 1.0})
    assert recognizer.predict_clip(clip).threshold is None


def test_methods_without_a_p_value(trained, clip):
    """Thresholds can be given but not chosen."""
    recognizer = Recognizer.load(trained / "av")
    result = recognizer.predict_clip(clip)
    assert result.in_distribution is None
    recognizer.rejection = Rejection(thresholds={result.label: min(1.0, result.probability + 0.01)})
    assert recognizer.predict_clip(clip).in_distribution is False
    recognizer.rejection = Rejection(precision=0.95)
    with pytest.raises(InputError, match="method blade"):
        recognizer.predict_clip(clip)


def test_thresholds_for_a_precision(run, clip):
    """One for all classes, from leave-one-out predictions; given thresholds have priority."""
    recognizer = Recognizer.load(run)
    recognizer.rejection = Rejection(precision=1.0)
    result = recognizer.thresholds()
    assert result == dict.fromkeys(recognizer.classes_, result[recognizer.classes_[0]])
    assert recognizer.thresholds("audio").keys() == recognizer.thresholds("visual").keys() == result.keys()
    name = recognizer.classes_[0]
    recognizer.rejection = Rejection(precision=1.0, thresholds={name: 0.25})
    assert recognizer.thresholds() == result | {name: 0.25}
    recognizer.rename(name, "renamed")
    assert recognizer.thresholds()["renamed"] == 0.25
    assert recognizer.predict_clip(clip).label in recognizer.classes_


def test_output_of_the_command(run, clip, avcil, capsys):
    """As text, in JSON and CSV, and in a timeline."""
    label = Recognizer.load(run).predict(clip)
    arguments = ["predict", run, clip, "--error-rate", 0, "--threshold", f"{label}=1"]
    assert avcil(*arguments) == 0
    assert "possibly an unknown class: the probability is below the threshold of this class, 100 %" in (
        capsys.readouterr().out
    )
    assert avcil(*arguments, "--json") == 0
    result = json.loads(capsys.readouterr().out)[0]
    assert (result["in_distribution"], result["threshold"]) == (False, 1.0)
    assert avcil(*arguments, "--format", "csv") == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (row["in_distribution"], float(row["threshold"])) == ("no", 1.0)
    assert avcil(*arguments, "--window", "0.5s", "--json") == 0
    assert {event["in_distribution"] for event in json.loads(capsys.readouterr().out)} <= {False, True}
    assert avcil("predict", run, clip, "--precision", 0.9) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "0.8"], "CLASS=PROBABILITY"),
        (["--threshold", "cat=2"], "CLASS=PROBABILITY"),
        (["--threshold", "nothing=0.5"], "class of a threshold"),
        (["--precision", "1.5"], "--precision"),
        (["--precision", "0"], "--precision"),
    ],
)
def test_invalid_options(run, clip, avcil, capsys, arguments, message):
    """Errors occur before any clip is read; `avcil serve` has the same options."""
    assert avcil("predict", run, clip, *arguments) == 2
    assert message in capsys.readouterr().err
    assert avcil("serve", run, "--port", 0, *arguments) == 2
    assert message in capsys.readouterr().err
