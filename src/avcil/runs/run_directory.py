"""The run directory: what a run leaves, and what it goes on from.

A step is done once its folder `checkpoints/step_K` is there, which is renamed into place whole. Within a step,
`checkpoints/progress.json` points to the tensors of the last epoch saved. `results.json` comes last of all.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.saved_models.folder import save_tensors
from avcil.utils.files import disk_error, read_json, sync_folder, write_json, write_text
from avcil.utils.tensor_files import load_tensors

PROGRESS_NAME = r"progress-[0-9]+-[0-9]+\.safetensors"


@dataclass(kw_only=True)
class StepProgress:
    """Where a step stands, at the end of an epoch: everything that going on needs."""

    epoch: int
    """Epochs done."""
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    best: dict[str, Tensor]
    best_epoch: int
    best_accuracy: float | None


class RunDirectory:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"

    # -- configuration -------------------------------------------------------------------------------------------

    def begin(self, config: dict[str, Any], environment: dict[str, Any]) -> None:
        """Claim the folder for `config`; refuse one that holds something else, naming what differs."""
        begun = self.begun(config)
        for part in self.path.rglob(".*.part"):  # what a kill left half-written
            if part.is_file():
                part.unlink()
        self._remove_stale_progress()
        if not begun:
            write_json(self.path / "env.json", environment)
            write_json(self.path / "config.json", config)

    def begun(self, config: dict[str, Any]) -> bool:
        """Whether the folder holds a run of `config`, begun before; refuses one that holds something else."""
        config = json.loads(json.dumps(config))
        file = self.path / "config.json"
        if file.exists():
            differing = _differences(read_json(file), config)
            if differing:
                shown = "; ".join(_said(*difference) for difference in differing[:6])
                raise InputError(
                    f"{self.path} holds a run of another configuration ({shown}). "
                    "Choose another --out, or remove that folder, or give the same options to go on with it"
                )
            return True
        self.refuse_foreign()
        return False

    def environment_changes(self, environment: dict[str, Any]) -> str:
        """In words, what is not as it was when the run began; empty if all is."""
        changed = _differences(read_json(self.path / "env.json"), environment)
        return ", ".join(f"{name} {old}, now {new}" for name, old, new in changed)

    def refuse_foreign(self) -> None:
        """Refuse a path at which something else stands than a run, a beginning of one, or nothing."""
        if (self.path / "config.json").exists() or not self.path.exists():
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path} is a file, not a folder. Choose another --out")
        # A kill between the first files of a run leaves the first, or a part of one, alone.
        leavings = re.compile(r"\.lock|env\.json|\..*\.part")
        if not all(leavings.fullmatch(entry.name) for entry in self.path.iterdir()):
            raise InputError(f"{self.path} is not empty and is no run directory. Choose another --out")

    @property
    def results(self) -> dict[str, Any] | None:
        """What a finished run came to; None while it is not finished."""
        file = self.path / "results.json"
        return read_json(file) if file.exists() else None

    # -- steps -----------------------------------------------------------------------------------------------------

    def steps_done(self) -> list[dict[str, Any]]:
        """State of each finished step, in order."""
        states: list[dict[str, Any]] = []
        while (folder := self._step_folder(len(states))).exists():
            with _damage(f"remove {folder} to train that step again"):
                states.append(_checked_state(read_json(folder / "state.json"), len(states)))
        return states

    def _step_folder(self, index: int) -> Path:
        return self.checkpoints / f"step_{index}"

    def commit_step(self, index: int, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Make a step done: all of its folder appears at once."""
        final, part = self._step_folder(index), self.checkpoints / f".step_{index}.part"
        for folder in (part, final):  # a step that follows one taken away by hand does not count
            shutil.rmtree(folder, ignore_errors=True)
        save_tensors(part / "model.safetensors", tensors)
        write_json(part / "state.json", state)
        os.rename(part, final)
        sync_folder(self.checkpoints)
        self._remove_progress()

    def step_tensors(self, index: int) -> dict[str, Tensor]:
        """The model at the end of a step."""
        folder = self._step_folder(index)
        with _damage(f"remove {folder} to train that step again"):
            return load_tensors(folder / "model.safetensors")

    # -- progress within a step --------------------------------------------------------------------------------------

    def save_progress(self, index: int, progress: StepProgress, *, seconds: dict[str, float]) -> None:
        """Save the last epoch of a step under way, replacing the one before; `seconds` of each part so far."""
        name = f"progress-{index}-{progress.epoch}.safetensors"
        tensors = {f"network.{k}": v for k, v in progress.network.items()}
        tensors |= {f"best.{k}": v for k, v in progress.best.items()}
        for number, slot in progress.optimizer["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in slot.items()}
        save_tensors(self.checkpoints / name, tensors)
        write_json(
            self.checkpoints / "progress.json",
            {
                "step": index,
                "epoch": progress.epoch,
                "tensors": name,
                "best_epoch": progress.best_epoch,
                "best_accuracy": progress.best_accuracy,
                "param_groups": progress.optimizer["param_groups"],
                "log_bytes": self.log_bytes(),
                "seconds_by_part": seconds,
            },
        )
        self._remove_progress_tensors(but=name)

    def load_progress(self, index: int) -> tuple[StepProgress, dict[str, Any]] | None:
        """The progress of step `index` and its JSON; None if there is none."""
        file = self.checkpoints / "progress.json"
        if not file.exists():
            return None
        with _damage(f"remove {file} to train step {index} again from its first epoch"):
            saved = read_json(file)
            if saved["step"] != index:
                return None
            if not re.fullmatch(PROGRESS_NAME, str(saved["tensors"]), re.ASCII):
                raise ValueError(f"it names the file {saved['tensors']!r:.60}")
            return _progress(saved, load_tensors(self.checkpoints / saved["tensors"])), saved

    def _remove_progress(self) -> None:
        (self.checkpoints / "progress.json").unlink(missing_ok=True)
        self._remove_progress_tensors()

    def _remove_progress_tensors(self, but: str = "") -> None:
        for file in self.checkpoints.glob("progress-*.safetensors"):
            if file.name != but and re.fullmatch(PROGRESS_NAME, file.name, re.ASCII):
                file.unlink()

    def _remove_stale_progress(self) -> None:
        """Remove the progress of a step that is done, which a kill between the two left."""
        file = self.checkpoints / "progress.json"
        with contextlib.suppress(
            InputError, KeyError, TypeError
        ):  # one that is damaged is told when it is needed
            if not file.exists() or self._step_folder(read_json(file)["step"]).exists():
                self._remove_progress()

    # -- logs and tables -----------------------------------------------------------------------------------------------

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        try:
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:
            raise disk_error(error, self.path / "metrics.jsonl") from error

    def log_lines(self) -> list[str]:
        """The lines of metrics.jsonl; none before the first."""
        file = self.path / "metrics.jsonl"
        return (
            file.read_text(encoding="utf-8", errors="backslashreplace").splitlines() if file.exists() else []
        )

    def log_bytes(self) -> int:
        """Size of metrics.jsonl, all of which is on the disk afterwards."""
        with open(self.path / "metrics.jsonl", "rb") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    def cut_log(self, size: int) -> None:
        """Forget the lines of epochs that are about to be run again."""
        file = self.path / "metrics.jsonl"
        there = file.stat().st_size if file.exists() else 0
        if there < size:
            raise InputError(
                f"{file} has lost lines: {there} bytes where {size} were written. "
                f"Restore it, or remove {self.path} to run again from the beginning"
            )
        if there > size:
            os.truncate(file, size)

    def write_predictions(self, index: int, rows: Sequence[tuple[str, str, str, float]]) -> None:
        """Write predictions/step_K.csv: clip_id, label, predicted, probability."""
        text = _csv_text([("clip_id", "label", "predicted", "probability"), *rows])
        write_text(self.path / "predictions" / f"step_{index}.csv", text)

    def write_accuracy_matrix(self, matrix: Sequence[Sequence[float]], sizes: Sequence[int]) -> None:
        """Write accuracy_matrix.csv: a row a step, a column a task, cells of unseen tasks empty."""
        tasks = len(sizes)
        rows: list[Sequence[Any]] = [["step", *(f"task_{i}" for i in range(tasks))], ["n", *sizes]]
        rows += [[step, *row, *[""] * (tasks - len(row))] for step, row in enumerate(matrix)]
        write_text(self.path / "accuracy_matrix.csv", _csv_text(rows))


class ReadOnlyRunDirectory(RunDirectory):
    """The same folder for the processes that help the first one, which alone writes."""

    def begin(self, config: dict[str, Any], environment: dict[str, Any]) -> None:
        """Nothing: the first process claims it."""

    def commit_step(self, index: int, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Nothing."""

    def save_progress(self, index: int, progress: StepProgress, *, seconds: dict[str, float]) -> None:
        """Nothing."""

    def log(self, line: dict[str, Any]) -> None:
        """Nothing."""

    def log_bytes(self) -> int:
        """0, since it counts for nothing."""
        return 0

    def cut_log(self, size: int) -> None:
        """Nothing."""

    def write_predictions(self, index: int, rows: Sequence[tuple[str, str, str, float]]) -> None:
        """Nothing."""

    def write_accuracy_matrix(self, matrix: Sequence[Sequence[float]], sizes: Sequence[int]) -> None:
        """Nothing."""


def _csv_text(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


@contextlib.contextmanager
def _damage(advice: str) -> Iterator[None]:
    """Say, of a checkpoint that cannot be read, what to do."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {advice}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"a checkpoint is damaged ({type(error).__name__}: {error}); {advice}") from error


def _checked_state(state: Any, index: int) -> Any:
    """A step's state.json; ValueError if it lacks figures that the end of a run needs."""
    accuracies = state["accuracies"]
    seconds = [state["seconds"], *state["seconds_by_part"].values()]
    if not isinstance(accuracies, list) or len(accuracies) != index + 1:
        raise ValueError(f"accuracies is {accuracies!r:.60}, not a list of {index + 1} numbers")
    if not all(type(value) in (int, float) for value in (*accuracies, *seconds)):
        raise ValueError("accuracies and seconds must be numbers")
    return state


def _progress(saved: dict[str, Any], tensors: dict[str, Tensor]) -> StepProgress:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _under("optimizer", tensors).items():
        number, _, slot = key.partition(".")
        state.setdefault(int(number), {})[slot] = value
    return StepProgress(
        epoch=saved["epoch"],
        network=_under("network", tensors),
        optimizer={"state": state, "param_groups": saved["param_groups"]},
        best=_under("best", tensors),
        best_epoch=saved["best_epoch"],
        best_accuracy=saved["best_accuracy"],
    )


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")
    }


def _said(name: str, old: Any, new: Any) -> str:
    """A difference between two configurations in words."""
    if name == "features.fingerprint":
        return "the feature store has changed: it holds other clips, labels, splits or features"
    return f"{name}: there {old!r}, now {new!r}"


def _differences(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys([*old, *new]):
            found += _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        return found
    # A store may be moved or named relative to elsewhere; its fingerprint tells whether it is the same.
    return [] if old == new or name == "features.path" else [(name, old, new)]


def environment() -> dict[str, Any]:
    """What a result may depend on besides its configuration."""
    import platform

    import numpy as np

    from avcil.utils.version import __version__

    return {
        "avcil": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }
