"""Accuracy of runs if a clip has several correct classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avcil.errors import InputError
from avcil.reporting.vggsounder_table import scores, vggsounder_table
from avcil.runs.multi_label import Proportion, multi_label_score
from avcil.runs.run_files import ClipPrediction, read_run

CLASSES = ("cat", "dog", "bell")
SAID = [  # clip, label, prediction
    ("a", "cat", "cat"),
    ("b", "cat", "dog"),
    ("c", "dog", "bell"),
    ("d", "bell", "bell"),
    ("e", "bell", "cat"),
]
PREDICTIONS = [
    ClipPrediction(clip_id=clip, label=label, predicted=said, probability=0.5) for clip, label, said in SAID
]
ANNOTATIONS = {
    "a": {"cat": ("audible", "visible")},
    "b": {"cat": ("visible",), "dog": ("audible",)},
    "c": {"bell": ("audible",)},
    "d": {"train": ("visible",)},
}


def test_score_of_an_example() -> None:
    """Counted manually: e is not annotated; the labels of c and d are not confirmed; no class of d is known."""
    score = multi_label_score(PREDICTIONS, ANNOTATIONS, CLASSES)
    assert score.annotated == Proportion(count=4, clips=5)
    assert score.confirmed == Proportion(count=2, clips=4)
    assert score.attainable == Proportion(count=3, clips=4)
    assert score.single_label == Proportion(count=2, clips=4)
    assert score.multi_label == Proportion(count=3, clips=4)
    assert score.confirmed_single_label == Proportion(count=1, clips=2)
    assert score.by_modality == {
        "audible": Proportion(count=3, clips=3),
        "visible": Proportion(count=1, clips=3),
    }
    assert multi_label_score(PREDICTIONS, {}, CLASSES).multi_label.fraction is None


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), max_size=20))
def test_accuracies_agree_for_single_labels(pairs: list[tuple[str, str]]) -> None:
    """Additional labels can only add correct predictions."""
    predictions = [
        ClipPrediction(clip_id=str(i), label=label, predicted=message, probability=1.0)
        for i, (label, message) in enumerate(pairs)
    ]
    same = {p.clip_id: {p.label: ("audible",)} for p in predictions}
    score = multi_label_score(predictions, same, CLASSES)
    assert (
        score.multi_label
        == score.single_label
        == score.confirmed_single_label
        == score.by_modality.get("audible", Proportion(count=0, clips=0))
    )
    more = {clip_id: labels | {"dog": ("visible",)} for clip_id, labels in same.items()}
    assert multi_label_score(predictions, more, CLASSES).multi_label.count >= score.multi_label.count


@pytest.fixture
def vggsound_run(make_run: Callable[..., Path]) -> Callable[..., Path]:
    """A function that writes a synthetic run of VS100-CI with two steps."""
    benchmark = json.loads((make_run("usual", steps=2) / "config.json").read_text())["benchmark"]

    def make(name: str, benchmark_name: str = "vs100-ci", **options: object) -> Path:
        return make_run(name, steps=2, benchmark=benchmark | {"name": benchmark_name}, **options)

    return make


def annotate(run: Path, file: Path) -> Path:
    """Annotations for every second test clip of a run: its last prediction, and another class."""
    lines = ["video_id,label,modality"]
    for p in read_run(run).predictions[-1][::2]:
        lines += [f'"{p.clip_id}","{label}",{kind}'.replace('a "horn"', 'a ""horn""') for label, kind in (
            (p.predicted, "A"), ("people crowd", "V"),
        )]  # fmt: skip
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_table_of_runs(vggsound_run, tmp_path: Path, avcil, capsys) -> None:
    """Seeds are averaged; runs of the leak-free benchmark are accepted; JSON has every step."""
    runs = [vggsound_run("one", seed=0), vggsound_run("two", seed=1)]
    file = annotate(runs[0], tmp_path / "a.csv")
    assert avcil("benchmark", "vggsounder", runs[0], "--annotations", file) == 0
    row = capsys.readouterr().out.splitlines()[2].split()
    right = sum(p.label == p.predicted for p in read_run(runs[0]).predictions[-1][::2])
    assert 0 < right < 24
    assert row[:5] == ["av-cil", "audio-visual", "1", "24", str(right)]
    single_label, multi_label, attainable, audible, visible, confirmed = map(float, row[5:])
    assert single_label == pytest.approx(100 * right / 24, abs=0.05)
    assert (multi_label, attainable, audible, visible, confirmed) == (100, 100, 100, 0, 100)
    assert avcil("benchmark", "vggsounder", *runs, "--annotations", file) == 0
    assert "±" in capsys.readouterr().out
    leak_free = vggsound_run("three", "vs100-ci-leak-free")
    assert avcil("benchmark", "vggsounder", leak_free, "--annotations", file, "--json") == 0
    (values,) = json.loads(capsys.readouterr().out)
    assert [step["annotated"]["clips"] for step in values["steps"]] == [24, 48]
    assert values["steps"][-1]["by_modality"]["audible"]["clips"] == 24


def test_runs_of_other_benchmarks_are_rejected(vggsound_run, make_run, tmp_path: Path) -> None:
    """Their clips are not annotated; runs with different test clips have no common row."""
    other = read_run(make_run("other"))
    with pytest.raises(
        InputError, match=r"is a run of the benchmark 'made-up 4x3'.*avcil train --benchmark vs100-ci"
    ):
        scores(other, {})
    run = read_run(vggsound_run("run"))
    with pytest.raises(InputError, match="none of the 48 test clips"):
        scores(run, {"x": {}})
    fewer = read_run(vggsound_run("fewer", seed=1, clips=4))
    labels = {p.clip_id: {p.label: ("audible",)} for p in run.predictions[-1]}
    with pytest.raises(InputError, match="have different test clips"):
        vggsounder_table([run, fewer], labels)
