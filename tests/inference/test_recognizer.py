"""Recognizers of models that were trained with commands on real files."""

from __future__ import annotations

import csv
import html
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from avcil.errors import InputError
from avcil.inference import Recognizer
from avcil.media import write_video

CLASSES = {'dog, "big"', "cat/kitten", "🎸 guitar", "-minus"}


def stored_predictions(run: Path) -> dict[str, dict[str, str]]:
    with open(run / "predictions" / "step_1.csv", newline="", encoding="utf-8") as file:
        return {row["clip_id"]: row for row in csv.DictReader(file)}


def held_out(trained: Path) -> list[tuple[str, Path]]:
    """Ids and files of the test clips."""
    with open(trained / "clips.csv", newline="", encoding="utf-8") as file:
        return [
            (row["clip_id"], trained / row["path"]) for row in csv.DictReader(file) if row["split"] == "test"
        ]


@pytest.mark.parametrize("run", ["av", "audio", "visual"])
def test_predictions_equal_those_of_training(run, trained):
    """The prediction of a test clip from its file equals that in the run directory: label, probability to 1e-6."""
    recognizer = Recognizer.load(trained / run)
    stored = stored_predictions(trained / run)
    assert len(stored) == 8
    for clip_id, path in held_out(trained):
        result = recognizer.predict_clip(path)
        assert result.label == stored[clip_id]["predicted"]
        assert result.probability == pytest.approx(float(stored[clip_id]["probability"]), abs=1e-6)


def test_python_api(trained):
    """Classes, labels and probabilities are consistent; a run and its model folder give the same."""
    recognizer = Recognizer.load(trained / "av")
    paths = [path for _, path in held_out(trained)][:3]
    assert set(recognizer.classes_) == CLASSES
    probabilities = recognizer.predict_proba(paths)
    assert probabilities.shape == (3, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert [recognizer.classes_[i] for i in probabilities.argmax(axis=1)] == recognizer.predict(paths)
    np.testing.assert_array_equal(
        Recognizer.load(trained / "av" / "model").predict_proba(paths), probabilities
    )
    assert recognizer.predict_proba([]).shape == (0, 4)
    assert recognizer.predict(str(paths[0])) == recognizer.predict(paths[:1])[0]
    np.testing.assert_array_equal(recognizer.predict_proba(paths[0]), probabilities[0])


def test_model_folder_is_sufficient(trained, tmp_path):
    """A model folder without run, store and clips can predict."""
    shutil.copytree(trained / "av" / "model", tmp_path / "shipped")
    clip = Path(shutil.copy(held_out(trained)[0][1], tmp_path / "clip.mp4"))
    assert Recognizer.load(tmp_path / "shipped").predict([clip])[0] in CLASSES


def test_names_with_special_characters(trained, avcil, capsys, tmp_path):
    """Commas, quotes, slashes, emoji and a leading - from CSV through train and predict into the report."""
    for name in ("accuracy_matrix.csv", "predictions/step_1.csv", "model/labels.json"):
        assert (trained / "av" / name).is_file()
    assert {row["label"] for row in stored_predictions(trained / "av").values()} == CLASSES
    assert set(json.loads((trained / "av" / "model" / "labels.json").read_text(encoding="utf-8"))) == CLASSES
    assert avcil("report", trained / "av", trained / "audio", "--out", tmp_path / "report.html") == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(html.escape(name) in page for name in CLASSES)
    capsys.readouterr()
    assert avcil("predict", trained / "av", held_out(trained)[0][1], "--top", "4") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in CLASSES)


