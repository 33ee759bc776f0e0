"""Clips without audio or frames are used if the remaining modality suffices, never filled with zeros, and counted."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch
from blade_formats import format_3

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest
from avcil.inference.held_out import clips_of_run
from avcil.saved_models.folder import load_saved, load_tensors, save_tensors
from avcil.training.config import TrainConfig
from avcil.training.run import train

CLASSES, SPLITS = 4, {"train": 8, "val": 3, "test": 4}


def lacks(number: int) -> str | None:
    """Of every four clips, the second has no audio and the fourth no frames."""
    return {1: "audio", 3: "visual"}.get(number % 4)


def make(
    folder: Path,
    *,
    keep: tuple[str | None, ...] = (None, "audio", "visual"),
    without_audio: Collection[int] | None = None,
) -> Path:
    """A store of the clips with the missing modality in `keep`; None means complete clips.

    If `without_audio` is given, only the training clips of these classes lack a modality.
    """
    manifest = Manifest(visual=FeatureSpec(shape=(2, 3, 12)), audio=FeatureSpec(shape=(10,)), missing="keep")
    with FeatureWriter(folder, manifest) as writer:
        for label in range(CLASSES):
            rng = np.random.default_rng(label)
            means = {"visual": rng.standard_normal(12), "audio": 5 + rng.standard_normal(10)}
            for split, count in SPLITS.items():
                for number in range(count):
                    noise = {"visual": rng.standard_normal((2, 3, 12)), "audio": rng.standard_normal(10)}
                    arrays = {name: means[name] + 0.5 * noise[name] for name in means}
                    if without_audio is None:
                        arrays.pop(lacks(number) or "", None)
                    elif split == "train" and label in without_audio:
                        del arrays["audio"]
                    clip_id = f"{label}/{split}/{number}"
                    clip = Clip(clip_id=clip_id, path=Path(f"{clip_id}.mp4"), label=f"c{label}", split=split)
                    if without_audio is not None or lacks(number) in keep:
                        writer.add(clip, **arrays)
    return folder


def run(store: Path, out: Path, **options) -> dict:
    options = {"classes_per_step": 2, "epochs": 2, "batch_size": 8, "exemplars_per_class": 2} | options
    return train(TrainConfig(features=store, out=out, **options))


def test_audio_training_skips_clips_without_audio(tmp_path):
    """Statistics of audio-only blade equal, bit for bit, those of a store without clips that lack audio."""
    run(make(tmp_path / "all"), tmp_path / "one", modality="audio")
    run(make(tmp_path / "sounding", keep=(None, "visual")), tmp_path / "other", modality="audio")
    one, other = (
        load_tensors(tmp_path / name / "model" / "learning.safetensors") for name in ("one", "other")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    counts = json.loads((tmp_path / "one" / "results.json").read_text())["clips_lacking_a_modality"]
    assert counts == {"train": 8, "val": 4, "test": 4, "test_not_evaluated": 4}


@pytest.mark.parametrize("method", ["ncm", "rls", "lwf"])
def test_methods_that_leave_out_incomplete_clips(tmp_path, capsys, method):
    """The model is that of the complete clips; if it can predict from one modality, it is also tested on the others."""
    results = run(make(tmp_path / "all"), tmp_path / "one", method=method)
    message = capsys.readouterr()
    run(make(tmp_path / "whole", keep=(None,)), tmp_path / "other", method=method)
    one, other = (load_tensors(tmp_path / name / "model" / "model.safetensors") for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    counts = {"train": 16, "val": 4, "test": 8, "test_not_evaluated": 8 if method == "rls" else 0}
    assert results["clips_lacking_a_modality"] == counts
    assert "clips that lack audio or frames: 16 train, 4 val, 8 test" in message.out + message.err
    assert "They are not used for training" in message.out + message.err
    with open(tmp_path / "one" / "incomplete_clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 28
    assert rows[0] == {"clip_id": "0/train/1", "label": "c0", "split": "train", "lacks": "audio"}
    predictions = (tmp_path / "one" / "predictions" / "step_1.csv").read_text().splitlines()
    assert len(predictions) == 1 + (8 if method == "rls" else 16)
    matrix = (tmp_path / "one" / "accuracy_matrix.csv").read_text().splitlines()
    assert matrix[1] == ("n,4,4" if method == "rls" else "n,8,8")


def test_blade_learns_from_incomplete_clips(tmp_path, capsys):
    """The output has their number, and each is part of the statistics of its modality."""
    results = run(make(tmp_path / "all"), tmp_path / "one", method="blade")
    message = capsys.readouterr()
    assert "16 train, 4 val, 8 test" in message.out + message.err
    assert "Training clips are used with the modality that they have" in message.out + message.err
    counts = {"train": 16, "val": 4, "test": 8, "test_not_evaluated": 0, "train_used": 16}
    assert results["clips_lacking_a_modality"] == counts
    tensors = load_tensors(tmp_path / "one" / "model" / "learning.safetensors")
    assert tensors["complete_counts"].tolist() == [4] * CLASSES
    assert tensors["moments.audio.counts"].tolist() == [6] * CLASSES
    assert tensors["moments.visual.counts"].tolist() == [6] * CLASSES
    learning = json.loads((tmp_path / "one" / "model" / "learning.json").read_text())
    assert set(learning["counts"].values()) == {8}


@pytest.mark.parametrize("options", [{}, {"stream": "class-removal"}])
def test_steps_without_a_modality(tmp_path, options):
    """All classes of a step may lack audio, also after other classes were removed; then the model equals one
    that never learned the removed class."""
    complete = 1 if options else 3
    store = make(tmp_path / "s", without_audio=[label for label in range(CLASSES) if label != complete])
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps([["c0", "c1"], ["c2", "c3"]]))
    run(store, tmp_path / "run", method="blade", steps=steps, classes_per_step=None, **options)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    if options:
        assert results["stream_metrics"]["score_distance"] < 1e-9
    else:
        tensors = load_tensors(tmp_path / "run" / "model" / "learning.safetensors")
        assert tensors["complete_counts"].tolist() == [0, 0, 0, 8]
        assert tensors["moments.visual.counts"].tolist() == [8] * CLASSES


def test_no_training_clip_has_audio(tmp_path):
    store = make(tmp_path / "s", without_audio=range(CLASSES))
    with pytest.raises(InputError, match=r"no training clip has audio features.*--modality visual"):
        run(store, tmp_path / "run", method="blade")


def test_resumed_run_with_incomplete_clips(tmp_path):
    """A run resumed from the checkpoint of its first step gives the same model, bit for bit."""
    store = make(tmp_path / "all")
    run(store, tmp_path / "one")
    run(store, tmp_path / "two")
    folder = tmp_path / "two"
    shutil.rmtree(folder / "checkpoints" / "step_1")
    shutil.rmtree(folder / "model")
    (folder / "results.json").unlink()
    run(store, folder)
    one, two = (load_tensors(tmp_path / name / "model" / "learning.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_checkpoint_of_format_3_is_resumed(tmp_path):
    """Its statistics are converted: the result is equal up to rounding."""
    store = make(tmp_path / "whole", keep=(None,))
    run(store, tmp_path / "one")
    run(store, tmp_path / "two")
    folder = tmp_path / "two"
    shutil.rmtree(folder / "checkpoints" / "step_1")
    shutil.rmtree(folder / "model")
    (folder / "results.json").unlink()
    file = folder / "checkpoints" / "step_0" / "model.safetensors"
    save_tensors(file, format_3(load_tensors(file)))
    run(store, folder)
    one, two = (load_tensors(tmp_path / name / "model" / "learning.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-9, atol=1e-9)


def test_missing_zero_in_old_stores_is_read_as_keep(tmp_path):
    """Old stores open with an unchanged fingerprint, and their zeros are not used as features."""
    store = make(tmp_path / "old")
    manifest = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps(manifest | {"missing": "zero"}))
    run(store, tmp_path / "one", modality="audio")
    run(make(tmp_path / "new"), tmp_path / "other", modality="audio")
    one, other = (load_tensors(tmp_path / name / "model" / "model.safetensors") for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with FeatureWriter(store, FeatureStore(tmp_path / "new").manifest) as writer:
        assert len(writer.done) == CLASSES * sum(SPLITS.values())


def test_class_without_complete_clips(tmp_path):
    """It is an error that names the missing modality."""
    store = make(tmp_path / "s", keep=("audio",))
    with pytest.raises(InputError, match=r"no train clip of 'c0'.*that have audio and visual"):
        run(store, tmp_path / "run", method="ncm")


def test_update_evaluates_the_test_clips_of_the_run(tmp_path):
    """Before an update, test clips with one modality are evaluated if the model can predict from it, as in training."""
    store = make(tmp_path / "s")
    for method, count in (("blade", CLASSES * SPLITS["test"]), ("ranpac", CLASSES * SPLITS["test"] // 2)):
        run(store, tmp_path / method, method=method)
        held_out = clips_of_run(tmp_path / method, load_saved(tmp_path / method / "model"))
        assert len(held_out.labels) == count
        assert bool(held_out.notes) == (method == "ranpac")
        results = json.loads((tmp_path / method / "results.json").read_text())
        correct = held_out.correct(load_saved(tmp_path / method / "model"))
        assert correct.total() / count == pytest.approx(results["last_accuracy"])
