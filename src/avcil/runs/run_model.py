"""Find the model of a run directory."""

from __future__ import annotations

from pathlib import Path

from avcil.errors import InputError
from avcil.runs.paths import RunPaths


def model_folder(folder: Path) -> Path:
    """The model folder of a run directory, or `folder` itself if it is not a run directory.

    Raises:
        InputError: There is no such folder, or the run is not finished.
    """
    if not folder.is_dir() and not folder.with_name(f".{folder.name}.before").is_dir():
        raise InputError(
            f"there is no folder {folder}; give a run directory of avcil train, or a model folder"
        )
    run = RunPaths(folder)
    if run.is_run:
        if not run.is_finished:
            raise InputError(
                f"the run in {folder} is not finished; run its avcil train command again to continue it"
            )
        return run.model
    return folder
