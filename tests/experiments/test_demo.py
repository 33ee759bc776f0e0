"""The demo with one or two clips of each class and two epochs, and otherwise default options."""

from __future__ import annotations

import json
import math

from avcil.experiments.demo import demo

KEYS = {
    "method",
    "modality",
    "accuracy_per_step",
    "average_incremental_accuracy",
    "last_accuracy",
    "mean_forgetting",
    "seconds",
}


def test_demo_runs_and_resumes(tmp_path):
    """From clips to report; a second call finds the finished runs and renders nothing again."""
    sizes = {"train": 1, "val": 1, "test": 1}
    messages: list[str] = []
    summary = demo(tmp_path / "demo", seed=0, epochs=2, clips_per_class=sizes, log=messages.append)
    assert json.loads((tmp_path / "demo" / "summary.json").read_text()) == summary
    assert [(run["method"], run["modality"]) for run in summary] == [
        ("fine-tuning", "audio-visual"),
        ("av-cil", "audio-visual"),
        ("blade", "audio-visual"),
        ("joint", "audio-visual"),
        ("joint", "audio"),
        ("joint", "visual"),
    ]
    for run in summary:
        assert set(run) == KEYS
        assert len(run["accuracy_per_step"]) == 4
        assert all(0 <= accuracy <= 1 for accuracy in run["accuracy_per_step"])
        assert math.isfinite(run["mean_forgetting"])
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "<svg" in page
    assert "av-cil" in page
    assert any("average" in text and "av-cil" in text and "joint" in text for text in messages), "the table"

    watched = [*(tmp_path / "demo").rglob("*.mp4"), *(tmp_path / "demo").rglob("*.safetensors")]
    before = {path: path.stat().st_mtime_ns for path in watched}
    assert demo(tmp_path / "demo", seed=0, epochs=2, clips_per_class=sizes, log=messages.append) == summary
    assert {path: path.stat().st_mtime_ns for path in watched} == before
