"""Options of a training run. The module does not import torch, so that `--help` is fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avcil.data.modality import Modality
from avcil.errors import InputError, require
from avcil.utils.byte_sizes import parse_bytes

DEFAULT_EXEMPLARS_PER_CLASS = 10


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a method on a feature store, step by step."""

    features: Annotated[Path, tyro.conf.Positional]
    """The feature store, written by `avcil extract`."""
    out: Path
    """The run directory. The same command resumes an interrupted run."""
    method: str = "blade"
    """Name of a method (`avcil methods` lists them; av-cil is the paper's), or a Python file that defines one."""
    set: tuple[str, ...] = ()
    """Options of the method, NAME=VALUE each. `avcil methods NAME` lists them."""
    modality: Annotated[Modality, tyro.conf.EnumChoicesFromValues] = Modality.AUDIO_VISUAL
    """Modality that the model is trained with."""
    benchmark: str | None = None
    """A published benchmark, ave-ci, ks-ci, vs100-ci or vs100-ci-leak-free, which defines steps, splits and the
    number of exemplars."""
    classes_per_step: int | None = None
    """Classes that arrive at each step, in the order of `class_order_seed`. With `benchmark`, it replaces the
    published number."""
    stream: str = "class-incremental"
    """How the clips arrive: NAME[,OPTION=VALUE...], such as few-shot,ways=5,shots=5. `avcil streams` lists names and
    options."""
    steps: Path | None = None
    """Instead of `classes_per_step`, a file with the classes of each step: JSON such as [["cat", "dog"], ["owl"]],
    or CSV with one row per step."""
    class_order_seed: int | None = None
    """Seed that shuffles the classes. By default they are not shuffled, except in streams that define their own
    tasks. It is also the seed of everything that a stream draws at random, by default 0."""
    seed: int = 0
    """Random seed of initial weights, batches and exemplars."""
    exemplars: int | None = None
    """Total number of exemplars of a rehearsal method, shared by all classes seen. Alternatively, give
    `exemplars_per_class`. With `benchmark`, the default is the published number."""
    exemplars_per_class: int | None = None
    """Number of exemplars per class. Default: 10, if `exemplars` is not given either."""
    epochs: int = 100
    """Number of epochs in each step. This and all following options are for methods trained by gradient descent;
    closed-form methods make one pass."""
    batch_size: int = 256
    """New clips per batch. If there are fewer clips, all of them. An incomplete last batch is dropped."""
    exemplar_batch_size: int = 128
    """Exemplars per batch, in addition to the new clips, for methods with paired batches."""
    learning_rate: float = 1e-3
    """Learning rate of Adam. Each step starts with a new optimizer; there is no schedule."""
    weight_decay: float = 1e-4
    """L2 weight decay of Adam, coupled."""
    selection: Literal["best", "last"] = "best"
    """Weights at the end of a step: those of the epoch with the best accuracy on the validation clips of all
    classes seen, or of the last epoch. A step whose new classes have no validation clips ends with the last
    epoch. Closed-form methods make one pass and need no validation clips."""
    device: str | None = None
    """Device of the training: cpu, cuda, cuda:1, ... Default: a GPU if there is one. Closed-form methods run on
    the CPU."""
    precision: Literal["float32", "bfloat16", "float64"] | None = None
    """Data type of the computation. bfloat16: visual tokens and matrix products with them in bfloat16, weights, sums
    and optimizer in float32; default on a GPU. float32: default on a CPU. float64: for comparisons."""
    max_memory: str | None = None
    """Memory limit of the training, such as 8GB, per process. It applies to the GPU if one is used, else to main
    memory. Default: 85 % of the GPU's memory, 60 % of main memory. Clips that do not fit are read when needed,
    and a batch that does not fit is processed in parts."""
    teacher_cache: Literal["auto", "memory", "none"] = "auto"
    """Where the outputs of the previous step's model are cached. auto: GPU, main memory or disk, the first with
    enough space. memory: not on disk. none: no cache."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints within a step. A killed run loses at most this much work."""
    track: Literal["tensorboard", "trackio", "wandb"] | None = None
    """Also log losses and accuracies to an experiment tracker. The run directory is the same with and without."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "modality", Modality(self.modality))
        self._check_numbers()
        if self.max_memory is not None:
            parse_bytes(self.max_memory)
        require(
            self.exemplars is None or self.exemplars_per_class is None,
            "give --exemplars or --exemplars-per-class, not both",
        )
        require(
            not (self.steps and self.benchmark),
            "--benchmark defines the steps: leave out --steps, or give --classes-per-step for another step size",
        )
        require(
            not (self.steps and self.classes_per_step is not None),
            "--steps defines the classes of each step: leave out --steps or --classes-per-step",
        )
        self._check_stream(any(x is not None for x in (self.benchmark, self.classes_per_step, self.steps)))
        require(
            self.steps is None or self.class_order_seed is None,
            "--steps defines the order of classes: leave out --steps or --class-order-seed",
        )

    def _check_numbers(self) -> None:
        counts = "epochs batch_size exemplar_batch_size classes_per_step exemplars exemplars_per_class"
        for name in counts.split():
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name.replace('_', '-')} must be 1 or more; not {value}")
        require(
            0 < self.learning_rate < math.inf,
            f"--learning-rate must be a number above 0; not {self.learning_rate}",
        )
        require(
            0 <= self.weight_decay < math.inf,
            f"--weight-decay must be a number, 0 or more; not {self.weight_decay}",
        )
        require(self.checkpoint_seconds >= 0, "--checkpoint-seconds must be 0 or more")
        for name in ("seed", "class_order_seed"):
            value = getattr(self, name)
            require(
                value is None or 0 <= value < 2**63,
                f"--{name.replace('_', '-')} must be 0 or more, and less than 2^63; not {value}",
            )

    def _check_stream(self, has_steps: bool) -> None:
        """Refuse a stream that does not fit the other options."""
        from avcil.streams.registry import parse_stream

        stream = parse_stream(self.stream)
        if stream.kind.uses_steps and not has_steps:
            raise InputError(
                "the steps are not defined: give --classes-per-step N, --steps FILE or --benchmark NAME"
            )
        if has_steps and not stream.kind.uses_steps:
            raise InputError(
                f"stream {stream.name} defines its own tasks: leave out --classes-per-step, --steps and --benchmark"
            )
        defaults = {field.name: field.default for field in fields(self)}
        for name, value in stream.kind.settings().items():
            if getattr(self, name) not in (defaults[name], value):
                option = f"; another value: --stream {stream.name},{name}=N" if name in stream.options else ""
                raise InputError(
                    f"stream {stream.name} prescribes --{name.replace('_', '-')} {value}: leave that option out of the "
                    f"command and of --config{option}"
                )
