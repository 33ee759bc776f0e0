"""FeCAM: distance from class means under each class's own covariance. Goswami et al., NeurIPS 2023.

    S_c = cov(h of class c) + g1 v1 I + g2 v2 (1 - I),   v1, v2: mean of the covariance's diagonal, and of the others
    A_c = (S_c / (d d^T))^-1,  d = sqrt(diag S_c);       score_c = -(h - mu_c)^T A_c (h - mu_c)

h joins the pooled audio and visual features, scaled and each of one length. Published for pretrained vision
transformers: features of length 1, g1 = 1, g2 = 0, and no Tukey transform, which is for features that are never
negative. Apart from the scale, what is kept of a class depends on its clips alone. It is a symmetric matrix for
each class, 4 P P bytes (9 MB a class at P = 1536). With one clip of a class, A_c is the identity.

k clips of the calibration sample, P width, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avcil.closed_form import cholesky_with_jitter, held_out
from avcil.closed_form.calibration import Calibration
from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.embedding import EmbeddingConfig, Scaling
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import Block
from avcil.closed_form.quadratic_model import QuadraticScores, quadratic_scores
from avcil.closed_form.symmetric import mirror
from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.methods._head_state import HeadState
from avcil.methods._saved_statistics import saved_sample
from avcil.methods._stepwise_method import StepwiseMethod
from avcil.models import checks
from avcil.models.prefixes import add_prefix, strip_prefix

ROUNDING = 1e-6
"""Below this fraction of the features' mean square, the variance within a class is rounding."""


@dataclass(frozen=True, kw_only=True)
class FecamOptions:
    """Options of FeCAM."""

    shrink_diagonal: float = 1.0
    """g1: how many times the mean variance is added to the variances."""
    shrink_others: float = 0.0
    """g2: how many times the mean covariance is added to the covariances."""
    normalize: Scaling = "both"
    """both: features are scaled by mean and deviation of the first step's clips, then each modality to one length;
    first-step: the former alone; length: the latter alone, as published, for features that were scaled before;
    encoder: by constants of the encoders, then each modality to one length, so that the order of the classes does not
    matter and removed clips leave no trace; as first-step where the constants are unknown."""
    calibration_clips: int = 512
    """Feature vectors that are kept to calibrate probabilities, of clips drawn at random; no distance depends on
    them."""

    def __post_init__(self) -> None:
        if self.calibration_clips < 0:
            raise InputError(f"option calibration_clips must be 0 or more; not {self.calibration_clips}")
        if not self.shrink_diagonal > 0:
            raise InputError(f"option shrink_diagonal must be above 0; not {self.shrink_diagonal}")


