"""Base class of closed-form methods whose scores are not linear in the features.

k clips of the calibration sample, M features.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from avcil.closed_form import held_out
from avcil.closed_form.calibration import Calibration
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.single_head_model import SingleHeadModel
from avcil.errors import AvcilError
from avcil.methods._head_state import HeadState
from avcil.methods._statistics_method import S, StatisticsMethod


class SingleHeadMethod(StatisticsMethod[S]):
    """Base class of methods with one head, which needs all modalities of the method."""

    model_class: ClassVar[type[SingleHeadModel]]

    @abstractmethod
    def weights(self, statistics: S) -> dict[str, Tensor]:
        """The weights of the model."""

    @abstractmethod
    def weights_without(
        self, statistics: S, weights: dict[str, Tensor], features: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """The weights of the model without some clips.

        Args:
            statistics: Statistics of all clips.
            weights: The weights of the model of all clips.
            features: (k, M), of clips in the statistics.
            labels: (k,), their classes.
        """

    def make_head_states(self) -> list[HeadState]:
        return super().make_head_states()[:1]

    def head(self, state: HeadState) -> ClosedFormHead:
        """Not available: the scores are not linear."""
        raise AvcilError(f"method {self.name} has no linear head")

    def solve(self) -> SingleHeadModel:
        self.flush()
        if self.embedding is None or self.statistics is None:
            raise AvcilError(f"method {self.name} has no clips yet")
        weights = self.weights(self.statistics)
        inverse_temperature = self._inverse_temperature(self.statistics, weights)
        self.head_states[0].inverse_temperature = inverse_temperature
        return self.model_class(
            kind=self.name,
            modality=self.modality,
            pooling=self.pooling,
            embedding=self.embedding,
            inverse_temperature=inverse_temperature,
            weights=weights,
        )

    def _inverse_temperature(self, statistics: S, weights: dict[str, Tensor]) -> float:
        """The inverse temperature, fitted to a fifth of the sample with the statistics of the other clips."""
        assert self.sample is not None
        labels, calibration = self.sample.labels, Calibration()
        held = held_out(self.sample.vectors, labels)
        if self.classes > 1 and held.any():
            features, labels = self.sample_features()[held], labels[held]
            others = self.weights_without(statistics, weights, features, labels)
            calibration.add(self.model_class.raw_scores(features, others), labels)
        return calibration.inverse_temperature

    @classmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> SingleHeadModel:
        return cls.model_class.from_config(cls.name, config, tensors)
