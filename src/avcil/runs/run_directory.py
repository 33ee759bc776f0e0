"""The run directory during training: create, write, resume.

A step is finished when its folder `checkpoints/step_K` exists; the complete folder is renamed into place. Within a
step, `checkpoints/progress.json` names the file with the tensors of the last saved epoch. `results.json` is written
last.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Concatenate, ParamSpec

from torch import Tensor

from avcil.errors import InputError
from avcil.runs.paths import RunPaths
from avcil.runs.records import Environment, Epoch, Results, StepProgress, StepState
from avcil.runs.run_config import RunConfig, describe_differences, differences, read_config
from avcil.runs.run_files import PREDICTION_COLUMNS, read_results
from avcil.saved_models.folder import save_tensors
from avcil.utils.csv_files import write_csv
from avcil.utils.files import disk_error, folder_lock, read_json, sync_folder, write_json
from avcil.utils.tensor_files import load_tensors

P = ParamSpec("P")
_PROGRESS_NAME = r"progress-[0-9]+-[0-9]+\.safetensors"


def _writer_only(
    method: Callable[Concatenate[RunDirectory, P], None],
) -> Callable[Concatenate[RunDirectory, P], None]:
    """Make a method do nothing in processes that do not write."""

    @functools.wraps(method)
    def guarded(self: RunDirectory, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.is_writer:
            method(self, *args, **kwargs)

    return guarded


class RunDirectory:
    """The folder of one run.

    Args:
        path: The folder.
        is_writer: Whether this process writes. In distributed training only the first process does; the others read
            the same files to resume.
    """

    def __init__(self, path: Path, *, is_writer: bool = True) -> None:
        self.path, self.is_writer = Path(path), is_writer
        self.paths = RunPaths(self.path)

    # -- configuration -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder; InputError if another process holds the lock."""
        if not self.is_writer:
            yield
            return
        with folder_lock(self.path, "training"):
            yield

    @_writer_only
    def begin(self, config: RunConfig, environment: Environment) -> None:
        """Start or resume a run of `config`; InputError if the folder has other content."""
        is_resumed = self.has_run_of(config)
        for part in self.path.rglob(".*.part"):  # left by a killed process
            if part.is_file():
                part.unlink()
        self._remove_stale_progress()
        if not is_resumed:
            write_json(self.paths.environment, asdict(environment))
            write_json(self.paths.config, config.to_dict())

    def has_run_of(self, config: RunConfig) -> bool:
        """Whether the folder has a run of `config`; InputError if it has other content."""
        if not self.paths.config.exists():
            self.check_no_other_files()
            return False
        old, new = read_config(self.path).to_dict(), json.loads(json.dumps(config.to_dict()))
        other_options = sorted(old["method_options"].keys() ^ new["method_options"].keys())
        if old["method"] == new["method"] and other_options:
            raise InputError(
                f"{self.path} has a run of another version of the method {new['method']}, with other options "
                f"({', '.join(other_options)}), so it cannot be resumed. Choose another --out, or remove the folder"
            )
        if changes := describe_differences(old, new):
            raise InputError(
                f"{self.path} has a run with other settings ({changes}). "
                "Choose another --out, remove the folder, or give the options of this run to resume it"
            )
        return True

    def environment_changes(self, environment: Environment) -> str:
        """Differences to the environment in which the run was started, as text; empty if there are none."""
        changes = differences(read_json(self.paths.environment), asdict(environment))
        return ", ".join(f"{name} {old}, now {new}" for name, old, new in changes)

    @property
    def threads(self) -> int | None:
        """Number of threads with which the run was started."""
        environment = read_json(self.paths.environment)
        return environment.get("threads") if isinstance(environment, dict) else None

    @_writer_only
    def check_no_other_files(self) -> None:
        """Raise InputError if the folder has files that are not part of a run."""
        if self.paths.config.exists() or not self.path.exists():
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path} is a file, not a folder. Choose another --out")
        # A process that was killed while it wrote the first files of a run can leave these.
        first_files = re.compile(r"\.lock|env\.json|\..*\.part")
        if not all(first_files.fullmatch(entry.name) for entry in self.path.iterdir()):
            raise InputError(f"{self.path} is not empty and not a run directory. Choose another --out")

    @property
    def results(self) -> Results | None:
        """The results; None if the run is not finished."""
        return read_results(self.path) if self.paths.is_finished else None

    # -- steps -----------------------------------------------------------------------------------------------------

    def steps_done(self) -> list[StepState]:
        """State of each finished step, in order."""
        states: list[StepState] = []
        while (folder := self.paths.step(len(states))).exists():
            with _advice(f"remove {folder} to train that step again"):
                path = self.paths.step_state(len(states))
                states.append(StepState.from_dict(read_json(path), len(states)))
        return states

    @_writer_only
    def commit_step(self, state: StepState, tensors: dict[str, Tensor]) -> None:
        """Write the folder of a finished step and rename it into place."""
        final, part = self.paths.step(state.step), self.paths.checkpoints / f".step_{state.step}.part"
        for folder in (part, final):  # `final` exists if the user removed the folder of an earlier step
            shutil.rmtree(folder, ignore_errors=True)
        save_tensors(part / self.paths.step_tensors(state.step).name, tensors)
        write_json(part / self.paths.step_state(state.step).name, state.to_dict())
        os.rename(part, final)
        sync_folder(self.paths.checkpoints)
        self._remove_progress()

    def step_tensors(self, index: int) -> dict[str, Tensor]:
        """Tensors of the model after a step."""
        with _advice(f"remove {self.paths.step(index)} to train that step again"):
            return load_tensors(self.paths.step_tensors(index))

    @_writer_only
    def remove_earlier_tensors(self) -> None:
        """Remove the tensors of all steps but the last. They are needed only to train the steps after them."""
        for index in range(len(self.steps_done()) - 1):
            self.paths.step_tensors(index).unlink(missing_ok=True)

    # -- progress within a step --------------------------------------------------------------------------------------

    @_writer_only
    def save_progress(self, index: int, progress: StepProgress) -> None:
        """Save the state after an epoch of step `index`; it replaces the previous one."""
        name = f"progress-{index}-{progress.epoch}.safetensors"
        save_tensors(self.paths.checkpoints / name, progress.tensors())
        write_json(self.paths.progress, {"step": index, "tensors": name, **progress.to_dict()})
        self._remove_progress_tensors(but=name)

    def load_progress(self, index: int) -> StepProgress | None:
        """The saved progress of step `index`; None if there is none."""
        file = self.paths.progress
        if not file.exists():
            return None
        with _advice(f"remove {file} to train step {index} again from its first epoch"):
            saved = read_json(file)
            if saved["step"] != index:
                return None
            if not re.fullmatch(_PROGRESS_NAME, str(saved["tensors"]), re.ASCII):
                raise ValueError(f"it names the file {saved['tensors']!r:.60}")
            return StepProgress.from_dict(saved, load_tensors(self.paths.checkpoints / saved["tensors"]))

    def _remove_progress(self) -> None:
        self.paths.progress.unlink(missing_ok=True)
        self._remove_progress_tensors()

    def _remove_progress_tensors(self, but: str = "") -> None:
        for file in self.paths.checkpoints.glob("progress-*.safetensors"):
            if file.name != but and re.fullmatch(_PROGRESS_NAME, file.name, re.ASCII):
                file.unlink()

    def _remove_stale_progress(self) -> None:
        """Remove the progress of a finished step, which a process that was killed can leave."""
        file = self.paths.progress
        # Damage is reported when the file is loaded.
        with contextlib.suppress(InputError, KeyError, TypeError):
            if not file.exists() or self.paths.step(read_json(file)["step"]).exists():
                self._remove_progress()

    # -- logs and tables -----------------------------------------------------------------------------------------------

    @_writer_only
    def log(self, epoch: Epoch) -> None:
        """Append one line to metrics.jsonl."""
        try:
            with open(self.paths.log, "a", encoding="utf-8") as file:
                file.write(json.dumps(epoch.to_dict(), allow_nan=False) + "\n")
        except OSError as error:
            raise disk_error(error, self.paths.log) from error

    def log_lines(self) -> list[str]:
        """The lines of metrics.jsonl; empty before the first epoch."""
        if not self.paths.log.exists():
            return []
        return self.paths.log.read_text(encoding="utf-8", errors="backslashreplace").splitlines()

    def log_bytes(self) -> int:
        """Flush metrics.jsonl to the disk and return its size; 0 in a process that does not write."""
        if not self.is_writer:
            return 0
        with open(self.paths.log, "rb") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    @_writer_only
    def truncate_log(self, size: int) -> None:
        """Truncate metrics.jsonl to `size` bytes: later epochs will run again."""
        file = self.paths.log
        present = file.stat().st_size if file.exists() else 0
        if present < size:
            raise InputError(
                f"{file} has {present} bytes, but {size} were written. Restore it, or remove {self.path} to start the "
                "run again"
            )
        if present > size:
            os.truncate(file, size)

    @_writer_only
    def write_predictions(self, index: int, rows: Sequence[tuple[str, str, str, float]]) -> None:
        """Write the predictions of a step: clip_id, label, predicted, probability."""
        write_csv(self.paths.predictions(index), PREDICTION_COLUMNS, rows)

    @_writer_only
    def write_incomplete(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Write the clips that lack a modality: clip_id, label, split, lacks."""
        write_csv(self.paths.incomplete_clips, ("clip_id", "label", "split", "lacks"), rows)

    @_writer_only
    def write_accuracy_matrix(self, matrix: Sequence[Sequence[float | None]], sizes: Sequence[int]) -> None:
        """Write accuracy_matrix.csv: one row per step, one column per task, cells of unseen tasks empty."""
        tasks = len(sizes)
        rows = [[step, *row, *[""] * (tasks - len(row))] for step, row in enumerate(matrix)]
        header = ("step", *(f"task_{i}" for i in range(tasks)))
        write_csv(self.paths.accuracy_matrix, header, [["n", *sizes], *rows])

    @_writer_only
    def finish(self, results: Results) -> None:
        """Write results.json, which marks the run as finished."""
        write_json(self.paths.results, results.to_dict())


@contextlib.contextmanager
def _advice(advice: str) -> Iterator[None]:
    """Turn errors of reading a checkpoint into InputError, with advice."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {advice}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"a checkpoint is damaged ({type(error).__name__}: {error}); {advice}") from error
