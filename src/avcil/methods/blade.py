"""BLADE: block-penalized linear discriminant, exemplar-free. Counts, class means and the scatter within classes.

    x       = [a, m, d]: audio features, mean and standard deviation of the visual tokens
    z       = x centered and scaled by all clips learned so far (Pareto scaling, by block)
    Lambda  = one penalty for each block of features: GCV of ridge regression on class indicators, with a prior
    psi     = variance of class means over that within classes, for each block
    K       = (W + Lambda)^-1, W the within-class scatter of z
    mean_c  = psi n_c / (1 + psi n_c) times the average of class c
    score   = s (N mean_c^T K z - N mean_c^T K mean_c / 2)

Everything but s follows from counts, class averages and W of all clips ever learned, so that nothing is forgotten, and
any order or grouping of the same clips gives the same model. A block that does not tell classes apart gets a large
penalty and a small psi. A class of few clips has an uncertain mean, which is moved toward the mean of all clips. The
inverse temperature s and the p-values come from exact leave-one-out scores of a random sample of the clips' feature
vectors (statistics/calibration_sample.py).
See docs/concepts/blade.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from avcil.errors import AvcilError, InputError
from avcil.methods._blade_tensors import moments_of_format_2, saved_moments, saved_sample
from avcil.methods._moments_method import StepwiseMethod, prefixed, under
from avcil.methods._views import Figures, View
from avcil.models.base import Modality, modality_parts
from avcil.models.closed_form import LinearHead, LinearScores, Oddity
from avcil.models.embedding import Embedding, EmbeddingConfig, Pooling
from avcil.models.joined_embedding import Block, JoinedEmbedding
from avcil.statistics.block_ridge import select_penalties
from avcil.statistics.calibration import Calibration
from avcil.statistics.calibration_sample import CalibrationSample
from avcil.statistics.class_moments import ClassMoments, Standardized
from avcil.statistics.conformal import OddityCounts
from avcil.statistics.discriminant import Discriminant, oddity
from avcil.statistics.mean_variance import mean_variance

PRIOR_PSI = {"audio": 1.2, "mean": 0.4, "deviation": 0.2}
"""psi of each kind of features before any class has two clips (docs/log.md)."""


@dataclass(frozen=True, kw_only=True)
class BladeOptions:
    """Options of BLADE."""

    pooling: Pooling = "mean-deviation"
    """What is computed of the visual tokens: their mean over time and space, or mean and standard deviation."""
    calibration_clips: int = 512
    """Feature vectors that are kept to calibrate probabilities and p-values, of clips drawn at random; no weight
    depends on them. 0 keeps none: probabilities are then those of Gaussian classes, and there are no p-values."""

    def __post_init__(self) -> None:
        if self.calibration_clips < 0:
            raise InputError(f"option calibration_clips must be 0 or more; not {self.calibration_clips}")


class Blade(StepwiseMethod):
    """Discriminant analysis whose penalties and class means are estimated from moments."""

    name = "blade"
    summary = "discriminant analysis on moments: block penalties, shrunk class means; no exemplars"
    Options = BladeOptions
    removed_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"features": (0,), "balanced": (False, True)}
    whole_tokens = True

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.moments: ClassMoments | None = None
        self.sample: CalibrationSample | None = None
        self._fitted: dict[Modality, tuple[Standardized, Discriminant]] = {}
        """Of the moments as they are."""

    @property
    def pooling(self) -> Pooling:
        return self.options.pooling

    def blocks(self, vectors: int) -> list[Block]:
        """Each vector of a clip, centered and scaled."""
        plain = EmbeddingConfig(normalise="first-step", activation="none", features=0, seed=self.seed)
        return [(plain, (number,)) for number in range(vectors)]

    def grow(self, count: int) -> None:
        self.flush()
        super().grow(count)
        self._fitted = {}
        if self.moments is not None:
            self.moments.grow(count)

    def take_in(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        features = torch.cat(parts, dim=1)
        if self.moments is None or self.sample is None:
            self.moments = ClassMoments(features.shape[1])
            self.moments.grow(self.classes)
            self.sample = CalibrationSample(features.shape[1], size=self.options.calibration_clips)
            self.views = self.make_views()
        self.moments.add(features, labels)
        self.sample.add(features, labels)
        self._fitted = {}

    def _fit(self, view: View) -> tuple[Standardized, Discriminant]:
        """The scaled features of a view and their discriminant."""
        if view.modality not in self._fitted:
            assert self.moments is not None
            standard = self.moments.standardized(view.columns, sizes=view.sizes)
            moments = standard.moments
            penalties = select_penalties(moments, view.sizes)
            psi = mean_variance(moments, view.sizes, [PRIOR_PSI[kind] for kind in view.kinds])
            sizes = torch.tensor(view.sizes)
            found = Discriminant(
                moments,
                torch.tensor(penalties, dtype=torch.float64).repeat_interleave(sizes),
                torch.tensor(psi, dtype=torch.float64).repeat_interleave(sizes),
            )
            view.figures = Figures({f"penalty{number}": value for number, value in enumerate(penalties)})
            view.figures |= {f"psi{number}": value for number, value in enumerate(psi)}
            view.figures["jitter"] = found.jitter
            self._fitted[view.modality] = standard, found
        return self._fitted[view.modality]

    def head(self, view: View) -> LinearHead:
        standard, found = self._fit(view)
        calibration, oddities = self._calibrated(view, standard, found)
        view.figures["sharpness"] = (
            calibration.sharpness if calibration.losses.any() else found.expected_sharpness()
        )
        return LinearHead(
            columns=view.columns,
            weight=found.weight,
            bias=found.bias,
            sharpness=view.figures["sharpness"],
            oddity=Oddity(inverse=found.inverse(), counts=oddities),
        )

    def _calibrated(
        self, view: View, standard: Standardized, found: Discriminant
    ) -> tuple[Calibration, OddityCounts]:
        """Calibration and p-values by the sample's clips, and by what a model of format 2 brought along."""
        assert self.moments is not None
        assert self.sample is not None
        calibration, oddities = Calibration(), OddityCounts(view.oddities.counts.clone())
        calibration.losses = view.calibration.losses.clone()
        scorable = self.moments.counts[self.sample.labels] > 1
        if scorable.any():
            vectors = self.sample.vectors[scorable][:, view.columns].double()
            z, labels = (vectors - standard.mean) * standard.inverse_deviation, self.sample.labels[scorable]
            scores, length = found.leave_one_out(z, labels)
            if self.classes > 1:  # else every inverse temperature has the same loss, up to rounding
                calibration.add(scores, labels)
            oddities.add(oddity(scores, length))
        return calibration, oddities

    def solve(self) -> LinearScores:
        self.flush()
        if self.moments is None:
            raise AvcilError(f"method {self.name} has not been given any clip yet")
        standard, _ = self._fit(self.views[0])
        pairs = zip(
            self.blocks(len(self._widths)),
            standard.mean.split(self._widths),
            standard.inverse_deviation.split(self._widths),
            strict=True,
        )
        self.embedding = JoinedEmbedding(
            [
                (Embedding(config, (len(mean),), {"mean": mean, "inverse_deviation": inverse}), at)
                for (config, at), mean, inverse in pairs
            ]
        )
        return super().solve()

    def make_views(self) -> list[View]:
        """Its own modality first; for both modalities, also each alone."""
        wanted: list[Modality] = [self.modality]
        if self.modality == "audio-visual":
            wanted += ["audio", "visual"]
        every = torch.arange(sum(self._widths)).split(self._widths)
        views = []
        for modality in wanted:
            audio, visual = modality_parts(modality)
            own = [
                (kind, at) for at, kind in enumerate(self._kinds()) if (audio if kind == "audio" else visual)
            ]
            groups = [(kind, width) for kind, at in own for width in self._groups(kind, at)]
            views.append(
                View(
                    modality=modality,
                    columns=torch.cat([every[at] for _, at in own]),
                    sizes=[width for _, width in groups],
                    kinds=[kind for kind, _ in groups],
                )
            )
        return views

    def _kinds(self) -> list[str]:
        """What each of a clip's vectors is."""
        audio, visual = modality_parts(self.modality)
        pooled = ["mean", "deviation"] if self.pooling == "mean-deviation" else ["mean"]
        return ["audio"] * audio + pooled * visual

    def _groups(self, kind: str, at: int) -> tuple[int, ...]:
        """Widths of the parts of the encoder that made vector `at`."""
        return tuple(self.part_widths.get("audio" if kind == "audio" else "visual", (self._widths[at],)))

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Remove clips: up to rounding, the weights are then those of the other clips alone.

        They also leave the calibration sample, to which no other clip comes back.
        """
        self.flush()
        if self.moments is None:
            raise InputError("nothing has been learned yet: there is nothing to forget")
        self._check(labels)
        assert self.sample is not None
        self._fitted = {}
        features = torch.cat(self.pooled(audio, visual), dim=1)
        self.moments.remove(features, labels)
        self.sample.remove(features, labels)

    def merge(self, other: Blade, numbers: Tensor) -> None:
        """Add what another BLADE of the same options learned.

        Args:
            other: It stays as it is.
            numbers: (C,), the own number of each of its classes; all different.

        Raises:
            InputError: Its features have other widths.
        """
        self.flush()
        other.flush()
        assert self.moments is not None
        assert self.sample is not None
        assert other.moments is not None
        assert other.sample is not None
        if (self._widths, self.part_widths) != (other._widths, other.part_widths):
            raise InputError(
                f"the models have features of different widths: {self._widths} and {other._widths}. Only models of the "
                "same encoders can be merged"
            )
        self._fitted = {}
        self.moments.merge(other.moments.renumbered(numbers, self.classes))
        self.sample.add(other.sample.vectors, numbers[other.sample.labels])
        for view, theirs in zip(self.views, other.views, strict=True):  # of models of format 2
            view.calibration.losses = view.calibration.losses + theirs.calibration.losses
            view.oddities.counts = view.oddities.counts + theirs.oddities.counts

    def drop(self, number: int) -> None:
        """See `ClassMoments.drop` for what stays."""
        assert self.moments is not None
        assert self.sample is not None
        self._fitted = {}
        self.moments.drop(number)
        self.sample.drop(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.moments is not None
        assert self.sample is not None
        own = prefixed("moments", self.moments.tensors()) | prefixed("sample", self.sample.tensors())
        return self.common_tensors() | own

    def load(self, tensors: dict[str, Tensor]) -> None:
        own, sample = under("moments", tensors), under("sample", tensors)
        self.load_common(tensors)
        self._fitted = {}
        width = sum(self._widths)
        if "gram" in own:
            self.moments = moments_of_format_2(own, under("embedding", tensors), width)
            self.sample = CalibrationSample(width, size=self.options.calibration_clips)
        else:
            self.moments = saved_moments(own, width)
            self.sample = saved_sample(sample, width, self.moments.classes)
        self.classes = self.moments.classes

    def report(self) -> dict[str, float]:
        """Penalty and psi of each block, inverse temperature, and the bytes that are kept from step to step."""
        assert self.moments is not None
        assert self.sample is not None
        own, *others = self.views
        report = dict(own.figures)
        for view in others:
            report |= {f"{view.modality}.{name}": value for name, value in view.figures.items()}
        kept = self.moments.bytes + self.sample.bytes + sum(view.bytes for view in self.views)
        return report | {"bytes": float(kept)}
