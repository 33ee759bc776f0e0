"""The model card: README.md of a model's folder, as the Hugging Face hub shows it.

Its head is YAML that the hub reads: the library, tags, and figures as a model-index
(https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avcil.data.clips import one_line
from avcil.saved_models.learning_state import LearningState

METRICS = {
    "average_incremental_accuracy": "accuracy, mean over the steps",
    "last_accuracy": "accuracy after the last step",
    "mean_forgetting": "mean forgetting",
}
"""Of results.json: fractions, shown as percent."""
MEANING = {
    "average_incremental_accuracy": "after each step, on the test clips of all classes taught so far; then the mean",
    "last_accuracy": "on the test clips of all classes, none of which it learnt from",
    "mean_forgetting": "how far the accuracy on a step's classes fell from its best to the end, mean over the steps",
}
SENSES = {"audio-visual": "its picture and its sound", "audio": "its sound", "visual": "its picture"}
LONG = 20
"""Classes above which the table of them is folded."""


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
    """The card of a model: what it answers, how to ask it, what it learnt from, its metrics, its limits.

    `name`: OWNER/NAME where it is published; `license`: an identifier of the hub's, such as cc-by-4.0; `notes`: further
    limits.
    """
    method = _method(description.get("method", kind))
    parts = [
        _front_matter(method, description, name=name, license=license),
        _head(method, labels, description, name),
        _use(name),
        _data(labels, description, learning),
        _metrics(description),
        _limits(learning, notes),
    ]
    return "\n\n".join(parts) + "\n"


def _quoted(text: str) -> str:
    """As a YAML string, which any JSON string is."""
    return json.dumps(text, ensure_ascii=False)


def _method(name: str) -> str:
    """A method's name; of a method from a file, without where that file lies."""
    return Path(name).stem if name.endswith(".py") else name


def _front_matter(
    method: str, description: Mapping[str, Any], *, name: str | None, license: str | None
) -> str:
    modality = description.get("modality", "?")
    tags = ["audio-visual", "class-incremental-learning", "video-classification", method, modality]
    lines = ["library_name: avcil", "pipeline_tag: video-classification"]
    lines += [f"license: {_quoted(license)}"] if license else []
    lines += ["tags:", *(f"  - {_quoted(tag)}" for tag in dict.fromkeys(tags))]
    figures = _figures(description)
    if figures and not description.get("sittings"):  # what it can since is not measured
        lines += [
            "metrics:",
            "  - accuracy",
            *_model_index(name or f"{method}, {modality}", description, figures),
        ]
    return "\n".join(["---", *lines, "---"])


def _model_index(name: str, description: Mapping[str, Any], figures: Mapping[str, float]) -> list[str]:
    """The figures for programs."""
    data = _benchmark(description) or "own clips"
    lines = [
        "model-index:",
        f"  - name: {_quoted(name)}",
        "    results:",
        "      - task:",
        "          type: video-classification",
        "          name: class-incremental audio-visual video classification",
        "        dataset:",
        f"          type: {_quoted(data.replace(' ', '-'))}",
        f"          name: {_quoted(data)}",
        "          split: test",
        "        metrics:",
    ]
    for key, value in figures.items():
        kind = key if key == "mean_forgetting" else "accuracy"
        lines += [
            f"          - type: {kind}",
            f"            name: {_quoted(METRICS[key])}",
            f"            value: {value:.4f}",
        ]
    return lines


def _benchmark(description: Mapping[str, Any]) -> str | None:
    """The name of its steps; None where they are nobody's but the run's."""
    name = description.get("data", {}).get("benchmark", "own")
    return None if name == "own" else one_line(name)


def _figures(description: Mapping[str, Any]) -> dict[str, float]:
    """Those of `METRICS` that there are."""
    metrics = description.get("metrics") or {}
    return {key: metrics[key] for key in METRICS if metrics.get(key) is not None}


def _head(method: str, labels: Sequence[str], description: Mapping[str, Any], name: str | None) -> str:
    senses = SENSES.get(description.get("modality", ""), "its features")
    title = name or f"{method}, {description.get('modality', '?')}: {len(labels)} classes"
    return (
        f"# {title}\n\nSays which of {len(labels)} classes a video clip shows, from {senses}. Taught by `{method}`, a "
        "method of class-incremental learning: classes came step by step, and more can be taught. Made with avcil."
    )


