"""Records of a run directory: environment, line of the log, state of a step, progress within a step, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from torch import Tensor

from avcil.errors import InputError
from avcil.models import checks


@dataclass(frozen=True, kw_only=True)
class Environment:
    """env.json: what can change the last bits of a result."""

    avcil: str
    python: str
    torch: str
    numpy: str
    machine: str
    threads: int
    device: str = "cpu"
    processes: int = 1
    clips_at_once: int | None = None

    @classmethod
    def current(cls, *, device: str = "cpu", processes: int = 1, clips_at_once: int | None = None) -> Self:
        """The environment of this process."""
        import platform

        import numpy as np
        import torch

        from avcil.utils.version import __version__

        return cls(
            avcil=__version__,
            python=platform.python_version(),
            torch=torch.__version__,
            numpy=np.__version__,
            machine=platform.machine(),
            threads=torch.get_num_threads(),
            device=device,
            processes=processes,
            clips_at_once=clips_at_once,
        )


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of metrics.jsonl; a method fitted in closed form has one a step."""

    step: int
    epoch: int
    losses: Mapping[str, float]
    """The loss's terms by name."""
    loss: float | None
    """Their sum; None for a method fitted in closed form."""
    val_accuracy: float | None
    report: Mapping[str, float] = field(default_factory=dict)
    """Further values of the method, by name."""

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON, without an empty report."""
        return {name: value for name, value in asdict(self).items() if name != "report" or value}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """The line that `to_dict` gave; ValueError, KeyError, TypeError or AttributeError if it is something else."""
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
    """What a learner says at the end of a step."""

    best_epoch: int
    val_accuracy: float | None
    report: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepState:
    """state.json of a step that is done."""

    step: int
    summary: StepSummary
    accuracies: Sequence[float]
    """On the test clips of each task so far."""
    test_clips: Sequence[int] = ()
    """How many these were; empty in runs of avcil 0.1."""
    exemplars: Mapping[str, Sequence[str]]
    """Clip ids by class."""
    log_bytes: int
    """Size of metrics.jsonl at the end of the step."""
    seconds: float
    seconds_by_part: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON; the summary's entries are among its own."""
        value = asdict(self)
        summary = value.pop("summary")
        if not summary["report"]:
            del summary["report"]
        return {"step": value.pop("step"), **summary, **value}

    @classmethod
    def from_dict(cls, value: Any, index: int) -> Self:
        """The state of step `index`; ValueError, KeyError, TypeError or AttributeError if it is something else."""
        accuracies = value["accuracies"]
        numbers = [value["seconds"], *value["seconds_by_part"].values()]
        if not isinstance(accuracies, list) or len(accuracies) != index + 1:
            raise ValueError(f"accuracies is {accuracies!r:.60}, not a list of {index + 1} numbers")
        if not all(type(number) in (int, float) for number in (*accuracies, *numbers)):
            raise ValueError("accuracies and seconds must be numbers")
        summary = {entry.name: value[entry.name] for entry in fields(StepSummary) if entry.name in value}
        own = {entry.name: value[entry.name] for entry in fields(cls) if entry.name in value}
        return cls(**own, summary=StepSummary(**summary))


@dataclass(kw_only=True)
class StepProgress:
    """State of a step at the end of an epoch: everything needed to resume it."""

    epoch: int = 0
    """Epochs done."""
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
        """What is not a tensor, as JSON."""
        names = ("epoch", "best_epoch", "best_accuracy", "log_bytes", "seconds_by_part")
        groups = {"param_groups": self.optimizer["param_groups"]}
        return {name: getattr(self, name) for name in names} | groups

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, under one prefix for each group."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for number, slot in self.optimizer["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in slot.items()}
        return tensors

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The progress of which `to_dict` and `tensors` were saved."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _under("optimizer", tensors).items():
            number, _, slot = key.partition(".")
            state.setdefault(int(number), {})[slot] = tensor
        return cls(
            epoch=value["epoch"],
            network=_under("network", tensors),
            optimizer={"state": state, "param_groups": value["param_groups"]},
            best=_under("best", tensors),
            best_epoch=value["best_epoch"],
            best_accuracy=value["best_accuracy"],
            log_bytes=value["log_bytes"],
            seconds_by_part=value["seconds_by_part"],
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


@dataclass(frozen=True, kw_only=True)
class Results:
    """results.json: the metrics of a finished run, defined in metrics.py, and its durations.

    Metrics are None where they are undefined, or where an earlier version of avcil did not compute them.
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
    clips_lacking_a_modality: Mapping[str, int] = field(default_factory=dict)
    """By split, and the test clips that were not evaluated; empty where all clips are complete."""

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON."""
        kept = asdict(self)
        if not self.clips_lacking_a_modality:
            del kept["clips_lacking_a_modality"]
        return kept

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """The results that `to_dict` gave; InputError if they lack a needed one."""
        if not isinstance(value, dict):
            raise InputError("it must hold a JSON object")
        for name in ("average_incremental_accuracy", "last_accuracy", "seconds"):
            checks.number(value, name)
        accuracies = checks.entry(value, "accuracy_per_step")
        if not isinstance(accuracies, list) or not all(type(x) in (int, float) for x in accuracies):
            raise InputError("its accuracy_per_step must be a list of numbers")
        for name in ("method", "modality", "seed"):
            checks.entry(value, name)
        return cls(**{entry.name: value[entry.name] for entry in fields(cls) if entry.name in value})
