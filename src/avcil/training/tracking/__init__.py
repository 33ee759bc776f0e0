"""Logs the metrics of a run to an experiment tracker, in addition to the run directory.

events.py       the metrics of a run as a sequence of events
tracking.py     passes each event to a tracker once
tensorboard.py, trackio.py, wandb.py   the trackers
"""

from __future__ import annotations

import importlib
from pathlib import Path

from avcil.errors import InputError
from avcil.runs.paths import RunPaths
from avcil.runs.run_config import RunConfig
from avcil.training.tracking.tracking import TrackedRun, Tracker, Tracking

__all__ = ["TrackedRun", "Tracker", "Tracking", "require_tracker", "track", "where"]

_INSTALL = {"tensorboard": "'avcil[track]'", "trackio": "'avcil[track]'", "wandb": "wandb"}
"""The argument of `pip install` for each tracker."""


def require_tracker(name: str | None) -> None:
    """Raise InputError if the package of a tracker cannot be imported."""
    if name is None:
        return
    try:
        _new(name)
    except ImportError as error:
        raise InputError(
            f"--track {name} needs the package {error.name or name}, which cannot be imported ({error}). Install it "
            f"with: pip install {_INSTALL[name]}; or omit --track: the run directory contains the same metrics"
        ) from None


def track(name: str | None, paths: RunPaths, config: RunConfig) -> Tracking:
    """Tracking of a run by the tracker `name`; without a name, it does nothing."""
    return Tracking(name or "", None if name is None else _new(name), TrackedRun(paths, config))


def where(name: str, folder: Path) -> str:
    """How to view the metrics of the run in `folder`.

    >>> where("tensorboard", Path("runs/blade"))
    'tensorboard --logdir runs/tensorboard'
    """
    views = {
        "tensorboard": f"tensorboard --logdir {folder.parent / 'tensorboard'}",
        "trackio": "trackio show",
        "wandb": "wandb's page of the run; wandb sync uploads what was logged offline",
    }
    return views[name]


def _new(name: str) -> Tracker:
    return importlib.import_module(f"avcil.training.tracking.{name}").TRACKER()
