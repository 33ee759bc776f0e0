"""Read a finished run directory.

All files are read and compared with each other, so that no table or report shows metrics of a run that is unfinished,
damaged, or mixed with another one.

Shapes: K steps; `R` (K, K) accuracies, `n` (K,) numbers of test clips (see metrics.py). Steps count from 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.runs import metrics
from avcil.runs.paths import RunPaths
from avcil.runs.records import Epoch, Results
from avcil.runs.run_config import RunConfig, damaged, read_config
from avcil.utils.csv_files import read_rows
from avcil.utils.files import read_json, without_path
from avcil.utils.input_files import parse_json, read_bytes

PREDICTION_COLUMNS = ["clip_id", "label", "predicted", "probability"]
_MAX_FILE_BYTES = 64 << 20
"""Of metrics.jsonl or a CSV file: about a million lines."""
TOLERANCE = 1e-5
"""Maximum difference of accuracies between results.json and the accuracy matrix, due to rounding."""


@dataclass(frozen=True, kw_only=True)
class ClipPrediction:
    """The prediction for one test clip."""

    clip_id: str
    label: str
    predicted: str
    probability: float
    """The model's probability of `predicted`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRecord:
    """A finished run: its configuration, its log, and its results."""

    folder: Path
    config: RunConfig
    results: Results
    R: np.ndarray
    n: np.ndarray
    epochs: tuple[Epoch, ...]
    """In the order of training; a closed-form method has one per step, without losses."""
    predictions: tuple[tuple[ClipPrediction, ...], ...]
    """After each step, on the test clips of all classes seen."""

    @property
    def method(self) -> str:
        return self.config.settings.method

    @property
    def modality(self) -> Modality:
        return self.config.settings.modality

    @property
    def seed(self) -> int:
        return self.config.settings.seed

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]:
        """The classes of each step."""
        return self.config.benchmark.steps

    @property
    def step_of_class(self) -> dict[str, int]:
        """Steps by class name, in the order of training."""
        return {label: step for step, labels in enumerate(self.steps) for label in labels}

    @property
    def accuracy_per_step(self) -> list[float]:
        """Accuracy on all classes seen, after each step, fractions."""
        return metrics.accuracy_per_step(self.R, self.n)

    @property
    def average_incremental_accuracy(self) -> float:
        return metrics.average_incremental_accuracy(self.R, self.n)

    @property
    def last_accuracy(self) -> float:
        return metrics.last_accuracy(self.R, self.n)

    @property
    def mean_forgetting(self) -> float | None:
        return metrics.mean_forgetting(self.R)


def read_run(folder: Path) -> RunRecord:
    """Read a finished run directory.

    Raises:
        InputError: The folder is not a run directory, the run is not finished, or a file is missing, damaged, or
            inconsistent with the others.
    """
    folder = Path(folder)
    _check_is_finished(folder)
    paths, config, results = RunPaths(folder), read_config(folder), read_results(folder)
    steps = config.benchmark.steps
    R, n = _accuracy_matrix(paths.accuracy_matrix, len(steps))
    _check_agreement(paths.results, results, R, n)
    return RunRecord(
        folder=folder,
        config=config,
        results=results,
        R=R,
        n=n,
        epochs=_epochs(paths.log, len(steps)),
        predictions=tuple(
            _predictions(paths.predictions(k), steps[: k + 1], n[: k + 1]) for k in range(len(steps))
        ),
    )


def read_results(folder: Path) -> Results:
    """The results of the finished run in `folder`; InputError if they are missing or damaged."""
    path = RunPaths(folder).results
    value = read_json(path)
    try:
        return Results.from_dict(value)
    except InputError as error:
        raise damaged(path, str(error)) from None


