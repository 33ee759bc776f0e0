"""What `avcil reproduce` is told; free of torch so that `--help` is quick."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Train many runs, several at once, and print their table. The same command goes on where it stopped."""

    features: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Feature stores, one for each benchmark."""
    out: Path
    """The folder of the runs (runs/) and the tables."""
    benchmark: tuple[str, ...] = ()
    """The published benchmark of each store: ave-ci, ks-ci, vs100-ci, vs100-ci-leak-free."""
    classes_per_step: tuple[int, ...] = ()
    """For own data: classes that arrive at each step. Several: compare them."""
    steps: tuple[Path, ...] = ()
    """For own data, instead: a file for each store that lists its steps, JSON or CSV."""
    methods: tuple[str, ...] = ()
    """Rows of the table: methods, variants (icarl-nme), or either with options (av-cil:lambda_class=0.5)."""
    study: str = "comparison"
    """What is compared: comparison, ablation-d-avsc, ablation-vad, classifiers, memory-size, step-size."""
    modalities: tuple[Literal["audio", "visual", "audio-visual"], ...] = ()
    """Columns of the table; all that the study and the stores have unless given."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of training; figures are mean ± standard deviation over them."""
    class_order_seeds: tuple[int, ...] = ()
    """Orders of classes, each run with every seed; the natural or published order unless given."""
    exemplars: tuple[int, ...] = ()
    """Exemplars in all. Several: compare them. Published benchmarks have their own unless given."""
    exemplars_per_class: tuple[int, ...] = ()
    """Exemplars of each class, instead. Several: compare them."""
    epochs: int | None = None
    """Passes over each step's clips; as published unless given, 100 for own data."""
    batch_size: int | None = None
    """New clips in a batch; 256 unless given."""
    exemplar_batch_size: int | None = None
    """Exemplars beside them; 128 unless given."""
    learning_rate: float | None = None
    """1e-3 unless given."""
    weight_decay: float | None = None
    """1e-4 unless given."""
    selection: Literal["best", "last"] | None = None
    """Which epoch's weights a step ends with; best unless given."""
    device: str | None = None
    """Where networks are trained: cpu, cuda, cuda:1, ...; a GPU if there is one."""
    precision: Literal["float32", "bfloat16", "float64"] | None = None
    """Numbers of the computation; bfloat16 on a GPU (weights and sums in float32), else float32, unless given."""
    max_memory: str | None = None
    """Memory that each run may take, such as 8GB: of the GPU where it uses one, else of the machine. Unless given, runs
    at the same time share what one alone would take."""
    ray: str | None = None
    """Runs on a Ray cluster instead of this machine: HOST:PORT, auto for the one of this machine, local for a new one.
    Its nodes must share the stores and `out` on the same paths. Needs the extra [distributed]."""
    jobs: int | None = None
    """Runs at the same time; unless given, as many as there are processor cores for their threads."""
    threads: int = 1
    """Threads of each run. Results depend on it in their last bits: keep it for a table."""
    checkpoint_seconds: float = 30.0
    """How often, in seconds, each run saves its progress; what a kill can cost it."""
    track: Literal["tensorboard", "trackio", "wandb"] | None = None
    """Show losses and accuracies of the runs in a tracker, too."""
    plot: tuple[Literal["frontier"], ...] = ()
    """Pictures beside the tables. frontier: accuracy against bytes kept (exemplars, teacher, statistics) and against
    seconds of training."""
    dry_run: bool = False
    """Print the plan and train nothing."""

    def __post_init__(self) -> None:
        def require(condition: bool, message: str) -> None:
            if not condition:
                raise InputError(message)

        require(bool(self.features), "name at least one feature store: avcil reproduce STORE ... --out DIR")
        require(bool(self.seeds), "--seeds needs at least one seed")
        for name in ("jobs", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name} must be 1 or more; not {value}")
        require(
            not (self.ray and self.jobs),
            "--jobs is of this machine; on a cluster Ray places the runs: drop one",
        )
        axes = (
            "seeds",
            "class_order_seeds",
            "exemplars",
            "exemplars_per_class",
            "classes_per_step",
            "modalities",
        )
        for name in axes:
            flag, values = f"--{name.replace('_', '-')}", getattr(self, name)
            require(len(set(values)) == len(values), f"{flag} names a value twice: {_words(values)}")
        require(
            not (self.exemplars and self.exemplars_per_class),
            "give --exemplars or --exemplars-per-class, not both",
        )
        for name in ("benchmark", "steps"):
            values = getattr(self, name)
            require(
                len(values) in (0, len(self.features)),
                f"--{name} needs one value for each store, {len(self.features)}; not {len(values)}",
            )
        require(
            not (self.steps and (self.benchmark or self.classes_per_step or self.class_order_seeds)),
            "--steps already says which classes come when: "
            "drop it or --benchmark, --classes-per-step, --class-order-seeds",
        )
        require(
            bool(self.benchmark or self.classes_per_step or self.steps) or self.study == "step-size",
            "say how classes come: give --benchmark NAME, --classes-per-step N or --steps FILE",
        )

    @property
    def parallel(self) -> int:
        """Runs at the same time."""
        return self.jobs or max(1, available_cores() // self.threads)

    def training_options(self) -> dict[str, Any]:
        """The options of training that were given."""
        names = (
            "epochs",
            "batch_size",
            "exemplar_batch_size",
            "learning_rate",
            "weight_decay",
            "selection",
            "device",
            "precision",
            "max_memory",
        )
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {"max_memory": self._memory_of_a_run()} | given

    def _memory_of_a_run(self) -> str | None:
        """An equal part for each of the runs at the same time; None: as a run alone."""
        if self.ray or self.parallel == 1:
            return None
        from avcil.training.memory_pool import device_memory
        from avcil.utils.devices import choose_device

        return f"{device_memory(choose_device(self.device)) // self.parallel}B"


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _words(values: Sequence[object]) -> str:
    return " ".join(map(str, values))
