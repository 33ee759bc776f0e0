"""What a run is told: one frozen dataclass, checked on the spot, free of torch so that `--help` is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avcil.errors import InputError
from avcil.utils.sizes import bytes_of

DEFAULT_MEMORY_PER_CLASS = 10


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a method step by step on a feature store."""

    features: Annotated[Path, tyro.conf.Positional]
    """The feature store, as `avcil extract` made it."""
    out: Path
    """The run directory. The same command goes on where a killed run stopped."""
    method: str = "blade"
    """Name of a method (`avcil methods` lists them; av-cil is the paper's), or a Python file that defines one."""
    set: tuple[str, ...] = ()
    """Options of the method, NAME=VALUE each; `avcil methods` lists them."""
    modality: Literal["audio-visual", "audio", "visual"] = "audio-visual"
    """What the recognizer is given of a clip."""
    benchmark: str | None = None
    """A published benchmark, ave-ci, ks-ci, vs100-ci or vs100-ci-leak-free: its steps, splits and memory."""
    classes_per_step: int | None = None
    """Classes that arrive at each step, in the order of `class_order_seed`; with `benchmark`, another size."""
    steps: Path | None = None
    """Instead of `classes_per_step`: a file of the steps, JSON [["cat", "dog"], ["owl"]] or CSV, a row a step."""
    class_order_seed: int | None = None
    """Shuffles the classes over the steps; without it they come in natural or published order."""
    seed: int = 0
    """Seed of initial weights, batches and the choice of exemplars."""
    exemplars: int | None = None
    """Exemplars that a rehearsal method keeps in all, shared by the classes seen; or give `exemplars_per_class`.
    With `benchmark`, the published number unless given."""
    exemplars_per_class: int | None = None
    """Exemplars of each class; 10 where neither is given."""
    epochs: int = 100
    """Passes over each step's clips. This and what follows is for methods trained by gradient; those in closed form
    take one pass."""
    batch_size: int = 256
    """New clips in a batch; with fewer clips, all of them. A last incomplete batch is dropped."""
    exemplar_batch_size: int = 128
    """Exemplars beside them, for methods that pair the two."""
    learning_rate: float = 1e-3
    """Adam's; a new optimizer at each step, no schedule."""
    weight_decay: float = 1e-4
    """Coupled L2, as Adam's `weight_decay`."""
    selection: Literal["best", "last"] = "best"
    """Which epoch's weights a step ends with: the best on the validation clips of all classes seen, or the last.
    A step whose new classes have no validation clip ends with the last. Methods in closed form have one pass and need
    no validation clip."""
    device: str | None = None
    """Where networks are trained: cpu, cuda, cuda:1, ...; a GPU if there is one. Closed forms run on the processor."""
    precision: Literal["float32", "bfloat16", "float64"] | None = None
    """Numbers of the computation. bfloat16: visual tokens and the products over them, beside weights, sums and
    optimizer in float32; a GPU's default. float32: the processor's default. float64: for comparisons."""
    max_memory: str | None = None
    """Memory that training may take, such as 8GB, for each of several processes: of the GPU where it uses one, else of
    the machine; 85 or 60 % of it unless given. Clips that do not fit are read as they are needed, and a batch that does
    not fit goes in parts."""
    teacher_cache: Literal["auto", "memory", "none"] = "auto"
    """Where what the last step's model says of each clip is kept, so that it is asked once: the nearest of GPU, memory
    and disk that has room (auto), no disk (memory), or nowhere (none)."""
    checkpoint_seconds: float = 30.0
    """How often, in seconds, a step's progress is saved; what a kill can cost."""
    track: Literal["tensorboard", "trackio", "wandb"] | None = None
    """Show losses and accuracies in a tracker, too; the run directory is the same with and without."""

    def __post_init__(self) -> None:
        def require(condition: bool, message: str) -> None:
            if not condition:
                raise InputError(message)

        for name in ("epochs", "batch_size", "exemplar_batch_size"):
            require(
                getattr(self, name) >= 1,
                f"--{name.replace('_', '-')} must be 1 or more; not {getattr(self, name)}",
            )
        for name in ("classes_per_step", "exemplars", "exemplars_per_class"):
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
        if self.max_memory is not None:
            bytes_of(self.max_memory)
        require(
            self.exemplars is None or self.exemplars_per_class is None,
            "give --exemplars or --exemplars-per-class, not both",
        )
        require(
            not (self.steps and self.benchmark),
            "--benchmark has steps of its own: drop --steps, or give --classes-per-step for another size",
        )
        require(
            not (self.steps and self.classes_per_step is not None),
            "--steps already says which classes come when: drop it or --classes-per-step",
        )
        require(
            any(value is not None for value in (self.benchmark, self.classes_per_step, self.steps)),
            "say how classes come: give --classes-per-step N, --steps FILE or --benchmark NAME",
        )
        require(
            self.steps is None or self.class_order_seed is None,
            "--class-order-seed shuffles classes over steps; --steps already says which come when: drop one",
        )
