"""The model of a learner in closed form: scores that are linear in an embedding of the clip.

B clips, M features of which a head uses m, C classes:   scores = h Theta + bias

There is a head for both modalities and, where the learner could make them, one for each alone, which answers for
clips that lack the other. A head may also tell how odd a clip is for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.models.base import Modality, modality_parts
from avcil.models.embedding import Pooling, pool
from avcil.models.joined_embedding import JoinedEmbedding
from avcil.statistics.conformal import OddityCounts
from avcil.statistics.discriminant import oddity
from avcil.statistics.symmetric import packed, unpacked


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """Tells clips of classes that were never learnt; see `statistics.conformal`."""

    inverse: Tensor
    """N K (m, m), of which the upper triangle is saved."""
    counts: OddityCounts

    def p_values(self, features: Tensor, scores: Tensor) -> Tensor:
        """p (B,) of features (B, m) and the discriminant's scores (B, C), before sharpness."""
        length = ((features @ self.inverse) * features).sum(dim=1)
        return self.counts.p_values(oddity(scores, length))

    def tensors(self) -> dict[str, Tensor]:
        """Every number of it."""
        return {"oddity.inverse": packed(self.inverse), "oddity.counts": self.counts.counts}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], width: int) -> Oddity:
        """What `tensors` saved."""
        inverse = unpacked(tensors["oddity.inverse"], width)
        return cls(inverse=inverse, counts=OddityCounts(tensors["oddity.counts"]))


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """Scores of some of the features."""

    columns: Tensor
    """(m,)"""
    weight: Tensor
    """(m, C), float64; before sharpness, as is the bias."""
    bias: Tensor
    """(C,)"""
    sharpness: float
    """Of the softmax of the scores."""
    oddity: Oddity | None = None

    def __post_init__(self) -> None:
        # As a file will give it back: products with numbers laid out otherwise differ in their last bits.
        object.__setattr__(self, "weight", self.weight.contiguous())

    def scores(self, features: Tensor) -> Tensor:
        """(B, C) of the embedding's features (B, M)."""
        return self.sharpness * self.raw_scores(features)

    def raw_scores(self, features: Tensor) -> Tensor:
        """Before sharpness."""
        return features[:, self.columns] @ self.weight + self.bias

    def tensors(self) -> dict[str, Tensor]:
        """Every number of it."""
        own = {"columns": self.columns, "weight": self.weight, "bias": self.bias}
        own["sharpness"] = torch.tensor(self.sharpness, dtype=torch.float64)
        return own | (self.oddity.tensors() if self.oddity else {})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LinearHead:
        """What `tensors` saved."""
        plain = {name: tensors[name] for name in ("columns", "weight", "bias")}
        has_oddity = "oddity.counts" in tensors
        return cls(
            **plain,
            sharpness=float(tensors["sharpness"]),
            oddity=Oddity.from_tensors(tensors, len(plain["columns"])) if has_oddity else None,
        )


class LinearScores:
    """Embedding and linear scores; `kind` is the method's name."""

    def __init__(
        self,
        kind: str,
        modality: Modality,
        *,
        pooling: Pooling,
        embedding: JoinedEmbedding,
        heads: Mapping[Modality, LinearHead],
    ) -> None:
        """heads: the one of `modality`, and perhaps those of its parts."""
        self.kind, self.modality = kind, modality
        self.pooling, self.embedding, self.heads = pooling, embedding, dict(heads)

    @property
    def classes(self) -> int:
        """C"""
        return len(self.heads[self.modality].bias)

    @property
    def answers(self) -> tuple[Modality, ...]:
        """What a clip may consist of: the model's modality, and parts of it that have a head of their own."""
        return tuple(self.heads)

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C) of audio (B, Da) and visual (B, T, S, Dv); None is a modality that the clips lack."""
        head, features = self._asked(audio, visual)
        return head.scores(features)

    def p_values(self, audio: Tensor | None, visual: Tensor | None) -> Tensor | None:
        """(B,): below alpha for at most alpha of the clips of classes learnt; None if the method has no such test."""
        head, features = self._asked(audio, visual)
        if head.oddity is None:
            return None
        return head.oddity.p_values(features[:, head.columns], head.raw_scores(features))

    def margin_shares(
        self, audio: Tensor | None, visual: Tensor | None, pair: tuple[int, int]
    ) -> dict[str, float]:
        """What sound, picture and the constant give to the score of class `pair[0]` less that of `pair[1]`, for one
        clip; they add up to it. Empty where features mix the two."""
        head, features = self._asked(audio, visual)
        parts = {name: self.heads[name].columns for name in ("audio", "visual") if name in self.heads}
        own = {name: torch.isin(head.columns, columns) for name, columns in parts.items()}
        if len(head.columns) != sum(int(mask.sum()) for mask in own.values()):
            return {}
        weight = head.sharpness * (head.weight[:, pair[0]] - head.weight[:, pair[1]])
        terms = features[0, head.columns] * weight
        shares = {name: float(terms[mask].sum()) for name, mask in own.items() if mask.any()}
        return shares | {"constant": head.sharpness * float(head.bias[pair[0]] - head.bias[pair[1]])}

    def _asked(self, audio: Tensor | None, visual: Tensor | None) -> tuple[LinearHead, Tensor]:
        """The head for what is given, and the features (B, M), of which a lacking modality's mean nothing."""
        hears, sees = modality_parts(self.modality)
        given = {(True, True): "audio-visual", (True, False): "audio", (False, True): "visual"}
        view = given.get((hears and audio is not None, sees and visual is not None))
        if view not in self.heads:
            raise InputError(
                f"this {self.kind} model answers for clips with {', or '.join(self.answers)}, not with "
                f"{view or 'neither'} alone"
            )
        widths = self._vector_widths()
        vectors = iter(pool(audio, visual, view, self.pooling))
        count = len(audio if visual is None else visual)
        parts = []
        for number, width in enumerate(widths):
            has = audio is not None if hears and number == 0 else visual is not None
            parts.append(next(vectors) if has else torch.zeros(count, width, dtype=torch.float64))
        return self.heads[view], self.embedding(tuple(parts))

    def _vector_widths(self) -> list[int]:
        """Of each of a clip's vectors, as the embedding's blocks know them."""
        known = {
            vector: width
            for block, at in self.embedding.blocks
            for vector, width in zip(at, block.widths, strict=True)
        }
        return [known[vector] for vector in sorted(known)]

    def to_config(self) -> dict[str, Any]:
        return {
            "modality": self.modality,
            "pooling": self.pooling,
            "embedding": self.embedding.to_config(),
            "heads": list(self.heads),
        }

    def tensors(self) -> dict[str, Tensor]:
        saved = {f"embedding.{name}": tensor for name, tensor in self.embedding.tensors().items()}
        for view, head in self.heads.items():
            saved |= {f"head.{view}.{name}": tensor for name, tensor in head.tensors().items()}
        return saved

    @classmethod
    def from_config(cls, kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> LinearScores:
        """What `to_config` and `tensors` describe; a file of format version 1 has one head, named nowhere."""
        views: Sequence[Modality] = config.get("heads", ())
        heads = {view: LinearHead.from_tensors(_under(f"head.{view}.", tensors)) for view in views}
        if not views:
            heads[config["modality"]] = LinearHead(
                columns=torch.arange(len(tensors["weight"])),
                weight=tensors["weight"],
                bias=tensors["bias"],
                sharpness=1.0,
            )
        return cls(
            kind,
            config["modality"],
            pooling=config["pooling"],
            embedding=JoinedEmbedding.from_config(config["embedding"], _under("embedding.", tensors)),
            heads=heads,
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
