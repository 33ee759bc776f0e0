"""Few-shot class-incremental learning: base classes with all their clips, then N new classes with K clips each.

Source: Tao et al., CVPR 2020 (miniImageNet: 60 base classes, then 8 tasks of 5 classes with 5 clips each).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.runs.predictions import harmonic_mean_accuracy
from avcil.streams.base import (
    UNUSED,
    Stream,
    StreamResults,
    StreamType,
    ordered_classes,
    require_clips,
    tasks_by_class,
    training_rows,
)
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class FewShotOptions:
    """Options of the stream `few-shot`."""

    base: int = 0
    """Number of classes of the first task. 0: about half of the classes, so that the later tasks are complete."""
    ways: int = 5
    """Number of new classes of each later task; the last task may have fewer."""
    shots: int = 5
    """Number of training clips of each new class of a later task, selected at random."""

    def __post_init__(self) -> None:
        check_range(self, "base", least=0)
        check_range(self, "ways", "shots", least=1)


class FewShot(StreamType):
    """Base classes, then N ways x K shots."""

    summary = (
        "base classes with all their clips, then tasks of `ways` classes with `shots` clips each (CVPR 2020)"
    )
    Options = FewShotOptions
    uses_steps = False

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        options = self.options
        generator = np.random.default_rng([seed, 1])
        classes = ordered_classes(clips, generator)
        base = options.base or len(classes) - max(1, len(classes) // 2 // options.ways) * options.ways
        if not 1 <= base < len(classes):
            raise InputError(
                f"stream few-shot: {len(classes)} classes cannot be divided into base classes and tasks of "
                f"{options.ways}. Choose base from 1 to {len(classes) - 1}, or fewer ways"
            )
        later = classes[base:]
        benchmark = Benchmark(
            name="few-shot",
            steps=(
                tuple(classes[:base]),
                *(tuple(later[i : i + options.ways]) for i in range(0, len(later), options.ways)),
            ),
            class_order_seed=seed,
        )
        tasks = tasks_by_class(clips, benchmark)
        rows = training_rows(clips, later)
        require_clips(rows, options.shots, f"stream few-shot with shots={options.shots}")
        for of_class in rows.values():
            unused = generator.permutation(of_class)[options.shots :]
            tasks[unused] = UNUSED
        return Stream(benchmark=benchmark, task_of_row=tasks)

    def settings(self) -> dict[str, Any]:
        return {"selection": "last"}  # validation clips would be labeled clips beyond the shots

    def metrics(self, results: StreamResults) -> dict[str, float]:
        """Accuracy on base and new classes after the last task, their harmonic mean, and the performance drop."""
        R, n = results.R, results.n
        base = float(R[-1, 0])
        new = float(R[-1, 1:] @ n[1:] / n[1:].sum())
        return {
            "base_accuracy": base,
            "new_accuracy": new,
            "harmonic_mean": harmonic_mean_accuracy(base, new),
            "performance_drop": float(R[0, 0] - R[-1] @ n / n.sum()),
        }
