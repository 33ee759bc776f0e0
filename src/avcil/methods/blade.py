"""BLADE: block-penalized linear discriminant analysis from counts, class means and within-class scatter; exemplar-free.

    x       = [a, m, d]: audio features, mean and standard deviation of the visual tokens

For each modality, that is, for a and for [m, d]:

    z       = x centered and scaled by all clips learned so far (Pareto scaling, by block)
    Lambda  = one penalty for each block of features, by leave-one-out errors of ridge regression on class indicators,
              with a prior
    psi     = variance of class means over that within classes, for each block; its prior is smaller for an
              encoder whose features vary less than they typically do
    K       = (W + Lambda)^-1, W the within-class scatter of z
    mean_c  = psi n_c / (1 + psi n_c) times the average of class c
    score_c = (1 - h) (N mean_c^T K z - N mean_c^T K mean_c / 2) + h r (score_c of leave-one-out predictions)

The second part is the discriminant analysis of leave-one-out predictions of class indicators
(closed_form/prediction_discriminant.py); its weight h is 0 with one clip per class, and approaches a half
(closed_form/discriminant_sum.py). From both modalities, the score is s (score_c(audio) + score_c(visual)): features of
different modalities count as independent given the class.

Everything but s is computed from counts, class averages and W of all learned clips that have the modality. So any order
or grouping of the same clips gives the same model, and nothing is forgotten. A block that does not discriminate between
classes gets a large penalty and a small psi. A class with few clips has an uncertain mean, which is shrunk toward the
mean of all clips. The inverse temperature s and the p-values are computed from leave-one-out scores of a random
sample of feature vectors (closed_form/calibration_sample.py). See docs/concepts/blade.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from avcil.closed_form.block_discriminant import BladeStatistics, BlockDiscriminant
from avcil.closed_form.embedding import Embedding, EmbeddingConfig, Pooling, pool
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import Block, JoinedEmbedding
from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.methods._head_state import FittedValues, HeadState, head_modalities
from avcil.methods._prior_psi import prior_psi
from avcil.methods._saved_statistics import (
    saved_blade_statistics,
    saved_deviations,
    saved_learned_clips,
)
from avcil.methods._stepwise_method import Batches, StepwiseMethod, joined
from avcil.methods.model import Model
from avcil.utils.options import check_range
from avcil.utils.tensor_names import add_prefix, strip_prefix


@dataclass(frozen=True, kw_only=True)
class BladeOptions:
    """Options of BLADE."""

    pooling: Pooling = "mean-deviation"
    """Pooling of the visual tokens over time and space: their mean, or mean and standard deviation."""
    calibration_clips: int = 512
    """Size of the random sample of feature vectors that is stored to calibrate probabilities and p-values; the weights
    do not depend on it. With 0, probabilities are those of Gaussian classes, and there are no p-values."""

    def __post_init__(self) -> None:
        check_range(self, "calibration_clips", least=0)


class BladeMethod(StepwiseMethod):
    """Discriminant analysis whose penalties and class means are estimated from moments."""

    name = "blade"
    summary = "discriminant analysis on moments: block penalties, shrunk class means; exemplar-free"
    Options = BladeOptions
    removed_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"features": (0,), "balanced": (False, True)}
    learns_incomplete_clips = True

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.statistics: BladeStatistics | None = None
        self.typical_deviations: dict[str, Tensor] = {}
        """Typical standard deviation (D,) of the features of "audio" and "visual", if the encoders have constants."""
        self._discriminants: dict[Modality, BlockDiscriminant] = {}
        """By modality; cleared when the statistics change."""
        self._pending_incomplete: dict[Modality, Batches] = {}
        """Clips of the current step that lack a modality, by the only modality that they have."""

    @property
    def pooling(self) -> Pooling:
        return self.options.pooling

    def blocks(self, vectors: int) -> list[Block]:
        """A block for each vector of a clip, centered and scaled."""
        plain = EmbeddingConfig(normalize="all-clips", activation="none", features=0, seed=self.seed)
        return [(plain, (number,)) for number in range(vectors)]

    def add_classes(self, count: int) -> None:
        self.flush()
        super().add_classes(count)
        self._discriminants = {}
        if self.statistics is not None:
            self.statistics.add_classes(count)

    def observe(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        modality = self._modality_of(audio, visual)
        if modality is self.modality:
            super().observe(audio, visual, labels)
            return
        self._check(labels)
        self._pending_incomplete.setdefault(modality, []).append((self.pooled(audio, visual), labels))

    def pooled(self, audio: Tensor | None, visual: Tensor | None) -> tuple[Tensor, ...]:
        return pool(audio, visual, self._modality_of(audio, visual), self.pooling)

    def _modality_of(self, audio: Tensor | None, visual: Tensor | None) -> Modality:
        """The part of the method's modality that the clips have."""
        modality = self.modality.present(audio, visual)
        if modality is None:
            raise InputError(f"the clips have no features of the modality {self.modality}")
        return modality

    def flush(self) -> None:
        super().flush()
        if self._pending_incomplete and self.statistics is None:
            self._widths = self._widths_without_complete_clips()
        pending, self._pending_incomplete = self._pending_incomplete, {}
        for modality, batches in pending.items():
            parts, labels = joined(batches)
            self.partial_fit(parts, labels, only=modality)
            self._record(parts, labels)

    def _widths_without_complete_clips(self) -> list[int]:
        """Widths of the vectors of a complete clip."""
        pending = self._pending_incomplete.items()
        widths = {modality.value: batches[0][0][0].shape[1] for modality, batches in pending}
        widths |= self.feature_widths
        if missing := [part for part in self.modality.parts if part not in widths]:
            raise InputError(
                f"the first step has no clip with {missing[0]} features. Add one, or train on one modality "
                f"(--modality {next(iter(widths))})"
            )
        return [widths["audio" if kind == "audio" else "visual"] for kind in self._kinds()]

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor, *, only: Modality | None = None) -> None:
        if self.statistics is None:
            self._begin()
        assert self.statistics is not None
        self.statistics.add(torch.cat(parts, dim=1), labels, only=only)
        self._discriminants = {}

    def _begin(self) -> None:
        """Statistics without clips."""
        self.head_states = self.make_head_states()
        self.statistics = BladeStatistics(
            self._feature_counts(), calibration_clips=self.options.calibration_clips
        )
        self.statistics.add_classes(self.classes)
        self.typical_deviations = {
            name: torch.from_numpy(found.scale).double()
            for name, found in self.constants.items()
            if name in self.modality.parts
        }

    def _feature_counts(self) -> dict[str, int]:
        """Number of features of each modality."""
        states = [state for state in self.head_states if state.modality in self.modality.parts]
        return {state.modality: len(state.columns) for state in states}

    def _discriminant(self, state: HeadState) -> BlockDiscriminant:
        """The discriminant of a head, computed when it is first needed."""
        if state.modality not in self._discriminants:
            discriminant = self._new_discriminant(state)
            state.fitted = FittedValues(
                {f"penalty{number}": value for number, value in enumerate(discriminant.penalties)}
            )
            state.fitted |= {f"psi{number}": value for number, value in enumerate(discriminant.psi)}
            state.fitted["jitter"] = discriminant.discriminant.jitter
            self._discriminants[state.modality] = discriminant
        return self._discriminants[state.modality]

    def _new_discriminant(self, state: HeadState) -> BlockDiscriminant:
        assert self.statistics is not None
        if state.modality is Modality.AUDIO_VISUAL:
            return BlockDiscriminant.sum([self._discriminant(part) for part in self.head_states[1:]])
        moments = self.statistics.moments[state.modality]
        return BlockDiscriminant.fit(
            moments,
            sizes=state.sizes,
            prior_psi=prior_psi(
                state,
                kinds=self._kinds(),
                widths=self._widths,
                counts=moments.counts,
                variances=moments.variances(),
                typical_deviations=self.typical_deviations,
            ),
            columns=state.columns,
            predictions=not any(own.histogram.counts.any() for own in self.head_states),
        )

    def head(self, state: HeadState) -> ClosedFormHead:
        assert self.statistics is not None
        return self._discriminant(state).head(
            self.statistics.sample, calibration=state.calibration, histogram=state.histogram
        )

    def leave_one_out(self, modality: Modality) -> tuple[Tensor, Tensor] | None:
        """Leave-one-out probabilities (k, C) of clips in the calibration sample, and their labels (k,).

        Args:
            modality: The modality of the head to use.

        Returns:
            None if no class of the sample has two clips.
        """
        self.flush()
        assert self.statistics is not None
        state = next(state for state in self.head_states if state.modality == modality)
        left_out = self._discriminant(state).leave_one_out(self.statistics.sample)
        if left_out is None:
            return None
        return (self.head(state).inverse_temperature * left_out.scores).softmax(dim=1), left_out.labels

    def solve(self) -> Model:
        self.flush()
        if self.statistics is None:
            raise AvcilError(f"method {self.name} has no clips yet")
        first = self._discriminant(self.head_states[0])
        blocks = zip(
            self.blocks(len(self._widths)),
            first.mean.split(self._widths),
            first.inverse_deviation.split(self._widths),
            strict=True,
        )
        self.embedding = JoinedEmbedding(
            [
                (Embedding(config, (len(mean),), {"mean": mean, "inverse_deviation": inverse}), at)
                for (config, at), mean, inverse in blocks
            ]
        )
        return super().solve()

    def make_head_states(self) -> list[HeadState]:
        """A state for the method's modality; for audio-visual methods, also one for audio and one for visual."""
        columns = torch.arange(sum(self._widths)).split(self._widths)
        states = []
        for modality in head_modalities(self.modality):
            vectors = [
                (kind, at)
                for at, kind in enumerate(self._kinds())
                if (modality.has_audio if kind == "audio" else modality.has_visual)
            ]
            groups = [(kind, width) for kind, at in vectors for width in self._group_widths(kind, at)]
            states.append(
                HeadState(
                    modality=modality,
                    columns=torch.cat([columns[at] for _, at in vectors]),
                    sizes=[width for _, width in groups],
                    kinds=[kind for kind, _ in groups],
                )
            )
        return states

    def _kinds(self) -> list[str]:
        """The kind of features of each vector of a clip."""
        pooled = ["mean", "deviation"] if self.pooling == "mean-deviation" else ["mean"]
        return ["audio"] * self.modality.has_audio + pooled * self.modality.has_visual

    def _group_widths(self, kind: str, at: int) -> tuple[int, ...]:
        """Widths of the parts of vector `at`: several if the encoder is combined."""
        return tuple(self.part_widths.get("audio" if kind == "audio" else "visual", (self._widths[at],)))

    def subtract(self, parts: tuple[Tensor, ...], labels: Tensor, modality: Modality | None) -> None:
        """Remove clips: up to rounding, the weights are then those of a model without these clips.

        They are also removed from the calibration sample, which is not filled up again.
        """
        assert self.statistics is not None
        self._discriminants = {}
        only = None if modality is self.modality else modality
        self.statistics.remove(torch.cat(parts, dim=1), labels, only=only)

    def merge(self, other: BladeMethod, numbers: Tensor) -> None:
        """Add the clips that another BLADE with the same options learned.

        Args:
            other: Its statistics are not modified.
            numbers: (C',), for each class of the other method its number in this one; distinct.

        Raises:
            InputError: The features have different widths.
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
        self._discriminants = {}
        self.statistics.merge(other.statistics, numbers)
        self.learned.add(other.learned.hashes, numbers[other.learned.labels])
        self.typical_deviations = other.typical_deviations | self.typical_deviations
        for state, added in zip(self.head_states, other.head_states, strict=True):  # of models of format 2
            state.calibration.losses = state.calibration.losses + added.calibration.losses
            state.histogram.counts = state.histogram.counts + added.histogram.counts

    def remove_class(self, number: int) -> None:
        """Remove class `number`; see `ClassMoments.remove_class` for what remains of it."""
        assert self.statistics is not None
        self._discriminants = {}
        self.statistics.remove_class(number)
        self.learned.remove_class(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.statistics is not None
        saved = self.common_tensors() | {"complete_counts": self.statistics.complete_counts}
        for modality, moments in self.statistics.moments.items():
            saved |= add_prefix(f"moments.{modality}", moments.tensors())
        saved |= add_prefix("typical_deviation", self.typical_deviations)
        return saved | add_prefix("sample", self.statistics.sample.tensors())

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        self._discriminants, self._pending_incomplete = {}, {}
        self.statistics = saved_blade_statistics(
            tensors, self._feature_counts(), calibration_clips=self.options.calibration_clips
        )
        self.classes = self.statistics.classes
        self.learned = saved_learned_clips(
            strip_prefix("learned", tensors), self.classes, self.statistics.sample
        )
        ends = {"audio": self._widths[0], "visual": self._widths[-1]}
        self.typical_deviations = saved_deviations(
            strip_prefix("typical_deviation", tensors), {name: ends[name] for name in self.modality.parts}
        )

    @property
    def statistics_bytes(self) -> int:
        assert self.statistics is not None
        return self.statistics.bytes + sum(8 * len(own) for own in self.typical_deviations.values())
