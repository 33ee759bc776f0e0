"""NCM: the nearest class mean of frozen features; with cosine it is SimpleCIL. Mensink et al., 2013; Zhou et al., 2023.

    cosine:     score_c = h . mu_c / |mu_c|          euclidean:  score_c = h . mu_c - |mu_c|^2 / 2

h joins the pooled audio and visual features, scaled and each of one length, and mu_c is their mean over the clips of
class c. SimpleCIL (Revisiting Class-Incremental Learning with Pre-Trained Models, arXiv 2303.07338) takes class means
as the weights of a cosine classifier, without hyper-parameters; NCM: TPAMI 35 (2013). State: a mean and a count of each
class.

n clips of the current step, k of the calibration sample, P width, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.calibration import Calibration
from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.embedding import EmbeddingConfig, Scaling
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import Block
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.methods._head_state import HeadState, head_states_of
from avcil.methods._saved_statistics import saved_sample
from avcil.methods._stepwise_method import StepwiseMethod
from avcil.models import checks
from avcil.models.prefixes import add_prefix, strip_prefix


@dataclass(frozen=True, kw_only=True)
class NcmOptions:
    """Options of NCM."""

    metric: Literal["cosine", "euclidean"] = "cosine"
    """How near a class mean is: cosine (SimpleCIL), or Euclidean distance (NCM)."""
    normalize: Scaling = "both"
    """both: features are scaled by mean and deviation of the first step's clips, then each modality to one length;
    first-step: the former alone; length: the latter alone, as published, for features that were scaled before;
    encoder: by constants of the encoders, then each modality to one length, so that the order of the classes does not
    matter and removed clips leave no trace; as first-step where the constants are unknown."""
    calibration_clips: int = 512
    """Feature vectors that are kept to calibrate probabilities, of clips drawn at random; no mean depends on them."""

    def __post_init__(self) -> None:
        if self.calibration_clips < 0:
            raise InputError(f"option calibration_clips must be 0 or more; not {self.calibration_clips}")


class Ncm(StepwiseMethod):
    """Class means as classifier."""

    name = "ncm"
    summary = "nearest class mean of frozen features (SimpleCIL); keeps means alone"
    Options = NcmOptions

    def __init__(self, options: NcmOptions, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.sums = torch.zeros(0, 0, dtype=torch.float64)
        """(C, P)"""
        self.counts = torch.zeros(0, dtype=torch.float64)
        """(C,)"""
        self.sample: CalibrationSample | None = None

    def blocks(self, vectors: int) -> list[Block]:
        config = EmbeddingConfig(
            normalize=self.scaling(to_length=True), activation="none", features=0, seed=self.seed
        )
        return [(config, tuple(range(vectors)))]

    def make_head_states(self) -> list[HeadState]:
        assert self.embedding is not None
        return head_states_of(self.embedding, self.modality, self.part_widths)

    def add_classes(self, count: int) -> None:
        self.flush()
        super().add_classes(count)
        self.sums, self.counts = F.pad(self.sums, (0, 0, 0, count)), F.pad(self.counts, (0, count))

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        if self.embedding is None or self.sample is None:
            self.embedding = self.fit_embedding(parts)
            self.sums = torch.zeros(self.classes, sum(self.embedding.sizes), dtype=torch.float64)
            self.sample = CalibrationSample(sum(self._widths), size=self.options.calibration_clips)
            self.head_states = self.make_head_states()
        self._add(self.embedding(parts), labels, 1)
        self.sample.add(torch.cat(parts, dim=1), labels)

    def _add(self, features: Tensor, labels: Tensor, sign: int) -> None:
        self.sums = self.sums.index_add(0, labels, sign * features)
        self.counts = self.counts + sign * torch.bincount(labels, minlength=self.classes)

    def head(self, state: HeadState) -> ClosedFormHead:
        assert self.embedding is not None
        assert self.sample is not None
        sums = self.sums[:, state.columns]
        weight, bias = self._linear(sums / self.counts.clamp(min=1)[:, None])
        parts = self.sample.vectors.double().split(self._widths, dim=1)
        calibration = Calibration()
        calibration.add(
            *self._left_out(self.embedding(parts)[:, state.columns], self.sample.labels, sums, weight, bias)
        )
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

    def _left_out(
        self, features: Tensor, labels: Tensor, sums: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores of the sample's clips by the means without each, and labels; only of classes with two or more."""
        many = self.counts[labels] > 1
        features, labels = features[many], labels[many]
        scores = features @ weight.T + bias
        own = (sums[labels] - features) / (self.counts[labels] - 1)[:, None]
        own_weight, own_bias = self._linear(own)
        scores[torch.arange(len(labels)), labels] = (features * own_weight).sum(dim=1) + own_bias
        return scores, labels

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Remove clips: up to rounding, the means are then those of the other clips alone."""
        self.flush()
        if self.embedding is None or self.sample is None:
            raise InputError("nothing has been learned yet: there is nothing to forget")
        self._check(labels)
        lacking = self.counts - torch.bincount(labels, minlength=self.classes) < 0
        if lacking.any():
            numbers = ", ".join(map(str, lacking.nonzero()[:5, 0].tolist()))
            raise InputError(
                f"more clips are to be forgotten than were learned, of the classes numbered {numbers}. "
                "Give only clips that were learned"
            )
        parts = self.pooled(audio, visual)
        self._add(self.embedding(parts), labels, -1)
        self.sums[self.counts == 0] = 0.0  # the rest is rounding, which cosine would scale to length 1
        self.sample.remove(torch.cat(parts, dim=1), labels)

    def remove_class(self, number: int) -> None:
        """Nothing stays of the class."""
        assert self.sample is not None
        keep = torch.arange(self.classes) != number
        self.sums, self.counts = self.sums[keep], self.counts[keep]
        self.sample.remove_class(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.sample is not None
        own = add_prefix("moments", {"sums": self.sums, "counts": self.counts})
        return self.common_tensors() | own | add_prefix("sample", self.sample.tensors())

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        assert self.embedding is not None
        own, width = strip_prefix("moments", tensors), sum(self.embedding.sizes)
        classes = own.get("counts", torch.zeros(0)).numel()
        self.counts = checks.tensor(own, "counts", (classes,))
        self.sums = checks.tensor(own, "sums", (classes, width))
        if (self.counts < 0).any():
            raise InputError("a class has a negative number of clips")
        self.classes = classes
        self.sample = saved_sample(strip_prefix("sample", tensors), sum(self._widths), classes)

    @property
    def statistics_bytes(self) -> int:
        assert self.embedding is not None
        assert self.sample is not None
        return 8 * (self.sums.numel() + self.counts.numel()) + self.embedding.bytes + self.sample.bytes
