"""What rehearsal methods with herded exemplars share: how exemplars are chosen, and who classifies after a step."""

from __future__ import annotations

from typing import Literal

from avcil.methods.base import GradientMethod

Validation = Literal["head", "classifier"]
"""What chooses the best epoch: the head's accuracy on validation clips, or that of the classifier which answers after
the step, as in the release. For `nme` the exemplars of the new classes are herded anew after each epoch."""


class HerdingMethod(GradientMethod):
    """New clips and exemplars shuffled into one set; its `Options` have `classifier`, `herding` and `validation`."""

    rehearsal = "herding"
    batching = "mixed"
    uses_teacher = True

    @property
    def classifier(self) -> Literal["head", "nearest-mean"]:
        return "nearest-mean" if self.options.classifier == "nme" else "head"

    @property
    def herding_repeats(self) -> bool:
        return self.options.herding == "release"

    @property
    def validates_by_means(self) -> bool:
        return self.classifier == "nearest-mean" and self.options.validation == "classifier"
