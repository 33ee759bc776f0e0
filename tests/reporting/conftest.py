"""Synthetic finished runs, written by independent code in the format of docs/architecture.md."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

AWKWARD = ("rain, heavy", 'a "horn"', "-dash", "dog/bark 🐕", "<b>bold</b> & co", "ключ", "${name}")
SKILL = {"joint": (0.97, 0.0), "av-cil": (0.93, 0.22), "fine-tuning": (0.95, 0.9), "lwf": (0.9, 0.5)}


def step_names(steps: int, classes: int) -> list[list[str]]:
    """Class names of each step, those with special characters first."""
    names = [*AWKWARD, *(f"sound {i:02d}" for i in range(steps * classes))]
    return [names[s * classes : (s + 1) * classes] for s in range(steps)]


def write_run(
    folder: Path, *, method="av-cil", modality="audio-visual", seed=0, steps=4, classes=3, clips=8, epochs=12,
    **settings,
) -> Path:  # fmt: skip
    """Write a finished run with consistent values; `settings` are added to the configuration."""
    generator = np.random.default_rng([seed, len(method), len(modality), steps])
    names = step_names(steps, classes)
    new, lost = SKILL[method]
    new -= 0.0 if modality == "audio-visual" else 0.25
    R = np.full((steps, steps), np.nan)
    (folder / "predictions").mkdir(parents=True)
    for s in range(steps):
        with open(folder / "predictions" / f"step_{s}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["clip_id", "label", "predicted", "probability"])
            seen = [name for step in names[: s + 1] for name in step]
            for i in range(s + 1):
                hits = 0
                for label in names[i]:
                    for c in range(clips):
                        right = generator.random() < new * (1 - lost * (1 - 0.8 ** (s - i)) ** 0.7)
                        predicted = label if right else str(generator.choice([x for x in seen if x != label]))
                        hits += predicted == label
                        probability = float(np.clip(generator.normal(0.85 if right else 0.6, 0.12), 0.05, 1))
                        writer.writerow([f"{label}/{c}.mp4", label, predicted, repr(probability)])
                R[s, i] = hits / (classes * clips)
    n = np.full(steps, classes * clips)
    header = ["step", *(f"task_{i}" for i in range(steps))]
    lines = [",".join(header), ",".join(["n", *map(str, n)])]
    for s in range(steps):
        lines.append(",".join([str(s), *("" if np.isnan(x) else repr(float(x)) for x in R[s])]))
    (folder / "accuracy_matrix.csv").write_text("\n".join(lines) + "\n")
    _write_epochs(folder / "metrics.jsonl", generator, method, steps, epochs)
    config = {
        "method": method, "method_options": {}, "modality": modality, "seed": seed, "exemplars": None,
        "exemplars_per_class": None, "batch_size": 256, "exemplar_batch_size": 128, "weight_decay": 0.0001,
        "precision": "float32", "selection": "best",
        "benchmark": {"name": f"made-up {steps}x{classes}", "steps": names, "class_order_seed": None},
        "features": {"path": f"/features/{seed}", "fingerprint": "f00d"},
        "epochs": epochs, "learning_rate": 0.001, **settings,
    }  # fmt: skip
    accuracies = [float(np.average(R[s, : s + 1], weights=n[: s + 1])) for s in range(steps)]
    results = {
        "method": method, "modality": modality, "seed": seed, "accuracy_per_step": accuracies,
        "average_incremental_accuracy": float(np.mean(accuracies)), "last_accuracy": accuracies[-1],
        "seconds": 41.5 + 7 * seed + 20 * len(method),
    }  # fmt: skip
    for name, value in (("config.json", config), ("results.json", results)):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return folder


def _write_epochs(path: Path, generator: np.random.Generator, method: str, steps: int, epochs: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for s in range(steps):
            for e in range(epochs):
                fall = float(np.exp(-3 * e / epochs))
                losses = {"classification": 2 * fall + 0.05 * generator.random()}
                if method == "av-cil":
                    losses["d_avsc_instance"] = 1.2 * fall**0.5 + 0.05 * generator.random()
                    if s:
                        losses["distillation"] = 0.4 + 0.3 * fall + 0.02 * generator.random()
                        losses["vad_spatial"] = 0.02 * (1 - fall) + 0.001 * generator.random()
                val = 1 - 0.6 * fall - 0.01 * s
                line = {
                    "step": s,
                    "epoch": e,
                    "losses": losses,
                    "loss": sum(losses.values()),
                    "val_accuracy": val,
                }
                file.write(json.dumps(line) + "\n")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a synthetic run under a name in the test's folder."""
    return lambda name="run", **options: write_run(tmp_path / name, **options)
