"""Figures of a run in a tracker, beside the run directory, which is written as ever.

events.py       what there is to tell, from the run directory alone
tracking.py     telling it, each event once
tensorboard.py, trackio.py, wandb.py   where it goes
"""

from __future__ import annotations

import importlib
from pathlib import Path

from avcil.errors import InputError
from avcil.runs.paths import RunPaths
from avcil.runs.run_config import RunConfig
from avcil.training.tracking.base import TrackedRun, Tracker
from avcil.training.tracking.tracking import Tracking

__all__ = ["TrackedRun", "Tracker", "Tracking", "require", "track"]

INSTALL = {"tensorboard": "'avcil[track]'", "trackio": "'avcil[track]'", "wandb": "wandb"}
"""What pip is to install for each."""


def require(name: str | None) -> None:
    """Raise InputError if the tracker's package is not there, before any work."""
    if name is None:
        return
    try:
        _new(name)
    except ImportError as error:
        raise InputError(
            f"--track {name} needs the package {error.name or name}, which cannot be imported ({error}). Install it "
            f"with: pip install {INSTALL[name]}; or leave --track out: the run directory holds the figures as well"
        ) from None


def track(name: str | None, paths: RunPaths, config: RunConfig) -> Tracking:
    """Tracking of a run by the tracker `name`; without a name, it does nothing."""
    tracker = None if name is None else _new(name)
    return Tracking(name or "", tracker, TrackedRun(paths, config))


def where(name: str, folder: Path) -> str:
    """How to look at the figures of the run in `folder`.

    >>> where("tensorboard", Path("runs/blade"))
    'tensorboard --logdir runs/tensorboard'
    """
    shown = {
        "tensorboard": f"tensorboard --logdir {folder.parent / 'tensorboard'}",
        "trackio": "trackio show",
        "wandb": "wandb's page of the run; wandb sync sends what was logged offline",
    }
    return shown[name]


def _new(name: str) -> Tracker:
    return importlib.import_module(f"avcil.training.tracking.{name}").TRACKER()
