"""Closed-form methods whose state is the second moments of features.

B clips of a batch, n of the current step, k of the calibration sample, M features of which a view has m, C classes.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from avcil.closed_form.calibration import Calibration
from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.moments import Moments
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.methods._saved_statistics import saved_sample
from avcil.methods._stepwise_method import StepwiseMethod, prefixed, under
from avcil.methods._views import View, views_of


class MomentsMethod(StepwiseMethod):
    """Base class of methods whose state is `Moments` of one embedding, and a sample of pooled vectors to calibrate."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.moments: Moments | None = None
        self.sample: CalibrationSample | None = None

    def make_views(self) -> list[View]:
        assert self.embedding is not None
        return views_of(self.embedding, self.modality, self.part_widths)

    def update_view(self, view: View, moments: Moments, features: Tensor, labels: Tensor) -> None:
        """Compute values of a view that depend on the step.

        Args:
            view: The view.
            moments: Moments including the step.
            features: (n, m), features of the step.
            labels: (n,), class numbers.
        """

    @abstractmethod
    def fitted(self, view: View, moments: Moments, features: Tensor, labels: Tensor) -> ClosedFormHead:
        """The head of a view, computed from its moments and calibrated with features (k, m) and labels (k,)."""

    def head(self, view: View) -> ClosedFormHead:
        assert self.embedding is not None
        assert self.moments is not None
        assert self.sample is not None
        parts = self.sample.vectors.double().split(self._widths, dim=1)
        features = self.embedding(parts)[:, view.columns]
        head = self.fitted(view, self.moments.part(view.columns), features, self.sample.labels)
        view.figures["sharpness"] = head.inverse_temperature
        return head

    def calibrated(self, view: View, scores: Tensor, labels: Tensor) -> float:
        """The inverse temperature, fitted to scores (k, C) of clips that were not used to compute the scores."""
        calibration = Calibration()
        calibration.losses = view.calibration.losses.clone()  # of models of format 2
        calibration.add(scores, labels)
        return calibration.inverse_temperature

    def grow(self, count: int) -> None:
        self.flush()
        super().grow(count)
        if self.moments is not None:
            self.moments.grow(count)

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        if self.embedding is None or self.moments is None or self.sample is None:
            self.embedding = self.fit_embedding(parts)
            self.moments = Moments(sum(self.embedding.sizes))
            self.moments.grow(self.classes)
            self.sample = CalibrationSample(sum(self._widths), size=self.options.calibration_clips)
            self.views = self.make_views()
        features = self.embedding(parts)
        self.moments.add(features, labels)
        self.sample.add(torch.cat(parts, dim=1), labels)
        for view in self.views:
            self.update_view(view, self.moments.part(view.columns), features[:, view.columns], labels)

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Remove clips: up to rounding, the moments are then those of the other clips alone.

        What the first step's clips decided stays, where the encoders' constants are unknown; so do penalties that a
        step's clips chose.
        """
        self.flush()
        if self.embedding is None or self.moments is None:
            raise InputError("nothing has been learned yet: there is nothing to forget")
        assert self.sample is not None
        self._check(labels)
        parts = self.pooled(audio, visual)
        self.moments.remove(self.embedding(parts), labels)
        self.sample.remove(torch.cat(parts, dim=1), labels)

    def drop(self, number: int) -> None:
        """The scatter of its clips about their mean stays in the second moments; see `Moments.drop`."""
        assert self.moments is not None
        assert self.sample is not None
        self.moments.drop(number)
        self.sample.drop(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.moments is not None
        assert self.sample is not None
        own = prefixed("moments", self.moments.tensors()) | prefixed("sample", self.sample.tensors())
        return self.common_tensors() | own

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        self.moments = Moments.from_tensors(under("moments", tensors))
        assert self.embedding is not None
        if self.moments.width != sum(self.embedding.sizes):
            raise InputError(
                f"the saved moments have {self.moments.width} features, but the embedding has "
                f"{sum(self.embedding.sizes)}"
            )
        self.classes = self.moments.classes
        width, sample = sum(self._widths), under("sample", tensors)
        self.sample = (
            saved_sample(sample, width, self.classes)
            if sample
            else CalibrationSample(width, size=self.options.calibration_clips)
        )

    def report(self) -> dict[str, float]:
        """Metrics of the fit, and the size of the state in bytes."""
        assert self.embedding is not None
        assert self.moments is not None
        assert self.sample is not None
        own, *others = self.views
        figures = dict(own.figures)
        for view in others:
            figures |= {f"{view.modality}.{name}": value for name, value in view.figures.items()}
        size = self.moments.bytes + self.embedding.bytes + self.sample.bytes
        return figures | {"bytes": float(size + sum(view.bytes for view in self.views))}
