"""Every method on every stream can be resumed exactly and never reads a later clip, or is rejected with a reason."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from stream_runs import config

from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.methods.base import ClosedFormMethod
from avcil.methods.exemplars import choose_again
from avcil.methods.registry import load_method, method_names
from avcil.runs.run_directory import RunDirectory
from avcil.runs.run_files import read_run
from avcil.saved_models.folder import load_tensors
from avcil.streams.base import UNUSED
from avcil.training.run import Run, train

STREAMS = (
    "few-shot,base=4,ways=1,shots=1",
    "online,batch_size=4",
    "recurring,parts=2",
    "blurry,tasks=3,batch_size=4",
    "domain-incremental",
    "missing-modality",
    "class-removal,classes=2",
)
ALWAYS_NEW = {"afc", "av-cil", "bic", "lwf", "podnet", "ss-il", "wa"}
"""Methods whose loss needs new classes in each task."""
CANNOT = {
    **{(method, stream): "only clips of new classes" for method in ALWAYS_NEW
       for stream in ("recurring", "blurry", "domain-incremental")},
    **{(method, stream): "training again" for method in ("joint", "gdumb") for stream in ("online", "blurry")},
    **{(method, "class-removal"): "forgetting single clips" for method in ("rls", "ds-al")},
    **{(method, "class-removal"): "forget a class" for method in method_names()
       if not issubclass(load_method(method), ClosedFormMethod)},
}  # fmt: skip
each_case = pytest.mark.parametrize(
    ("method", "stream"), [(m, s) for m in method_names() for s in STREAMS], ids=lambda x: x.partition(",")[0]
)
each_modality = pytest.mark.parametrize(
    "modality",
    ["audio-visual", *(pytest.param(name, marks=pytest.mark.slow) for name in ("audio", "visual"))],
)


@each_case
@each_modality
def test_resumed_run_is_identical_or_rejected(
    method, stream, modality, store, domain_store, tmp_path, monkeypatch
):
    """Interrupted after each task and resumed, a run gives the same bits as without interruption."""
    name = stream.partition(",")[0]
    features = domain_store if name == "domain-incremental" else store
    if reason := CANNOT.get((method, name)):
        with pytest.raises(InputError, match=reason):
            train(config(features, tmp_path / "run", method, stream, modality=modality), quiet=True)
        assert not (tmp_path / "run" / "config.json").exists()
        return
    results = train(config(features, tmp_path / "one", method, stream, modality=modality), quiet=True)
    assert all(map(math.isfinite, results["accuracy_per_step"]))
    assert all(map(math.isfinite, results.get("stream_metrics", {}).values()))
    run = read_run(tmp_path / "one")  # the files are consistent
    assert run.results.stream_metrics == results.get("stream_metrics", {})
    assert_record_of_clips(tmp_path / "one" / "model", method)
    commit = RunDirectory.commit_step

    def commit_then_stop(self, *arguments):
        commit(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "commit_step", commit_then_stop)
    for _ in range(len(run.steps)):
        with pytest.raises(KeyboardInterrupt):
            train(config(features, tmp_path / "two", method, stream, modality=modality), quiet=True)
    train(config(features, tmp_path / "two", method, stream, modality=modality), quiet=True)
    for file in ("accuracy_matrix.csv", "model/model.safetensors", "model/labels.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def assert_record_of_clips(model: Path, method: str) -> None:
    """A closed-form method has recorded each learned clip once, so that `forget` can check what it is given."""
    if issubclass(load_method(method), ClosedFormMethod):
        counts = json.loads((model / "learning.json").read_text())["counts"]
        assert len(load_tensors(model / "learning.safetensors")["learned.hashes"]) == sum(counts.values())


@pytest.mark.parametrize("stream", [s for s in STREAMS if not s.startswith("domain")])
@pytest.mark.parametrize("method", ["blade", "er"])
def test_training_reads_no_later_clips(method, stream, store, tmp_path, monkeypatch):
    """Until task s, no training clips of later tasks, unused clips, or test clips of unknown classes are read."""
    if (method, stream.partition(",")[0]) in CANNOT:
        pytest.skip("cannot take part")
    run = Run(config(store, tmp_path / "run", method, stream), quiet=True)
    tasks, now = run.data.stream.task_of_row, [0]

    def watched(call):
        def read(self, rows):
            result = tasks[np.asarray(rows, dtype=np.int64)]
            assert UNUSED not in result
            assert (result <= now[0]).all()
            return call(self, rows)

        return read

    for name in ("audio", "visual"):
        monkeypatch.setattr(FeatureStore, name, watched(getattr(FeatureStore, name)))
    step = Run._step

    def counted(self, index, *arguments, **named):
        now[0] = index
        return step(self, index, *arguments, **named)

    monkeypatch.setattr(Run, "_step", counted)
    run.finish()
    assert now[0] == len(run.benchmark.steps) - 1


@pytest.fixture(scope="module")
def store_with_constants(store, tmp_path_factory) -> Path:
    """The store with mean and standard deviation of its features, as with packaged encoders."""
    copy = tmp_path_factory.mktemp("constants") / "store"
    shutil.copytree(store, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    for name in ("audio", "visual"):
        width = manifest[name]["shape"][-1]
        manifest[name] |= {"center": [0.1] * width, "scale": [1 + 0.1 * i for i in range(width)]}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


@pytest.mark.parametrize("method", [m for m in method_names() if (m, "class-removal") not in CANNOT])
def test_removal_is_exact(method, store_with_constants, tmp_path):
    """Without the removed clips the model is that of a training that never had them, and its labels lack the class.

    By default, ncm and fecam scale features by the first step's clips; with the encoders' constants they are exact.
    """
    changes = {"set": ("normalize=encoder",)} if method in ("ncm", "fecam") else {}
    results = train(
        config(store_with_constants, tmp_path / "run", method, "class-removal,classes=2", **changes),
        quiet=True,
    )
    labels = json.loads((tmp_path / "run" / "model" / "labels.json").read_text())
    assert len(labels) == 4
    assert results["stream_metrics"]["score_distance"] < 1e-8
    assert results["stream_metrics"]["prediction_agreement"] == 1
    assert set(json.loads((tmp_path / "run" / "model" / "learning.json").read_text())["counts"]) == set(
        labels
    )


def test_exemplars_of_a_recurring_class(store, tmp_path):
    """They are distinct clips seen so far, within the quota; with a random memory also of the new part."""
    train(config(store, tmp_path / "run", "er", "recurring,parts=2", exemplars_per_class=3), quiet=True)
    run = Run(
        config(store, tmp_path / "unused", "er", "recurring,parts=2", exemplars_per_class=3), quiet=True
    )
    task_of = {
        clip.clip_id: int(run.data.stream.task_of_row[row]) for row, clip in enumerate(run.store.clips)
    }
    again = 0
    for index in range(3):
        state = json.loads((tmp_path / "run" / "checkpoints" / f"step_{index}" / "state.json").read_text())
        for label, ids in state["exemplars"].items():
            assert len(ids) == len(set(ids)) == 3
            assert all(clip_id.startswith(f"{label}/train/") and task_of[clip_id] <= index for clip_id in ids)
            again += sum(task_of[clip_id] > run.benchmark.task_of(label) for clip_id in ids)
    assert again


def test_withheld_modalities_are_not_used(store, tmp_path):
    """Training equals that on a stream without these clips; audio-only training uses the clips without frames."""
    text = "missing-modality,audio=0.5,visual=0.25"
    run = Run(config(store, tmp_path / "run", "slda", text), quiet=True)
    counts = dict.fromkeys(("audio-visual", "audio", "visual"), 0)
    for modality in counts:
        data = Run(config(store, tmp_path / modality, "slda", text, modality=modality), quiet=True).data
        counts[modality] = sum(len(data.rows("train", task)) for task in range(3))
    assert counts == {"audio-visual": 12, "audio": 24, "visual": 36}
    rows = [row for task in range(3) for row in run.data.rows("train", task)]
    assert not set(rows) & run.data.stream.hidden.keys()


def test_blade_uses_the_incomplete_clips_of_the_stream(store, tmp_path):
    """All of them, and only with the modality that the stream does not withhold."""
    text = "missing-modality,audio=0.5,visual=0.25"
    run = Run(config(store, tmp_path / "run", "blade", text), quiet=True)
    rows = [row for task in range(3) for row in run.data.rows("train", task)]
    assert len(rows) == 48
    presence = run.data.presence(rows)
    hidden = [run.data.stream.hidden.get(row, ()) for row in rows]
    assert presence.audio.tolist() == ["audio" not in own for own in hidden]
    assert presence.visual.tolist() == ["visual" not in own for own in hidden]
    results = train(config(store, tmp_path / "run", "blade", text), quiet=True)
    assert results["clips_lacking_a_modality"]["train_used"] == 36
    tensors = load_tensors(tmp_path / "run" / "model" / "learning.safetensors")
    names = ("complete_counts", "moments.audio.counts", "moments.visual.counts")
    assert [float(tensors[name].sum()) for name in names] == [12, 24, 36]


def test_exemplars_are_a_random_sample():
    """Of 100 clips seen and 100 new ones, half of the exemplars are new, also after the quota becomes smaller."""
    fresh = {20: 0, 10: 0}
    for seed in range(300):
        chosen = choose_again(20, 100, 20, seen=100, generator=torch.Generator().manual_seed(seed))
        assert len(set(chosen)) == 20
        for quota in fresh:
            fresh[quota] += sum(position >= 20 for position in chosen[:quota])
    assert fresh[20] / (300 * 20) == pytest.approx(0.5, abs=0.02)
    assert fresh[10] / (300 * 10) == pytest.approx(0.5, abs=0.03)
