"""ONNX export: predictions of every method equal those in PyTorch; unsupported models are errors; no partial files."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from small_options import small_options

from avcil.closed_form import head
from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.export import check, export_onnx
from avcil.export.network_graph import NetworkGraph
from avcil.features import FeatureStore
from avcil.inference import Recognizer
from avcil.methods.registry import load_method, method_names
from avcil.saved_models.folder import SavedModel
from avcil.training.config import TrainConfig
from avcil.training.run import train

VARIANTS = {
    "icarl": ("classifier=fc",),
    "av-cil": ("classifier=wa",),
    "afc": ("classifier=nme", "finetuning_iterations=20"),
    "slda": ("kernel=linear", "normalize=both"),
    "ranpac": ("features=48", "normalize=length"),
    "rls": ("features=48", "compensation=0"),
    "blade": ("pooling=mean", "calibration_clips=0"),
}
CASES = [
    *((name, ()) for name in method_names()),
    *VARIANTS.items(),
]


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A run of a method."""

    @cache
    def run(name: str, options: tuple[str, ...], modality: str, precision: str = "float32") -> Path:
        out = tmp_path_factory.mktemp("export") / "run"
        settings = {"epochs": 2, "batch_size": 8, "exemplar_batch_size": 4, "learning_rate": 5e-3}
        settings["exemplars"] = 12 if load_method(name).rehearsal != "none" else None
        config = TrainConfig(
            features=store,
            out=out,
            method=name,
            modality=modality,
            set=options or small_options(name),
            classes_per_step=2,
            precision=precision,
            **settings,
        )
        train(config, quiet=True)
        return out

    return run


def predictions(run: Path) -> dict[str, tuple[str, float]]:
    """The predictions of the run after its last step."""
    with open(run / "predictions" / "step_2.csv", newline="", encoding="utf-8") as file:
        return {row["clip_id"]: (row["predicted"], float(row["probability"])) for row in csv.DictReader(file)}


def clips(store: FeatureStore, ids: list[str], names: list[str]) -> dict[str, np.ndarray]:
    """Features of clips as NumPy arrays."""
    row_of = {clip.clip_id: row for row, clip in enumerate(store.clips)}
    rows = [row_of[clip_id] for clip_id in ids]
    return {name: getattr(store, name)(rows).astype(np.float32) for name in names}


@pytest.mark.parametrize("modality", Modality)
@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: " ".join(value) if value else "")
def test_predictions_equal_those_of_the_run(name, options, modality, trained, store, tmp_path):
    """Labels and probabilities equal those in the run directory; labels and encoders are in the metadata."""
    if modality not in load_method(name).modalities:
        pytest.skip("not a modality of this method")
    run, opened = trained(name, options, modality), FeatureStore(store)
    recognizer = Recognizer.load(run)
    done = recognizer.export_onnx(tmp_path / "model.onnx", store=opened)
    assert [result.clips for result in done.comparisons] == [13, 90]
    assert all(result.probabilities < 1e-6 for result in done.comparisons)
    session = onnxruntime.InferenceSession(done.path)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["labels"]) == list(recognizer.classes_)
    expected = predictions(run)
    feed = clips(opened, list(expected), [given.name for given in session.get_inputs()])
    assert {part for part in ("audio", "visual") if part in told} == set(feed)
    assert all(json.loads(told[part])["encoder"] == {"name": "made-up"} for part in feed)
    probabilities = session.run(["probabilities"], feed)[0]
    assert [recognizer.classes_[best] for best in probabilities.argmax(axis=1)] == [
        label for label, _ in expected.values()
    ]
    np.testing.assert_allclose(probabilities.max(axis=1), [p for _, p in expected.values()], atol=1e-5)


def test_network_in_float64(trained, tmp_path):
    """The file also computes in float64; its inputs and outputs are float32."""
    recognizer = Recognizer.load(trained("av-cil", (), "audio-visual", "float64"))
    done = recognizer.export_onnx(tmp_path / "model.onnx")
    assert done.comparisons[0].scores < 1e-7


@pytest.mark.parametrize("given", ["audio", "visual"])
@pytest.mark.parametrize("name", ["av-cil", "icarl", "afc", "blade", "slda"])
def test_clips_without_audio_or_frames(name, given, trained, tmp_path):
    """A file for one modality gives the predictions of the recognizer for clips with only this modality."""
    options = ("kernel=linear", "normalize=both") if name == "slda" else ()
    recognizer = Recognizer.load(trained(name, options, "audio-visual"))
    done = recognizer.export_onnx(tmp_path / "part.onnx", modality=given)
    assert list(done.inputs) == [given]
    assert done.comparisons[0].probabilities < 1e-6


