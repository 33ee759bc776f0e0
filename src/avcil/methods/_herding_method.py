"""What rehearsal methods with herded exemplars share: how exemplars are chosen, and who classifies after a step."""

from __future__ import annotations

from typing import Literal

from avcil.methods.base import GradientMethod


class HerdingMethod(GradientMethod):
    """New clips and exemplars shuffled into one set; its `Options` have `classifier` and `herding`."""

    rehearsal = "herding"
    batching = "mixed"
    uses_teacher = True

    @property
    def classifier(self) -> Literal["head", "nearest-mean"]:
        return "nearest-mean" if self.options.classifier == "nme" else "head"

    @property
    def herding_repeats(self) -> bool:
        return self.options.herding == "release"
