"""The model card: README.md of a model folder, as shown on the Hugging Face Hub.

Its YAML header has metadata for the hub: library, tags, and metrics as a model index
(https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
DEFINITIONS = {
    "average_incremental_accuracy": "accuracy after each step on the test clips of all classes so far; mean over steps",
    "last_accuracy": "on the test clips of all classes, which are not used for training",
    "mean_forgetting": "decrease of the accuracy on earlier classes from its best value; mean over the steps",
}
INPUTS = {
    "audio-visual": "its audio and its frames",
    "audio": "its audio",
    "visual": "its frames",
}
MAX_OPEN_CLASSES = 20
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
    method = _method(description.get("method", kind))
    parts = [
        _front_matter(method, description, name=name, license=license),
        _title(method, labels, description, name),
        _usage(name),
        _data(labels, description, learning),
        _metrics_section(description),
        _limitations(learning, notes),
    ]
    return "\n\n".join(parts) + "\n"


def _yaml(text: str) -> str:
    """A YAML string; every JSON string is one."""
    return json.dumps(text, ensure_ascii=False)


def _method(name: str) -> str:
    """The method; for a method from a file, the file name without its path."""
    return Path(name).stem if name.endswith(".py") else name


def _front_matter(
    method: str, description: Mapping[str, Any], *, name: str | None, license: str | None
) -> str:
    modality = description.get("modality", "?")
    tags = ["audio-visual", "class-incremental-learning", "video-classification", method, modality]
    lines = ["library_name: avcil", "pipeline_tag: video-classification"]
    lines += [f"license: {_yaml(license)}"] if license else []
    lines += ["tags:", *(f"  - {_yaml(tag)}" for tag in dict.fromkeys(tags))]
    metrics = _metrics(description)
    if metrics and not description.get(UPDATES):  # the metrics are those before the updates
        index = _model_index(name or f"{method}, {modality}", description, metrics)
        lines += ["metrics:", "  - accuracy", *index]
    return "\n".join(["---", *lines, "---"])


def _model_index(name: str, description: Mapping[str, Any], metrics: Mapping[str, float]) -> list[str]:
    data = _benchmark(description) or "own clips"
    lines = [
        "model-index:",
        f"  - name: {_yaml(name)}",
        "    results:",
        "      - task:",
        "          type: video-classification",
        "          name: class-incremental audio-visual video classification",
        "        dataset:",
        f"          type: {_yaml(data.replace(' ', '-'))}",
        f"          name: {_yaml(data)}",
        "          split: test",
        "        metrics:",
    ]
    for key, value in metrics.items():
        kind = key if key == "mean_forgetting" else "accuracy"
        lines += [
            f"          - type: {kind}",
            f"            name: {_yaml(METRICS[key])}",
            f"            value: {value:.4f}",
        ]
    return lines


def _benchmark(description: Mapping[str, Any]) -> str | None:
    """The name of the benchmark; None for a user's own data."""
    name = description.get("data", {}).get("benchmark", "own")
    return None if name == "own" else one_line(name)


def _metrics(description: Mapping[str, Any]) -> dict[str, float]:
    metrics = description.get("metrics") or {}
    return {key: metrics[key] for key in METRICS if metrics.get(key) is not None}


def _title(method: str, labels: Sequence[str], description: Mapping[str, Any], name: str | None) -> str:
    inputs = INPUTS.get(description.get("modality", ""), "its features")
    title = name or f"{method}, {description.get('modality', '?')}: {len(labels)} classes"
    return (
        f"# {title}\n\nPredicts which of {len(labels)} classes a video clip shows, from {inputs}. Trained with "
        f"`{method}`, a method of class-incremental learning: classes were learned step by step, and more can be "
        "added. Made with avcil."
    )


def _usage(name: str | None) -> str:
    load = f'from_pretrained("{name}")' if name else 'load("this folder")'
    lines = [
        "## Usage",
        "",
        "With avcil and its extra `hub` installed:" if name else "With avcil installed:",
        "",
        "```python",
        "from avcil import Recognizer",
        "",
        f"recognizer = Recognizer.{load}",
        'recognizer.predict("clip.mp4")  # the most probable class',
        'recognizer.predict_clip("clip.mp4").probabilities  # of all classes, the most probable first',
        "```",
        "",
        "Any file that FFmpeg can read is accepted. `labels.json` has the classes in the order of learning.",
    ]
    return "\n".join(lines)


