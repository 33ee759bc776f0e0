"""A recognizer's model as one ONNX file: features in, probabilities of classes out.

B clips, T time slices, S spatial tokens, Da and Dv widths of sound and picture, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto

from avcil.closed_form.model import LinearScores
from avcil.closed_form.quadratic_model import QuadraticScores
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.export.check import Checker, Comparison, random_clips, stored_clips
from avcil.export.closed_form_graph import add_closed_form, add_quadratic
from avcil.export.graph import OPSET, Graph
from avcil.export.network_graph import add_network
from avcil.features import FeatureStore
from avcil.models.base import Model
from avcil.nn.network import Network
from avcil.saved_models.folder import ONNX_FILE, SavedModel
from avcil.utils.files import write_atomically
from avcil.utils.version import __version__

FORMAT, VERSION = "avcil-onnx", 1
"""Of what stands in the file's metadata."""
MAX_BYTES = 2**31 - 2**20
"""Of one file, as protobuf allows; with some room for the nodes."""


@dataclass(frozen=True, kw_only=True)
class OnnxExport:
    """What was written, and how it was checked."""

    path: Path
    bytes: int
    opset: int
    modality: Modality
    """What a clip must have."""
    inputs: dict[str, tuple[str | int, ...]]
    """Shape of each input; names are sizes that may vary."""
    outputs: dict[str, tuple[str | int, ...]]
    comparisons: tuple[Comparison, ...]


def export_onnx(
    saved: SavedModel,
    path: Path | str,
    *,
    modality: Modality | None = None,
    store: FeatureStore | None = None,
) -> OnnxExport:
    """Write the model of `saved` as ONNX to `path`, a file name ending in .onnx or a folder for model.onnx.

    Inputs `audio` (B, Da) and `visual` (B, T, S, Dv), float32, those that `modality` names: the model's own unless
    given, or a part of it that the model can answer from alone. Outputs, float32: `probabilities` (B, C), `scores`
    (B, C) and, of blade, `p_values` (B,). Before the file appears, onnxruntime and the model are asked about random
    clips and, if given, clips of `store`. Raises InputError for a model, modality or path that cannot be, AvcilError
    where the two differ by more than `check.TOLERANCE`.
    """
    file = onnx_path(Path(path))
    given = _given(saved.model, modality)
    whole = build(saved, given)
    content = whole.SerializeToString()
    shapes = _shapes(saved.description)
    checker = Checker(content, saved.model, _dtype(saved.model))
    found = [checker.compare("random clips", random_clips(shapes, given))]
    if store is not None:
        found.append(checker.compare(f"clips of {store.path}", stored_clips(store, shapes, given)))
    write_atomically(file, lambda out: out.write(content))
    return OnnxExport(
        path=file,
        bytes=len(content),
        opset=OPSET,
        modality=given,
        inputs=_declared(whole.graph.input),
        outputs=_declared(whole.graph.output),
        comparisons=tuple(found),
    )


def onnx_path(path: Path) -> Path:
    """The file that is meant by a file name or a folder.

    >>> str(onnx_path(Path("shipped/dogs.onnx"))), str(onnx_path(Path("shipped")))
    ('shipped/dogs.onnx', 'shipped/model.onnx')
    """
    if path.is_dir() or not path.suffix:
        return path / ONNX_FILE
    if path.suffix.lower() != ".onnx":
        raise InputError(f"{path}: name a file that ends in .onnx, or a folder")
    return path


def build(state: SavedModel, given: Modality) -> ModelProto:
    """The model of a state as ONNX, for clips that have `given`."""
    graph, shapes = Graph(), _shapes(state.description)
    audio = visual = None
    if given.has_audio:
        audio = graph.input("audio", ("batch", *shapes["audio"]), "the sound's features of each clip")
    if given.has_visual:
        shape = ("batch", "slices", "tokens", shapes["visual"][-1])
        visual = graph.input("visual", shape, "the picture's tokens of each clip")
    model, p_values = state.model, None
    if isinstance(model, LinearScores):
        scores, p_values = add_closed_form(graph, model, given, audio, visual)
    elif isinstance(model, QuadraticScores):
        scores = add_quadratic(graph, model, audio, visual)
    elif isinstance(model, Network):
        scores = add_network(graph, model, audio, visual)
    else:
        raise InputError(
            f"a model of kind {model.kind!r} ({type(model).__name__}) cannot be written as ONNX. What can: the network "
            "of methods trained by gradient, and models in closed form whose scores are linear (LinearScores) or "
            "quadratic (QuadraticScores)"
        )
    _add_outputs(graph, scores, p_values, model.classes)
    if graph.bytes > MAX_BYTES:
        raise InputError(
            f"this model has {graph.bytes / 2**30:.1f} GiB of numbers; an ONNX file holds 2 GiB at most. "
            "Train it with fewer random features: avcil train ... --set features=N"
        )
    about = f"{state.description.get('method', model.kind)}, {given}: which of {model.classes} classes a clip shows"
    return graph.model("avcil", about, _metadata(state, given))


def _add_outputs(graph: Graph, scores: str, p_values: str | None, classes: int) -> None:
    exact = graph.cast(scores, "float64", name="scores_exact")
    probabilities = graph.node("Softmax", exact, name="probabilities_exact", axis=1)
    each = ("batch", classes)
    graph.output(
        probabilities, "probabilities", each, "of each class, in the order of the labels; they add up to 1"
    )
    graph.output(scores, "scores", each, "of each class; probabilities are their softmax")
    if p_values is not None:
        about = "at or below a for at most a of the clips of classes that were taught: a small one is of none of them"
        graph.output(p_values, "p_values", ("batch",), about)


def _metadata(state: SavedModel, given: Modality) -> dict[str, str]:
    """What a program needs to know of the file, and where its features come from."""
    description = state.description
    plain = {
        "format": FORMAT,
        "version": str(VERSION),
        "avcil": __version__,
        "method": str(description.get("method", state.model.kind)),
        "modality": given.value,
    }
    parts = {"audio": given.has_audio, "visual": given.has_visual, "sampling": True, "dtype": True}
    told: dict[str, Any] = {"labels": list(state.labels)}
    told |= {name: description[name] for name, there in parts.items() if there and description.get(name)}
    return plain | {name: json.dumps(value, ensure_ascii=False) for name, value in told.items()}


def _given(model: Model, modality: Modality | None) -> Modality:
    if modality is None:
        return Modality(model.modality)
    if modality not in model.answers:
        raise InputError(
            f"this model cannot answer from {modality} alone; it answers from: {', '.join(model.answers)}"
        )
    return Modality(modality)


def _shapes(description: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of a clip's features in training: audio (Da,) and visual (T, S, Dv), those that there are."""
    there = {name: description[name] for name in ("audio", "visual") if description.get(name)}
    return {name: tuple(part["shape"]) for name, part in there.items()}


def _dtype(model: Model) -> torch.dtype:
    return next(tensor.dtype for tensor in model.tensors().values() if tensor.is_floating_point())


def _declared(values: Any) -> dict[str, tuple[str | int, ...]]:
    """Names and shapes of a graph's inputs or outputs."""
    sizes = {value.name: value.type.tensor_type.shape.dim for value in values}
    return {name: tuple(size.dim_param or size.dim_value for size in shape) for name, shape in sizes.items()}
