"""Reading a finished run directory, as docs/architecture.md lays it down.

A run is read whole and checked against itself, so that a table or a report never shows figures of a run that
is unfinished, damaged, or mixed from two.

Shapes: K steps; `R` (K, K) accuracies, `n` (K,) test clips (see metrics.py). Steps count from 0.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avcil.errors import InputError
from avcil.runs import metrics
from avcil.utils.files import read_json
from avcil.utils.input_files import parse_json, read_bytes

PREDICTION_COLUMNS = ["clip_id", "label", "predicted", "probability"]
LARGEST_TABLE = 64 << 20
"""Bytes of metrics.jsonl or a CSV file; a million lines of it."""
TOLERANCE = 1e-5
"""How far results.json may be from the accuracy matrix: room for rounding, not for another run's figures."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of metrics.jsonl."""

    step: int
    epoch: int
    losses: Mapping[str, float]
    """The loss's terms by name."""
    loss: float | None
    """Their total, as it was minimized; None for a method fitted in closed form."""
    val_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One test clip's answer."""

    clip_id: str
    label: str
    predicted: str
    probability: float
    """The model's probability of `predicted`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRecord:
    """A finished run: what was asked for, how training went, and what came out."""

    folder: Path
    method: str
    modality: str
    seed: int
    benchmark: str
    steps: tuple[tuple[str, ...], ...]
    """The class names that came at each step."""
    seconds: float
    """How long the run took."""
    R: np.ndarray
    n: np.ndarray
    epochs: tuple[Epoch, ...]
    """In the order they were trained; one a step, without losses, for a method fitted in closed form."""
    predictions: tuple[tuple[Prediction, ...], ...]
    """After each step, the answers to the test clips of all classes seen."""
    config: Mapping[str, Any]
    results: Mapping[str, Any]

    @property
    def step_of_class(self) -> dict[str, int]:
        """Class name to its step, in the order in which classes came."""
        return {label: step for step, labels in enumerate(self.steps) for label in labels}

    @property
    def accuracy_per_step(self) -> list[float]:
        """Accuracy after each step over all classes seen, fractions."""
        return metrics.accuracy_per_step(self.R, self.n)


def read_run(folder: Path) -> RunRecord:
    """Read a finished run directory.

    Raises `InputError` where the folder is no run directory, where the run has not finished, and where a
    file is missing, damaged, or does not agree with the others.
    """
    folder = Path(folder)
    _check_is_finished(folder)
    config, results = (_json_object(folder / name) for name in ("config.json", "results.json"))
    steps = _steps(folder / "config.json", config)
    R, n = _accuracy_matrix(folder / "accuracy_matrix.csv", len(steps))
    _check_agreement(folder, results, R, n)
    return RunRecord(
        folder=folder,
        method=_field(folder / "config.json", config, "method", str),
        modality=_field(folder / "config.json", config, "modality", str),
        seed=_field(folder / "config.json", config, "seed", int),
        benchmark=_field(folder / "config.json", config["benchmark"], "name", str),
        steps=steps,
        seconds=float(_field(folder / "results.json", results, "seconds", int | float)),
        R=R,
        n=n,
        epochs=_epochs(folder / "metrics.jsonl", len(steps)),
        predictions=tuple(
            _predictions(folder / "predictions" / f"step_{k}.csv", steps[: k + 1], n[: k + 1])
            for k in range(len(steps))
        ),
        config=config,
        results=results,
    )


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Read several run directories in the order given; one given twice is refused: it would count twice."""
    if not folders:
        raise InputError("give one run directory or more, each made by: avcil train FEATURES --out RUN")
    twice = [str(f) for f, k in Counter(Path(folder).resolve() for folder in folders).items() if k > 1]
    if twice:
        raise InputError(f"{twice[0]} is given twice; name every run directory once")
    return [read_run(folder) for folder in folders]


def _check_is_finished(folder: Path) -> None:
    if not folder.exists():
        raise InputError(
            f"there is no run directory {folder}; make one with: avcil train FEATURES --out {folder}"
        )
    if not folder.is_dir() or not (folder / "config.json").exists():
        raise InputError(
            f"{folder} is not a run directory (it has no config.json). "
            "Give the --out folder of avcil train, one run each"
        )
    if not (folder / "results.json").exists():
        raise InputError(f"the run in {folder} is unfinished: run the same command again to finish it")


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is damaged: {what}. Restore it from a copy, or train the run anew into another folder"
    )


def _json_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise _damaged(path, "it must hold a JSON object")
    return value


