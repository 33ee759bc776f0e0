"""Output of predictions: standard output, a file that is always valid, and the overview of a timeline."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from avcil.cli.output_streams import OutputError, output_stream
from avcil.cli.predict_output import ClipWriter
from avcil.cli.timeline_output import strip
from avcil.inference.prediction import Prediction
from avcil.inference.timeline import TimelineEvent

PREDICTION = Prediction(path="a.mp4", label="dog", probabilities={"dog": 0.75, "cat": 0.25}, notes="")


def event(start: float, end: float, label: str | None, *, known: bool | None = True) -> TimelineEvent:
    return TimelineEvent(start=start, end=end, label=label, probability=0.5, in_distribution=known, notes="")


def test_file_is_valid_after_ctrl_c(tmp_path, capsys):
    """After Ctrl-C the file has the finished predictions and replaces an older file."""
    out = tmp_path / "answers.json"

    def stopped() -> None:
        with ClipWriter("json", out, top=1) as writer:
            writer.add(Path("a.mp4"), PREDICTION)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [result["label"] for result in json.loads(out.read_text())] == ["dog"]
    assert f"wrote {out}" in capsys.readouterr().out


def test_file_is_written_despite_a_broken_pipe(tmp_path, monkeypatch):
    """As in a pipe to `head -1`."""
    reader, pipe = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", output_stream(pipe, is_needed=True))
    with ClipWriter("csv", tmp_path / "answers.csv", top=1) as writer:
        for name in ("a.mp4", "b.mp4"):
            writer.add(Path(name), PREDICTION)
    os.close(pipe)
    assert [line.split(",")[:2] for line in (tmp_path / "answers.csv").read_text().splitlines()[1:]] == [
        ["a.mp4", "dog"],
        ["b.mp4", "dog"],
    ]


def test_broken_pipe_without_a_file_stops_the_command(monkeypatch):
    """The command stops."""

    reader, pipe = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", output_stream(pipe, is_needed=True))
    with pytest.raises(OutputError), ClipWriter("text", None, top=1) as writer:
        writer.add(Path("a.mp4"), PREDICTION)
    os.close(pipe)


def test_overview_strip():
    """A letter for each class, a dot for unknown; in a terminal each class has a color."""
    events = [
        event(0, 3, "dog"),
        event(3, 4, "dog", known=False),
        event(4, 5, None),
        event(5, 6, "cat"),
    ]
    line, legend = strip(events)
    assert line == f"|{36 * 'A'}{24 * '.'}{12 * 'B'}| 00:00:06.000"
    assert legend == "A dog, B cat, . possibly unknown"
    colored = strip(events, colored=True)[0]
    assert colored.count("\x1b[30;48;5;75mA") == 36
    assert colored.count("\x1b[0m") == 48
