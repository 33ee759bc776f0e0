"""The model of a learner in closed form: scores that are linear in an embedding of the clip.

B clips, M features of which a head uses m, C classes:   scores = h Theta + bias

There is a head for both modalities and, where the learner could make them, one for each alone, which answers for
clips that lack the other. A head may also tell how odd a clip is for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from avcil.closed_form.discriminant import nonconformity
from avcil.closed_form.embedding import Pooling, pool
from avcil.closed_form.joined_embedding import JoinedEmbedding
from avcil.closed_form.p_values import BINS, OddityCounts, conformal_p_values
from avcil.closed_form.symmetric import packed, unpacked
from avcil.encoders.parts import Part
from avcil.errors import InputError
from avcil.models import checks
from avcil.models.base import MODALITIES, Modality, modality_parts

DOUBLE = (torch.float64,)
FIRST_STEP_NOTE = (
    "features are scaled by the first step's clips, so that another order of the classes gives another model"
)


@dataclass(frozen=True, kw_only=True)
class Nonconformity:
    """Detects clips of classes that were not learned, in models of formats 1 and 2; see `closed_form.p_values`."""

    inverse: Tensor
    """N K (m, m), of which the upper triangle is saved."""
    counts: OddityCounts

    def p_values(self, features: Tensor, scores: Tensor) -> Tensor:
        """p (B,) of features (B, m) and the discriminant's scores (B, C), before sharpness."""
        length = ((features @ self.inverse) * features).sum(dim=1)
        return self.counts.p_values(nonconformity(scores, length))

    def tensors(self) -> dict[str, Tensor]:
        """Every number of it."""
        return {"oddity.inverse": packed(self.inverse), "oddity.counts": self.counts.counts}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], width: int) -> Nonconformity:
        """What `tensors` saved."""
        size = (width * (width + 1) // 2,)
        inverse = unpacked(checks.tensor(tensors, "oddity.inverse", size, dtypes=DOUBLE), width)
        counts = checks.tensor(tensors, "oddity.counts", (BINS,), dtypes=DOUBLE)
        if bool((counts < 0).any()):
            raise InputError("the tensor 'oddity.counts' holds negative counts")
        return cls(inverse=inverse, counts=OddityCounts(counts))


@dataclass(frozen=True, kw_only=True)
class UnknownTest:
    """Detects clips of classes that were not learned; see `closed_form.discriminant.relative_distance`."""

    inverse: Tensor
    """N (K - K_0) (m, m), of which the upper triangle is saved."""
    seen: Tensor
    """(k,), ascending: leave-one-out distances of clips that were learned."""

    def p_values(self, features: Tensor, scores: Tensor) -> Tensor:
        """p (B,) of features (B, m) and the discriminant's scores (B, C), before the inverse temperature."""
        difference = ((features @ self.inverse) * features).sum(dim=1)
        return conformal_p_values(self.seen, difference - 2 * scores.max(dim=1).values)

    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""
        return {"unknown.inverse": packed(self.inverse), "unknown.seen": self.seen}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], width: int) -> UnknownTest:
        """What `tensors` returned."""
        size = (width * (width + 1) // 2,)
        inverse = unpacked(checks.tensor(tensors, "unknown.inverse", size, dtypes=DOUBLE), width)
        count = tensors["unknown.seen"].numel() if "unknown.seen" in tensors else 0
        seen = checks.tensor(tensors, "unknown.seen", (count,), dtypes=DOUBLE)
        if bool((seen.diff() < 0).any()):
            raise InputError("the tensor 'unknown.seen' must be ascending")
        return cls(inverse=inverse, seen=seen)


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """Scores of some of the features."""

    columns: Tensor
    """(m,)"""
    weight: Tensor
    """(m, C), float64; before sharpness, as is the bias."""
    bias: Tensor
    """(C,)"""
    inverse_temperature: float
    """Of the softmax of the scores."""
    unknown: UnknownTest | Nonconformity | None = None

    def __post_init__(self) -> None:
        # As a file will give it back: products with numbers laid out otherwise differ in their last bits.
        object.__setattr__(self, "weight", self.weight.contiguous())

    def scores(self, features: Tensor) -> Tensor:
        """(B, C) of the embedding's features (B, M)."""
        return self.inverse_temperature * self.raw_scores(features)

    def raw_scores(self, features: Tensor) -> Tensor:
        """Before sharpness."""
        return features[:, self.columns] @ self.weight + self.bias

    def tensors(self) -> dict[str, Tensor]:
        """Every number of it."""
        own = {"columns": self.columns, "weight": self.weight, "bias": self.bias}
        own["sharpness"] = torch.tensor(self.inverse_temperature, dtype=torch.float64)
        return own | (self.unknown.tensors() if self.unknown else {})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], width: int, classes: int) -> LinearHead:
        """What `tensors` saved, of a head on `width` features for `classes` classes.

        Raises:
            InputError: If they do not fit each other, or hold what no head has.
        """
        columns = tensors.get("columns", torch.empty(0))
        checks.tensor(tensors, "columns", (columns.numel(),), dtypes=(torch.int64,))
        ascending = bool((columns.diff() > 0).all())
        if not (columns.numel() and ascending and int(columns[0]) >= 0 and int(columns[-1]) < width):
            raise InputError(f"the tensor 'columns' must be ascending numbers from 0 to {width - 1}")
        known = ["columns", "weight", "bias", "sharpness"]
        tests: dict[str, type[Nonconformity] | type[UnknownTest]] = {
            "oddity": Nonconformity,
            "unknown": UnknownTest,
        }
        found = [name for name in tests if any(key.startswith(f"{name}.") for key in tensors)]
        checks.no_others(
            tensors,
            [*known, "oddity.inverse", "oddity.counts"]
            if found != ["unknown"]
            else [*known, "unknown.inverse", "unknown.seen"],
        )
        inverse_temperature = checks.tensor(tensors, "sharpness", (), dtypes=DOUBLE)
        return cls(
            columns=columns,
            weight=checks.tensor(tensors, "weight", (len(columns), classes), dtypes=DOUBLE),
            bias=checks.tensor(tensors, "bias", (classes,), dtypes=DOUBLE),
            inverse_temperature=checks.positive(inverse_temperature, "the sharpness"),
            unknown=tests[found[0]].from_tensors(tensors, len(columns)) if found else None,
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
    def input_widths(self) -> dict[str, int]:
        """Da and Dv of what it looks at."""
        has_audio, has_visual = modality_parts(self.modality)
        widths = self.embedding.vector_widths()
        return ({"audio": widths[0]} if has_audio else {}) | ({"visual": widths[-1]} if has_visual else {})

    @property
    def answers(self) -> tuple[Modality, ...]:
        """What a clip may consist of: the model's modality, and parts of it that have a head of their own."""
        return tuple(self.heads)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it."""
        scales = {block.config.normalise for block, _ in self.embedding.blocks}
        return (FIRST_STEP_NOTE,) if scales & {"first-step", "both"} else ()

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C) of audio (B, Da) and visual (B, T, S, Dv); None is a modality that the clips lack."""
        head, features = self._asked(audio, visual)
        return head.scores(features)

    def p_values(self, audio: Tensor | None, visual: Tensor | None) -> Tensor | None:
        """(B,): below alpha for at most alpha of the clips of classes learnt; None if the method has no such test."""
        head, features = self._asked(audio, visual)
        if head.unknown is None:
            return None
        return head.unknown.p_values(features[:, head.columns], head.raw_scores(features))

    def margin_shares(
        self, audio: Tensor | None, visual: Tensor | None, pair: tuple[int, int]
    ) -> dict[str, float]:
        """Contributions of "audio", "visual" and the "bias" term to a margin, for one clip.

        Args:
            audio: (1, Da), or None.
            visual: (1, T, S, Dv), or None.
            pair: Class numbers; the margin is the score of the first less that of the second.

        Returns:
            Values that add up to the margin. Empty where features mix the modalities.
        """
        head, features = self._asked(audio, visual)
        parts = {name: self.heads[name].columns for name in ("audio", "visual") if name in self.heads}
        own = {name: torch.isin(head.columns, columns) for name, columns in parts.items()}
        if len(head.columns) != sum(int(mask.sum()) for mask in own.values()):
            return {}
        weight = head.inverse_temperature * (head.weight[:, pair[0]] - head.weight[:, pair[1]])
        terms = features[0, head.columns] * weight
        shares = {name: float(terms[mask].sum()) for name, mask in own.items() if mask.any()}
        return shares | {"bias": head.inverse_temperature * float(head.bias[pair[0]] - head.bias[pair[1]])}

    def part_shares(
        self,
        audio: Tensor | None,
        visual: Tensor | None,
        pair: tuple[int, int],
        parts: Mapping[str, Sequence[Part]],
    ) -> dict[str, dict[str, float]]:
        """Contributions of each encoder's features to a margin, for one clip.

        Args:
            audio: (1, Da), or None.
            visual: (1, T, S, Dv), or None.
            pair: Class numbers; the margin is the score of the first less that of the second.
            parts: The encoders of "audio" and of "visual", or of one of them.

        Returns:
            Values by modality and encoder; those of a modality add up to its value in `margin_shares`. Empty where
            features mix several encoders.
        """
        if any(block.config.activation != "none" for block, _ in self.embedding.blocks):
            return {}
        head, features = self._asked(audio, visual)
        weight = head.inverse_temperature * (head.weight[:, pair[0]] - head.weight[:, pair[1]])
        terms = torch.zeros(features.shape[1], dtype=torch.float64)
        terms[head.columns] = features[0, head.columns] * weight
        shares = {modality: {part.name: 0.0 for part in found} for modality, found in parts.items()}
        begin = 0
        for block, at in self.embedding.blocks:
            for vector, width in zip(at, block.widths, strict=True):
                modality = "audio" if vector == 0 and modality_parts(self.modality)[0] else "visual"
                own = terms[begin : begin + width]
                for part in parts.get(modality, ()):
                    shares[modality][part.name] += float(own[part.start : part.stop].sum())
                begin += width
        return shares

    def _asked(self, audio: Tensor | None, visual: Tensor | None) -> tuple[LinearHead, Tensor]:
        """The head for what is given, and the features (B, M), of which a lacking modality's mean nothing."""
        has_audio, has_visual = modality_parts(self.modality)
        given = {(True, True): "audio-visual", (True, False): "audio", (False, True): "visual"}
        view = given.get((has_audio and audio is not None, has_visual and visual is not None))
        if view not in self.heads:
            raise InputError(
                f"this {self.kind} model answers for clips with {', or '.join(self.answers)}, not with "
                f"{view or 'neither'} alone"
            )
        widths = self.embedding.vector_widths()
        vectors = iter(pool(audio, visual, view, self.pooling))
        count = next(len(given) for given in (visual, audio) if given is not None)
        parts = []
        for number, width in enumerate(widths):
            has = audio is not None if has_audio and number == 0 else visual is not None
            parts.append(next(vectors) if has else torch.zeros(count, width, dtype=torch.float64))
        return self.heads[view], self.embedding(tuple(parts))

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
        """What `to_config` and `tensors` describe; a file of format version 1 has one head, named nowhere.

        Raises:
            InputError: If they do not fit each other, or hold what no such model has.
        """
        modality = checks.choice(config, "modality", MODALITIES)
        pooling = checks.choice(config, "pooling", get_args(Pooling))
        parts = checks.entry(config, "embedding")
        embedding = JoinedEmbedding.from_config(parts, _under("embedding.", tensors))
        has_audio, has_visual = modality_parts(modality)
        vectors = has_audio + has_visual * (2 if pooling == "mean-deviation" else 1)
        if len(embedding.vector_widths()) != vectors:
            raise InputError(f"the embedding looks at {len(embedding.vector_widths())} of {vectors} vectors")
        heads = _heads(modality, config.get("heads"), tensors, sum(embedding.sizes))
        return cls(kind, modality, pooling=pooling, embedding=embedding, heads=heads)


def _heads(
    modality: Modality, views: Any, tensors: Mapping[str, Tensor], width: int
) -> dict[Modality, LinearHead]:
    if views is None:  # format version 1
        columns, inverse_temperature = torch.arange(width), torch.ones((), dtype=torch.float64)
        own = {name: value for name, value in tensors.items() if not name.startswith("embedding.")}
        views, under = [modality], {modality: {"columns": columns, "sharpness": inverse_temperature} | own}
    else:
        allowed = [modality] if modality != "audio-visual" else list(MODALITIES)
        right = isinstance(views, list) and views[:1] == [modality] and all(view in allowed for view in views)
        if not right or len(set(views)) != len(views):
            raise InputError(
                f"heads is {views!r:.60}; allowed are {', '.join(allowed)}, each once, {modality} first"
            )
        under = {view: _under(f"head.{view}.", tensors) for view in views}
        used = [f"head.{view}.{name}" for view, own in under.items() for name in own]
        checks.no_others(tensors, [*used, *(name for name in tensors if name.startswith("embedding."))])
    classes = under[modality].get("bias", torch.empty(0)).numel()
    return {view: LinearHead.from_tensors(under[view], width, classes) for view in views}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
