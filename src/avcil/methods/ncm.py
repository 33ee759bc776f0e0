"""NCM: the nearest class mean of frozen features; with cosine it is SimpleCIL. Mensink et al., 2013; Zhou et al., 2023.

    cosine:     score_c = h . mu_c / |mu_c|          euclidean:  score_c = h . mu_c - |mu_c|^2 / 2

h is the concatenation of the pooled audio and visual features, each scaled to a fixed length, and mu_c is the mean of h
over the clips of class c. SimpleCIL (Revisiting Class-Incremental Learning with Pre-Trained Models, arXiv 2303.07338)
uses class means as the weights of a cosine classifier, without hyper-parameters. NCM: TPAMI 35 (2013). State: the sum
of the features and the number of clips of each class.

k clips of the calibration sample, P width, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.calibration import Calibration
from avcil.closed_form.class_means import ClassMeans
from avcil.closed_form.embedding import Scaling
from avcil.closed_form.head import ClosedFormHead
from avcil.methods._head_state import HeadState
from avcil.methods._statistics_method import StatisticsMethod
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class NcmOptions:
    """Options of NCM."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    """Similarity to class means: cosine (SimpleCIL), or negative Euclidean distance (NCM)."""
    normalize: Scaling = "both"
    """both: features are standardized with the clips of the first step, then each modality is scaled to a fixed norm.
    first-step: standardized only. length: scaled to a fixed norm only, as published, for features that are already
    standardized. encoder: standardized with constants of the encoders, then to a fixed norm, so that the order of
    the classes and removed clips have no effect; as first-step if the constants are unknown."""
    calibration_clips: int = 512
    """Size of the random sample of feature vectors that is stored to calibrate probabilities; the means do not depend
    on it."""

    def __post_init__(self) -> None:
        check_range(self, "calibration_clips", least=0)


class Ncm(StatisticsMethod[ClassMeans]):
    """Class means as classifier."""

    name = "ncm"
    summary = "nearest class mean of frozen features, as in SimpleCIL; exemplar-free (TPAMI 2013)"
    Options = NcmOptions

    def new_statistics(self, width: int) -> ClassMeans:
        return ClassMeans(width)

    def head(self, state: HeadState) -> ClosedFormHead:
        assert self.statistics is not None
        assert self.sample is not None
        weight, bias = self._linear(self.statistics.means()[:, state.columns])
        features = self.sample_features()[:, state.columns]
        sums = self.statistics.sums[:, state.columns]
        calibration = Calibration()
        calibration.add(*self._leave_one_out(features, self.sample.labels, sums, weight, bias))
        return ClosedFormHead(
            columns=state.columns,
            weight=weight.T,
            bias=bias,
            inverse_temperature=calibration.inverse_temperature,
        )

    def _linear(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of means (c, m)."""
        if self.options.metric == "cosine":
            return F.normalize(means, dim=1), torch.zeros(len(means), dtype=torch.float64)
        return means, -means.square().sum(dim=1) / 2

    def _leave_one_out(
        self, features: Tensor, labels: Tensor, sums: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Leave-one-out scores of the sample's clips whose class has two or more clips, and their labels."""
        assert self.statistics is not None
        counts = self.statistics.counts
        scorable = counts[labels] > 1
        features, labels = features[scorable], labels[scorable]
        scores = features @ weight.T + bias
        means = (sums[labels] - features) / (counts[labels] - 1)[:, None]
        weight_of_label, bias_of_label = self._linear(means)
        scores[torch.arange(len(labels)), labels] = (features * weight_of_label).sum(dim=1) + bias_of_label
        return scores, labels
