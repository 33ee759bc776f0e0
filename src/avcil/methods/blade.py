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
vectors (closed_form/calibration_sample.py).
See docs/concepts/blade.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from avcil.closed_form.block_discriminant import BladeStatistics, BlockDiscriminant
from avcil.closed_form.embedding import Embedding, EmbeddingConfig, Pooling
from avcil.closed_form.joined_embedding import Block, JoinedEmbedding
from avcil.closed_form.model import ClosedFormHead
from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.methods._saved_statistics import moments_of_format_2, saved_moments, saved_sample
from avcil.methods._stepwise_method import StepwiseMethod, check_calibration_clips, prefixed, under
from avcil.methods._views import Figures, View
from avcil.models.base import Model

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
        check_calibration_clips(self.calibration_clips)


class Blade(StepwiseMethod):
    """Discriminant analysis whose penalties and class means are estimated from moments."""

    name = "blade"
    summary = "discriminant analysis on moments: block penalties, shrunk class means; no exemplars"
    Options = BladeOptions
    removed_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"features": (0,), "balanced": (False, True)}
    needs_all_tokens = True

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.statistics: BladeStatistics | None = None
        self._fitted: dict[Modality, BlockDiscriminant] = {}
        """Of the moments as they are."""

    @property
    def pooling(self) -> Pooling:
        return self.options.pooling

    def blocks(self, vectors: int) -> list[Block]:
        """Each vector of a clip, centered and scaled."""
        plain = EmbeddingConfig(normalise="all-clips", activation="none", features=0, seed=self.seed)
        return [(plain, (number,)) for number in range(vectors)]

    def grow(self, count: int) -> None:
        self.flush()
        super().grow(count)
        self._fitted = {}
        if self.statistics is not None:
            self.statistics.grow(count)

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        features = torch.cat(parts, dim=1)
        if self.statistics is None:
            self.statistics = self._new_statistics(features.shape[1])
            self.statistics.grow(self.classes)
            self.views = self.make_views()
        self.statistics.add(features, labels)
        self._fitted = {}

    def _new_statistics(self, width: int) -> BladeStatistics:
        return BladeStatistics(width, calibration_clips=self.options.calibration_clips)

    def _fit(self, view: View) -> BlockDiscriminant:
        """The discriminant of a view."""
        if view.modality not in self._fitted:
            assert self.statistics is not None
            found = BlockDiscriminant(
                self.statistics.moments,
                sizes=view.sizes,
                prior_psi=[PRIOR_PSI[kind] for kind in view.kinds],
                columns=view.columns,
            )
            view.figures = Figures(
                {f"penalty{number}": value for number, value in enumerate(found.penalties)}
            )
            view.figures |= {f"psi{number}": value for number, value in enumerate(found.psi)}
            view.figures["jitter"] = found.discriminant.jitter
            self._fitted[view.modality] = found
        return self._fitted[view.modality]

    def head(self, view: View) -> ClosedFormHead:
        assert self.statistics is not None
        head = self._fit(view).head(
            self.statistics.sample, calibration=view.calibration, oddities=view.oddities
        )
        view.figures["sharpness"] = head.inverse_temperature
        return head

    def leave_one_out(self, modality: Modality) -> tuple[Tensor, Tensor] | None:
        """Probabilities (k, C) of the calibration sample's clips by the model without each, and their labels (k,).

        Args:
            modality: Which of the model's heads answers.

        Returns:
            None if no class of the sample has two clips.
        """
        self.flush()
        assert self.statistics is not None
        view = next(view for view in self.views if view.modality == modality)
        left_out = self._fit(view).leave_one_out(self.statistics.sample)
        if left_out is None:
            return None
        return (self.head(view).inverse_temperature * left_out.scores).softmax(dim=1), left_out.labels

    def solve(self) -> Model:
        self.flush()
        if self.statistics is None:
            raise AvcilError(f"method {self.name} has not been given any clip yet")
        standard = self._fit(self.views[0])
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
        if self.modality is Modality.AUDIO_VISUAL:
            wanted += self.modality.parts
        every = torch.arange(sum(self._widths)).split(self._widths)
        views = []
        for modality in wanted:
            own = [
                (kind, at)
                for at, kind in enumerate(self._kinds())
                if (modality.has_audio if kind == "audio" else modality.has_visual)
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
        pooled = ["mean", "deviation"] if self.pooling == "mean-deviation" else ["mean"]
        return ["audio"] * self.modality.has_audio + pooled * self.modality.has_visual

    def _groups(self, kind: str, at: int) -> tuple[int, ...]:
        """Widths of the parts of the encoder that made vector `at`."""
        return tuple(self.part_widths.get("audio" if kind == "audio" else "visual", (self._widths[at],)))

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Remove clips: up to rounding, the weights are then those of the other clips alone.

        They also leave the calibration sample, to which no other clip comes back.
        """
        self.flush()
        if self.statistics is None:
            raise InputError("nothing has been learned yet: there is nothing to forget")
        self._check(labels)
        self._fitted = {}
        self.statistics.remove(torch.cat(self.pooled(audio, visual), dim=1), labels)

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
        assert self.statistics is not None
        assert other.statistics is not None
        if (self._widths, self.part_widths) != (other._widths, other.part_widths):
            raise InputError(
                f"the models have features of different widths: {self._widths} and {other._widths}. Only models of the "
                "same encoders can be merged"
            )
        self._fitted = {}
        self.statistics.merge(other.statistics, numbers)
        for view, theirs in zip(self.views, other.views, strict=True):  # of models of format 2
            view.calibration.losses = view.calibration.losses + theirs.calibration.losses
            view.oddities.counts = view.oddities.counts + theirs.oddities.counts

    def drop(self, number: int) -> None:
        """See `ClassMoments.drop` for what stays."""
        assert self.statistics is not None
        self._fitted = {}
        self.statistics.drop(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.statistics is not None
        own = prefixed("moments", self.statistics.moments.tensors())
        return self.common_tensors() | own | prefixed("sample", self.statistics.sample.tensors())

    def load(self, tensors: dict[str, Tensor]) -> None:
        own, sample = under("moments", tensors), under("sample", tensors)
        self.load_common(tensors)
        self._fitted = {}
        width = sum(self._widths)
        self.statistics = self._new_statistics(width)
        if "gram" in own:
            self.statistics.moments = moments_of_format_2(own, under("embedding", tensors), width)
        else:
            self.statistics.moments = saved_moments(own, width)
            self.statistics.sample = saved_sample(sample, width, self.statistics.moments.classes)
        self.classes = self.statistics.moments.classes

    def report(self) -> dict[str, float]:
        """Penalty and psi of each block, inverse temperature, and the bytes that are kept from step to step."""
        assert self.statistics is not None
        own, *others = self.views
        report = dict(own.figures)
        for view in others:
            report |= {f"{view.modality}.{name}": value for name, value in view.figures.items()}
        kept = self.statistics.bytes + sum(view.bytes for view in self.views)
        return report | {"bytes": float(kept)}
