"""What a tracker is: something that keeps a run's figures for people to look at."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from avcil.runs.paths import RunPaths
from avcil.runs.run_config import RunConfig
from avcil.training.tracking.events import Event


@dataclass(frozen=True)
class TrackedRun:
    """The run that a tracker is told of."""

    paths: RunPaths
    config: RunConfig

    @property
    def name(self) -> str:
        """Under which people know it."""
        return self.paths.folder.absolute().name

    @cached_property
    def stamp(self) -> str:
        """Tells this run from another one that was begun under the same name, however often it is gone on with.

        A run's config.json is written once, when it begins.
        """
        begun = self.paths.config.stat().st_mtime_ns
        told = json.dumps([self.name, begun, self.config.to_dict()], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:12]


class Tracker(Protocol):
    """One place that keeps events. It may raise whatever it likes: `Tracking` sees to it that the run goes on."""

    def begin(self, run: TrackedRun) -> int:
        """Open the run's record, with its configuration if it is new; how many events it holds already."""
        ...

    def add(self, number: int, event: Event) -> None:
        """Keep the event of this number, from 0."""
        ...

    def caught_up(self) -> None:
        """Called once, after all events that there were when the run was started or gone on with."""
        ...

    def close(self, *, finished: bool) -> None:
        """Everything is told, or the run stops here for now."""
        ...