def _data(labels: Sequence[str], description: Mapping[str, Any], learning: LearningState | None) -> str:
    lines = ["## Data", ""]
    if name := _benchmark(description):
        lines.append(f"- Benchmark: {name}")
    if learning is not None:
        clips, steps = sum(learning.counts.values()), len(learning.steps)
        lines.append(f"- Trained on {clips} clips of {len(labels)} classes in {steps} steps")
    if merged := description.get("merged"):
        each = "; ".join(f"{source['clips']} clips of {source['classes']} classes" for source in merged)
        lines.append(f"- Merged from {len(merged)} models, trained on: {each}")
    sampling = description.get("sampling") or {}
    texts = {
        "frames": "{} frames per clip",
        "short_side": "{} pixels on the short side",
        "sample_rate": "audio at {} Hz",
    }
    decoding = [text.format(sampling[key]) for key, text in texts.items() if sampling.get(key)]
    lines += [f"- Sampling: {', '.join(decoding)}"] if decoding else []
    for modality, title in (("visual", "Visual"), ("audio", "Audio")):
        if spec := description.get(modality):
            encoder, shape = spec["encoder"], " x ".join(map(str, spec["shape"]))
            sources = [part.get("options", {}).get("source") for part in encoder.get("parts") or [encoder]]
            pinned = [source for source in sources if isinstance(source, str) and "@" in source]
            origin = f" (weights of {', '.join(pinned)})" if pinned else ""
            lines.append(
                f"- {title} features: {shape}, from the frozen encoder {encoder.get('name', '?')}{origin}"
            )
    return "\n".join([*lines, "", *_classes(labels, learning)])


def _classes(labels: Sequence[str], learning: LearningState | None) -> list[str]:
    lines = ["| class | training clips |", "|---|---|"]
    for label in labels:
        count = "not recorded" if learning is None else str(learning.counts.get(label, 0))
        shown = one_line(label).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {shown} | {count} |")
    if len(labels) <= MAX_OPEN_CLASSES:
        return lines
    return ["<details>", f"<summary>The {len(labels)} classes</summary>", "", *lines, "", "</details>"]


def _metrics_section(description: Mapping[str, Any]) -> str:
    metrics = _metrics(description)
    if not metrics:
        return "## Metrics\n\nNone were recorded."
    data = description.get("data", {})
    clips = f"{data['test_clips']} test clips" if "test_clips" in data else "the test clips"
    text = f"On {clips} of the training run, {description['metrics']['classes']} classes:"
    lines = ["## Metrics", "", text, "", "| metric | value | definition |", "|---|---|---|"]
    lines += [
        f"| {METRICS[key]} | {100 * value:.1f} % | {DEFINITIONS[key]} |" for key, value in metrics.items()
    ]
    if updates := description.get(UPDATES):
        count = "once" if updates == 1 else f"{updates} times"
        lines += ["", f"The model was updated {count} since; these metrics were measured before."]
    return "\n".join(lines)


def _limitations(learning: LearningState | None, notes: Sequence[str]) -> str:
    lines = [
        "## Limitations",
        "",
        "- Only these classes can be predicted. For a clip of something else, one of them is predicted. If the method "
        "has a test for unknown classes, `in_distribution` of the prediction is False for many of these, not for all.",
        "- With other cameras, rooms or microphones than those of the training clips, the accuracy can be lower than "
        "the probabilities suggest.",
    ]
    lines += [f"- {note[0].upper()}{note[1:]}." for note in notes]
    if learning is None:
        lines.append("- No classes can be added: the files for further learning were not saved.")
    elif learning.exemplars:
        lines.append(
            f"- learning.safetensors and learning.json contain the features and names of {len(learning.exemplar_ids)} "
            "training clips."
        )
    else:
        sample = learning.tensors.get("sample.labels")
        count = 0 if sample is None else sample.numel()
        lines.append(
            f"- learning.safetensors contains sums over clips, and the feature vectors of {count} training clips."
            if count
            else "- No features of single training clips are stored; sums over clips may be."
        )
    return "\n".join(lines)