@pytest.mark.parametrize(("batch", "slices", "tokens"), [(1, 1, 1), (5, 2, 3), (2, 7, 1), (300, 1, 2)])
def test_batch_and_grid_can_vary(batch, slices, tokens, trained, tmp_path):
    """One file works with any number of clips and any grid, also for p-values."""
    recognizer = Recognizer.load(trained("blade", (), "audio-visual"))
    session = onnxruntime.InferenceSession(recognizer.export_onnx(tmp_path / "model.onnx").path)
    draw = torch.Generator().manual_seed(batch)
    audio, visual = (
        torch.randn(batch, 10, generator=draw),
        torch.randn(batch, slices, tokens, 12, generator=draw),
    )
    outputs = session.run(["scores", "p_values"], {"audio": audio.numpy(), "visual": visual.numpy()})
    model = recognizer.model
    parts = audio.double(), visual.double()
    np.testing.assert_allclose(outputs[0], model.scores(*parts), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs[1], model.p_values(*parts), atol=1e-6)


def test_p_values_of_unknown_clips(trained, store, tmp_path):
    """Features far from all classes have small p-values; training clips do not."""
    session = onnxruntime.InferenceSession(
        Recognizer.load(trained("blade", (), "audio-visual")).export_onnx(tmp_path / "m.onnx").path
    )
    opened = FeatureStore(store)
    known = [clip.clip_id for clip in opened.clips if clip.split == "test"]
    feed = clips(opened, known, ["audio", "visual"])
    assert np.mean(session.run(["p_values"], feed)[0] < 0.05) < 0.2
    strange = {name: 20 * np.random.default_rng(0).standard_normal(part.shape) for name, part in feed.items()}
    strange = {name: part.astype(np.float32) for name, part in strange.items()}
    assert np.mean(session.run(["p_values"], strange)[0] < 0.05) > 0.9


def test_unknown_test_is_stored_by_modality(trained, tmp_path):
    """The matrix with zeros between audio and visual features, the largest tensor, is not in the file."""
    recognizer = Recognizer.load(trained("blade", (), "audio-visual"))
    graph = onnx.load(recognizer.export_onnx(tmp_path / "m.onnx").path).graph
    sizes = [len(part.inverse) for part in recognizer.snapshot().model.heads["audio-visual"].unknown.parts]
    assert len(sizes) == 2
    shapes = {tuple(tensor.dims) for tensor in graph.initializer}
    assert {(size, size) for size in sizes} <= shapes
    assert (sum(sizes), sum(sizes)) not in shapes


def test_files_are_deterministic(trained, tmp_path):
    """The files have the same bytes and no path of this machine."""
    recognizer = Recognizer.load(trained("av-cil", (), "audio-visual"))
    one, two = (recognizer.export_onnx(tmp_path / name).path.read_bytes() for name in ("a.onnx", "b.onnx"))
    assert one == two
    assert b".py" not in one
    whole = onnx.load_from_string(one)
    assert [(opset.domain, opset.version) for opset in whole.opset_import] == [("", 18)]
    assert {"query", "keys", "spatial_attention", "temporal_attention"} <= {
        node.name for node in whole.graph.node
    }


def test_wrong_graph_is_an_error(trained, tmp_path, monkeypatch):
    """A wrong graph is detected with random clips, and an existing file is kept."""
    recognizer = Recognizer.load(trained("av-cil", (), "audio-visual"))
    file = tmp_path / "model.onnx"
    file.write_bytes(b"of before")
    monkeypatch.setattr(
        NetworkGraph,
        "_attended",
        lambda self, audio, visual: self.graph.reduced("ReduceMean", visual, [1, 2], name="mean"),
    )
    with pytest.raises(AvcilError, match=r"so it was not written\. 13 random"):
        recognizer.export_onnx(file)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert file.read_bytes() == b"of before"


def test_nan_is_a_difference(trained, tmp_path, monkeypatch):
    """Comparisons with NaN are false, so NaN must be treated as a difference."""
    recognizer = Recognizer.load(trained("av-cil", (), "audio-visual"))
    monkeypatch.setattr(
        check.Checker,
        "_onnx",
        lambda self, parts: {name: np.full_like(value, np.nan) for name, value in self._torch(parts).items()},
    )
    with pytest.raises(AvcilError, match="differ by at most nan"):
        recognizer.export_onnx(tmp_path / "never.onnx")


class OwnModel:
    """A model of a user-defined method."""

    kind, modality, classes, input_modalities = "owns", "audio", 2, ("audio",)

    def scores(self, audio, visual):
        return audio[:, :2]

    def tensors(self):
        return {"w": torch.zeros(1)}


