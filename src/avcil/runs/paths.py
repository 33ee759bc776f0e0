"""Names of the files in a run directory; docs/architecture.md describes their content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunPaths:
    """The paths of a run's files, which need not exist."""

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
        """List of clips that lack a modality that the run uses."""
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
        """State after the last saved epoch of the unfinished step; names the file of its tensors."""
        return self.checkpoints / "progress.json"

    def predictions(self, step: int) -> Path:
        return self.folder / "predictions" / f"step_{step}.csv"

    def step(self, step: int) -> Path:
        """The folder of a finished step."""
        return self.checkpoints / f"step_{step}"

    def step_state(self, step: int) -> Path:
        return self.step(step) / "state.json"

    def step_tensors(self, step: int) -> Path:
        return self.step(step) / "model.safetensors"

    @property
    def is_run(self) -> bool:
        """Whether the folder is a run directory: env.json is written first, and a model folder has none."""
        return self.environment.exists()

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished: its results are written last."""
        return self.results.exists()
