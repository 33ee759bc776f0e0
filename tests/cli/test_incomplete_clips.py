"""Clips without audio or frames, from files to a merged model, with the commands."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from avcil.inference import Recognizer
from avcil.media import write_video

RATE = 16_000
SMALL_ENCODERS = ("--visual", "patch-motion", "--audio", "log-mel")


def write_clip(path: Path, number: int, take: int) -> None:
    """A gray level and a tone for each class; take 1 has no audio track, and take 2 is a WAV file."""
    rng = np.random.default_rng((number, take))
    level = 60 + 40 * number + 30 * np.sin(np.arange(10) * (number + 1))
    tone = 0.3 * np.sin(2 * np.pi * (300 + 600 * number) * np.arange(8000) / RATE)
    waveform = (tone + 0.01 * rng.standard_normal(8000)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    if take == 2:
        wavfile.write(path.with_suffix(".wav"), RATE, (30_000 * waveform).astype(np.int16))
        return
    sound = {} if take == 1 else {"waveform": waveform, "sample_rate": RATE}
    write_video(path, [np.full((32, 48, 3), value, np.uint8) for value in level], 20.0, **sound)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, avcil) -> Path:
    """Clip lists of the classes cat and dog, bell and owl, and all four, and a run of each list."""
    folder = tmp_path_factory.mktemp("incomplete")
    rows = []
    for number, label in enumerate(("cat", "dog", "bell", "owl")):
        for take in range(6):
            write_clip(folder / label / f"{take}.mp4", number, take)
            name = f"{label}/{take}.{'wav' if take == 2 else 'mp4'}"
            rows.append((folder / name, label, "test" if take == 5 else "train"))
    for name, selected in {"old": rows[:12], "new": rows[12:], "all": rows}.items():
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "split"), *selected])
        features = folder / f"{name}-features"
        assert (
            avcil("extract", folder / f"{name}.csv", "--out", features, "--missing", "keep", *SMALL_ENCODERS)
            == 0
        )
        assert avcil("train", features, "--classes-per-step", len(selected) // 6, "--out", folder / name) == 0
    return folder


def probabilities(model: Path, clips: Path) -> np.ndarray:
    """Probabilities (clips, classes) of the clips of a list; classes in alphabetical order."""
    recognizer = Recognizer.load(model)
    with open(clips, newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    return recognizer.predict_proba(paths)[:, np.argsort(recognizer.classes_)]


def test_learning_and_merging_equal_training_once(trained, avcil, capsys, tmp_path):
    """The model and its predictions do not depend on which command adds the classes."""
    assert avcil("learn", trained / "old", trained / "new.csv", "--out", tmp_path / "learned") == 0
    assert (
        "learned from clips that lack a modality: 2 without audio, 2 without frames"
        in capsys.readouterr().out
    )
    assert avcil("merge", trained / "old", trained / "new", "--out", tmp_path / "merged") == 0
    expected = probabilities(trained / "all", trained / "all.csv")
    np.testing.assert_allclose(probabilities(tmp_path / "learned", trained / "all.csv"), expected, rtol=1e-6)
    np.testing.assert_allclose(probabilities(tmp_path / "merged", trained / "all.csv"), expected, rtol=1e-6)
    assert (expected.argmax(axis=1) == np.repeat([1, 2, 0, 3], 6)).all()


def test_forgetting_incomplete_clips(trained, avcil, capsys, tmp_path):
    """After forgetting the clips of new.csv, the model equals one that never learned them."""
    assert avcil("forget", trained / "all", trained / "new.csv", "--out", tmp_path / "less") == 0
    assert "forgot clips: 5 of bell, 5 of owl" in capsys.readouterr().out
    expected = probabilities(trained / "old", trained / "old.csv")
    np.testing.assert_allclose(probabilities(tmp_path / "less", trained / "old.csv"), expected, rtol=1e-6)