def read_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Read run directories in the given order; InputError if one is given twice, because it would count twice."""
    if not folders:
        raise InputError("give one or more run directories, each written by: avcil train FEATURES --out RUN")
    twice = [str(f) for f, k in Counter(Path(folder).resolve() for folder in folders).items() if k > 1]
    if twice:
        raise InputError(f"{twice[0]} is given twice; name every run directory once")
    return [read_run(folder) for folder in folders]


def _check_is_finished(folder: Path) -> None:
    if not folder.exists():
        raise InputError(
            f"there is no run directory {folder}; make one with: avcil train FEATURES --out {folder}"
        )
    paths = RunPaths(folder)
    if not folder.is_dir() or not paths.config.exists():
        of_reproduce = f", or runs of avcil reproduce: {folder}/runs/*" if (folder / "runs").is_dir() else ""
        raise InputError(
            f"{folder} is not a run directory (it has no config.json). Give the --out folder of avcil train"
            f"{of_reproduce}"
        )
    if not paths.is_finished:
        raise InputError(f"the run in {folder} is unfinished: run the same command again to finish it")


def _rows(path: Path) -> list[list[str]]:
    if not path.exists():
        raise damaged(path, "the file is missing")
    try:
        return read_rows(path, limit=_MAX_FILE_BYTES)
    except InputError as error:
        raise damaged(path, f"it {without_path(error, path)}") from None


def _accuracy_matrix(path: Path, steps: int) -> tuple[np.ndarray, np.ndarray]:
    header = ["step", *(f"task_{i}" for i in range(steps))]
    rows = _rows(path)
    if not rows or rows[0] != header:
        raise damaged(path, f"the header must be {','.join(header)}")
    if [row[:1] for row in rows[1:]] != [["n"], *([str(s)] for s in range(steps))]:
        raise damaged(path, f"it must have a row n and rows 0 to {steps - 1}")
    if any(len(row) != steps + 1 for row in rows):
        raise damaged(path, f"every row must have {steps + 1} fields")
    try:
        values = np.array([[float(cell) if cell else math.nan for cell in row[1:]] for row in rows[1:]])
        R, n = metrics.checked(values[1:], values[0])
    except ValueError as error:
        raise damaged(path, str(error)) from None
    seen = R[np.tril_indices(steps)]
    if ((seen < 0) | (seen > 1)).any():
        raise damaged(path, "accuracies must be fractions from 0 to 1")
    return R, n


def _check_agreement(path: Path, results: Results, R: np.ndarray, n: np.ndarray) -> None:
    written, computed = results.accuracy_per_step, metrics.accuracy_per_step(R, n)
    if len(written) != len(computed) or not np.allclose(written, computed, rtol=0, atol=TOLERANCE):
        raise damaged(path, "accuracy_per_step differs from accuracy_matrix.csv")


def _epochs(path: Path, steps: int) -> tuple[Epoch, ...]:
    lines = read_bytes(path, limit=_MAX_FILE_BYTES).splitlines() if path.exists() else []
    epochs = []
    for number, line in enumerate(lines, 1):
        try:
            epoch = Epoch.from_dict(parse_json(line, "the line"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(path, f"line {number} is not a valid epoch ({error!s:.200})") from None
        if not 0 <= epoch.step < steps:
            raise damaged(path, f"line {number} has step {epoch.step}, but the run has {steps} steps")
        epochs.append(epoch)
    return tuple(epochs)


def _predictions(path: Path, steps: tuple[tuple[str, ...], ...], n: np.ndarray) -> tuple[ClipPrediction, ...]:
    rows = _rows(path)
    if not rows or rows[0] != PREDICTION_COLUMNS:
        raise damaged(path, f"the header must be {','.join(PREDICTION_COLUMNS)}")
    seen = {label for step in steps for label in step}
    predictions = []
    for number, row in enumerate(rows[1:], 2):
        try:
            clip_id, label, predicted, probability = row
            value = float(probability)
        except ValueError:
            raise damaged(path, f"row {number} is not a valid prediction") from None
        if label not in seen or predicted not in seen or not 0 <= value <= 1 + TOLERANCE:
            raise damaged(
                path, f"row {number} has a class that is not yet seen, or a probability outside 0 to 1"
            )
        predictions.append(
            ClipPrediction(clip_id=clip_id, label=label, predicted=predicted, probability=min(value, 1.0))
        )
    if len(predictions) != n.sum():
        raise damaged(
            path,
            f"it has {len(predictions)} predictions, but accuracy_matrix.csv has {n.sum():.0f} test clips",
        )
    return tuple(predictions)
