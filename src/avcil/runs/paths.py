"""Names of the files in a run directory; docs/architecture.md says what each holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """The paths of a run's files. None of them needs to exist."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def environment(self) -> Path:
        return self.folder / "env.json"

    @property
    def log(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def accuracy_matrix(self) -> Path:
        return self.folder / "accuracy_matrix.csv"

    @property
    def incomplete_clips(self) -> Path:
        """Clips of the run's classes that lack a part of its modality."""
        return self.folder / "incomplete_clips.csv"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def progress(self) -> Path:
        """The last saved epoch of the step in training; it names the file of its tensors, beside it."""
        return self.checkpoints / "progress.json"

    def predictions(self, step: int) -> Path:
        return self.folder / "predictions" / f"step_{step}.csv"

    def step(self, step: int) -> Path:
        """The folder of a step that is done."""
        return self.checkpoints / f"step_{step}"

    def step_state(self, step: int) -> Path:
        return self.step(step) / "state.json"

    def step_tensors(self, step: int) -> Path:
        return self.step(step) / "model.safetensors"

    @property
    def is_run(self) -> bool:
        """Whether the folder is a run directory, from the first file on that a run writes; a model has no env.json."""
        return self.environment.exists()

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished: its results are written last."""
        return self.results.exists()
