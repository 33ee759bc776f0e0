"""Closed-form methods whose state is statistics of the features of one embedding.

B clips of a batch, n of the current step, k of the calibration sample, M features of which a head uses m, C classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from avcil.closed_form.calibration import Calibration
from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.moments import Moments
from avcil.data.modality import Modality
from avcil.methods._head_state import HeadState, head_states_of
from avcil.methods._saved_statistics import saved_learned_clips, saved_sample
from avcil.methods._stepwise_method import StepwiseMethod
from avcil.utils.tensor_names import add_prefix, strip_prefix


class Statistics(Protocol):
    """Statistics of C classes, to which clips can be added and from which they can be removed; see `Moments`."""

    @property
    def classes(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    def add_classes(self, count: int) -> None: ...
    def remove_class(self, number: int) -> None: ...
    def add(self, features: Tensor, labels: Tensor) -> None: ...
    def remove(self, features: Tensor, labels: Tensor) -> None: ...
    def tensors(self) -> dict[str, Tensor]: ...
    def load(self, tensors: Mapping[str, Tensor]) -> None: ...


S = TypeVar("S", bound=Statistics)


class StatisticsMethod(StepwiseMethod, Generic[S]):
    """Base class of methods whose state is statistics of features, and a sample of pooled vectors for calibration."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.statistics: S | None = None
        self.sample: CalibrationSample | None = None

    @abstractmethod
    def new_statistics(self, width: int) -> S:
        """Statistics of `width` features, without classes."""

    def make_head_states(self) -> list[HeadState]:
        assert self.embedding is not None
        return head_states_of(self.embedding, self.modality, self.part_widths)

    def update_head_state(self, state: HeadState, features: Tensor, labels: Tensor) -> None:
        """Compute fitted values of a head that depend on the clips of the current step.

        Args:
            state: The state of the head. The statistics include the step.
            features: (n, m), features of the step.
            labels: (n,), class numbers.
        """

    def sample_features(self) -> Tensor:
        """Features (k, M) of the calibration sample."""
        assert self.embedding is not None
        assert self.sample is not None
        return self.embedding(self.sample.vectors.double().split(self._widths, dim=1))

    def add_classes(self, count: int) -> None:
        self.flush()
        super().add_classes(count)
        if self.statistics is not None:
            self.statistics.add_classes(count)

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        if self.embedding is None or self.statistics is None or self.sample is None:
            self.embedding = self.fit_embedding(parts)
            self.statistics = self.new_statistics(sum(self.embedding.sizes))
            self.statistics.add_classes(self.classes)
            self.sample = self._new_sample()
            self.head_states = self.make_head_states()
        features = self.embedding(parts)
        self.statistics.add(features, labels)
        self.sample.add(torch.cat(parts, dim=1), labels)
        for state in self.head_states:
            self.update_head_state(state, features[:, state.columns], labels)

    def _new_sample(self) -> CalibrationSample:
        return CalibrationSample(sum(self._widths), size=self.options.calibration_clips)

    def subtract(self, parts: tuple[Tensor, ...], labels: Tensor, modality: Modality | None) -> None:
        """Remove clips: up to rounding, the statistics are then those of the other clips.

        Two things still depend on removed clips: the scaling of features, if the constants of the encoders are unknown
        and the clips were in the first step, and penalties that were selected with the clips of a step.
        """
        assert self.embedding is not None
        assert self.statistics is not None
        assert self.sample is not None
        self.statistics.remove(self.embedding(parts), labels)
        self.sample.remove(torch.cat(parts, dim=1), labels)

    def remove_class(self, number: int) -> None:
        """Remove class `number` from the statistics and the sample.

        What remains of it in the statistics depends on their type; see its `remove_class`.
        """
        assert self.statistics is not None
        assert self.sample is not None
        self.statistics.remove_class(number)
        self.sample.remove_class(number)
        self.learned.remove_class(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.statistics is not None
        assert self.sample is not None
        statistics = add_prefix("moments", self.statistics.tensors())
        return self.common_tensors() | statistics | add_prefix("sample", self.sample.tensors())

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        assert self.embedding is not None
        self.statistics = self.new_statistics(sum(self.embedding.sizes))
        self.statistics.load(strip_prefix("moments", tensors))
        self.classes = self.statistics.classes
        sample = strip_prefix("sample", tensors)  # models before 0.2 have none
        self.sample = saved_sample(sample, sum(self._widths), self.classes) if sample else self._new_sample()
        self.learned = saved_learned_clips(strip_prefix("learned", tensors), self.classes, self.sample)

    @property
    def statistics_bytes(self) -> int:
        assert self.embedding is not None
        assert self.statistics is not None
        assert self.sample is not None
        return self.statistics.bytes + self.embedding.bytes + self.sample.bytes


class MomentsMethod(StatisticsMethod[Moments]):
    """Base class of methods whose statistics are `Moments`."""

    def new_statistics(self, width: int) -> Moments:
        return Moments(width)

    def moments_of(self, state: HeadState) -> Moments:
        """The moments of the features that a head uses."""
        assert self.statistics is not None
        return self.statistics.part(state.columns)

    @abstractmethod
    def fit_head(
        self, state: HeadState, moments: Moments, features: Tensor, labels: Tensor
    ) -> ClosedFormHead:
        """Compute a head from its moments, calibrated with features (k, m) and labels (k,) of the sample."""

    def head(self, state: HeadState) -> ClosedFormHead:
        assert self.sample is not None
        features = self.sample_features()[:, state.columns]
        return self.fit_head(state, self.moments_of(state), features, self.sample.labels)

    def calibrated(self, state: HeadState, scores: Tensor, labels: Tensor) -> float:
        """The inverse temperature, fitted to scores (k, C) of clips that were not used to compute the scores."""
        calibration = Calibration()
        calibration.losses = state.calibration.losses.clone()  # of models of format 2
        calibration.add(scores, labels)
        return calibration.inverse_temperature
