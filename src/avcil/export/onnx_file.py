"""Export a model to an ONNX file. Inputs are features, outputs are class probabilities.

B clips, T time slices, S spatial tokens, Da and Dv widths of audio and visual features, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

from avcil.closed_form.linear_model import LinearModel
from avcil.closed_form.projected_model import ProjectedModel
from avcil.closed_form.quadratic_model import QuadraticModel
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.export.check import Checker, ExportComparison, random_clips, stored_clips
from avcil.export.closed_form_graph import add_closed_form, add_projected, add_quadratic
from avcil.export.graph import OPSET, Graph
from avcil.export.network_graph import add_network
from avcil.features import FeatureStore
from avcil.nn.network import Network
from avcil.saved_models.folder import ONNX_FILE, SavedModel
from avcil.utils.files import write_atomically
from avcil.utils.version import __version__

_FORMAT, VERSION = "avcil-onnx", 1
"""Of the metadata in the file."""
MAX_BYTES = 2**31 - 2**20
"""Of the constants: protobuf allows files of 2 GiB, of which the nodes need a part."""


@dataclass(frozen=True, kw_only=True)
class OnnxExport:
    """The exported file and its comparison with the model."""

    path: Path
    bytes: int
    opset: int
    modality: Modality
    """The modalities of the inputs."""
    inputs: dict[str, tuple[str | int, ...]]
    """Shape of each input; names are sizes that can vary."""
    outputs: dict[str, tuple[str | int, ...]]
    comparisons: tuple[ExportComparison, ...]


def export_onnx(
    saved: SavedModel,
    path: Path | str,
    *,
    modality: Modality | None = None,
    store: FeatureStore | None = None,
) -> OnnxExport:
    """Export a model to ONNX and compare it with the model in ONNX Runtime before it is written.

    The inputs are `audio` (B, Da) and `visual` (B, T, S, Dv), float32. The outputs are `probabilities` (B, C), `scores`
    (B, C) and for blade `p_values` (B,), float32.

    Args:
        saved: The model.
        path: A file name ending in .onnx, or a folder for model.onnx.
        modality: The modalities of the inputs, if the model can predict from them; by default the model's modality.
        store: A feature store with clips for the comparison, in addition to random features.

    Raises:
        InputError: The model, modality or path is not supported.
        AvcilError: The outputs differ from the model's by more than `check.TOLERANCE`.
    """
    file = _onnx_path(Path(path))
    modality = Modality(modality or saved.model.modality)
    if modality not in saved.model.input_modalities:
        raise InputError(
            f"this model cannot predict from {modality} alone, only from: {', '.join(saved.model.input_modalities)}"
        )
    onnx_model = _build(saved, modality)
    content = onnx_model.SerializeToString()
    shapes = _shapes(saved.description)
    checker = Checker(content, saved.model, saved.dtype)
    comparisons = [checker.compare("random clips", random_clips(shapes, modality))]
    if store is not None:
        comparisons.append(checker.compare(f"clips of {store.path}", stored_clips(store, shapes, modality)))
    write_atomically(file, lambda out: out.write(content))
    return OnnxExport(
        path=file,
        bytes=len(content),
        opset=OPSET,
        modality=modality,
        inputs=_declared_shapes(onnx_model.graph.input),
        outputs=_declared_shapes(onnx_model.graph.output),
        comparisons=tuple(comparisons),
    )


def _onnx_path(path: Path) -> Path:
    """The file for a file name or a folder.

    >>> str(_onnx_path(Path("exports/dogs.onnx"))), str(_onnx_path(Path("exports")))
    ('exports/dogs.onnx', 'exports/model.onnx')
    """
    if path.is_dir() or not path.suffix:
        return path / ONNX_FILE
    if path.suffix.lower() != ".onnx":
        raise InputError(f"{path}: give a file name ending in .onnx, or a folder")
    return path


def _build(saved: SavedModel, modality: Modality) -> ModelProto:
    """Build the ONNX model for inputs of a modality."""
    graph, shapes = Graph(), _shapes(saved.description)
    audio = visual = None
    if modality.has_audio:
        audio = graph.input("audio", ("batch", *shapes["audio"]), "audio features of each clip")
    if modality.has_visual:
        shape = ("batch", "slices", "tokens", shapes["visual"][-1])
        visual = graph.input("visual", shape, "visual tokens of each clip")
    model, p_values = saved.model, None
    if isinstance(model, LinearModel):
        scores, p_values = add_closed_form(graph, model, modality, audio, visual)
    elif isinstance(model, QuadraticModel):
        scores = add_quadratic(graph, model, audio, visual)
    elif isinstance(model, ProjectedModel):
        scores = add_projected(graph, model, audio, visual)
    elif isinstance(model, Network):
        scores = add_network(graph, model, audio, visual)
    else:
        raise InputError(
            f"a model of kind {model.kind!r} ({type(model).__name__}) cannot be exported. Supported are the network "
            "of gradient methods, and closed-form models with linear scores (LinearModel), quadratic scores "
            "(QuadraticModel) or projections (ProjectedModel)"
        )
    _add_outputs(graph, scores, p_values, model.classes)
    if graph.bytes > MAX_BYTES:
        raise InputError(
            f"this model has {graph.bytes / 2**30:.1f} GiB of parameters; an ONNX file can have at most 2 GiB. "
            "Train it with fewer random features: avcil train ... --set features=N"
        )
    about = (
        f"{saved.description.get('method', model.kind)}, {modality}: predicts one of {model.classes} classes"
    )
    return graph.model("avcil", about, _metadata(saved, modality))


def _add_outputs(graph: Graph, scores: str, p_values: str | None, classes: int) -> None:
    exact = graph.cast(scores, "float64", name="scores_exact")
    probabilities = graph.node("Softmax", exact, name="probabilities_exact", axis=1)
    shape = ("batch", classes)
    graph.output(
        probabilities, "probabilities", shape, "of each class, in the order of the labels; they add up to 1"
    )
    graph.output(scores, "scores", shape, "of each class; probabilities are their softmax")
    if p_values is not None:
        about = "at most a for about a fraction a of the clips of known classes; small values mean an unknown class"
        graph.output(p_values, "p_values", ("batch",), about)


def _metadata(saved: SavedModel, modality: Modality) -> dict[str, str]:
    """Labels, and the encoders and sampling of the features, as JSON texts."""
    description = saved.description
    texts = {
        "format": _FORMAT,
        "version": str(VERSION),
        "avcil": __version__,
        "method": str(description.get("method", saved.model.kind)),
        "modality": modality.value,
    }
    values: dict[str, Any] = {"labels": list(saved.labels)}
    keys = (*modality.parts, "sampling", "dtype")
    values |= {key: description[key] for key in keys if description.get(key)}
    return texts | {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def _shapes(description: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of the training features of a clip: audio (Da,) and visual (T, S, Dv)."""
    return {name: tuple(description[name]["shape"]) for name in ("audio", "visual") if description.get(name)}


def _declared_shapes(values: Any) -> dict[str, tuple[str | int, ...]]:
    """Shapes of the inputs or outputs of a graph, by name."""
    sizes = {value.name: value.type.tensor_type.shape.dim for value in values}
    return {name: tuple(size.dim_param or size.dim_value for size in shape) for name, shape in sizes.items()}
