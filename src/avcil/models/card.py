"""The model card: README.md of a model's folder, as the Hugging Face hub shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from avcil.clips import one_line
from avcil.models.learning_state import LearningState

METRICS = {
    "average_incremental_accuracy": "accuracy, mean over the steps",
    "last_accuracy": "accuracy after the last step",
    "mean_forgetting": "mean forgetting",
}
"""Of results.json: fractions, shown as percent."""


def model_card(
    kind: str, labels: Sequence[str], description: Mapping[str, Any], learning: LearningState | None
) -> str:
    """The card of a model: what it answers, what it learnt from, its metrics, its limits."""
    method, modality = description.get("method", kind), description.get("modality", "?")
    parts = [
        _front_matter(method, modality),
        f"# {method}, {modality}: {len(labels)} classes",
        f"Answers which of {len(labels)} classes a clip shows. Made with avcil.",
        "```python\nfrom avcil.serving import Recognizer\n\n"
        'recognizer = Recognizer.load("this folder")\nrecognizer.predict("clip.mp4")\n```',
        _classes(labels, learning),
        _features(description),
        _metrics(description),
        _limits(learning),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(method: str, modality: str) -> str:
    tags = ["audio-visual", "class-incremental-learning", "video-classification", method, modality]
    lines = [f"  - {json.dumps(tag)}" for tag in dict.fromkeys(tags)]
    return "\n".join(
        ["---", "library_name: avcil", "pipeline_tag: video-classification", "tags:", *lines, "---"]
    )


def _classes(labels: Sequence[str], learning: LearningState | None) -> str:
    lines = ["## Classes", "", "| class | clips learnt |", "|---|---|"]
    for label in labels:
        count = "not recorded" if learning is None else str(learning.counts.get(label, 0))
        name = one_line(label).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {name} | {count} |")
    return "\n".join(lines)


def _features(description: Mapping[str, Any]) -> str:
    lines = ["## Features", ""]
    for part in ("visual", "audio"):
        if found := description.get(part):
            shape = " x ".join(map(str, found["shape"]))
            lines.append(f"- {part}: encoder {found['encoder'].get('name', '?')}, {shape}")
    return "\n".join(lines)


def _metrics(description: Mapping[str, Any]) -> str:
    metrics = description.get("metrics")
    if not metrics:
        return "## Metrics\n\nNone were recorded."
    lines = [
        "## Metrics",
        "",
        f"On the test clips of the run that made it, {metrics['classes']} classes:",
        "",
    ]
    lines += [
        f"- {name}: {100 * metrics[key]:.1f} %"
        for key, name in METRICS.items()
        if metrics.get(key) is not None
    ]
    if description.get("sittings"):
        lines += ["", f"It has learnt or forgotten {description['sittings']} times since; these are older."]
    return "\n".join(lines)


def _limits(learning: LearningState | None) -> str:
    lines = [
        "## Limits",
        "",
        "- It knows these classes only. A clip of another thing gets one of their names; where the method tells so,"
        " the answer says that the clip is like none of them.",
        "- Probabilities are of clips like those that it learnt from. Other cameras, rooms and microphones lower them.",
    ]
    if learning is None:
        lines.append("- It answers, but cannot learn on: what that needs was not saved.")
    elif learning.exemplars:
        lines.append(f"- It keeps features of {len(learning.exemplar_ids)} clips that it learnt from.")
    else:
        lines.append("- No single clip that it learnt from is kept; sums over clips may be.")
    return "\n".join(lines)
