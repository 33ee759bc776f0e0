"""`avcil learn`, and `avcil predict` with folders, patterns and long videos."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from avcil.inference import Recognizer
from avcil.media import write_video

SMALL_ENCODERS = ("--visual", "patch-motion", "--audio", "log-mel")
"""Faster than the default ones."""

RATE = 16_000


def write_clip(path: Path, number: int, take: int) -> None:
    """A gray level and a tone for each class; clips differ slightly."""
    rng = np.random.default_rng((number, take))
    level = 60 + 40 * number + 30 * np.sin(np.arange(10) * (number + 1))
    frames = [np.full((32, 48, 3), value, np.uint8) for value in level]
    tone = 0.3 * np.sin(2 * np.pi * (300 + 600 * number) * np.arange(8000) / RATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    waveform = (tone + 0.01 * rng.standard_normal(8000)).astype(np.float32)
    write_video(path, frames, 20.0, waveform=waveform, sample_rate=RATE)


@pytest.fixture(scope="module")
def made(tmp_path_factory, avcil) -> Path:
    """clips/ of two classes, new/ of two others, and a run of the first two."""
    folder = tmp_path_factory.mktemp("learn")
    for number, label in enumerate(("dog", "cat", "owl", "big bell")):
        for take in range(6):
            write_clip(folder / ("clips" if number < 2 else "new") / label / f"{take}.mp4", number, take)
    assert avcil("scan", folder / "clips", "--out", folder / "clips.csv") == 0
    assert avcil("extract", folder / "clips.csv", "--out", folder / "features", *SMALL_ENCODERS) == 0
    assert (
        avcil(
            "train",
            folder / "features",
            "--method",
            "blade",
            "--classes-per-step",
            2,
            "--out",
            folder / "run",
        )
        == 0
    )
    return folder


def digest(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }


def test_new_classes(made, avcil, capsys, tmp_path):
    """Two new classes: the table has old and new classes, bad clips are listed, the old model is unchanged."""
    new = tmp_path / "new"
    shutil.copytree(made / "new", new)
    (new / "owl" / "bad.mp4").write_text("no video")
    before = digest(made / "run")
    assert avcil("learn", made / "run", new, "--out", tmp_path / "more") == 0
    out, err = capsys.readouterr()
    assert "learned clips: 5 of big bell, 5 of owl; reading took" in out
    assert "old classes" in out
    assert "bad.mp4: is not a media file" in err
    assert digest(made / "run") == before
    assert set(Recognizer.load(tmp_path / "more").classes_) == {"dog", "cat", "owl", "big bell"}


def test_replace_the_model_and_learn_again(made, avcil, capsys, tmp_path):
    """Without --out the model is replaced; a known class needs --extend or --rename."""
    run = tmp_path / "run"
    shutil.copytree(made / "run", run)
    assert avcil("learn", run, made / "new" / "owl") == 0
    assert Recognizer.load(run).classes_ == ("cat", "dog", "owl")
    assert avcil("learn", run, made / "new" / "owl") == 2
    assert "Add --extend" in capsys.readouterr().err
    assert avcil("learn", run, made / "new" / "owl", "--extend", "--held-out", 0) == 0
    captured = capsys.readouterr()
    assert captured.err.count("the model has learned it already, as class 'owl'") == 5
    assert "learned clips: 1 of owl" in captured.out, "the clip that was held out before"
    assert avcil("learn", run, made / "new" / "owl", "--rename", "owl=eule") == 2
    assert "none of the 6 clips can be learned: " in capsys.readouterr().err
    assert avcil("learn", run, made / "new" / "big bell", "--rename", "big bell=eule") == 0
    assert Recognizer.load(run).classes_ == ("cat", "dog", "owl", "eule")
    capsys.readouterr()
    assert avcil("learn", run, made / "new" / "owl", "--rename", "cow=moo") == 2
    assert "there are no clips of 'cow'" in capsys.readouterr().err


def test_clip_list_and_model_without_a_run(made, avcil, capsys, tmp_path):
    """Train clips are learned, test clips are held out; without a run, a note says what is not evaluated."""
    shutil.copytree(made / "run" / "model", tmp_path / "model")
    assert avcil("scan", made / "new", "--out", tmp_path / "new.csv") == 0
    assert avcil("learn", tmp_path / "model", tmp_path / "new.csv") == 0
    out = capsys.readouterr().out
    assert "new classes" not in out
    assert "owl" in out
    assert "is a saved model and not a run directory" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clips.csv", "new"], "one clip list, or folders, not both"),
        (["nowhere"], "is not a folder"),
        (["mixed"], "ambiguous whether"),
        (["empty"], "no media file"),
    ],
)
def test_invalid_folders_of_clips(arguments, message, made, avcil, capsys, tmp_path, monkeypatch):
    """The errors are raised before any clip is read."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "new", tmp_path / "mixed")
    shutil.copy(made / "new" / "owl" / "0.mp4", tmp_path / "mixed")
    (tmp_path / "empty").mkdir()
    assert avcil("learn", made / "run", *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["saving", "exchanging", "set aside"])
