"""Options of `avcil reproduce`. Imports no PyTorch, so that `--help` is fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from avcil.data.modality import Modality
from avcil.errors import require
from avcil.streams.registry import DEFAULT as DEFAULT_STREAM
from avcil.streams.registry import parse_stream
from avcil.utils.cores import available_cores


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Train many runs in parallel and print a table of their results. The same command resumes interrupted runs."""

    features: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Feature stores, one per benchmark."""
    out: Path
    """Output folder for the runs (runs/) and the tables."""
    benchmark: tuple[str, ...] = ()
    """The published benchmark of each store: ave-ci, ks-ci, vs100-ci, vs100-ci-leak-free."""
    classes_per_step: tuple[int, ...] = ()
    """For your own data: classes that arrive at each step. Several values are compared."""
    steps: tuple[Path, ...] = ()
    """For your own data, instead of `classes_per_step`: for each store, a JSON or CSV file with the classes of
    each step."""
    streams: tuple[str, ...] = (DEFAULT_STREAM,)
    """How the clips arrive, NAME[,OPTION=VALUE...] each (see `avcil streams`). Each stream has a table of its own."""
    methods: tuple[str, ...] = ()
    """Rows of the table: methods, variants (icarl-nme), or either with options (av-cil:lambda_class=0.5)."""
    study: str = "comparison"
    """What is compared: comparison, ablation-d-avsc, ablation-vad, classifiers, memory-size, step-size."""
    modalities: Annotated[tuple[Modality, ...], tyro.conf.EnumChoicesFromValues] = ()
    """Columns of the table. Default: all modalities that the study and the stores have."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Random seeds of training. Results are mean ± standard deviation over them."""
    class_order_seeds: tuple[int, ...] = ()
    """Seeds of class orders, each combined with every training seed. Default: natural or published order."""
    exemplars: tuple[int, ...] = ()
    """Total number of exemplars. Several values are compared. Default for published benchmarks: the published
    number."""
    exemplars_per_class: tuple[int, ...] = ()
    """Number of exemplars per class, instead of `exemplars`. Several values are compared."""
    epochs: int | None = None
    """Number of epochs in each step. Default: as published; 100 for your own data."""
    batch_size: int | None = None
    """New clips per batch. Default: 256."""
    exemplar_batch_size: int | None = None
    """Exemplars per batch, in addition to the new clips. Default: 128."""
    learning_rate: float | None = None
    """Learning rate. Default: 1e-3."""
    weight_decay: float | None = None
    """Weight decay. Default: 1e-4."""
    selection: Literal["best", "last"] | None = None
    """Weights at the end of a step: those of the best or of the last epoch. Default: best."""
    device: str | None = None
    """Device of the training: cpu, cuda, cuda:1, ... Default: a GPU if there is one."""
    precision: Literal["float32", "bfloat16", "float64"] | None = None
    """Data type of the computation. Default: bfloat16 on a GPU (weights and sums in float32), else float32."""
    max_memory: str | None = None
    """Memory limit of each run, such as 8GB. It applies to the GPU if one is used, else to main memory. By
    default, parallel runs share the limit of a single run."""
    ray: str | None = None
    """Run on a Ray cluster: HOST:PORT, auto for the running one on this machine, local to start one. Its nodes
    must have the stores and `out` at the same paths. Needs the extra [distributed]."""
    jobs: int | None = None
    """Number of parallel runs. Default: as many as the CPU cores allow."""
    threads: int = 1
    """Threads per run. The last bits of results depend on it, so use one value for a whole table."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints of each run. A killed run loses at most this much work."""
    track: Literal["tensorboard", "trackio", "wandb"] | None = None
    """Also log losses and accuracies of the runs to an experiment tracker."""
    plot: tuple[Literal["frontier"], ...] = ()
    """Plots to write beside the tables. frontier: accuracy against stored bytes (exemplars, teacher, statistics)
    and against training time."""
    dry_run: bool = False
    """Print the plan without training."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(map(Modality, self.modalities)))
        require(bool(self.features), "name at least one feature store: avcil reproduce STORE ... --out DIR")
        require(bool(self.seeds), "--seeds needs at least one seed")
        for name in ("jobs", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name} must be 1 or more; not {value}")
        require(
            not (self.ray and self.jobs),
            "--jobs is for this machine, and on a cluster Ray schedules the runs: give --jobs or --ray, not both",
        )
        lists = "seeds class_order_seeds streams exemplars exemplars_per_class classes_per_step modalities"
        for name in lists.split():
            flag, values = f"--{name.replace('_', '-')}", getattr(self, name)
            require(
                len(set(values)) == len(values), f"{flag} has a value twice: {' '.join(map(str, values))}"
            )
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
            "--steps defines the classes of each step: "
            "remove it, or --benchmark, --classes-per-step and --class-order-seeds",
        )
        self._check_streams()

    def _check_streams(self) -> None:
        require(bool(self.streams), "--streams needs at least one stream")
        specs = [parse_stream(text) for text in self.streams]
        uses_steps = any(spec.kind.uses_steps for spec in specs)
        with_own_tasks = [spec.name for spec in specs if not spec.kind.uses_steps]
        require(
            not (with_own_tasks and self.benchmark),
            f"stream {', '.join(with_own_tasks)} defines its own tasks and cannot follow a published benchmark: remove "
            "--benchmark or the stream",
        )
        require(
            bool(self.benchmark or self.classes_per_step or self.steps)
            or self.study == "step-size"
            or not uses_steps,
            "define the classes of each step: give --benchmark NAME, --classes-per-step N or --steps FILE",
        )

    @property
    def parallel(self) -> int:
        """Number of parallel runs."""
        return self.jobs or max(1, available_cores() // self.threads)

    def training_options(self) -> dict[str, Any]:
        """The given options of training, as fields of `TrainConfig`."""
        names = "epochs batch_size exemplar_batch_size learning_rate weight_decay selection device precision max_memory"
        given = {name: getattr(self, name) for name in names.split() if getattr(self, name) is not None}
        return {"max_memory": self._default_max_memory()} | given

    def _default_max_memory(self) -> str | None:
        """Equal parts of the memory for parallel runs; None for a single run."""
        if self.ray or self.parallel == 1:
            return None
        from avcil.training.memory_pool import device_memory
        from avcil.utils.devices import choose_device

        return f"{device_memory(choose_device(self.device)) // self.parallel}B"