def test_good_files_are_predicted_despite_bad_ones(trained, avcil, capsys, tmp_path):
    """Each missing, damaged, silent or other file has an error or a note; the others are predicted; exit code 2."""
    good = held_out(trained)[0][1]
    silent, torn, folder = tmp_path / "silent.mp4", tmp_path / "torn.mp4", tmp_path / "folder"
    write_video(silent, [np.full((48, 64, 3), 90, np.uint8)] * 8, 20.0)
    torn.write_bytes(good.read_bytes()[:300])
    folder.mkdir()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "notes.mp4").write_text("not a video at all\n" * 50)
    bad = [tmp_path / "gone.mp4", torn, folder, tmp_path / "empty.mp4", tmp_path / "notes.mp4"]
    assert avcil("predict", trained / "av", *bad[:2], good, silent, *bad[2:], "--json") == 2
    out, err = capsys.readouterr()
    answers = json.loads(out)
    assert [result["path"] for result in answers] == [
        str(path) for path in [*bad[:2], good, silent, *bad[2:]]
    ]
    assert ["error" in result for result in answers] == [True] * 2 + [False] * 2 + [True] * 3
    assert answers[2]["label"] in CLASSES
    assert len(answers[2]["predictions"]) == 3
    assert answers[3]["notes"] == "no audio track; predicted from frames alone"
    assert "5 of 7 files could not be predicted" in err
    assert avcil("predict", trained / "av", *bad, good) == 2
    out, err = capsys.readouterr()
    assert str(good) in out
    assert all(str(path) in err for path in bad)
    assert "Traceback" not in err


def test_video_without_audio_for_a_visual_model(trained, tmp_path):
    """A modality that the model does not use can be missing."""
    silent = tmp_path / "silent.mp4"
    write_video(silent, [np.full((48, 64, 3), 90, np.uint8)] * 8, 20.0)
    assert Recognizer.load(trained / "visual").predict_clip(silent).label in CLASSES


def test_file_names_with_a_leading_dash(trained, avcil, capsys, tmp_path, monkeypatch):
    """As ./-abc.mp4, or after --."""
    shutil.copy(held_out(trained)[0][1], tmp_path / "-abc.mp4")
    monkeypatch.chdir(tmp_path)
    assert avcil("predict", trained / "av", "./-abc.mp4", "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert avcil("predict", trained / "av", "--json", "--", "-abc.mp4") == 0
    assert json.loads(capsys.readouterr().out) == [first[0] | {"path": "-abc.mp4"}]


def damage(folder: Path, **changes: object) -> None:
    """Introduce one defect into a model folder."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def model_with(trained: Path, folder: Path, what: str) -> Path:
    """A copy of the model with one defect."""
    shutil.copytree(trained / "av" / "model", folder)
    if what == "newer version":
        damage(folder, version=99)
    elif what == "another format":
        damage(folder, format="someone-elses")
    elif what == "kind that names a file":
        (folder / "evil.py").write_text("raise SystemExit('run!')")
        damage(folder, kind=str(folder / "evil.py"))
    elif what == "fewer labels":
        (folder / "labels.json").write_text('["a", "b"]')
    elif what == "labels twice":
        (folder / "labels.json").write_text('["a", "b", "a", "c"]')
    elif what == "labels no list":
        (folder / "labels.json").write_text('{"a": 1}')
    elif what == "other tensors":
        shutil.copy(trained / "audio" / "model" / "model.safetensors", folder)
    elif what == "torn tensors":
        (folder / "model.safetensors").write_bytes(b"\x08")
    elif what == "no tensors":
        (folder / "model.safetensors").unlink()
    elif what == "torn config":
        (folder / "config.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("newer version", "version 99; this version of avcil reads 1"),
        ("another format", "is not the config of an avcil model"),
        ("kind that names a file", "come from no method of avcil"),
        ("fewer labels", "has 4 classes, labels.json has 2"),
        ("labels twice", "without duplicates"),
        ("labels no list", "distinct class names"),
        ("other tensors", "do not fit each other"),
        ("torn tensors", "model.safetensors is damaged"),
        ("no tensors", "there is no file"),
        ("torn config", "not valid JSON"),
    ],
)
def test_models_that_cannot_be_loaded(what, message, trained, tmp_path):
    """The error names the problem, and no code of the folder is run."""
    with pytest.raises(InputError, match=message):
        Recognizer.load(model_with(trained, tmp_path / "model", what))


@pytest.mark.parametrize("left", ["config.json", "checkpoints"])
def test_unfinished_run(left, trained, tmp_path):
    """An unfinished run is recognized as such, also with only its first files."""
    run = tmp_path / "run"
    shutil.copytree(trained / "av", run)
    (run / "results.json").unlink()
    if left == "config.json":
        for name in ("checkpoints", "model", "predictions"):
            shutil.rmtree(run / name)
        (run / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="not finished; run its avcil train command again"):
        Recognizer.load(run)
    with pytest.raises(InputError, match="there is no folder"):
        Recognizer.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not a model folder"):
        Recognizer.load(tmp_path)
