"""Unknown classes: the p-value and the significance level in predictions."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avcil.closed_form import head
from avcil.features import FeatureStore
from avcil.inference import Recognizer
from avcil.inference.clip_features import ClipFeatures
from avcil.media import write_video


@pytest.fixture(scope="module")
def run(trained, avcil, tmp_path_factory) -> Path:
    """A model of blade."""
    out = tmp_path_factory.mktemp("unknown") / "blade"
    arguments = ["--classes-per-step", 2, "--method", "blade", "--out", out]
    assert avcil("train", trained / "features", *arguments) == 0
    return out


@pytest.fixture(scope="module")
def unknown_clip(tmp_path_factory) -> Path:
    """A clip of flicker and noise, which belongs to no class."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("unknown_clip") / "unknown_clip.mp4"
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(12)]
    noise = rng.standard_normal(9600).astype(np.float32) / 4
    write_video(path, frames, 20.0, waveform=noise, sample_rate=16_000)
    return path


def test_alpha(run, unknown_clip):
    """A clip is rejected if its p-value is not above alpha; the p-value does not depend on alpha."""
    recognizer = Recognizer.load(run)
    p_value = recognizer.predict_clip(unknown_clip).p_value
    assert 1 / 13 <= p_value < 1  # twelve clips were learned
    for rate, known in ((p_value, False), (p_value - 1e-9, True), (p_value + 0.01, False), (0.0, True)):
        recognizer.alpha = rate
        result = recognizer.predict_clip(unknown_clip)
        assert (result.in_distribution, result.p_value) == (known, p_value)


def test_output_of_the_command(run, unknown_clip, avcil, capsys):
    """As text, and as numbers in JSON and CSV; only if the p-value is not above alpha."""
    rate = Recognizer.load(run).predict_clip(unknown_clip).p_value + 0.01
    assert avcil("predict", run, unknown_clip, "--error-rate", rate) == 0
    match = re.search(r"possibly an unknown class: only ([\d.]+) % of clips", capsys.readouterr().out)
    assert avcil("predict", run, unknown_clip, "--error-rate", rate, "--json") == 0
    result = json.loads(capsys.readouterr().out)[0]
    assert result["in_distribution"] is False
    assert float(match[1]) == pytest.approx(100 * result["p_value"], rel=0.05)
    assert avcil("predict", run, unknown_clip, "--error-rate", 0, "--format", "csv") == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert row["in_distribution"] == "yes"
    assert float(row["p_value"]) == pytest.approx(result["p_value"], abs=1e-6)
    assert avcil("predict", run, unknown_clip, "--error-rate", 0) == 0
    assert "unknown class" not in capsys.readouterr().out


def test_networks_have_no_test_for_unknown_classes(trained, unknown_clip, avcil, capsys):
    """The values are null or empty."""
    result = Recognizer.load(trained / "av").predict_clip(unknown_clip)
    assert (result.in_distribution, result.p_value) == (None, None)
    assert avcil("predict", trained / "av", unknown_clip, "--format", "csv") == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (row["in_distribution"], row["p_value"]) == ("", "")


def test_invalid_alpha(run, unknown_clip, avcil, capsys):
    """alpha must be below 1."""
    for rate in ("1", "-0.1", "nan"):
        assert avcil("predict", run, unknown_clip, "--error-rate", rate) == 2
        assert "--alpha must be at least 0" in capsys.readouterr().err


@pytest.mark.parametrize(("changed", "other"), [("audio", "visual"), ("visual", "audio")])
def test_unusual_modality_is_not_used(run, trained, monkeypatch, changed, other):
    """The clip is predicted and explained from the other modality; the p-value is that of the whole clip."""
    monkeypatch.setattr(head, "MIN_OUTLIER_SAMPLE", 10)
    recognizer, store = Recognizer.load(run), FeatureStore(trained / "features")
    row = next(row for row, clip in enumerate(store.clips) if clip.split == "train")
    audio, visual = (torch.from_numpy(part([row])).float() for part in (store.audio, store.visual))
    clip = ClipFeatures(audio=audio, visual=visual, clip_id="clip")
    assert recognizer.predict_clip(clip).modality == "audio-visual"
    noise = {"audio": audio, "visual": visual} | {changed: getattr(clip, changed) + 1000}
    moved = replace(clip, **noise)
    result = recognizer.predict_clip(moved)
    alone = recognizer.predict_clip(replace(clip, **{changed: None}))
    assert result.modality == other
    assert result.probabilities == alone.probabilities
    words = {"audio": "audio", "visual": "frames"}
    assert result.notes == (
        f"{words[changed]} left out: unlike all training clips; predicted from {words[other]} alone"
    )
    assert result.p_value == pytest.approx(1 / 13)  # twelve clips were learned
    assert recognizer.predict([moved, clip]) == [result.label, recognizer.predict(clip)]
    explanation = recognizer.explain(moved)
    assert set(explanation.contributions) - {"bias"} == {other}
    assert set(explanation.alone) == {"audio", "visual"}
    both = replace(moved, audio=audio + 1000, visual=visual + 1000)
    assert recognizer.predict_clip(both).modality == "audio-visual"
    monkeypatch.setattr(head, "MIN_OUTLIER_SAMPLE", 200)
    assert recognizer.predict_clip(moved).modality == "audio-visual"
