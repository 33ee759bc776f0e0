"""Merging, renaming and forgetting with commands: the new models, and the errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from blade_formats import dense_unknown_test, format_3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trained_recognizers import clips_of

from avcil.errors import InputError
from avcil.inference import Recognizer
from avcil.methods.blade import BladeMethod
from avcil.saved_models import folder as folder_module
from avcil.saved_models.folder import load_saved

CLASSES = ("c0", "c1", "c2", "c3", "c4", "c5")


@pytest.fixture(scope="module")
def train(avcil, store, tmp_path_factory):
    """The folder of a run on some steps of the store; trained once for each set of options."""
    made: dict[str, Path] = {}

    def run(steps: list[list[str]], *arguments: str, method: str = "blade") -> Path:
        key = repr((steps, arguments, method))
        if key not in made:
            folder = tmp_path_factory.mktemp("run")
            (folder / "steps.json").write_text(json.dumps(steps))
            common = [
                "train",
                store,
                "--method",
                method,
                "--steps",
                folder / "steps.json",
                "--out",
                folder / "run",
            ]
            assert avcil(*common, *arguments) == 0
            made[key] = folder / "run"
        return made[key]

    return run


@pytest.fixture(scope="module")
def clips(store):
    """Features and classes of all training clips."""
    return clips_of(store, list(CLASSES))


def assert_same(one: Recognizer, other: Recognizer, clips) -> None:
    """Assert that scores (to 1e-8), labels, p-values and learning states are equal."""
    order = torch.tensor([one.classes_.index(label) for label in other.classes_])
    assert len(one.classes_) == len(other.classes_)
    for clip in clips[0][::5]:
        torch.testing.assert_close(one.scores(clip)[:, order], other.scores(clip), rtol=1e-8, atol=1e-8)
        first, second = one.predict_clip(clip), other.predict_clip(clip)
        assert (first.label, first.p_value) == (second.label, pytest.approx(second.p_value))
    assert one.counts == other.counts


def test_merged_model_equals_one_that_learned_all_clips(train, avcil, capsys, clips, tmp_path):
    """Three models with different classes; the card lists them; the merged model can learn."""
    parts = [train([["c1", "c0"]]), train([["c5"], ["c2"]]), train([["c3", "c4"]])]
    assert avcil("merge", *parts, "--out", tmp_path / "all") == 0
    assert f"has 6 classes, learned from 48 clips; it is in {tmp_path / 'all'}" in capsys.readouterr().out
    merged, whole = (
        Recognizer.load(tmp_path / "all"),
        Recognizer.load(train([["c1", "c0"], ["c5"], ["c2"], ["c3", "c4"]])),
    )
    assert merged.classes_ == whole.classes_
    assert_same(merged, whole, clips)
    assert merged.snapshot().learning.steps == whole.snapshot().learning.steps
    card = (tmp_path / "all" / "README.md").read_text()
    assert "Merged from 3 models, trained on: 16 clips of 2 classes; 16 clips of 2 classes" in card
    assert "None were recorded" in card
    for either in (merged, whole):
        either.learn(
            [
                replace(clip, audio=clip.audio + 1, clip_id=f"again {n}")
                for n, clip in enumerate(clips[0][:8])
            ],
            ["new"] * 8,
        )
    assert_same(merged, whole, clips)
    merged.merge(Recognizer.load(parts[0]), same_classes=True)
    assert merged.description["merged"] == [{"classes": 7, "clips": 56}, {"classes": 2, "clips": 16}]


@pytest.fixture(scope="module")
def halves(train, clips):
    """Learn any of the clips, by their positions, into a new recognizer without other clips."""
    start = Recognizer.load(train([["c0"]]))
    other = [replace(clip, audio=clip.audio + 1) for clip in clips[0][:2]]
    start.learn(other, ["other"] * 2)
    start.forget([clip for clip, label in zip(*clips, strict=True) if label == "c0"], ["c0"] * 8)

    def teach(rows: list[int]) -> Recognizer:
        recognizer = Recognizer(start.snapshot())
        recognizer.learn(*([part[row] for row in rows] for part in clips))
        recognizer.forget(other, ["other"] * 2)
        return recognizer

    return teach


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(48)), cut=st.integers(1, 47))
def test_any_split_of_the_clips(order, cut, halves, clips):
    """With shared or separate classes, in any order, merging equals learning all clips."""
    first, second, whole = (halves(list(rows)) for rows in (order[:cut], order[cut:], order))
    first.merge(second, same_classes=True)
    assert_same(first, whole, clips)


def test_class_name_in_both_models(train, avcil, capsys, clips, tmp_path):
    """The error names the classes and both options, and each option works."""
    one, other = train([["c1", "c0"]]), train([["c0", "c2"]])
    assert avcil("merge", one, other, "--out", tmp_path / "all") == 2
    message = capsys.readouterr().err
    assert "both models have 'c0'. Set same_classes (--same-classes)" in message
    assert "--rename 'c0'=OTHER-NAME" in message
    assert "note:" not in message  # nothing was merged
    assert not (tmp_path / "all").exists()
    assert avcil("merge", one, other, "--out", tmp_path / "all", "--same-classes") == 0
    assert (
        "at least 8 clips that the models before it have learned too; they count twice"
        in capsys.readouterr().err
    )
    assert Recognizer.load(tmp_path / "all").counts == {"c1": 8, "c0": 16, "c2": 8}
    assert avcil("merge", one, other, "--out", tmp_path / "apart", "--rename", "c0=owl") == 0
    apart = Recognizer.load(tmp_path / "apart")
    assert apart.counts == {"c1": 8, "c0": 8, "owl": 8, "c2": 8}
    assert avcil("merge", one, other, "--out", tmp_path / "chain", "--rename", "c0=c2", "c2=owl") == 0
    assert Recognizer.load(tmp_path / "chain").classes_ == ("c1", "c0", "c2", "owl")
    for arguments, expected in {
        ("--rename", "c7=owl"): "which have no class 'c7'",
        ("--rename", "owl"): "takes OLD=NEW",
        ("--rename", "c0=c1"): "both models have 'c1'",
        ("--rename", "c0=C1"): "differ only in case",
    }.items():
        assert avcil("merge", one, other, "--out", tmp_path / "no", *arguments) == 2
        assert expected in capsys.readouterr().err
    assert avcil("merge", one, one, "--out", tmp_path / "no") == 2
    assert "given twice" in capsys.readouterr().err
    assert avcil("merge", one, other, "--same-classes", "--out", other / "model") == 2
    assert "is the given model" in capsys.readouterr().err
    assert avcil("merge", one, "--out", tmp_path / "no") == 2
    assert "two or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("slda", (), "trained with the method slda. Only models of the method blade"),
        ("blade", ("--modality", "audio"), "different modalities: audio-visual and audio"),
        (
            "blade",
            ("--set", "pooling=mean"),
            "different values of the option pooling: mean-deviation and mean",
        ),
        (
            "blade",
            ("--set", "calibration_clips=9"),
            "different values of the option calibration_clips: 512 and 9",
        ),
    ],
)
def test_models_that_cannot_be_merged(method, arguments, message, train, avcil, capsys, tmp_path):
    """Another method, modality or option is an error that names the difference."""
    other = train([["c2", "c5"]], *arguments, method=method)
    assert avcil("merge", train([["c1", "c0"]]), other, "--out", tmp_path / "all") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("name", ["audio", "visual", "sampling", "dtype"])
def test_other_encoders_or_sampling(name, train):
    """They are errors, and the first model is unchanged."""
    one = Recognizer.load(train([["c1", "c0"]]))
    state = load_saved(train([["c2", "c5"]]) / "model")
    before = one.snapshot()
    value = state.description.get(name)
    changed = {**value, "encoder": {"name": "other"}} if name in ("audio", "visual") else "other"
    other = Recognizer(replace(state, description={**state.description, name: changed}))
    with pytest.raises(InputError, match=r"the models have different .*other"):
        one.merge(other)
    assert one.snapshot() is before


def test_models_of_earlier_formats(train, clips):
    """Models without statistics or of format 2 are errors with the next step; after learning a clip, merging works."""
    here = Path(__file__).parent
    one = Recognizer.load(train([["c1", "c0"]]))
    with pytest.raises(InputError, match="format version 1"):
        one.merge(Recognizer.load(here / "version_1" / "blade"))
    old = Recognizer.load(here / "version_2" / "blade")
    with pytest.raises(InputError, match="statistics of format version 2"):
        one.merge(old)
    with pytest.raises(InputError, match="statistics of format version 2"):
        old.merge(one)


def test_blade_of_format_3(train, clips, tmp_path, monkeypatch):
    """A model folder of format 3 predicts, learns, forgets and merges as the same model of format 5."""
    state, other = (load_saved(train([labels]) / "model") for labels in (["c1", "c0"], ["c2", "c5"]))
    earlier = replace(state, learning=replace(state.learning, tensors=format_3(state.learning.tensors)))
    dense = dense_unknown_test(state.model.tensors())
    earlier = replace(earlier, model=BladeMethod.load_model(state.model.to_config(), dense))
    monkeypatch.setattr(folder_module, "VERSION", 3)
    Recognizer(earlier).save(tmp_path / "old")
    monkeypatch.undo()
    old, new = Recognizer.load(tmp_path / "old"), Recognizer(state)
    assert_same(old, new, clips)
    for one in (old, new):
        one.merge(Recognizer(other))
    assert_same(old, new, clips)
    merged = Recognizer(other)
    merged.merge(Recognizer(earlier))
    assert_same(merged, new, clips)
    rows = [row for row, label in enumerate(clips[1]) if label in ("c0", "c3")]
    own = {label: [clips[0][row] for row in rows if clips[1][row] == label] for label in ("c0", "c3")}
    old, new = Recognizer.load(tmp_path / "old"), Recognizer(state)
    for one in (old, new):
        one.learn(own["c3"], ["c3"] * len(own["c3"]))
        one.forget(own["c0"][:3], ["c0"] * 3)
    assert_same(old, new, clips)
    old.save(tmp_path / "new")
    versions = [
        json.loads((tmp_path / name / "config.json").read_text())["version"] for name in ("old", "new")
    ]
    assert versions == [3, 6]


def test_rename_a_class(train, avcil, capsys, clips, tmp_path):
    """The new model has the same predictions with the new name; the old model is unchanged."""
    run = train([["c1", "c0"]])
    assert avcil("rename", run, "c0=owl", "c1=barn owl", "--out", tmp_path / "named") == 0
    named, before = Recognizer.load(tmp_path / "named"), Recognizer.load(run)
    assert (named.classes_, before.classes_) == (("barn owl", "owl"), ("c1", "c0"))
    assert torch.equal(named.scores(clips[0][0]), before.scores(clips[0][0]))
    assert avcil("rename", run, "c0=c1", "c1=c0", "--out", tmp_path / "exchanged") == 0
    assert Recognizer.load(tmp_path / "exchanged").classes_ == ("c0", "c1")
    for arguments, message in {
        ("c7=owl",): "has no class 'c7'",
        ("c0",): "takes OLD=NEW",
        ("c0=c1",): "would have two classes 'c1'",
        (): "give a class and its new name",
    }.items():
        assert avcil("rename", run, *arguments, "--out", tmp_path / "no") == 2
        assert message in capsys.readouterr().err
    assert avcil("rename", run, "c0=owl", "--out", run) == 2
    assert "is the given model" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_forget_a_class(train, avcil, capsys, tmp_path):
    """The new model never predicts it; the last class cannot be forgotten; errors name missing classes."""
    run = train([["c1", "c0"], ["c2"]])
    assert avcil("forget", run, "--class", "c0", "c0", "--out", tmp_path / "less") == 0
    assert "forgot classes: c0" in capsys.readouterr().out
    assert Recognizer.load(tmp_path / "less").classes_ == ("c1", "c2")
    assert Recognizer.load(run).classes_ == ("c1", "c0", "c2")
    for arguments, message in {
        ("--class", "c7"): "has no class 'c7'",
        (): "give either clips to forget or --class",
        ("x.mp4", "--class", "c0"): "give either clips",
        ("--class", "c0", "--not-learned", "skip"): "--not-learned applies to clips",
        ("--class", "c0", "c1", "c2"): "none would be left",
    }.items():
        assert avcil("forget", run, *arguments, "--out", tmp_path / "no") == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