def _field(path: Path, holder: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = holder.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _damaged(path, f"the field {name!r} is {'missing' if name not in holder else repr(value)}")
    return value


def _steps(path: Path, config: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    steps = _field(path, _field(path, config, "benchmark", dict), "steps", list)
    named = all(isinstance(step, list) and step and all(isinstance(c, str) for c in step) for step in steps)
    classes = [label for step in steps for label in step] if named else []
    if not classes or len(set(classes)) < len(classes):
        raise _damaged(path, "benchmark.steps must list the class names of each step, every class once")
    return tuple(tuple(step) for step in steps)


def _rows(path: Path) -> list[list[str]]:
    if not path.exists():
        raise _damaged(path, "the file is missing")
    try:
        text = read_bytes(path, limit=LARGEST_TABLE).decode("utf-8")
        return list(csv.reader(io.StringIO(text, newline="")))
    except UnicodeDecodeError as error:
        raise _damaged(path, f"it is not UTF-8 text ({error})") from None
    except csv.Error as error:
        raise _damaged(path, f"it is not CSV ({error})") from None


def _accuracy_matrix(path: Path, steps: int) -> tuple[np.ndarray, np.ndarray]:
    header = ["step", *(f"task_{i}" for i in range(steps))]
    rows = _rows(path)
    if not rows or rows[0] != header:
        raise _damaged(path, f"its header must be {','.join(header)}")
    if [row[:1] for row in rows[1:]] != [["n"], *([str(s)] for s in range(steps))]:
        raise _damaged(path, f"it must have a row n and rows 0 to {steps - 1}")
    if any(len(row) != steps + 1 for row in rows):
        raise _damaged(path, f"every row must have {steps + 1} fields")
    try:
        values = np.array([[float(cell) if cell else math.nan for cell in row[1:]] for row in rows[1:]])
        R, n = metrics.checked(values[1:], values[0])
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    seen = R[np.tril_indices(steps)]
    if not ((seen >= 0) & (seen <= 1)).all():
        raise _damaged(path, "accuracies are fractions from 0 to 1")
    return R, n


def _check_agreement(folder: Path, results: Mapping[str, Any], R: np.ndarray, n: np.ndarray) -> None:
    """The figures written at the end are those of the matrix."""
    written = _field(folder / "results.json", results, "accuracy_per_step", list)
    if not all(type(value) in (int, float) for value in written):
        raise _damaged(folder / "results.json", "its accuracy_per_step must be a list of numbers")
    computed = metrics.accuracy_per_step(R, n)
    if len(written) != len(computed) or not np.allclose(written, computed, rtol=0, atol=TOLERANCE):
        raise _damaged(folder / "results.json", "its accuracy_per_step is not that of accuracy_matrix.csv")


def _epochs(path: Path, steps: int) -> tuple[Epoch, ...]:
    """The log of training; a method fitted in closed form leaves a line a step, without a loss."""
    lines = read_bytes(path, limit=LARGEST_TABLE).splitlines() if path.exists() else []
    epochs = []
    for number, line in enumerate(lines, 1):
        try:
            value = parse_json(line, "the line")
            val_accuracy = value["val_accuracy"]
            epoch = Epoch(
                step=int(value["step"]),
                epoch=int(value["epoch"]),
                losses={str(term): float(loss) for term, loss in value["losses"].items()},
                loss=None if value["loss"] is None else float(value["loss"]),
                val_accuracy=None if val_accuracy is None else float(val_accuracy),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, f"line {number} is no epoch ({error!s:.200})") from None
        if not 0 <= epoch.step < steps:
            raise _damaged(path, f"line {number} names step {epoch.step} of a run of {steps} steps")
        epochs.append(epoch)
    return tuple(epochs)


def _predictions(path: Path, steps: tuple[tuple[str, ...], ...], n: np.ndarray) -> tuple[Prediction, ...]:
    rows = _rows(path)
    if not rows or rows[0] != PREDICTION_COLUMNS:
        raise _damaged(path, f"its header must be {','.join(PREDICTION_COLUMNS)}")
    seen = {label for step in steps for label in step}
    predictions = []
    for number, row in enumerate(rows[1:], 2):
        try:
            clip_id, label, predicted, probability = row
            value = float(probability)
        except ValueError:
            raise _damaged(path, f"row {number} is no prediction") from None
        if label not in seen or predicted not in seen or not 0 <= value <= 1 + TOLERANCE:
            raise _damaged(path, f"row {number} names a class not yet seen, or a probability outside 0 to 1")
        predictions.append(
            Prediction(clip_id=clip_id, label=label, predicted=predicted, probability=min(value, 1.0))
        )
    if len(predictions) != n.sum():
        raise _damaged(
            path,
            f"it has {len(predictions)} predictions; accuracy_matrix.csv counts {n.sum():.0f} test clips",
        )
    return tuple(predictions)
