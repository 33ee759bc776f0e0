"""Base class of rehearsal methods with herding: selection of exemplars, and classifier after a step."""

from __future__ import annotations

from typing import Literal

from avcil.methods.base import GradientMethod

Validation = Literal["head", "classifier"]
"""Classifier whose validation accuracy selects the best epoch: the head, or the classifier after the step, as in
AV-CIL's release. For `nme`, exemplars of the new classes are selected by herding after each epoch."""


class HerdingMethod(GradientMethod):
    """Trains on new clips and exemplars together; `Options` have `classifier`, `herding` and `validation`."""

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
