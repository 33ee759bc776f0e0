"""Content of the JSON files of a run directory: environment, log, step state, progress within a step, results."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, get_num_threads

from avcil.errors import InputError
from avcil.utils import checks
from avcil.utils.tensor_names import add_prefix, strip_prefix
from avcil.utils.version import __version__


@dataclass(frozen=True, kw_only=True)
class Environment:
    """env.json: what can change the last bits of a result; by default, of this process."""

    avcil: str = __version__
    python: str = field(default_factory=platform.python_version)
    torch: str = torch.__version__
    numpy: str = np.__version__
    machine: str = field(default_factory=platform.machine)
    threads: int = field(default_factory=get_num_threads)
    device: str = "cpu"
    processes: int = 1
    clips_at_once: int | None = None
    packages: str | None = None
    """Installed packages that the method and the stream come from, with versions; None: avcil alone."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of metrics.jsonl; a closed-form method has one per step."""

    step: int
    epoch: int
    losses: Mapping[str, float]
    """Terms of the loss, by name."""
    loss: float | None
    """Sum of the terms; None for a closed-form method."""
    val_accuracy: float | None
    report: Mapping[str, float] = field(default_factory=dict)
    """Further values of the method, by name."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON; an empty report is omitted."""
        return {name: value for name, value in asdict(self).items() if name != "report" or value}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Inverse of `to_dict`; ValueError, KeyError, TypeError or AttributeError for an invalid value."""
        loss, accuracy = value["loss"], value["val_accuracy"]
        return cls(
            step=int(value["step"]),
            epoch=int(value["epoch"]),
            losses={str(term): float(number) for term, number in value["losses"].items()},
            loss=None if loss is None else float(loss),
            val_accuracy=None if accuracy is None else float(accuracy),
            report={str(name): float(number) for name, number in value.get("report", {}).items()},
        )


@dataclass(frozen=True, kw_only=True)
class StepSummary:
    """Outcome of training a step."""

    best_epoch: int
    val_accuracy: float | None
    report: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepState:
    """state.json of a finished step."""

    step: int
    summary: StepSummary
    accuracies: Sequence[float | None]
    """On the test clips of each task so far, fractions; None for a task without test clips."""
    test_clips: Sequence[int] = ()
    """Numbers of these test clips; empty in runs of avcil 0.1."""
    exemplars: Mapping[str, Sequence[str]]
    """Clip ids by class."""
    log_bytes: int
    """Size of metrics.jsonl at the end of the step."""
    seconds: float
    seconds_by_part: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON; entries of the summary are at the top level."""
        value = asdict(self)
        summary = value.pop("summary")
        if not summary["report"]:
            del summary["report"]
        return {"step": value.pop("step"), **summary, **value}

    @classmethod
    def from_dict(cls, value: Any, index: int) -> Self:
        """The state of step `index`; ValueError, KeyError, TypeError or AttributeError for an invalid value."""
        accuracies = value["accuracies"]
        numbers = [value["seconds"], *value["seconds_by_part"].values()]
        known = [number for number in accuracies if number is not None]
        if not isinstance(accuracies, list) or len(accuracies) != index + 1:
            raise ValueError(f"accuracies is {accuracies!r:.60}, not a list of {index + 1} numbers")
        if not all(type(number) in (int, float) for number in (*known, *numbers)):
            raise ValueError("accuracies and seconds must be numbers")
        summary = {entry.name: value[entry.name] for entry in fields(StepSummary) if entry.name in value}
        values = {entry.name: value[entry.name] for entry in fields(cls) if entry.name in value}
        return cls(**values, summary=StepSummary(**summary))


@dataclass(kw_only=True)
class StepProgress:
    """State of a step at the end of an epoch: everything needed to resume it."""

    epoch: int = 0
    """Number of finished epochs."""
    network: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    """As `Adam.state_dict` returns it."""
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = -1
    best_accuracy: float | None = None
    log_bytes: int = 0
    """Size of metrics.jsonl at the end of the epoch."""
    seconds_by_part: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without tensors."""
        names = ("epoch", "best_epoch", "best_accuracy", "log_bytes", "seconds_by_part")
        groups = {"param_groups": self.optimizer["param_groups"]}
        return {name: getattr(self, name) for name in names} | groups

    def tensors(self) -> dict[str, Tensor]:
        """All tensors; the prefix of a name is the group."""
        tensors = add_prefix("network", self.network) | add_prefix("best", self.best)
        for number, slot in self.optimizer["state"].items():
            tensors |= add_prefix(f"optimizer.{number}", slot)
        return tensors

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Inverse of `to_dict` and `tensors`."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in strip_prefix("optimizer", tensors).items():
            number, _, slot = key.partition(".")
            state.setdefault(int(number), {})[slot] = tensor
        return cls(
            epoch=value["epoch"],
            network=strip_prefix("network", tensors),
            optimizer={"state": state, "param_groups": value["param_groups"]},
            best=strip_prefix("best", tensors),
            best_epoch=value["best_epoch"],
            best_accuracy=value["best_accuracy"],
            log_bytes=value["log_bytes"],
            seconds_by_part=value["seconds_by_part"],
        )


@dataclass(frozen=True, kw_only=True)
class Results:
    """results.json: the metrics of a finished run (defined in metrics.py) and its durations.

    Metrics are None if they are undefined, or if the avcil version of the run did not compute them.
    """

    method: str
    modality: str
    seed: int
    accuracy_per_step: Sequence[float]
    accuracy_per_step_task_mean: Sequence[float] | None = None
    average_incremental_accuracy: float
    average_incremental_accuracy_task_mean: float | None = None
    last_accuracy: float
    last_accuracy_task_mean: float | None = None
    forgetting: float | None = None
    mean_forgetting: float | None = None
    forgetting_all_max: float | None = None
    forgetting_first: float | None = None
    backward_transfer: float | None = None
    backward_transfer_all: float | None = None
    accuracy_lower_triangle: float | None = None
    intransigence: float | None = None
    forward_transfer: float | None = None
    seconds: float
    seconds_per_step: Sequence[float] = ()
    seconds_by_part: Mapping[str, float] = field(default_factory=dict)
    stream_metrics: Mapping[str, float] = field(default_factory=dict)
    """Further metrics of the stream, by name; empty for class-incremental learning."""
    clips_lacking_a_modality: Mapping[str, int] = field(default_factory=dict)
    """By split, and the test clips that were not evaluated; empty if all clips are complete."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the entries that are often empty."""
        value = asdict(self)
        for name in ("stream_metrics", "clips_lacking_a_modality"):
            if not value[name]:
                del value[name]
        return value

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Inverse of `to_dict`; InputError if a required entry is missing or invalid."""
        if not isinstance(value, dict):
            raise InputError("it must hold a JSON object")
        for name in ("average_incremental_accuracy", "last_accuracy", "seconds"):
            checks.number(value, name)
        accuracies = checks.entry(value, "accuracy_per_step")
        if not isinstance(accuracies, list) or not all(type(x) in (int, float) for x in accuracies):
            raise InputError("accuracy_per_step must be a list of numbers")
        for name in ("method", "modality", "seed"):
            checks.entry(value, name)
        return cls(**{entry.name: value[entry.name] for entry in fields(cls) if entry.name in value})