def test_kill_during_learning(moment, made, tmp_path):
    """A kill does not change the old model, and the same command works afterwards."""
    model = tmp_path / "model"
    shutil.copytree(made / "run" / "model", model)
    before = digest(model)
    code = (
        "import os, signal, sys\n"
        "import avcil.utils.files as files, avcil.saved_models.folder as saved\n"
        "def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        "moment = sys.argv[1]\n"
        "if moment == 'saving': saved.model_card = die\n"
        "if moment == 'exchanging': files._exchange = die\n"
        "if moment == 'set aside':\n"
        "    files._exchange = lambda *_: False\n"
        "    rename = os.rename\n"
        "    def once(a, b):\n"
        "        rename(a, b)\n"
        "        if str(b).endswith('.before'): die()\n"
        "    os.rename = once\n"
        "from avcil.cli.main import main\n"
        "main(sys.argv[2:])\n"
    )
    arguments = ["learn", str(model), str(made / "new" / "owl")]
    killed = subprocess.run(
        [sys.executable, "-c", code, moment, *arguments], capture_output=True, env=os.environ
    )
    assert killed.returncode == -signal.SIGKILL
    assert Recognizer.load(model).classes_ == ("cat", "dog")
    assert digest(model) == before
    whole = subprocess.run(
        [sys.executable, "-m", "avcil", *arguments], capture_output=True, text=True, env=os.environ
    )
    assert whole.returncode == 0, whole.stderr
    assert Recognizer.load(model).classes_ == ("cat", "dog", "owl")


def test_folders_and_patterns(made, avcil, capsys, tmp_path):
    """Folders and patterns are expanded; those without files are errors, the others are predicted."""
    clips = made / "clips"
    assert avcil("predict", made / "run", clips / "dog", f"{clips}/cat/*.mp4", "--format", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["path"] for row in rows] == [
        str(clips / n / f"{i}.mp4") for n in ("dog", "cat") for i in range(6)
    ]
    assert np.mean([row["label"] == Path(row["path"]).parent.name for row in rows]) > 0.8
    (tmp_path / "none").mkdir()
    out = tmp_path / "out.json"
    assert avcil("predict", made / "run", tmp_path / "none", "no*.mp4", clips / "dog", "--out", out) == 2
    assert [result["modality"] for result in json.loads(out.read_text())] == ["audio-visual"] * 6
    err = capsys.readouterr().err
    assert "folder without media files" in err
    assert "no file matches the pattern no*.mp4" in err


def test_timelines(made, avcil, capsys, tmp_path):
    """Text, CSV, JSON and WebVTT have the same events; the error of a bad file is printed."""
    video, bad = made / "clips" / "dog" / "0.mp4", tmp_path / "bad.mp4"
    bad.write_text("no video")
    window = ["--window", "200ms", "--hop", "0.1s"]
    assert avcil("predict", made / "run", video, *window, "--out", tmp_path / "t.vtt") == 0
    text = capsys.readouterr().out
    cues = (tmp_path / "t.vtt").read_text()
    assert cues.startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert "|" in text
    assert avcil("predict", made / "run", video, bad, *window, "--format", "json") == 2
    out, err = capsys.readouterr()
    *events, failed = json.loads(out)
    assert "is not a media file" in failed["error"]
    assert "bad.mp4" in err
    assert len(events) == cues.count("-->")
    assert avcil("predict", made / "run", video, *window, "--format", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["label"], float(row["end"])) for row in rows] == [(e["label"], e["end"]) for e in events]


