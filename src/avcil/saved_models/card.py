"""The model card: README.md of a model folder, as shown on the Hugging Face Hub.

Its YAML header has metadata for the hub: library, tags, and metrics as a model index
(https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avcil.data.clips import one_line
from avcil.saved_models.description import UPDATES
from avcil.saved_models.learning_state import LearningState

METRICS = {
    "average_incremental_accuracy": "accuracy, mean over the steps",
    "last_accuracy": "accuracy after the last step",
    "mean_forgetting": "mean forgetting",
}
"""Entries of results.json, fractions, and their names on the card."""
_DEFINITIONS = {
    "average_incremental_accuracy": "accuracy after each step on the test clips of all classes so far; mean over steps",
    "last_accuracy": "on the test clips of all classes, which are not used for training",
    "mean_forgetting": "decrease of the accuracy on earlier classes from its best value; mean over the steps",
}
_INPUTS = {
    "audio-visual": "its audio and its frames",
    "audio": "its audio",
    "visual": "its frames",
}
_SAMPLING = {
    "frames": "{} frames per clip",
    "short_side": "{} pixels on the short side",
    "sample_rate": "audio at {} Hz",
}
_MAX_OPEN_CLASSES = 20
"""The table of more classes is collapsed."""


def model_card(
    kind: str,
    labels: Sequence[str],
    description: Mapping[str, Any],
    learning: LearningState | None,
    *,
    name: str | None = None,
    license: str | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The model card: purpose, usage, training data, metrics, limitations.

    Args:
        kind: Kind of the model.
        labels: The classes.
        description: The description in config.json.
        learning: What further learning needs, if it is saved.
        name: OWNER/NAME on the hub.
        license: A license identifier of the hub, such as cc-by-4.0.
        notes: Further limitations.
    """
    from avcil.utils.templates import render_markdown  # loading a model does not need Jinja

    method = _method(description.get("method", kind))
    modality = description.get("modality", "?")
    tags = ["audio-visual", "class-incremental-learning", "video-classification", method, modality]
    data = description.get("data", {})
    sample = None if learning is None else learning.tensors.get("sample.labels")
    return render_markdown(
        "avcil.saved_models",
        "card",
        name=name,
        license=license,
        method=method,
        modality=modality,
        tags=list(dict.fromkeys(tags)),
        inputs=_INPUTS.get(modality, "its features"),
        benchmark=_benchmark(data),
        learning=learning,
        merged=[
            f"{each['clips']} clips of {each['classes']} classes" for each in description.get("merged", ())
        ],
        sampling=list(_sampling(description.get("sampling") or {})),
        features=list(_features(description)),
        classes=[(_cell(label), _count(label, learning)) for label in labels],
        is_long=len(labels) > _MAX_OPEN_CLASSES,
        metrics=_metrics(description),
        test_clips=f"{data['test_clips']} test clips" if "test_clips" in data else "the test clips",
        measured_classes=(description.get("metrics") or {}).get("classes"),
        updates=description.get(UPDATES),
        notes=notes,
        sample_clips=0 if sample is None else sample.numel(),
    )


def _method(name: str) -> str:
    """The method; for a method from a file, the file name without its path."""
    return Path(name).stem if name.endswith(".py") else name


def _benchmark(data: Mapping[str, Any]) -> str | None:
    """The name of the benchmark; None for a user's own data."""
    name = data.get("benchmark", "own")
    return None if name == "own" else one_line(name)


def _metrics(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The metrics that were recorded, with their names and definitions."""
    metrics = description.get("metrics") or {}
    return [
        {"key": key, "name": METRICS[key], "definition": _DEFINITIONS[key], "value": metrics[key]}
        for key in METRICS
        if metrics.get(key) is not None
    ]


def _sampling(sampling: Mapping[str, Any]) -> Iterator[str]:
    """How clips are decoded."""
    for key, text in _SAMPLING.items():
        if sampling.get(key):
            yield text.format(sampling[key])


def _features(description: Mapping[str, Any]) -> Iterator[str]:
    """The features of each modality, and the weights of their encoder on the hub."""
    for modality in ("visual", "audio"):
        if spec := description.get(modality):
            encoder, shape = spec["encoder"], " x ".join(map(str, spec["shape"]))
            sources = [part.get("options", {}).get("source") for part in encoder.get("parts") or [encoder]]
            pinned = [source for source in sources if isinstance(source, str) and "@" in source]
            origin = f" (weights of {', '.join(pinned)})" if pinned else ""
            name = encoder.get("name", "?")
            yield f"{modality.capitalize()} features: {shape}, from the frozen encoder {name}{origin}"


def _cell(label: str) -> str:
    """A class name in a Markdown table."""
    return one_line(label).replace("|", "\\|").replace("<", "&lt;")


def _count(label: str, learning: LearningState | None) -> str:
    """The number of training clips of a class."""
    return "not recorded" if learning is None else str(learning.counts.get(label, 0))
