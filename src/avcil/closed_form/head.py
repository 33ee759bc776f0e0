"""The heads of closed-form models: a linear classifier on some of the features, with a test for unknown classes.

B clips, M features of which a head uses m, C classes:   scores = h Theta + bias
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from avcil.closed_form.discriminant import nonconformity
from avcil.closed_form.p_values import BINS, NonconformityHistogram, conformal_p_values
from avcil.closed_form.symmetric import packed, unpacked
from avcil.errors import InputError
from avcil.utils import checks

MIN_OUTLIER_SAMPLE = 200
"""Minimum number of learned clips of the test for outliers: with fewer, too many clips are outliers by chance."""


class LinearScores(NamedTuple):
    """Weight (m, C) and bias (C,) of scores."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, kw_only=True)
class HistogramUnknownTest:
    """The test for unknown classes in models of formats 1 and 2; see `closed_form.p_values`."""

    inverse: Tensor
    """N K (m, m); only the upper triangle is saved."""
    histogram: NonconformityHistogram

    def p_values(self, features: Tensor, scores: Tensor) -> Tensor:
        """p-values (B,), from features (B, m) and raw scores (B, C) of the discriminant."""
        length = ((features @ self.inverse) * features).sum(dim=1)
        return self.histogram.p_values(nonconformity(scores, length))

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {"oddity.inverse": packed(self.inverse), "oddity.counts": self.histogram.counts}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], width: int) -> HistogramUnknownTest:
        """Restore from `tensors`."""
        size = (width * (width + 1) // 2,)
        inverse = unpacked(checks.tensor(tensors, "oddity.inverse", size, dtypes=checks.DOUBLE), width)
        counts = checks.tensor(tensors, "oddity.counts", (BINS,), dtypes=checks.DOUBLE)
        if bool((counts < 0).any()):
            raise InputError("the tensor 'oddity.counts' has negative values")
        return cls(inverse=inverse, histogram=NonconformityHistogram(counts))


@dataclass(frozen=True, kw_only=True)
class RelativeDistance:
    """The relative distance of one modality from the class means; see `closed_form.discriminant.relative_distance`.

    It needs the discriminant of class means alone: with the scores of predictions, unknown classes are detected worse
    (docs/log.md).
    """

    inverse: Tensor
    """N (K - K_0) (m, m); only the upper triangle is saved."""
    weight: Tensor
    """(m, C), of the discriminant of class means."""
    bias: Tensor
    """(C,)"""

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {
            "unknown.inverse": packed(self.inverse),
            "unknown.weight": self.weight,
            "unknown.bias": self.bias,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], head: LinearScores) -> RelativeDistance:
        """Restore from `tensors`; models of formats 3 to 5 have the weight and bias of the head."""
        width, classes = head.weight.shape
        size = (width * (width + 1) // 2,)
        inverse = unpacked(checks.tensor(tensors, "unknown.inverse", size, dtypes=checks.DOUBLE), width)
        if "unknown.weight" not in tensors and "unknown.bias" not in tensors:
            return cls(inverse=inverse, weight=head.weight, bias=head.bias)
        return cls(
            inverse=inverse,
            weight=checks.tensor(tensors, "unknown.weight", (width, classes), dtypes=checks.DOUBLE),
            bias=checks.tensor(tensors, "unknown.bias", (classes,), dtypes=checks.DOUBLE),
        )


@dataclass(frozen=True, kw_only=True)
class UnknownTest:
    """The test for unknown classes: a clip is compared with learned clips by the sum of its relative distances."""

    parts: Sequence[RelativeDistance]
    """Of each modality, in the order of the m features. If there are several, they are those of the heads of the single
    modalities, and are not saved again."""
    distances: Tensor
    """(k,), ascending: leave-one-out distances of learned clips."""

    def p_values(self, features: Tensor) -> Tensor:
        """p-values (B,) of features (B, m)."""
        return conformal_p_values(self.distances, self._distances_of(features))

    def is_outlier(self, features: Tensor) -> Tensor:
        """Whether clips are farther from all classes than each of the k learned clips, (B,).

        About one of k + 1 clips like the learned ones is an outlier.

        Args:
            features: (B, m)
        """
        return self._distances_of(features) > self.distances[-1]

    @property
    def can_find_outliers(self) -> bool:
        """Whether there are enough learned clips for `is_outlier`."""
        return len(self.distances) >= MIN_OUTLIER_SAMPLE

    def _distances_of(self, features: Tensor) -> Tensor:
        modalities = features.split([len(part.inverse) for part in self.parts], dim=1)
        products, scores = [], []
        for part, own in zip(self.parts, modalities, strict=True):
            products.append((own @ part.inverse) * own)
            scores.append(own @ part.weight + part.bias)
        return torch.cat(products, dim=1).sum(dim=1) - 2 * torch.stack(scores).sum(dim=0).max(dim=1).values

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        own = self.parts[0].tensors() if len(self.parts) == 1 else {}
        return own | {"unknown.seen": self.distances}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], head: LinearScores, shared: Sequence[RelativeDistance] = ()
    ) -> UnknownTest:
        """Restore from `tensors`; `shared` are the distances of the heads of single modalities."""
        width = len(head.weight)
        if "unknown.inverse" in tensors or sum(len(part.inverse) for part in shared) != width:
            shared = [RelativeDistance.from_tensors(tensors, head)]
        count = tensors["unknown.seen"].numel() if "unknown.seen" in tensors else 0
        distances = checks.tensor(tensors, "unknown.seen", (count,), dtypes=checks.DOUBLE)
        if bool((distances.diff() < 0).any()):
            raise InputError("the tensor 'unknown.seen' must be ascending")
        return cls(parts=shared, distances=distances)


