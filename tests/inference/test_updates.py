"""Learning in several updates: equality with one run, clips that cannot be learned, concurrent predictions."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from trained_recognizers import STEPS, clips_of, same, trained, without

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.inference import ClipFeatures, Recognizer
from avcil.inference.evaluated_learning import learn_and_evaluate
from avcil.inference.held_out import HeldOut
from avcil.methods.registry import method_names
from avcil.saved_models.folder import load_saved


@pytest.mark.parametrize("method", [name for name in method_names() if name != "joint"])
def test_updates_equal_one_run(method, store, tmp_path):
    """One step of avcil train and two updates, saved and loaded between, equal a run of all steps bit for bit."""
    whole, one = (trained(tmp_path, store, method, steps) for steps in (3, 1))
    for number, step in enumerate(STEPS[1:]):
        report = one.learn(*clips_of(store, step))
        assert report.new == dict.fromkeys(step, 8)
        assert not report.problems
        one.save(tmp_path / f"saved{number}")
        one = Recognizer.load(tmp_path / f"saved{number}")
    assert same(one, whole)


@pytest.mark.parametrize("modality", ["audio", "visual"])
@pytest.mark.parametrize("method", ["blade", "icarl"])
def test_updates_of_one_modality(method, modality, store, tmp_path):
    """Updates equal one run for audio-only and visual-only models."""
    whole, one = (trained(tmp_path, store, method, steps, modality=modality) for steps in (2, 1))
    one.learn(*clips_of(store, STEPS[1]))
    assert same(one, whole)


def test_order_of_clips(store, tmp_path):
    """The result depends on the ids of the clips and the order of classes, not on the order of the clips."""
    one = trained(tmp_path, store, "blade", 1)
    other = Recognizer.load(tmp_path / "blade-audio-visual-1")
    clips, labels = clips_of(store, STEPS[1])
    one.learn(clips, labels)
    order = [0, *range(15, 0, -1)]  # the first clip is of the same class in both
    order = [
        0,
        *(i for i in order if labels[i] == labels[0] and i),
        *(i for i in order if labels[i] != labels[0]),
    ]
    other.learn([clips[i] for i in order], [labels[i] for i in order])
    assert same(one, other)


@pytest.mark.parametrize("method", ["blade", "ranpac", "slda", "rls"])
def test_more_clips_of_old_classes(method, store, tmp_path):
    """Closed-form methods can learn more clips of old classes, with or without new classes."""
    recognizer = trained(tmp_path, store, method, 1)
    clips, labels = clips_of(store, ["c0", "c1"], "val")
    report = recognizer.learn(clips, labels)
    assert (report.new, report.extended) == ({}, {"c0": 3, "c1": 3})
    more = [clips_of(store, ["c0"], "test"), clips_of(store, ["c2"])]
    report = recognizer.learn(
        [c for part in more for c in part[0]], [label for part in more for label in part[1]]
    )
    assert (report.new, report.extended) == ({"c2": 8}, {"c0": 4})
    assert recognizer.counts == {"c1": 11, "c0": 15, "c2": 8}
    clips, labels = clips_of(store, ["c0", "c1", "c2"], "test")
    assert np.mean([a == b for a, b in zip(recognizer.predict(clips), labels, strict=True)]) > 0.8


def test_clips_that_cannot_be_learned(store, tmp_path):
    """The error explains the reason, and the recognizer is unchanged."""
    network, joint = trained(tmp_path, store, "av-cil", 1), trained(tmp_path, store, "joint", 1)
    blade = trained(tmp_path, store, "blade", 1)
    before = blade.snapshot()
    clips, labels = clips_of(store, ["c2"])
    with pytest.raises(InputError, match=r"cannot learn more clips of known classes .*blade") as refused:
        network.learn(*clips_of(store, ["c0"], "val"))
    assert "joint" not in str(refused.value), "joint training cannot learn from single clips at all"
    with pytest.raises(InputError, match="trains on the clips of all steps"):
        joint.learn(clips, labels)
    with pytest.raises(InputError, match="8 clips and 7 labels"):
        blade.learn(clips, labels[:-1])
    with pytest.raises(InputError, match="differ only in case"):
        blade.learn(clips, ["C0"] * 8)
    with pytest.raises(InputError, match="given twice"):
        network.learn([clips[0], clips[0]], ["c2", "c2"])
    assert blade.snapshot() is before
    ncm, silent = trained(tmp_path, store, "ncm", 1), without("audio", clips)
    with pytest.raises(InputError, match=r"none of the 8 clips can be learned: .*learning needs audio"):
        ncm.learn(silent, labels)
    report = ncm.learn([*silent[:5], *clips[5:]], labels)
    assert report.new == {"c2": 3}
    assert len(report.problems) == 5


def test_clips_without_a_modality(store, tmp_path):
    """blade learns a class from clips without audio and without frames, saves, forgets and merges them."""
    first, second = clips_of(store, ["c2"]), clips_of(store, ["c5"])
    mixed = [*without("audio", first[0][:3]), *without("visual", first[0][3:5]), *first[0][5:]]
    blade = trained(tmp_path, store, "blade", 1)
    before = blade.snapshot()
    tests, labels = clips_of(store, ["c0", "c1", "c2"], "test")
    given = [*tests, *without("audio", tests), *without("visual", tests)]
    expected = blade.predict_proba(given)
    report = blade.learn(mixed, first[1])
    assert report.new == {"c2": 8}
    assert not report.problems
    assert "learned from clips that lack a modality: 3 without audio, 2 without frames" in report.notes
    assert np.mean([a == b for a, b in zip(blade.predict(tests), labels, strict=True)]) > 0.8
    learned = blade.predict_proba(given)
    blade.save(tmp_path / "model")
    assert load_saved(tmp_path / "model").learning.counts["c2"] == 8
    again = Recognizer.load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(given), learned)
    again.forget(mixed, first[1])
    assert again.classes_ == before.classes
    assert np.allclose(again.predict_proba(given), expected, rtol=0, atol=1e-8)
    other = Recognizer(before)
    other.learn(without("audio", second[0]), second[1])
    blade.merge(other, same_classes=True)
    assert blade.counts["c5"] == 8
    blade.forget(without("audio", second[0]), second[1])


def test_note_on_the_best_epoch(store, tmp_path):
    """After a run with validation clips, an update uses the last epoch, with a note."""
    recognizer = trained(tmp_path, store, "fine-tuning", 1, selection="best")
    assert "used its last epoch" in recognizer.learn(*clips_of(store, ["c2"])).notes[0]
    assert not trained(tmp_path, store, "blade", 1, selection="best").learn(*clips_of(store, ["c2"])).notes


def test_threads_predict_while_one_learns(store, tmp_path):
    """Each prediction is that of the state before or after; learning twice at the same time is an error."""
    recognizer = trained(tmp_path, store, "blade", 1)
    clips, _ = clips_of(store, ["c0"], "test")
    before = recognizer.predict_proba(clips[0])
    stop, seen, refused = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            seen.append(recognizer.predict_proba(clips[0]))

    def teach_too(what: str, done: int, total: int) -> None:
        if what == "learning" and not done:
            with pytest.raises(InputError, match="learning already"):
                recognizer.learn(*clips_of(store, ["c3"]))
            refused.append(True)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    recognizer.learn(*clips_of(store, ["c2"]), progress=teach_too)
    stop.set()
    for thread in threads:
        thread.join()
    after = recognizer.predict_proba(clips[0])
    assert refused
    assert seen
    assert all(any(np.array_equal(one, known) for known in (before, after)) for one in seen)


def test_missing_modality(store, tmp_path):
    """A clip is predicted from the other modality, with a note, or the error says what the method needs."""
    clips, _ = clips_of(store, ["c0"], "test")
    deaf = ClipFeatures(audio=None, visual=clips[0].visual)
    blind = ClipFeatures(audio=clips[0].audio, visual=None)
    for method in ("blade", "av-cil"):
        recognizer = trained(tmp_path, store, method, 1)
        assert recognizer.predict_clip(deaf).modality == "visual"
        assert recognizer.predict_clip(deaf).notes == "predicted from frames alone"
        assert recognizer.predict_clip(blind).notes == "predicted from audio alone"
        assert not recognizer.predict_clip(clips[0]).notes
        with pytest.raises(InputError, match="needs"):
            recognizer.predict_clip(ClipFeatures(audio=None, visual=None))
    with pytest.raises(InputError, match="needs"):
        trained(tmp_path, store, "ranpac", 1).predict_clip(deaf)


def test_single_clips_and_lists(store, tmp_path):
    """One clip gives a label, several give a list; the error of a missing file has its path."""
    recognizer = trained(tmp_path, store, "blade", 1)
    clips, _ = clips_of(store, ["c0"], "test")
    assert isinstance(recognizer.predict(clips[0]), str)
    assert recognizer.predict(clips[:1]) == [recognizer.predict(clips[0])]
    assert recognizer.predict_proba(clips[0]).shape == (2,)
    with pytest.raises(InputError, match="fingerprint lacks"):
        recognizer.predict(Clip(clip_id="x", path=Path("x.mp4"), label="?", split="test"))


def test_card_and_other_folders(store, tmp_path):
    """The card has classes, counts and metrics; a folder with other files is not replaced; damage is reported."""
    recognizer = trained(tmp_path, store, "blade", 1)
    card = (tmp_path / "blade-audio-visual-1" / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: avcil\n")
    assert "| c0 | 8 |" in card
    assert "accuracy after the last step" in card
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").touch()
    with pytest.raises(InputError, match=r"photos contains me\.png"):
        recognizer.save(tmp_path / "photos")
    recognizer.save(tmp_path / "model")
    (tmp_path / "model" / "learning.json").write_text('{"steps": 3}')
    with pytest.raises(InputError, match=r"learning\.json is damaged"):
        load_saved(tmp_path / "model")


def test_held_out_clips_without_a_modality(store, tmp_path):
    """They are evaluated, and can be saved and loaded."""
    blade = trained(tmp_path, store, "blade", 1)
    clips, labels = clips_of(store, ["c2"])
    mixed = [*without("audio", clips[:4]), *without("visual", clips[4:])]
    report = learn_and_evaluate(blade, mixed, labels, old=HeldOut(), held_out=[True, False] * 4)
    assert report.learned.new == {"c2": 4}
    assert [(score.label, score.clips) for score in report.new] == [("c2", 4)]
    report.held_out.save(tmp_path / "clips.safetensors")
    loaded = HeldOut.load(tmp_path / "clips.safetensors", report.held_out.labels)
    assert [(clip.audio is None, clip.visual is None) for clip in loaded.features] == [(True, False)] * 2 + [
        (False, True)
    ] * 2
    assert loaded.correct(blade.snapshot()) == report.held_out.correct(blade.snapshot())


def test_held_out_clips_stay_held_out(store, tmp_path):
    """The same clips given again: those that were held out are not learned, and the model does not change."""
    recognizer = trained(tmp_path, store, "blade", 1)
    clips, labels = clips_of(store, ["c2"])
    report = learn_and_evaluate(recognizer, clips, labels, old=HeldOut())
    assert (report.learned.new, len(report.held_out.labels)) == ({"c2": 6}, 2)
    before = recognizer.snapshot()
    with pytest.raises(InputError, match=r"none of the 8 clips .*: 2 are held out; .*learned it already"):
        learn_and_evaluate(recognizer, clips, labels, old=report.held_out)
    assert recognizer.snapshot() is before


def test_clips_and_labels_from_iterators(store, tmp_path):
    """Iterators, such as those of Path.glob and map, are read like lists."""
    recognizer = trained(tmp_path, store, "blade", 1)
    clips, labels = clips_of(store, ["c2"])
    recognizer.learn(iter(clips), map(str, labels))
    assert recognizer.forget(iter(clips), map(str, labels)).forgotten == {"c2": 8}


def test_one_value_instead_of_a_list(store, tmp_path):
    """A text would be read as a list of characters, with a confusing message."""
    recognizer = trained(tmp_path, store, "blade", 1)
    for change in (recognizer.learn, recognizer.forget):
        with pytest.raises(InputError, match="labels must be a list"):
            change(["owl.mp4"], "owl")
        with pytest.raises(InputError, match="clips must be a list"):
            change("owl.mp4", ["owl"])
        with pytest.raises(InputError, match="1 clips and 2 labels"):
            change(["owl.mp4"], ["owl", "dog"])
