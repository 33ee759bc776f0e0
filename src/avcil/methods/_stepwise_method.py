"""Base class of closed-form methods that pool the clips of a step and add them to their statistics together.

B clips of a batch, n of the current step, P pooled width.

The pooled vectors of the current step (8 n P bytes) are stored until `solve`. Then they are added to the statistics and
deleted, except for a sample for calibration.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from avcil.closed_form.class_statistics import check_class_numbers
from avcil.closed_form.embedding import (
    FROM_ENCODER,
    Activation,
    Embedding,
    EmbeddingConfig,
    Normalize,
    Pooling,
    Standard,
    pool,
    vector_count,
)
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import Block, JoinedEmbedding
from avcil.closed_form.learned_clips import LearnedClips, hashes
from avcil.closed_form.linear_model import LinearModel
from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.methods._head_state import FittedValues, HeadState, head_states_of
from avcil.methods.base import ClosedFormMethod
from avcil.methods.model import Model
from avcil.utils import checks
from avcil.utils.tensor_names import add_prefix, strip_prefix

Batches = list[tuple[tuple[Tensor, ...], Tensor]]
"""Vectors of clips, as returned by `pool`, and labels."""


def joined(batches: Batches) -> tuple[tuple[Tensor, ...], Tensor]:
    """The clips of all batches as one batch."""
    parts = zip(*(parts for parts, _ in batches), strict=True)
    return tuple(map(torch.cat, parts)), torch.cat([labels for _, labels in batches])


class StepwiseMethod(ClosedFormMethod):
    """Base class of methods that add all clips of a step at once, so that the batches do not matter."""

    renamed_options: ClassVar[Mapping[str, str]] = {"normalise": "normalize"}
    needs_all_tokens = True  # `pool` computes their mean in float64; `learned` has hashes of it

    @property
    def pooling(self) -> Pooling:
        """How the visual tokens of a clip are pooled."""
        return "mean"

    learned: LearnedClips
    embedding: JoinedEmbedding | None = None
    """Fitted with the first clips."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.classes = 0
        self.head_states: list[HeadState] = []
        """The first is that of the method's modality; empty before the first step."""
        self.learned = LearnedClips()
        self._pending: Batches = []
        self._widths: list[int] = []
        self._uses_constants: bool | None = None
        """Whether features are scaled by the encoders' constants; None before the first clip."""

    def blocks(self, vectors: int) -> list[Block]:
        """The embedding of clips with this number of vectors; by default, one block of all scaled vectors."""
        return [(self.block_config(), tuple(range(vectors)))]

    def block_config(
        self, activation: Activation = "none", *, features: int = 0, purpose: str = "projection"
    ) -> EmbeddingConfig:
        """The configuration of a block whose vectors are scaled as the option `normalize` says."""
        scaling = self.scaling(to_length=True)
        return EmbeddingConfig(
            normalize=scaling, activation=activation, features=features, seed=self.seed, purpose=purpose
        )

    @abstractmethod
    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        """Add the clips of a step: their vectors, as returned by `pool`, and labels (n,)."""

    @abstractmethod
    def head(self, state: HeadState) -> ClosedFormHead:
        """Compute a head from the statistics, and store the fitted values in its state."""

    @property
    @abstractmethod
    def statistics_bytes(self) -> int:
        """Size of the saved statistics."""

    def make_head_states(self) -> list[HeadState]:
        """A state for each modality that the model can predict from, the method's modality first."""
        assert self.embedding is not None
        return head_states_of(self.embedding, self.modality, self.part_widths)[:1]

    def scaling(self, *, to_length: bool) -> Normalize:
        """How features are scaled; `to_length`: whether the encoders' constants are followed by scaling to length."""
        scaling = self.options.normalize
        if scaling != "encoder":
            return scaling
        if self._uses_constants is None:
            self._uses_constants = self._standards() is not None
        if not self._uses_constants:
            return "first-step"
        return "encoder-length" if to_length else "encoder"

    def _standards(self) -> list[Standard] | None:
        """The encoders' constants for each vector of a clip; None if some are unknown."""
        names = self.modality.parts
        if self.pooling != "mean" or any(name not in self.constants for name in names):
            return None
        constants = [self.constants[name] for name in names]
        return [(torch.from_numpy(part.center), torch.from_numpy(part.scale)) for part in constants]

    def fit_embedding(self, parts: tuple[Tensor, ...]) -> JoinedEmbedding:
        """The embedding, from the encoders' constants or from the first step's vectors `parts`."""
        return JoinedEmbedding.fit(self.blocks(len(parts)), parts, self._standards())

    @property
    def fitted(self) -> dict[str, float]:
        """The fitted values of the head for the method's modality."""
        return self.head_states[0].fitted

    def add_classes(self, count: int) -> None:
        self.classes += count

    def observe(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        self._check(labels)
        self._pending.append((self.pooled(audio, visual), labels))

    def pooled(self, audio: Tensor | None, visual: Tensor | None) -> tuple[Tensor, ...]:
        """The vectors of clips: audio (B, Da), visual (B, T, S, Dv)."""
        return pool(audio, visual, self.modality, self.pooling)

    def _check(self, labels: Tensor) -> None:
        check_class_numbers(labels, self.classes)

    def solve(self) -> Model:
        self.flush()
        if self.embedding is None:
            raise AvcilError(f"method {self.name} has no clips yet")
        heads = {state.modality: self.head(state) for state in self.head_states}
        for state in self.head_states:
            state.inverse_temperature = heads[state.modality].inverse_temperature
        return LinearModel(
            kind=self.name,
            modality=self.modality,
            pooling=self.pooling,
            embedding=self.embedding,
            heads=heads,
        )

    def flush(self) -> None:
        """Add the stored clips to the statistics."""
        if self._pending:
            parts, labels = joined(self._pending)
            self._pending = []
            self._widths = [part.shape[1] for part in parts]
            self.partial_fit(parts, labels)
            self._record(parts, labels)

    def _record(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        self.learned.add(hashes(torch.cat(parts, dim=1)), labels)

    def clip_hashes(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        return hashes(torch.cat(self.pooled(audio, visual), dim=1))

    @property
    def forgets_clips(self) -> bool:
        return type(self).subtract is not StepwiseMethod.subtract

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        if not self.forgets_clips:
            super().forget(audio, visual, labels)
        self.flush()
        if not self._widths:
            raise InputError("nothing has been learned yet: there is nothing to forget")
        self._check(labels)
        parts = self.pooled(audio, visual)
        self.subtract(parts, labels, self.modality.present(audio, visual))
        self.learned.remove(hashes(torch.cat(parts, dim=1)), labels)

    def subtract(self, parts: tuple[Tensor, ...], labels: Tensor, modality: Modality | None) -> None:
        """Remove clips from the statistics; a method that does not override this cannot forget clips.

        Args:
            parts: The vectors of the clips, as returned by `pooled`.
            labels: (n,)
            modality: The part of the method's modality that the clips have.
        """
        raise NotImplementedError

    def common_tensors(self) -> dict[str, Tensor]:
        """The saved tensors other than the statistics."""
        assert self.embedding is not None
        saved = add_prefix("embedding", self.embedding.tensors()) | {"widths": torch.tensor(self._widths)}
        if any(block.config.normalize in FROM_ENCODER for block, _ in self.embedding.blocks):
            saved["uses_constants"] = torch.tensor(1)
        with_parts = [part for part in self.modality.parts if part in self.part_widths]
        saved |= add_prefix(
            "part_widths", {part: torch.tensor(self.part_widths[part]) for part in with_parts}
        )
        # Names in the file format: "view" is a head, "figure" a fitted value, "oddities" the histogram.
        for state in self.head_states:
            fitted = {name: torch.tensor(value, dtype=torch.float64) for name, value in state.fitted.items()}
            saved |= add_prefix(
                f"view.{state.modality}",
                add_prefix("figure", fitted)
                | {"calibration": state.calibration.losses, "oddities": state.histogram.counts},
            )
        return saved | add_prefix("learned", self.learned.tensors())

    def load_common(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `common_tensors` returned."""
        vectors = vector_count(self.modality, self.pooling)
        self._widths = checks.tensor(tensors, "widths", (vectors,), dtypes=(torch.int64,)).tolist()
        if not all(0 < width <= checks.MAX_INTEGER for width in self._widths):
            raise InputError(
                f"the saved widths are {self._widths}; allowed is from 1 to {checks.MAX_INTEGER}"
            )
        self.part_widths = self._loaded_part_widths(strip_prefix("part_widths", tensors))
        self._uses_constants = "uses_constants" in tensors  # models before 0.2 have no such entry
        saved = strip_prefix("embedding", tensors)
        self.embedding = JoinedEmbedding(
            [
                (Embedding(config, tuple(self._widths[i] for i in at), strip_prefix(str(number), saved)), at)
                for number, (config, at) in enumerate(self.blocks(len(self._widths)))
            ]
        )
        for embedding, _ in self.embedding.blocks:
            embedding.check()
        self.head_states = self.make_head_states()
        for state in self.head_states:
            saved = strip_prefix(f"view.{state.modality}", tensors)
            fitted = strip_prefix("figure", saved)
            state.fitted = FittedValues({name: float(checks.tensor(fitted, name, ())) for name in fitted})
            state.fitted.pop("sharpness", None)  # of earlier models; it is computed again
            state.calibration.losses = checks.tensor(saved, "calibration", state.calibration.losses.shape)
            state.histogram.counts = checks.tensor(saved, "oddities", state.histogram.counts.shape)
        self._pending = []

    def report(self) -> dict[str, float]:
        """The fitted values of each head, and the size of the saved state in bytes, without `learned`."""
        report: dict[str, float] = {}
        for state in self.head_states:
            prefix = "" if state is self.head_states[0] else f"{state.modality}."
            values = state.fitted | {"inverse_temperature": state.inverse_temperature}
            report |= {prefix + name: value for name, value in values.items()}
        size = self.statistics_bytes + sum(state.bytes for state in self.head_states)
        return report | {"bytes": float(size)}

    def _loaded_part_widths(self, tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """Saved widths of the parts of a combined encoder; their sum must be the width of the vector."""
        checks.no_others(tensors, Modality.AUDIO_VISUAL.parts)
        totals = {"audio": self._widths[0], "visual": self._widths[-1]}
        part_widths = {}
        # Earlier models of one modality also have the widths of the other, which are not used.
        for name in (part.value for part in self.modality.parts if part in tensors):
            shape = (tensors[name].numel(),)
            widths = tuple(checks.tensor(tensors, name, shape, dtypes=(torch.int64,)).tolist())
            if min(widths, default=0) < 1 or sum(widths) != totals[name]:
                raise InputError(
                    f"the saved part widths of {name} are {widths!r:.60}; their sum must be {totals[name]}"
                )
            part_widths[name] = widths
        return part_widths

    @classmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
        return LinearModel.from_config(cls.name, config, tensors)
