"""The metrics of a run as a sequence of events, which is determined by the run directory alone.

A run that was killed and resumed has the same events, with the same numbers, as an uninterrupted run. No event depends
on the time. Epochs are counted through the whole run; a closed-form method has one epoch per step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avcil.runs.records import Epoch, Results, StepState
from avcil.saved_models.card import METRICS


@dataclass(frozen=True, kw_only=True)
class Event:
    """Metrics of an epoch, of a step, or of the finished run."""

    epoch: int
    """Number of the epoch from 0; for a step, that of its last epoch."""
    class_step: int | None
    """The step that ended; None for an epoch."""
    values: dict[str, float]
    """Metrics by name, GROUP/NAME."""

    is_final: bool = False
    """Whether it is the event of the finished run."""

    @property
    def record(self) -> dict[str, float]:
        """The metrics, the epoch, and the step if one ended."""
        step = {} if self.class_step is None else {"class_step": self.class_step}
        return self.values | {"epoch": self.epoch} | step


def _epoch_event(line: Epoch, epoch: int) -> Event:
    """The event of a line of metrics.jsonl, which is the run's `epoch`-th from 0."""
    values: dict[str, float | None] = {f"loss/{name}": value for name, value in line.losses.items()}
    values |= {"loss/total": line.loss, "validation/accuracy": line.val_accuracy}
    values |= {f"statistics/{name}": value for name, value in line.report.items()}
    return Event(epoch=epoch, class_step=None, values=_known(values))


def _step_event(accuracies: Sequence[float | None], sizes: Sequence[int], epoch: int) -> Event:
    """The event of a finished step.

    Args:
        accuracies: Accuracy on the test clips of each task so far; None for a task without any.
        sizes: Number of test clips of each task.
        epoch: Number of the step's last epoch.
    """
    by_task = {task: value for task, value in enumerate(accuracies) if value is not None}
    seen = float(np.average([*by_task.values()], weights=[sizes[task] for task in by_task]))
    values = {"test/accuracy_of_classes_seen": seen}
    values |= {f"test/accuracy_of_task_{task}": value for task, value in by_task.items()}
    return Event(epoch=epoch, class_step=len(accuracies) - 1, values=values)


def _results_event(results: Results, epoch: int) -> Event:
    """The event of a finished run: the metrics of its model card."""
    values = _known({f"final/{name}": getattr(results, name) for name in METRICS})
    return Event(epoch=epoch, class_step=len(results.accuracy_per_step) - 1, values=values, is_final=True)


def history(
    lines: Sequence[str], states: Sequence[StepState], sizes: Sequence[int], results: Results | None
) -> Iterator[Event]:
    """All events so far.

    Args:
        lines: The lines of metrics.jsonl.
        states: The finished steps.
        sizes: Number of test clips of each task.
        results: The results if the run is finished.
    """
    epoch, done = 0, 0
    for line in map(Epoch.from_dict, map(json.loads, lines)):
        while done < line.step:
            yield _step_event(states[done].accuracies, sizes, epoch - 1)
            done += 1
        yield _epoch_event(line, epoch)
        epoch += 1
    for state in states[done:]:
        yield _step_event(state.accuracies, sizes, epoch - 1)
    if results is not None:
        yield _results_event(results, epoch - 1)


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}