def test_explained_clips(made, avcil, capsys, tmp_path):
    """A video and a JSON file for each predicted clip."""
    clip = made / "clips" / "dog" / "0.mp4"
    assert avcil("predict", made / "run", clip, clip.parent / "gone.mp4", "--explain", tmp_path / "ex") == 2
    assert sorted(file.name for file in (tmp_path / "ex").iterdir()) == ["0000-0.json", "0000-0.mp4"]
    told = json.loads((tmp_path / "ex" / "0000-0.json").read_text())
    assert told["contribution_kind"] == "additive"
    assert sum(told["contributions"].values()) == pytest.approx(told["margin"], abs=1e-6)
    printed = capsys.readouterr().out
    assert f"score difference to {told['runner_up']} {told['margin']:+.2f}:" in printed
    for name, value in told["contributions"].items():
        title = "bias term" if name == "bias" else name
        assert re.search(rf"^ +{title} +{re.escape(f'{value:+.2f}')}\b", printed, re.M), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hop", "1s"], "--hop needs --window"),
        (["--window", "x"], "must be a duration above 0"),
        (["--window", "1s", "--explain", "ex"], "--explain is for clips"),
        (["--format", "webvtt"], "webvtt is for timelines"),
        (["--out", "a.doc"], "the suffix must be"),
        (["--json", "--format", "csv"], "contradict"),
    ],
)
def test_incompatible_options(arguments, message, made, avcil, capsys):
    """The error names the options."""
    assert avcil("predict", made / "run", made / "clips", *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "learning.safetensors", "labels.json"])
def test_full_disk(name, made, avcil, capsys, tmp_path, monkeypatch):
    """rename, forget and merge report it, write no model and keep the old one; with space, the command succeeds."""
    other = tmp_path / "other"
    assert avcil("rename", made / "run", "dog=hound", "--out", other) == 0
    commands = {
        "rename": ("rename", made / "run", "cat=kitten"),
        "forget a class": ("forget", made / "run", "--class", "cat"),
        "forget clips": ("forget", made / "run", made / "clips" / "cat" / "0.mp4"),
        "merge": ("merge", made / "run", other, "--same-classes"),
    }
    sync = os.fsync

    def no_space(descriptor: int) -> None:
        if f"/.{name}." in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    models = (made / "run" / "model", other)
    before = {path: path.read_bytes() for model in models for path in model.iterdir() if path.is_file()}
    for command, arguments in commands.items():
        out = tmp_path / "out"
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", no_space)
            assert avcil(*arguments, "--out", out) == 2, command
        assert "no space left on the disk" in capsys.readouterr().err
        assert not (out / "config.json").exists()
        assert list(tmp_path.rglob("*.part")) == []
        assert before == {path: path.read_bytes() for path in before}
        assert avcil(*arguments, "--out", out) == 0, command
        Recognizer.load(out)
        shutil.rmtree(out)


def test_forget_learned_clips(made, avcil, capsys, tmp_path):
    """With a folder, files or a clip list, the model equals the one before learning."""
    assert avcil("learn", made / "run", made / "new" / "owl", "--out", tmp_path / "more") == 0
    assert avcil("forget", tmp_path / "more", made / "new" / "owl", "--out", tmp_path / "less") == 0
    captured = capsys.readouterr()
    assert captured.err.count("the model has not learned it") == 1, "the clip that was held out"
    assert "forgot clips: 5 of owl" in captured.out
    assert "forgot classes: owl" in captured.out
    clip = made / "clips" / "dog" / "0.mp4"
    less, before = Recognizer.load(tmp_path / "less"), Recognizer.load(made / "run")
    assert less.classes_ == before.classes_
    np.testing.assert_allclose(less.predict_proba(clip), before.predict_proba(clip), rtol=1e-6)
    owls = [made / "new" / "owl" / f"{take}.mp4" for take in range(2)]
    assert avcil("learn", made / "run", made / "new", "--held-out", 0, "--out", tmp_path / "all") == 0
    assert avcil("forget", tmp_path / "all", *owls, "--out", tmp_path / "four") == 0
    assert Recognizer.load(tmp_path / "four").counts["owl"] == 4
    with open(tmp_path / "bells.csv", "w", newline="") as file:
        rows = [(made / "new" / "big bell" / f"{take}.mp4", "big bell", "train") for take in range(6)]
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    assert avcil("forget", tmp_path / "four", tmp_path / "bells.csv", "--out", tmp_path / "owl") == 0
    assert set(Recognizer.load(tmp_path / "owl").classes_) == {"cat", "dog", "owl"}


def test_forget_background_clips(made, avcil, capsys, tmp_path):
    """Single clips of the background are forgotten; one that was not learned is an error."""
    bells = sorted((made / "new" / "big bell").glob("*.mp4"))
    assert avcil("learn", made / "run", "--background", *bells[:3], "--out", tmp_path / "model") == 0
    capsys.readouterr()
    assert avcil("forget", tmp_path / "model", "--background", *bells[:2], "--out", tmp_path / "less") == 0
    assert "forgot clips: 2 of (background)" in capsys.readouterr().out
    assert avcil("forget", tmp_path / "less", "--background", *bells[1:3], "--out", tmp_path / "none") == 2
    assert f"{bells[1]}: the model has not learned it" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