class Fecam(StepwiseMethod):
    """A Gaussian of each class, with correlation in place of covariance."""

    name = "fecam"
    summary = "distances under each class's own covariance, without exemplars (FeCAM, NeurIPS 2023)"
    Options = FecamOptions

    def __init__(self, options: FecamOptions, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.moments: list[ClassMoments] = []
        """Of each class, as the one class of its moments."""
        self.sample: CalibrationSample | None = None

    def blocks(self, vectors: int) -> list[Block]:
        config = EmbeddingConfig(
            normalize=self.scaling(to_length=True), activation="none", features=0, seed=self.seed
        )
        return [(config, tuple(range(vectors)))]

    def add_classes(self, count: int) -> None:
        self.flush()
        super().add_classes(count)
        if self.embedding is not None:
            self._add_class_moments()

    def _add_class_moments(self) -> None:
        assert self.embedding is not None
        while len(self.moments) < self.classes:
            self.moments.append(ClassMoments(sum(self.embedding.sizes)))
            self.moments[-1].add_classes(1)

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        if self.embedding is None or self.sample is None:
            self.embedding = self.fit_embedding(parts)
            self.sample = CalibrationSample(sum(self._widths), size=self.options.calibration_clips)
            self.head_states = self.make_head_states()
            self._add_class_moments()
        features = self.embedding(parts)
        for label in labels.unique().tolist():
            own = features[labels == label]
            self.moments[label].add(own, torch.zeros(len(own), dtype=torch.int64))
        self.sample.add(torch.cat(parts, dim=1), labels)

    def head(self, state: HeadState) -> ClosedFormHead:
        """None: its scores are not linear."""
        raise AvcilError("method fecam has no linear head")

    def solve(self) -> QuadraticScores:
        self.flush()
        if self.embedding is None:
            raise AvcilError(f"method {self.name} has not been given any clip yet")
        means, matrices = self._distances(self.moments)
        self.fitted["inverse_temperature"] = self._inverse_temperature(means, matrices)
        return QuadraticScores(
            self.name,
            self.modality,
            pooling=self.pooling,
            embedding=self.embedding,
            means=means,
            matrices=matrices,
            inverse_temperature=self.fitted["inverse_temperature"],
        )

    def _distances(self, moments: Sequence[ClassMoments]) -> tuple[Tensor, Tensor]:
        """mu (c, P) and A (c, P, P) of some classes."""
        return torch.cat([own.means for own in moments]), torch.stack([self._matrix(own) for own in moments])

    def _matrix(self, moments: ClassMoments) -> Tensor:
        """A_c (P, P)"""
        width = moments.width
        covariance = moments.within / max(moments.total - 1, 1)
        variance = covariance.diagonal().mean()
        if moments.total < 2 or variance <= ROUNDING * moments.means.square().mean():
            return torch.eye(width, dtype=torch.float64)
        others = ~torch.eye(width, dtype=torch.bool)
        mean_covariance = covariance[others].mean() if width > 1 else torch.tensor(0.0)
        shrunk = covariance + self.options.shrink_others * mean_covariance * others
        shrunk.diagonal().add_(self.options.shrink_diagonal * variance)
        deviation = shrunk.diagonal().sqrt()
        factor, _ = cholesky_with_jitter(shrunk / deviation / deviation[:, None])
        inverse = torch.cholesky_inverse(factor)
        mirror(inverse)
        return inverse

    def _inverse_temperature(self, means: Tensor, matrices: Tensor) -> float:
        """The inverse temperature, from a fifth of the sample whose clips the classes' statistics lack meanwhile."""
        assert self.sample is not None
        assert self.embedding is not None
        labels, calibration = self.sample.labels, Calibration()
        held = held_out(self.sample.vectors, labels)
        if self.classes < 2 or not held.any():
            return calibration.inverse_temperature
        features = self.embedding(self.sample.vectors[held].double().split(self._widths, dim=1))
        means, matrices = means.clone(), matrices.clone()
        for label in labels[held].unique().tolist():
            own, rest = features[labels[held] == label], ClassMoments(self.moments[label].width)
            rest.add_classes(1)
            rest.merge(self.moments[label])
            rest.remove(own, torch.zeros(len(own), dtype=torch.int64))
            means[label], matrices[label] = rest.means[0], self._matrix(rest)
        calibration.add(quadratic_scores(features, means, matrices), labels[held])
        return calibration.inverse_temperature

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Remove clips: up to rounding, each class is then as if it had only the others."""
        self.flush()
        if self.embedding is None or self.sample is None:
            raise InputError("nothing has been learned yet: there is nothing to forget")
        self._check(labels)
        parts = self.pooled(audio, visual)
        features = self.embedding(parts)
        lacking = [
            label
            for label, count in enumerate(torch.bincount(labels, minlength=self.classes).tolist())
            if count > self.moments[label].total
        ]
        if lacking:
            raise InputError(
                "more clips are to be forgotten than were learned, of the classes numbered "
                f"{', '.join(map(str, lacking[:5]))}. Give only clips that were learned"
            )
        for label in labels.unique().tolist():
            own = features[labels == label]
            self.moments[label].remove(own, torch.zeros(len(own), dtype=torch.int64))
        self.sample.remove(torch.cat(parts, dim=1), labels)

    def remove_class(self, number: int) -> None:
        """Nothing stays of the class."""
        assert self.sample is not None
        del self.moments[number]
        self.sample.remove_class(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.sample is not None
        own = [moments.tensors() for moments in self.moments]
        together = {name: torch.stack([tensors[name] for tensors in own]) for name in own[0]}
        saved = self.common_tensors() | add_prefix("moments", together)
        return saved | add_prefix("sample", self.sample.tensors())

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        assert self.embedding is not None
        own, width = strip_prefix("moments", tensors), sum(self.embedding.sizes)
        classes = own.get("counts", torch.zeros(0)).numel()
        shapes = {
            "counts": (classes, 1),
            "means": (classes, 1, width),
            "within": (classes, width * (width + 1) // 2),
        }
        held = {name: checks.tensor(own, name, shape) for name, shape in shapes.items()}
        if (held["counts"] < 0).any():
            raise InputError("a class has a negative number of clips")
        self.classes = classes
        self.moments = [
            ClassMoments.from_tensors({name: tensor[number] for name, tensor in held.items()})
            for number in range(classes)
        ]
        self.sample = saved_sample(strip_prefix("sample", tensors), sum(self._widths), classes)

    @classmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> QuadraticScores:
        return QuadraticScores.from_config(cls.name, config, tensors)

    @property
    def statistics_bytes(self) -> int:
        assert self.embedding is not None
        assert self.sample is not None
        return sum(moments.bytes for moments in self.moments) + self.embedding.bytes + self.sample.bytes