def _use(name: str | None) -> str:
    load = f'from_pretrained("{name}")' if name else 'load("this folder")'
    lines = [
        "## Ask it",
        "",
        "```sh",
        "pip install 'avcil[hub]'" if name else "pip install avcil",
        "```",
        "",
        "```python",
        "from avcil.inference import Recognizer",
        "",
        f"recognizer = Recognizer.{load}",
        'recognizer.predict("clip.mp4")  # the likeliest class',
        'recognizer.answer("clip.mp4").probabilities  # of every class, likeliest first',
        "```",
        "",
        "It takes any file that FFmpeg reads. `labels.json` holds the classes in the order in which they were learnt.",
    ]
    return "\n".join(lines)


def _data(labels: Sequence[str], description: Mapping[str, Any], learning: LearningState | None) -> str:
    lines = ["## Data", ""]
    if name := _benchmark(description):
        lines.append(f"- Benchmark: {name}")
    if learning is not None:
        clips, steps = sum(learning.counts.values()), len(learning.steps)
        lines.append(f"- Learnt from {clips} clips of {len(labels)} classes, which came in {steps} steps")
    if merged := description.get("merged"):
        each = "; ".join(f"{source['clips']} clips of {source['classes']} classes" for source in merged)
        lines.append(f"- Merged from {len(merged)} models, which had learned: {each}")
    sampling = description.get("sampling") or {}
    words = {
        "frames": "{} frames of a clip",
        "short_side": "{} pixels on the shorter side",
        "sample_rate": "{} Hz",
    }
    read = [text.format(sampling[key]) for key, text in words.items() if sampling.get(key)]
    lines += [f"- Read as {', '.join(read)}"] if read else []
    for part, what in (("visual", "Picture"), ("audio", "Sound")):
        if found := description.get(part):
            encoder, shape = found["encoder"], " x ".join(map(str, found["shape"]))
            singles = encoder.get("parts") or [encoder]
            sources = [part.get("options", {}).get("source") for part in singles]
            pinned = [source for source in sources if isinstance(source, str) and "@" in source]
            origin = f" (weights of {', '.join(pinned)})" if pinned else ""
            lines.append(
                f"- {what}: {shape} numbers by the frozen encoder {encoder.get('name', '?')}{origin}"
            )
    return "\n".join([*lines, "", *_classes(labels, learning)])


def _classes(labels: Sequence[str], learning: LearningState | None) -> list[str]:
    lines = ["| class | clips learnt |", "|---|---|"]
    for label in labels:
        count = "not recorded" if learning is None else str(learning.counts.get(label, 0))
        shown = one_line(label).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| {shown} | {count} |")
    if len(labels) <= LONG:
        return lines
    return ["<details>", f"<summary>The {len(labels)} classes</summary>", "", *lines, "", "</details>"]


def _metrics(description: Mapping[str, Any]) -> str:
    figures = _figures(description)
    if not figures:
        return "## Metrics\n\nNone were recorded."
    data = description.get("data", {})
    clips = f"{data['test_clips']} test clips" if "test_clips" in data else "the test clips"
    said = f"On {clips} of the run that made it, {description['metrics']['classes']} classes:"
    lines = ["## Metrics", "", said, "", "| metric | value | how it is measured |", "|---|---|---|"]
    lines += [f"| {METRICS[key]} | {100 * value:.1f} % | {MEANING[key]} |" for key, value in figures.items()]
    if times := description.get("sittings"):
        often = "once" if times == 1 else f"{times} times"
        lines += ["", f"It has learnt or forgotten {often} since; these figures are of before."]
    return "\n".join(lines)


def _limits(learning: LearningState | None, notes: Sequence[str]) -> str:
    lines = [
        "## Limits",
        "",
        "- It knows these classes only. A clip of another thing gets one of their names; where the method can tell, "
        "the answer's `in_distribution` says that the clip is like none of them.",
        "- Its probabilities hold for clips like those that it learnt from. With other cameras, rooms and microphones "
        "it is less often right than it says.",
    ]
    lines += [f"- {note[0].upper()}{note[1:]}." for note in notes]
    if learning is None:
        lines.append("- It answers, but cannot learn on: what that needs was not saved.")
    elif learning.exemplars:
        lines.append(
            f"- It keeps the features of {len(learning.exemplar_ids)} clips that it learnt from, with their names, "
            "in learning.safetensors and learning.json. Whoever has it has those."
        )
    else:
        sample = learning.tensors.get("sample.labels")
        kept = 0 if sample is None else sample.numel()
        lines.append(
            f"- It keeps sums over clips, and the feature vectors of {kept} clips in learning.safetensors."
            if kept
            else "- No single clip that it learnt from is kept; sums over clips may be."
        )
    return "\n".join(lines)
