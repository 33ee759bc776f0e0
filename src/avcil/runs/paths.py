"""Names of the files in a run directory; docs/architecture.md describes their content."""

from __future__ import annotations

from pathlib import Path


class RunPaths:
    """The paths of a run's files, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.json"
        self.environment = folder / "env.json"
        self.log = folder / "metrics.jsonl"
        self.accuracy_matrix = folder / "accuracy_matrix.csv"
        self.incomplete_clips = (
            folder / "incomplete_clips.csv"
        )  # clips that lack a modality that the run uses
        self.model = folder / "model"
        self.results = folder / "results.json"
        self.checkpoints = folder / "checkpoints"
        self.progress = self.checkpoints / "progress.json"  # the last saved epoch of the unfinished step

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
