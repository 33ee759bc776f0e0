"""Closed-form methods whose state is the second moments of features.

B clips of a batch, n of the current step, k of the calibration sample, M features of which a state has m, C classes.
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
from avcil.methods._head_state import HeadState, head_states_of
from avcil.methods._saved_statistics import saved_sample
from avcil.methods._stepwise_method import StepwiseMethod
from avcil.models.prefixes import add_prefix, strip_prefix


class MomentsMethod(StepwiseMethod):
    """Base class of methods whose state is `Moments` of one embedding, and a sample of pooled vectors to calibrate."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.moments: Moments | None = None
        self.sample: CalibrationSample | None = None

    def make_head_states(self) -> list[HeadState]:
        assert self.embedding is not None
        return head_states_of(self.embedding, self.modality, self.part_widths)

    def update_head_state(self, state: HeadState, moments: Moments, features: Tensor, labels: Tensor) -> None:
        """Compute values of a state that depend on the step.

        Args:
            state: The state.
            moments: Moments including the step.
            features: (n, m), features of the step.
            labels: (n,), class numbers.
        """

    @abstractmethod
    def fit_head(
        self, state: HeadState, moments: Moments, features: Tensor, labels: Tensor
    ) -> ClosedFormHead:
        """The head of a state, computed from its moments and calibrated with features (k, m) and labels (k,)."""

    def head(self, state: HeadState) -> ClosedFormHead:
        assert self.embedding is not None
        assert self.moments is not None
        assert self.sample is not None
        parts = self.sample.vectors.double().split(self._widths, dim=1)
        features = self.embedding(parts)[:, state.columns]
        return self.fit_head(state, self.moments.part(state.columns), features, self.sample.labels)

    def calibrated(self, state: HeadState, scores: Tensor, labels: Tensor) -> float:
        """The inverse temperature, fit_head to scores (k, C) of clips that were not used to compute the scores."""
        calibration = Calibration()
        calibration.losses = state.calibration.losses.clone()  # of models of format 2
        calibration.add(scores, labels)
        return calibration.inverse_temperature

    def add_classes(self, count: int) -> None:
        self.flush()
        super().add_classes(count)
        if self.moments is not None:
            self.moments.add_classes(count)

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        if self.embedding is None or self.moments is None or self.sample is None:
            self.embedding = self.fit_embedding(parts)
            self.moments = Moments(sum(self.embedding.sizes))
            self.moments.add_classes(self.classes)
            self.sample = CalibrationSample(sum(self._widths), size=self.options.calibration_clips)
            self.head_states = self.make_head_states()
        features = self.embedding(parts)
        self.moments.add(features, labels)
        self.sample.add(torch.cat(parts, dim=1), labels)
        for state in self.head_states:
            self.update_head_state(
                state, self.moments.part(state.columns), features[:, state.columns], labels
            )

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

    def remove_class(self, number: int) -> None:
        """The scatter of its clips about their mean stays in the second moments; see `Moments.drop`."""
        assert self.moments is not None
        assert self.sample is not None
        self.moments.remove_class(number)
        self.sample.remove_class(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.moments is not None
        assert self.sample is not None
        own = add_prefix("moments", self.moments.tensors()) | add_prefix("sample", self.sample.tensors())
        return self.common_tensors() | own

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        self.moments = Moments.from_tensors(strip_prefix("moments", tensors))
        assert self.embedding is not None
        if self.moments.width != sum(self.embedding.sizes):
            raise InputError(
                f"the saved moments have {self.moments.width} features, but the embedding has "
                f"{sum(self.embedding.sizes)}"
            )
        self.classes = self.moments.classes
        width, sample = sum(self._widths), strip_prefix("sample", tensors)
        self.sample = (
            saved_sample(sample, width, self.classes)
            if sample
            else CalibrationSample(width, size=self.options.calibration_clips)
        )

    @property
    def statistics_bytes(self) -> int:
        assert self.embedding is not None
        assert self.moments is not None
        assert self.sample is not None
        return self.moments.bytes + self.embedding.bytes + self.sample.bytes