@dataclass(frozen=True, kw_only=True)
class ClosedFormHead:
    """A linear classifier on some of the features."""

    columns: Tensor
    """(m,)"""
    weight: Tensor
    """(m, C), float64; not multiplied by the inverse temperature."""
    bias: Tensor
    """(C,)"""
    inverse_temperature: float
    unknown: UnknownTest | HistogramUnknownTest | None = None

    def __post_init__(self) -> None:
        # The layout of a loaded tensor: with another layout, products differ in their last bits.
        object.__setattr__(self, "weight", self.weight.contiguous())

    def scores(self, features: Tensor) -> Tensor:
        """Scores (B, C) of features (B, M) of the embedding."""
        return self.inverse_temperature * self.raw_scores(features)

    def raw_scores(self, features: Tensor) -> Tensor:
        """Scores (B, C) without the inverse temperature."""
        return features[:, self.columns] @ self.weight + self.bias

    def p_values(self, features: Tensor) -> Tensor | None:
        """p-values (B,) of features (B, M); None without a test for unknown classes."""
        own = features[:, self.columns]
        if isinstance(self.unknown, HistogramUnknownTest):
            return self.unknown.p_values(own, self.raw_scores(features))
        return None if self.unknown is None else self.unknown.p_values(own)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {
            "columns": self.columns,
            "weight": self.weight,
            "bias": self.bias,
            "inverse_temperature": torch.tensor(self.inverse_temperature, dtype=torch.float64),
        } | (self.unknown.tensors() if self.unknown else {})

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        width: int,
        classes: int,
        shared: Sequence[RelativeDistance] = (),
    ) -> ClosedFormHead:
        """Restore from `tensors`, for `width` features and `classes` classes; see `UnknownTest.from_tensors`.

        Raises:
            InputError: The tensors are invalid or inconsistent.
        """
        if "inverse_temperature" not in tensors and "sharpness" in tensors:  # earlier models
            tensors = {
                "inverse_temperature" if n == "sharpness" else n: value for n, value in tensors.items()
            }
        columns = tensors.get("columns", torch.empty(0))
        checks.tensor(tensors, "columns", (columns.numel(),), dtypes=(torch.int64,))
        ascending = bool((columns.diff() > 0).all())
        if not (columns.numel() and ascending and int(columns[0]) >= 0 and int(columns[-1]) < width):
            raise InputError(f"the tensor 'columns' must be ascending numbers from 0 to {width - 1}")
        scores = LinearScores(
            checks.tensor(tensors, "weight", (len(columns), classes), dtypes=checks.DOUBLE),
            checks.tensor(tensors, "bias", (classes,), dtypes=checks.DOUBLE),
        )
        known = ["columns", "weight", "bias", "inverse_temperature"]
        unknown: UnknownTest | HistogramUnknownTest | None = None
        if any(name.startswith("unknown.") for name in tensors):
            unknown = UnknownTest.from_tensors(tensors, scores, shared)
            known.append("unknown.seen")
            if len(unknown.parts) == 1:
                known += ["unknown.inverse", "unknown.weight", "unknown.bias"]
        elif any(name.startswith("oddity.") for name in tensors):
            unknown = HistogramUnknownTest.from_tensors(tensors, len(columns))
            known += ["oddity.inverse", "oddity.counts"]
        checks.no_others(tensors, known)
        inverse_temperature = checks.tensor(tensors, "inverse_temperature", (), dtypes=checks.DOUBLE)
        return cls(
            columns=columns,
            weight=scores.weight,
            bias=scores.bias,
            inverse_temperature=checks.positive(inverse_temperature, "the inverse temperature"),
            unknown=unknown,
        )
