"""Clips of a background that is rejected: learned as a class that is never predicted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.inference import ClipFeatures, Recognizer
from avcil.inference.prediction import predict_labels
from avcil.saved_models.folder import BACKGROUND, load_saved
from avcil.training.config import TrainConfig
from avcil.training.run import train


def clips_of(store: FeatureStore, labels: set[str], split: str) -> list[ClipFeatures]:
    """Features of a split's clips of some classes."""
    rows = [row for row, clip in enumerate(store.clips) if clip.label in labels and clip.split == split]
    audio, visual = (torch.from_numpy(part(rows).astype(np.float32)) for part in (store.audio, store.visual))
    return [
        ClipFeatures(audio=audio[i : i + 1], visual=visual[i : i + 1], clip_id=store.clips[row].clip_id)
        for i, row in enumerate(rows)
    ]


@pytest.fixture(scope="module", params=["blade", "slda"])
def model(request, tmp_path_factory, store) -> Path:
    """A model of the first four classes of six."""
    out = tmp_path_factory.mktemp(request.param) / "run"
    steps = out.parent / "steps.json"
    steps.write_text('[["c0", "c1"], ["c2", "c3"]]')
    train(TrainConfig(features=store, out=out, method=request.param, steps=steps), quiet=True)
    return out


def test_background_is_rejected_and_never_predicted(model, store, tmp_path):
    """Most similar clips become unknown; the background is not in classes, columns and counts, and can be removed."""
    features = FeatureStore(store)
    recognizer = Recognizer.load(model)
    strangers, known = (
        clips_of(features, {"c4", "c5"}, "test"),
        clips_of(features, {"c0", "c1", "c2", "c3"}, "test"),
    )
    before = [recognizer.predict_clip(clip) for clip in strangers]
    recognizer.learn_background(clips_of(features, {"c4", "c5"}, "train"))
    answers = [recognizer.predict_clip(clip) for clip in strangers]
    rejected = sum(result.in_distribution is False for result in answers)
    assert rejected >= sum(result.in_distribution is False for result in before)
    assert rejected >= 0.75 * len(answers)
    assert "background" in next(result.why_unknown for result in answers if result.in_distribution is False)
    assert {result.label for result in answers} <= {"c0", "c1", "c2", "c3"}
    assert all(sum(result.probabilities.values()) == pytest.approx(1) for result in answers)
    assert sum(recognizer.predict_clip(clip).in_distribution is False for clip in known) <= 0.25 * len(known)
    assert recognizer.classes_ == ("c0", "c1", "c2", "c3")
    assert recognizer.predict_proba(known[:2]).shape == (2, 4)
    assert recognizer.counts is not None
    assert BACKGROUND not in recognizer.counts
    recognizer.save(tmp_path / "model")
    again = Recognizer.load(tmp_path / "model")
    assert again.predict_clip(strangers[0]) == answers[0]
    if again.description["method"] == "blade":
        again.forget_class(BACKGROUND)
        assert again.predict_clip(strangers[0]).background is None


def test_background_label_is_reserved(model, store):
    """No class can have this name, also by renaming."""
    recognizer = Recognizer.load(model)
    clips = clips_of(FeatureStore(store), {"c4"}, "train")
    with pytest.raises(InputError, match="reserved for clips to be rejected"):
        recognizer.learn(clips, [BACKGROUND] * len(clips))
    with pytest.raises(InputError, match="reserved for clips to be rejected"):
        recognizer.rename("c0", BACKGROUND)


def test_background_option_of_learn(trained, avcil, tmp_path, capsys):
    """`avcil learn --background` adds no class."""
    clips = sorted((trained / "clips").glob("train-3-*"))
    assert avcil("learn", trained / "av", "--background", *clips, "--out", tmp_path / "model") == 0
    out = capsys.readouterr().out
    assert "learned 3 background clips" in out
    assert "The model has 4 classes" in out
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    arguments = ("learn", trained / "av", "--background", tmp_path / "bad.mp4", "--out", tmp_path / "none")
    assert avcil(*arguments) == 2
    message = capsys.readouterr().err
    assert "--background: none of the 1 clips can be learned" in message
    assert "The new model was not saved" in message
    assert avcil("learn", trained / "av", "--out", tmp_path / "none") == 2
    assert "or --background FOLDER" in capsys.readouterr().err


def test_labels_of_many_clips_equal_single_predictions(model, store, tmp_path):
    """Also for clips that lack a modality; the background is never a label."""
    recognizer, opened = Recognizer.load(model), FeatureStore(store)
    recognizer.learn_background(clips_of(opened, {"c4", "c5"}, "train"))
    clips = clips_of(opened, {"c0", "c1", "c2", "c3", "c4"}, "test")
    recognizer.save(tmp_path / "model")
    state = load_saved(tmp_path / "model")
    if Modality.VISUAL in state.model.input_modalities:
        clips[1::3] = [replace(clip, audio=None) for clip in clips[1::3]]
    labels = predict_labels(state, clips)
    assert labels == [recognizer.predict_clip(clip).label for clip in clips]
    assert len(set(labels)) > 1
