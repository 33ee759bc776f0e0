"""Forgetting clips and classes, renaming and undo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_options import small_options
from trained_recognizers import clips_of, trained

from avcil.errors import InputError
from avcil.inference import Recognizer


@pytest.mark.parametrize("method", ["blade", "ranpac", "slda", "rls"])
def test_forgetting_equals_not_learning(method, store, tmp_path):
    """After learning and forgetting, the moments are the same up to rounding; a class without clips is removed."""
    more = {"rls": ("compensation=0",), "ranpac": ("ridge=10",)}
    options = (*small_options(method, features=60), *more.get(method, ()))
    recognizer = trained(tmp_path, store, method, 1, set=options)
    state = recognizer.snapshot()
    clips, labels = clips_of(store, ["c2"])
    recognizer.learn(clips, labels)
    recognizer.forget(clips, labels)
    assert recognizer.classes_ == ("c1", "c0")
    assert recognizer.counts == {"c1": 8, "c0": 8}
    after = recognizer.snapshot().learning.tensors
    sums = [name for name in after if name.startswith(("moments", "stream"))]
    assert len(sums) >= 2
    for name in sums:
        torch.testing.assert_close(after[name], state.learning.tensors[name], rtol=1e-7, atol=1e-7)


def test_forgetting_rounds_features_as_learning_does(store, tmp_path):
    """Features are rounded to the dtype of the store in both cases."""
    recognizer = trained(tmp_path, store, "blade", 1)
    before = recognizer.snapshot().learning.tensors
    clips, labels = clips_of(store, ["c2"])
    fine = [replace(clip, audio=clip.audio * 1.0001, visual=clip.visual * 1.0001) for clip in clips]
    recognizer.learn(fine, labels)
    recognizer.forget(fine, labels)
    after = recognizer.snapshot().learning.tensors
    for name in ("moments.audio.within", "moments.visual.within"):
        torch.testing.assert_close(after[name], before[name], rtol=1e-10, atol=1e-10)
    assert torch.equal(after["sample.vectors"], before["sample.vectors"])


@pytest.mark.parametrize("method", ["blade", "slda", "acil"])
def test_only_learned_clips_are_forgotten(method, store, tmp_path):
    """Clips not learned, learned as another class or less often are errors, skipped, or subtracted."""
    recognizer = trained(tmp_path, store, method, 1)
    before = recognizer.snapshot()
    (learned, _), (other, _) = clips_of(store, ["c0"]), clips_of(store, ["c0"], "val")
    for clips, names, reason in (
        ([*learned[:2], other[0]], ["c0"] * 3, "the model has not learned it"),
        (learned[:1], ["c1"], "it was learned as class 'c0'"),
        ([learned[0]] * 2, ["c0"] * 2, "given more often than it was learned"),
    ):
        with pytest.raises(
            InputError, match=f"{clips[-1].clip_id}: .*{reason}.*Nothing was forgotten"
        ) as error:
            recognizer.forget(clips, names)
        assert ("--not-learned subtract" in str(error.value)) == (reason == "the model has not learned it")
        assert recognizer.snapshot() is before
    with pytest.raises(InputError, match="has not learned it"):
        recognizer.forget(other[:1], ["c0"], not_learned="skip")
    report = recognizer.forget([*learned[:2], other[0]], ["c0"] * 3, not_learned="skip")
    assert report.forgotten == {"c0": 2}
    assert [problem.path.name for problem in report.problems] == [Path(other[0].clip_id).name]
    close = replace(learned[2], audio=learned[2].audio * 1.001)
    assert recognizer.forget([close], ["c0"], not_learned="subtract").forgotten == {"c0": 1}
    assert recognizer.counts == {"c1": 8, "c0": 5}


@pytest.mark.parametrize("method", ["ncm", "slda"])
def test_clips_of_visual_models_are_recognized(method, new_store, tmp_path):
    """Training computes the mean of many tokens as precisely as forgetting does, so the hashes are equal."""
    store = new_store(grid=(8, 7))
    recognizer = trained(tmp_path, store, method, 1, modality="visual", set=())
    clips, labels = clips_of(store, ["c0", "c1"])
    assert recognizer.forget(clips[:7] + clips[8:10], labels[:7] + labels[8:10]).forgotten == {
        "c0": 7,
        "c1": 2,
    }
    assert recognizer.learn(clips, labels).extended == {"c0": 7, "c1": 2}


@pytest.mark.parametrize("method", ["blade", "slda"])
def test_clip_is_learned_once(method, store, tmp_path):
    """Learned clips and copies are skipped with the reason; after forgetting, they can be learned again."""
    recognizer = trained(tmp_path, store, method, 1)
    known, (new, labels) = clips_of(store, ["c0"]), clips_of(store, ["c2"])
    with pytest.raises(InputError, match=r"none of the 8 clips can be learned: .*already, as class 'c0'"):
        recognizer.learn(known[0], ["c2"] * 8)
    copy = replace(new[0], clip_id="copy")
    report = recognizer.learn([*known[0][:2], *new, copy], [*known[1][:2], *labels, "c9"])
    assert report.new == {"c2": 8}
    assert report.notes[:2] == ("no clip of class 'c0' was used", "no clip of class 'c9' was used")
    reasons = [problem.reason for problem in report.problems]
    assert reasons[:2] == ["the model has learned it already, as class 'c0'"] * 2
    assert reasons[2].startswith(
        f"it has the same features as {new[0].clip_id}, which was learned as class 'c2'"
    )
    recognizer.save(tmp_path / "model")
    again = Recognizer.load(tmp_path / "model")
    again.forget(new[:3], labels[:3])
    assert again.learn(new, labels).extended == {"c2": 3}


def test_subtracting_clips_that_were_not_learned(store, tmp_path):
    """If the statistics are not those of any clips then, the error says so, and the model does not change."""
    recognizer = trained(tmp_path, store, "blade", 2)
    before = recognizer.snapshot()
    clips, labels = clips_of(store, ["c0"], "test")
    with pytest.raises(InputError, match=r"probably not learned\. Nothing was forgotten"):
        recognizer.forget(clips, labels, not_learned="subtract")
    assert recognizer.snapshot() is before


def test_forgetting_a_class(store, tmp_path):
    """It is never predicted and can be learned again; for other methods, the error lists those that can forget."""
    recognizer = trained(tmp_path, store, "blade", 2)
    clips, labels = clips_of(store, ["c0", "c5"], "test")
    recognizer.forget_class("c1")
    assert recognizer.classes_ == ("c0", "c2", "c5")
    assert np.mean([a == b for a, b in zip(recognizer.predict(clips), labels, strict=True)]) > 0.8
    recognizer.save(tmp_path / "less")
    again = Recognizer.load(tmp_path / "less")
    again.learn(*clips_of(store, ["c1"]))
    assert again.classes_ == ("c0", "c2", "c5", "c1")
    with pytest.raises(InputError, match="has no class 'c9'"):
        again.forget_class("c9")
    with pytest.raises(InputError, match=r"cannot forget.*blade.*ranpac, rls, slda"):
        trained(tmp_path, store, "lwf", 1).forget_class("c0")


def test_undo_and_renaming(store, tmp_path):
    """A snapshot restores the state; a new name is in predictions, counts and the saved model."""
    recognizer = trained(tmp_path, store, "icarl", 1)
    before = recognizer.snapshot()
    clips, _ = clips_of(store, ["c0"], "test")
    first = recognizer.predict_proba(clips)
    recognizer.learn(*clips_of(store, ["c2"]))
    assert recognizer.predict_proba(clips).shape == (4, 3)
    recognizer.restore(before)
    np.testing.assert_array_equal(recognizer.predict_proba(clips), first)
    recognizer.rename("c0", "owl")
    assert recognizer.classes_ == ("c1", "owl")
    recognizer.save(tmp_path / "named")
    assert Recognizer.load(tmp_path / "named").learn(*clips_of(store, ["c2"])).new == {"c2": 8}
    with pytest.raises(InputError, match=r"differ only|already"):
        recognizer.rename("owl", "C1")
