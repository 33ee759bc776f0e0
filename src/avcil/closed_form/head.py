"""The heads of closed-form models: a linear classifier on some of the features, with a test for unknown classes.

B clips, M features of which a head uses m, C classes:   scores = h Theta + bias
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.closed_form.discriminant import nonconformity
from avcil.closed_form.p_values import BINS, NonconformityHistogram, conformal_p_values
from avcil.closed_form.symmetric import packed, unpacked
from avcil.errors import InputError
from avcil.utils import checks

MIN_OUTLIER_SAMPLE = 200
"""Learned clips without which no clip is called an outlier: with fewer, it would happen too often by chance."""


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
class UnknownTest:
    """The test for unknown classes; see `closed_form.discriminant.relative_distance`."""

    inverses: Sequence[Tensor]
    """N (K - K_0) of each modality (m_1, m_1), ..., in the order of the m features; only upper triangles are saved. If
    there are several, they are those of the heads of the single modalities, and are not saved again."""
    distances: Tensor
    """(k,), ascending: leave-one-out distances of learned clips."""

    def p_values(self, features: Tensor, scores: Tensor) -> Tensor:
        """p-values (B,), from features (B, m) and raw scores (B, C) of the discriminant."""
        return conformal_p_values(self.distances, self._distances_of(features, scores))

    def is_outlier(self, features: Tensor, scores: Tensor) -> Tensor:
        """Whether clips are farther from all classes than each of the k learned clips, (B,).

        About one of k + 1 clips like the learned ones is an outlier. Arguments as for `p_values`.
        """
        return self._distances_of(features, scores) > self.distances[-1]

    @property
    def can_find_outliers(self) -> bool:
        """Whether there are enough learned clips for `is_outlier`."""
        return len(self.distances) >= MIN_OUTLIER_SAMPLE

    def _distances_of(self, features: Tensor, scores: Tensor) -> Tensor:
        parts = features.split([len(inverse) for inverse in self.inverses], dim=1)
        products = [(own @ inverse) * own for own, inverse in zip(parts, self.inverses, strict=True)]
        return torch.cat(products, dim=1).sum(dim=1) - 2 * scores.max(dim=1).values

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        own = {"unknown.inverse": packed(self.inverses[0])} if len(self.inverses) == 1 else {}
        return own | {"unknown.seen": self.distances}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], width: int, shared: Sequence[Tensor] = ()
    ) -> UnknownTest:
        """Restore from `tensors`; `shared` are the matrices of the heads of single modalities."""
        if "unknown.inverse" in tensors or sum(map(len, shared)) != width:
            size = (width * (width + 1) // 2,)
            shared = [unpacked(checks.tensor(tensors, "unknown.inverse", size, dtypes=checks.DOUBLE), width)]
        count = tensors["unknown.seen"].numel() if "unknown.seen" in tensors else 0
        distances = checks.tensor(tensors, "unknown.seen", (count,), dtypes=checks.DOUBLE)
        if bool((distances.diff() < 0).any()):
            raise InputError("the tensor 'unknown.seen' must be ascending")
        return cls(inverses=shared, distances=distances)


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
        cls, tensors: Mapping[str, Tensor], width: int, classes: int, shared: Sequence[Tensor] = ()
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
        known = ["columns", "weight", "bias", "inverse_temperature"]
        unknown: UnknownTest | HistogramUnknownTest | None = None
        if any(name.startswith("unknown.") for name in tensors):
            unknown = UnknownTest.from_tensors(tensors, len(columns), shared)
            known += ["unknown.inverse", "unknown.seen"]
        elif any(name.startswith("oddity.") for name in tensors):
            unknown = HistogramUnknownTest.from_tensors(tensors, len(columns))
            known += ["oddity.inverse", "oddity.counts"]
        checks.no_others(tensors, known)
        inverse_temperature = checks.tensor(tensors, "inverse_temperature", (), dtypes=checks.DOUBLE)
        return cls(
            columns=columns,
            weight=checks.tensor(tensors, "weight", (len(columns), classes), dtypes=checks.DOUBLE),
            bias=checks.tensor(tensors, "bias", (classes,), dtypes=checks.DOUBLE),
            inverse_temperature=checks.positive(inverse_temperature, "the inverse temperature"),
            unknown=unknown,
        )
