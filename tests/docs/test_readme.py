"""The commands and the Python example of the README work unchanged."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from avcil.cli.main import main
from avcil.media import write_video

README = Path(__file__).parents[2] / "README.md"
CLASSES = ("cat", "cow", "dog", "frog", "hen", "pig", "owl")
TAKES = 6
RATE = 16_000
SHORT = {"--method av-cil": " --epochs 3"}
"""Options that are added to commands that would train for a long time."""


def write_clip(path: Path, number: int, take: int, *, seconds: float = 0.6) -> None:
    """A bar with the color and speed of a class that moves right or down, with a tone of the class."""
    rng = np.random.default_rng((number, take))
    frames = np.full((int(20 * seconds), 48, 64, 3), 30, dtype=np.uint8)
    start, color = int(rng.integers(40)), np.roll((220, 140, 40), number) - 20 * (number // 3)
    for t, frame in enumerate(frames):
        place = (start + (1 + number // 2) * t) % 40
        bar = frame[:, place : place + 8] if number % 2 else frame[place : place + 8]
        bar[:] = color
    time = np.arange(int(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (300 * 1.4**number) * time) + 0.01 * rng.standard_normal(len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, list(frames), 20.0, waveform=tone.astype(np.float32), sample_rate=RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The files that the README assumes: clips of six classes, some of a seventh, and three files to predict."""
    folder = tmp_path_factory.mktemp("readme")
    for number, label in enumerate(CLASSES):
        place = folder / ("new-clips" if label == "owl" else "clips") / label
        for take in range(TAKES):
            write_clip(place / f"{take}.mp4", number, take)
    shutil.copy(folder / "clips/dog/0.mp4", folder / "clip.mp4")
    shutil.copy(folder / "clips/hen/0.mp4", folder / "other.mp4")
    write_clip(folder / "video.mp4", CLASSES.index("pig"), 99, seconds=4.0)
    return folder


def commands(text: str) -> list[str]:
    """The command lines of the indented blocks, without comments."""
    lines = re.findall(r"^    (avcil .*)$", text, flags=re.MULTILINE)
    return [line.split("  #")[0].strip() for line in lines]


def section(title: str) -> str:
    return README.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_commands_then_python(folder, monkeypatch, capsys):
    """Every command on own clips succeeds, in order; then the example gives the printed output."""
    monkeypatch.chdir(folder)
    arguments = commands(section("Your own clips"))
    verbs = [line.split()[1] for line in arguments]
    own = ["scan", "extract", "train", "predict", "train", "report", "learn", "predict", "predict", "serve"]
    assert verbs == own
    for line in arguments[:-1]:  # a server does not end; tests/serve tests it
        line += "".join(more for part, more in SHORT.items() if part in line)
        with pytest.raises(SystemExit) as end:
            main(shlex.split(line)[1:])
        assert end.value.code == 0, f"{line}\n{capsys.readouterr().err}"
    assert (folder / "events.vtt").read_text().startswith("WEBVTT")
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with capsys.disabled():
        failed, tried = doctest.testfile(str(README), module_relative=False, optionflags=options)
    assert tried >= 10
    assert failed == 0
