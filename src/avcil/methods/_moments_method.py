"""What learners in closed form share: the pooled vectors of the step at work, and the second moments of features.

B clips of a batch, n of the step at work, P pooled width, M features, C classes.

The pooled vectors of the step at work (8 n P bytes) wait until `solve`: the first step's make the embedding,
and those of each step judge the penalty. Then they enter the statistics and are dropped; no clip outlives its
step.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from avcil.closed_form.embedding import Embedding, Pooling, pool
from avcil.closed_form.joined_embedding import Block, JoinedEmbedding
from avcil.closed_form.model import LinearHead, LinearScores
from avcil.closed_form.moments import Moments
from avcil.errors import AvcilError, InputError
from avcil.methods._views import Figures, View, views_of
from avcil.methods.base import ClosedFormMethod
from avcil.models import checks
from avcil.models.base import Modality, modality_parts


class StepwiseMethod(ClosedFormMethod):
    """Base of the learners that take in a step's clips together, however they came in."""

    pooling: Pooling = "mean"
    """What is taken of a clip's visual tokens."""
    embedding: JoinedEmbedding | None = None
    """Made of the first step's clips."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.classes = 0
        self.views: list[View] = []
        """Its own modality's first; known once the first step came."""
        self._waiting: list[tuple[tuple[Tensor, ...], Tensor]] = []
        self._widths: list[int] = []

    @abstractmethod
    def blocks(self, vectors: int) -> list[Block]:
        """How clips of so many vectors become features."""

    @abstractmethod
    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        """Add a step: each clip's vectors, as `pool` gives them, and labels (n,)."""

    @abstractmethod
    def head(self, view: View) -> LinearHead:
        """What the statistics give for a view; sets its figures."""

    def make_views(self) -> list[View]:
        """What it can answer from, its own modality first."""
        assert self.embedding is not None
        return views_of(self.embedding, self.modality, self.part_widths)[:1]

    @property
    def figures(self) -> dict[str, float]:
        """Those of its own modality."""
        return self.views[0].figures

    def grow(self, count: int) -> None:
        self.classes += count

    def observe(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        self._check(labels)
        self._waiting.append((self.pooled(audio, visual), labels))

    def pooled(self, audio: Tensor | None, visual: Tensor | None) -> tuple[Tensor, ...]:
        """The vectors of clips: audio (B, Da), visual (B, T, S, Dv)."""
        return pool(audio, visual, self.modality, self.pooling)

    def _check(self, labels: Tensor) -> None:
        if len(labels) and int(labels.max()) >= self.classes:
            raise InputError(
                f"class number {int(labels.max())} is unknown: there are {self.classes} classes. Grow first"
            )

    def solve(self) -> LinearScores:
        self.flush()
        if self.embedding is None:
            raise AvcilError(f"method {self.name} has seen no clip yet")
        return LinearScores(
            self.name,
            self.modality,
            pooling=self.pooling,
            embedding=self.embedding,
            heads={view.modality: self.head(view) for view in self.views},
        )

    def flush(self) -> None:
        """Take in what waits."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            parts = tuple(torch.cat(group) for group in zip(*(parts for parts, _ in waiting), strict=True))
            self._widths = [part.shape[1] for part in parts]
            self.partial_fit(parts, torch.cat([labels for _, labels in waiting]))

    def common_tensors(self) -> dict[str, Tensor]:
        """What is saved beside the statistics."""
        assert self.embedding is not None
        saved = prefixed("embedding", self.embedding.tensors()) | {"widths": torch.tensor(self._widths)}
        part_widths = {modality: torch.tensor(widths) for modality, widths in self.part_widths.items()}
        saved |= prefixed("part_widths", part_widths)
        for view in self.views:
            figures = {name: torch.tensor(value, dtype=torch.float64) for name, value in view.figures.items()}
            own = prefixed("figure", figures) | {"calibration": view.calibration.losses}
            saved |= prefixed(f"view.{view.modality}", own | {"oddities": view.oddities.counts})
        return saved

    def load_common(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `common_tensors` saved."""
        has_audio, has_visual = modality_parts(self.modality)
        vectors = has_audio + has_visual * (2 if self.pooling == "mean-deviation" else 1)
        self._widths = checks.tensor(tensors, "widths", (vectors,), dtypes=(torch.int64,)).tolist()
        if not all(0 < width <= checks.MOST for width in self._widths):
            raise InputError(f"the saved widths are {self._widths}; allowed is from 1 to {checks.MOST}")
        self.part_widths = self._loaded_part_widths(under("part_widths", tensors))
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
        self._waiting = []

    def _loaded_part_widths(self, tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """Saved widths of a combined encoder's parts, which must add up to the vector's."""
        has_audio, has_visual = modality_parts(self.modality)
        whole = ({"audio": self._widths[0]} if has_audio else {}) | (
            {"visual": self._widths[-1]} if has_visual else {}
        )
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
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> LinearScores:
        return LinearScores.from_config(cls.name, config, tensors)


class MomentsMethod(StepwiseMethod):
    """Base of the learners whose state is `Moments` of one embedding."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.moments: Moments | None = None
        self._settled: dict[Modality, LinearHead] = {}
        """Heads of the moments as they are, from a step just taken in until they are asked for."""

    def make_views(self) -> list[View]:
        assert self.embedding is not None
        return views_of(self.embedding, self.modality, self.part_widths)

    @abstractmethod
    def select_hyperparameters(
        self, view: View, moments: Moments, features: Tensor, labels: Tensor
    ) -> LinearHead:
        """Set the view's figures, add to its calibration, and give the head that `fitted` would: all of the view's
        columns, `moments` with the step, the step's features (n, m) and labels (n,)."""

    @abstractmethod
    def fitted(self, view: View, moments: Moments) -> LinearHead:
        """The head that a view's moments give."""

    def head(self, view: View) -> LinearHead:
        assert self.moments is not None
        return self._settled.pop(view.modality, None) or self.fitted(view, self.moments.part(view.columns))

    def grow(self, count: int) -> None:
        self.flush()
        self._settled = {}
        super().grow(count)
        if self.moments is not None:
            self.moments.grow(count)

    def partial_fit(self, parts: tuple[Tensor, ...], labels: Tensor) -> None:
        if self.embedding is None or self.moments is None:
            self.embedding = JoinedEmbedding.fit(self.blocks(len(parts)), parts)
            self.moments = Moments(sum(self.embedding.sizes))
            self.moments.grow(self.classes)
            self.views = self.make_views()
        features = self.embedding(parts)
        self.moments.add(features, labels)
        for view in self.views:
            own = features if view.modality == self.modality else features[:, view.columns]
            self._settled[view.modality] = self.select_hyperparameters(
                view, self.moments.part(view.columns), own, labels
            )

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Subtract clips: to rounding, the moments are then those of the other clips alone.

        Mean and deviation of the first step, the calibration, and penalties that clips of a step chose stay;
        `normalise=length`, where a method has it, keeps no such thing of the first step.
        """
        self.flush()
        if self.embedding is None or self.moments is None:
            raise InputError("nothing has been learnt yet: there is nothing to forget")
        self._check(labels)
        self._settled = {}
        self.moments.remove(self.embedding(self.pooled(audio, visual)), labels)

    def drop(self, number: int) -> None:
        """The scatter of its clips about their mean stays in the second moments; see `Moments.drop`."""
        assert self.moments is not None
        self._settled = {}
        self.moments.drop(number)
        self.classes -= 1

    def tensors(self) -> dict[str, Tensor]:
        assert self.embedding is not None
        assert self.moments is not None
        return self.common_tensors() | prefixed("moments", self.moments.tensors())

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.load_common(tensors)
        self._settled = {}
        self.moments = Moments.from_tensors(under("moments", tensors))
        assert self.embedding is not None
        if self.moments.width != sum(self.embedding.sizes):
            raise InputError(
                f"the saved sums are of {self.moments.width} features, the embedding has "
                f"{sum(self.embedding.sizes)}"
            )
        self.classes = self.moments.classes

    def report(self) -> dict[str, float]:
        """The figures, and the bytes that are kept from step to step."""
        assert self.embedding is not None
        assert self.moments is not None
        own, *others = self.views
        figures = own.figures | {"sharpness": own.calibration.inverse_temperature}
        for view in others:
            figures |= {f"{view.modality}.{name}": value for name, value in view.figures.items()}
        kept = self.moments.bytes + self.embedding.bytes + sum(view.bytes for view in self.views)
        return figures | {"bytes": float(kept)}


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `prefixed` put away."""
    start = prefix + "."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
