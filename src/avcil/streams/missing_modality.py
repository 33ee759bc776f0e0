"""Missing modalities in training: the audio or the frames of some training clips are withheld.

Test clips are complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avcil.datasets.benchmark import Benchmark
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.streams.base import Stream, StreamType, tasks_by_class, training_rows
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class MissingOptions:
    """Options of the stream `missing-modality`."""

    audio: float = 0.25
    """Fraction of the training clips of each class whose audio is withheld."""
    visual: float = 0.25
    """Fraction of the training clips of each class whose frames are withheld; these are other clips."""

    def __post_init__(self) -> None:
        check_range(self, "audio", "visual", least=0)
        if self.audio + self.visual > 1:
            raise InputError(
                "options audio and visual are fractions of different clips; their sum must be at most 1, not "
                f"{self.audio + self.visual:g}"
            )


class MissingModality(StreamType):
    """Class-incremental tasks in which some training clips are incomplete."""

    summary = "class-incremental tasks; some training clips lack audio or frames"
    Options = MissingOptions

    def build(self, clips: Sequence[StoredClip], steps: Benchmark | None, *, seed: int) -> Stream:
        assert steps is not None
        rates = self.options.audio, self.options.visual
        generator = np.random.default_rng([seed, 4])
        hidden: dict[int, tuple[str, ...]] = {}
        for of_class in training_rows(clips, steps.classes).values():
            rows = generator.permutation(of_class).tolist()
            audio, visual = (round(rate * len(rows)) for rate in rates)
            if any(rate and not round(rate * len(rows)) for rate in rates):
                raise InputError(
                    f"stream missing-modality: with {len(rows)} training clips of a class, fractions "
                    f"of {rates[0]:g} and {rates[1]:g} withhold no clip. Choose larger fractions, or 0"
                )
            hidden |= dict.fromkeys(rows[:audio], ("audio",))
            hidden |= dict.fromkeys(rows[audio : audio + visual], ("visual",))
        return Stream(benchmark=steps, task_of_row=tasks_by_class(clips, steps), hidden=hidden)
