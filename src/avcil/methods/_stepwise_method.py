"""Base class of closed-form methods that pool the clips of a step and add them to their statistics together.

B clips of a batch, n of the current step, P pooled width.

The pooled vectors of the current step (8 n P bytes) are stored until `solve`. Then they are added to the statistics and
dropped, except for a sample for calibration.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from avcil.closed_form.embedding import FROM_ENCODER, Embedding, Normalise, Pooling, Standard, pool
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import Block, JoinedEmbedding
from avcil.closed_form.model import LinearScores
from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.methods._views import Figures, View, views_of
from avcil.methods.base import ClosedFormMethod
from avcil.models import checks
from avcil.models.base import Model


def check_calibration_clips(count: int) -> None:
    """Refuse a negative size of the calibration sample."""
    if count < 0:
        raise InputError(f"option calibration_clips must be 0 or more; not {count}")


class StepwiseMethod(ClosedFormMethod):
    """Base class of methods that add all clips of a step at once, so that the batches do not matter."""

    @property
    def pooling(self) -> Pooling:
        """How the visual tokens of a clip are pooled."""
        return "mean"

    embedding: JoinedEmbedding | None = None
    """Fitted with the first clips."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.classes = 0
        self.views: list[View] = []
        """The view of its own modality first; empty before the first step."""
        self._pending: list[tuple[tuple[Tensor, ...], Tensor]] = []
        self._widths: list[int] = []
        self._uses_constants: bool | None = None
        """Whether features are scaled by the encoders' constants; None before the first clip."""

    @abstractmethod
    def blocks(self, vectors: int) -> list[Block]:
        """The embedding of clips with this number of vectors."""

    @abstractmethod
    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        """Add the clips of a step: their vectors, as returned by `pool`, and labels (n,)."""

    @abstractmethod
    def head(self, view: View) -> ClosedFormHead:
        """Compute the head of a view from the statistics, and set the values of the view."""

    def make_views(self) -> list[View]:
        """The modalities that the model can predict from, its own first."""
        assert self.embedding is not None
        return views_of(self.embedding, self.modality, self.part_widths)[:1]

    def scaling(self, *, to_length: bool) -> Normalise:
        """How features are scaled; `to_length`: whether the encoders' constants are followed by scaling to length."""
        wanted = self.options.normalise
        if wanted != "encoder":
            return wanted
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
        own = [self.constants[name] for name in names]
        return [(torch.from_numpy(found.center), torch.from_numpy(found.scale)) for found in own]

    def fit_embedding(self, parts: tuple[Tensor, ...]) -> JoinedEmbedding:
        """The embedding, from the encoders' constants or from the first step's vectors `parts`."""
        return JoinedEmbedding.fit(self.blocks(len(parts)), parts, self._standards())

    @property
    def figures(self) -> dict[str, float]:
        """The values of the view of its own modality."""
        return self.views[0].figures

    def grow(self, count: int) -> None:
        self.classes += count

    def observe(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        self._check(labels)
        self._pending.append((self.pooled(audio, visual), labels))

    def pooled(self, audio: Tensor | None, visual: Tensor | None) -> tuple[Tensor, ...]:
        """The vectors of clips: audio (B, Da), visual (B, T, S, Dv)."""
        return pool(audio, visual, self.modality, self.pooling)

    def _check(self, labels: Tensor) -> None:
        if len(labels) and int(labels.max()) >= self.classes:
            raise InputError(
                f"class number {int(labels.max())} is unknown: there are {self.classes} classes. Grow first"
            )

    def solve(self) -> Model:
        self.flush()
        if self.embedding is None:
            raise AvcilError(f"method {self.name} has no clips yet")
        return LinearScores(
            self.name,
            self.modality,
            pooling=self.pooling,
            embedding=self.embedding,
            heads={view.modality: self.head(view) for view in self.views},
        )

    def flush(self) -> None:
        """Add the stored clips to the statistics."""
        if self._pending:
            pending, self._pending = self._pending, []
            parts = tuple(torch.cat(group) for group in zip(*(parts for parts, _ in pending), strict=True))
            self._widths = [part.shape[1] for part in parts]
            self.partial_fit(parts, torch.cat([labels for _, labels in pending]))

    def common_tensors(self) -> dict[str, Tensor]:
        """The saved tensors other than the statistics."""
        assert self.embedding is not None
        saved = prefixed("embedding", self.embedding.tensors()) | {"widths": torch.tensor(self._widths)}
        if any(block.config.normalise in FROM_ENCODER for block, _ in self.embedding.blocks):
            saved["uses_constants"] = torch.tensor(1)
        part_widths = {modality: torch.tensor(widths) for modality, widths in self.part_widths.items()}
        saved |= prefixed("part_widths", part_widths)
        for view in self.views:
            figures = {name: torch.tensor(value, dtype=torch.float64) for name, value in view.figures.items()}
            own = prefixed("figure", figures) | {"calibration": view.calibration.losses}
            saved |= prefixed(f"view.{view.modality}", own | {"oddities": view.oddities.counts})
        return saved

    def load_common(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `common_tensors` returned."""
        vectors = self.modality.has_audio + self.modality.has_visual * (
            2 if self.pooling == "mean-deviation" else 1
        )
        self._widths = checks.tensor(tensors, "widths", (vectors,), dtypes=(torch.int64,)).tolist()
        if not all(0 < width <= checks.MAX_INTEGER for width in self._widths):
            raise InputError(
                f"the saved widths are {self._widths}; allowed is from 1 to {checks.MAX_INTEGER}"
            )
        self.part_widths = self._loaded_part_widths(under("part_widths", tensors))
        self._uses_constants = "uses_constants" in tensors  # models before 0.2 have no such entry
        inner = under("embedding", tensors)
        self.embedding = JoinedEmbedding(
            [
                (Embedding(config, tuple(self._widths[i] for i in at), under(str(number), inner)), at)
                for number, (config, at) in enumerate(self.blocks(len(self._widths)))
            ]
        )
        for embedding, _ in self.embedding.blocks:
            embedding.check()
        self.views = self.make_views()
        for view in self.views:
            own = under(f"view.{view.modality}", tensors)
            saved = under("figure", own)
            view.figures = Figures({name: float(checks.tensor(saved, name, ())) for name in saved})
            view.calibration.losses = checks.tensor(own, "calibration", view.calibration.losses.shape)
            view.oddities.counts = checks.tensor(own, "oddities", view.oddities.counts.shape)
        self._pending = []

    def _loaded_part_widths(self, tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """Saved widths of the parts of a combined encoder; their sum must be the width of the vector."""
        ends = {"audio": self._widths[0], "visual": self._widths[-1]}
        whole = {part.value: ends[part] for part in self.modality.parts}
        found = {}
        for name, widths in tensors.items():
            found[name] = tuple(
                checks.tensor(tensors, name, (widths.numel(),), dtypes=(torch.int64,)).tolist()
            )
            if name not in whole or min(found[name], default=0) < 1 or sum(found[name]) != whole[name]:
                raise InputError(
                    f"the saved part widths of {name} are {found[name]!r:.60}, which do not add up"
                )
        return found

    @classmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
        return LinearScores.from_config(cls.name, config, tensors)


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add a prefix to the names of tensors."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names have the prefix, without it."""
    start = prefix + "."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