def test_unsupported_models(trained, store, tmp_path, monkeypatch):
    """Another kind of model, an unsupported modality, a wrong suffix, a store with other features, a large model."""
    description = {"audio": {"shape": [10], "encoder": {"name": "made-up"}}}
    own = Recognizer(SavedModel(model=OwnModel(), labels=("a", "b"), description=description))
    with pytest.raises(
        InputError, match=r"kind 'owns' \(OwnModel\) cannot be exported. Supported are the network"
    ):
        own.export_onnx(tmp_path / "a.onnx")
    ranpac = Recognizer.load(trained("ranpac", (), "audio-visual"))
    with pytest.raises(InputError, match="cannot predict from audio alone, only from: audio-visual"):
        ranpac.export_onnx(tmp_path / "a.onnx", modality="audio")
    with pytest.raises(InputError, match=r"model\.pb: give a file name ending in \.onnx, or a folder"):
        ranpac.export_onnx(tmp_path / "model.pb")
    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "audio_width", 11)
        with pytest.raises(InputError, match="no audio features of width 10"):
            ranpac.export_onnx(tmp_path / "a.onnx", store=FeatureStore(store))
    monkeypatch.setattr("avcil.export.onnx_file.MAX_BYTES", 1000)
    with pytest.raises(InputError, match=r"at most 2 GiB.*--set features=N"):
        ranpac.export_onnx(tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_missing_extra(package, trained, avcil, capsys, monkeypatch, tmp_path):
    """The error has the missing package and the command to install it."""
    for name in [name for name in sys.modules if name.startswith("avcil.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert avcil("export", trained("av-cil", (), "audio"), "--out", tmp_path / "a.onnx") == 2
    err = capsys.readouterr().err
    assert (
        err == f"avcil: exporting needs the package {package}. Install it with: pip install 'avcil[export]'\n"
    )


def test_export_command(trained, avcil, capsys, tmp_path, store, monkeypatch):
    """A run with its store, a model folder without one, and one modality; the output shows the comparisons."""
    run = trained("blade", (), "audio-visual")
    assert avcil("export", run, "--out", tmp_path / "shipped") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path}/shipped/model.onnx: ")
    assert "audio (batch, 10), visual (batch, slices, tokens, 12), float32" in out
    assert re.search(r"  13 random clips: probabilities differ by at most \d\.\de-\d\d", out)
    assert f"  90 clips of {store}: " in out
    assert "note" not in out
    with monkeypatch.context() as patch:
        patch.setattr(head, "MIN_OUTLIER_SAMPLE", 10)
        assert avcil("export", run, "--out", tmp_path / "shipped") == 0
        assert "note: avcil predict leaves out audio or frames" in capsys.readouterr().out
    assert avcil("export", run / "model", "--out", tmp_path / "deaf.onnx", "--modality", "visual") == 0
    out = capsys.readouterr().out
    assert "note: not compared on clips of the feature store: " in out
    assert "audio (" not in out
    assert avcil("export", tmp_path / "nothing", "--out", tmp_path / "a.onnx") == 2


def test_program_in_the_documentation(trained, store, tmp_path):
    """It gives the recognizer's predictions in a process that cannot import torch or avcil."""
    page = (Path(__file__).parents[2] / "docs" / "exporting.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    ask, write = programs
    run = trained("blade", (), "audio-visual")
    recognizer = Recognizer.load(run)
    recognizer.export_onnx(tmp_path / "model.onnx")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "features").symlink_to(store)
    subprocess.run([sys.executable, "-c", write], cwd=tmp_path, check=True, capture_output=True)
    block = "import sys\nsys.modules |= {'torch': None, 'avcil': None}\n"
    done = subprocess.run(
        [sys.executable, "-c", block + ask, "model.onnx", "features.npz"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    expected = predictions(run)
    opened = FeatureStore(store)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for clip, line in zip(opened.clips, lines, strict=False):
        if clip.clip_id in expected:
            label, probability = expected[clip.clip_id]
            assert line.split(": ")[1].startswith(f"{label}, {probability:.3f}")
    assert any(clip.clip_id in expected for clip in opened.clips[:3])


def test_export_after_forgetting_a_class(trained, tmp_path):
    """The exported file does not have the class."""
    recognizer = Recognizer.load(trained("blade", (), "audio-visual"))
    recognizer.forget_class("c1")
    done = export_onnx(recognizer.snapshot(), tmp_path / "less.onnx")
    assert done.outputs["probabilities"] == ("batch", 5)
