"""What a tracker is told of a run: a sequence of events that the run directory alone determines.

Whoever counts events knows which one is which: a run that was killed and gone on with has the same ones, with the same
numbers, as an undisturbed run. Nothing that depends on the clock is among them.

K steps; epochs are counted through the whole run, one a step for a method fitted in closed form.
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
    """Figures of one moment."""

    epoch: int
    """Number of the epoch, counted through the whole run from 0; of a step that ended, its last one's."""
    class_step: int | None
    """The step that ended here; None within a step."""
    values: dict[str, float]
    """By name, GROUP/NAME."""

    @property
    def figures(self) -> dict[str, float]:
        """The values, and where they belong: to which epoch, and to which step if one ended."""
        where = {"epoch": self.epoch}
        if self.class_step is not None:
            where["class_step"] = self.class_step
        return self.values | where


def epoch_event(line: Epoch, epoch: int) -> Event:
    """Of a line of metrics.jsonl, the run's `epoch`-th from 0."""
    values: dict[str, float | None] = {f"loss/{name}": value for name, value in line.losses.items()}
    values |= {"loss/total": line.loss, "validation/accuracy": line.val_accuracy}
    values |= {f"statistics/{name}": value for name, value in line.report.items()}
    return Event(epoch=epoch, class_step=None, values=_known(values))


def step_event(accuracies: Sequence[float], sizes: Sequence[int], epoch: int) -> Event:
    """Of a step that is done: accuracy on the test clips of each task so far (K,), and of all of them together.

    `sizes`: test clips of each task.
    """
    weights = np.array(sizes[: len(accuracies)], dtype=np.float64)
    values = {"test/accuracy_of_classes_seen": float(weights @ np.array(accuracies) / weights.sum())}
    values |= {f"test/accuracy_of_task_{task}": value for task, value in enumerate(accuracies)}
    return Event(epoch=epoch, class_step=len(accuracies) - 1, values=values)


def results_event(results: Results, epoch: int) -> Event:
    """Of a finished run: the figures that its card tells."""
    step = len(results.accuracy_per_step) - 1
    return Event(
        epoch=epoch,
        class_step=step,
        values=_known({f"final/{name}": getattr(results, name) for name in METRICS}),
    )


def history(
    lines: Sequence[str],
    states: Sequence[StepState],
    sizes: Sequence[int],
    results: Results | None,
) -> Iterator[Event]:
    """All events so far: of metrics.jsonl's lines, of the steps done, and of the results if there are any."""
    epoch, done = 0, 0
    for line in map(Epoch.from_dict, map(json.loads, lines)):
        while done < line.step:
            yield step_event(states[done].accuracies, sizes, epoch - 1)
            done += 1
        yield epoch_event(line, epoch)
        epoch += 1
    for state in states[done:]:
        yield step_event(state.accuracies, sizes, epoch - 1)
    if results is not None:
        yield results_event(results, epoch - 1)


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}
