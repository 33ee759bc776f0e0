"""The model of closed-form methods: scores that are linear in an embedding of the clip.

B clips, M features of which a head uses m, C classes:   scores = h Theta + bias

The model has a head for its modality and, for some methods, one for each single modality, which is used for clips that
lack the other one. A head may also have a test for clips of unknown classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from avcil.closed_form.embedding import Pooling, pool
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import JoinedEmbedding
from avcil.data.modality import Modality
from avcil.encoders.parts import EncoderPart
from avcil.errors import InputError
from avcil.models import checks


class LinearScores:
    """Embedding and linear scores; `kind` is the method's name."""

    def __init__(
        self,
        kind: str,
        modality: Modality,
        *,
        pooling: Pooling,
        embedding: JoinedEmbedding,
        heads: Mapping[Modality, ClosedFormHead],
    ) -> None:
        """
        Args:
            kind: The method's name.
            modality: Modality of the model.
            pooling: Pooling of visual tokens.
            embedding: The embedding.
            heads: The head of `modality`, and optionally of its parts.
        """
        self.kind, self.modality = kind, Modality(modality)
        self.pooling, self.embedding, self.heads = pooling, embedding, dict(heads)

    @property
    def classes(self) -> int:
        """C"""
        return len(self.heads[self.modality].bias)

    @property
    def input_widths(self) -> dict[str, int]:
        """Da and Dv, as far as the modality has them."""
        return self.embedding.input_widths(self.modality)

    @property
    def answers(self) -> tuple[Modality, ...]:
        """Modalities with a head."""
        return tuple(self.heads)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user."""
        return self.embedding.notes

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C) of audio (B, Da) and visual (B, T, S, Dv); None if the clips lack the modality."""
        head, features = self._select(audio, visual)
        return head.scores(features)

    def p_values(self, audio: Tensor | None, visual: Tensor | None) -> Tensor | None:
        """p-values (B,), at most alpha for a fraction of at most alpha of the clips of known classes; None without a
        test."""
        head, features = self._select(audio, visual)
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
            pair: Class numbers; the margin is the score of the first minus that of the second.

        Returns:
            Values whose sum is the margin. Empty if features mix the modalities.
        """
        head, features = self._select(audio, visual)
        parts = {part: self.heads[part].columns for part in Modality.AUDIO_VISUAL.parts if part in self.heads}
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
        parts: Mapping[str, Sequence[EncoderPart]],
    ) -> dict[str, dict[str, float]]:
        """Contributions of each encoder's features to a margin, for one clip.

        Args:
            audio: (1, Da), or None.
            visual: (1, T, S, Dv), or None.
            pair: Class numbers; the margin is the score of the first minus that of the second.
            parts: The encoders, by modality.

        Returns:
            Values by modality and encoder; their sum for a modality is its value in `margin_shares`. Empty if features
            mix several encoders.
        """
        if any(block.config.activation != "none" for block, _ in self.embedding.blocks):
            return {}
        head, features = self._select(audio, visual)
        weight = head.inverse_temperature * (head.weight[:, pair[0]] - head.weight[:, pair[1]])
        terms = torch.zeros(features.shape[1], dtype=torch.float64)
        terms[head.columns] = features[0, head.columns] * weight
        shares = {modality: {part.name: 0.0 for part in found} for modality, found in parts.items()}
        begin = 0
        for block, at in self.embedding.blocks:
            for vector, width in zip(at, block.widths, strict=True):
                modality = "audio" if vector == 0 and self.modality.has_audio else "visual"
                own = terms[begin : begin + width]
                for part in parts.get(modality, ()):
                    shares[modality][part.name] += float(own[part.start : part.stop].sum())
                begin += width
        return shares

    def _select(self, audio: Tensor | None, visual: Tensor | None) -> tuple[ClosedFormHead, Tensor]:
        """The head for the given modalities, and features (B, M); those of a missing modality are arbitrary."""
        has_audio = self.modality.has_audio
        view = Modality.of(
            has_audio=has_audio and audio is not None,
            has_visual=self.modality.has_visual and visual is not None,
        )
        if view is None or view not in self.heads:
            raise InputError(
                f"this {self.kind} model can predict clips with the modalities {', or '.join(self.answers)}, not with "
                f"{view or 'none'}"
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
        """Restore from `to_config` and `tensors`; a file of format version 1 has one head without a name.

        Raises:
            InputError: They are invalid or inconsistent.
        """
        modality = checks.modality(config)
        pooling = checks.choice(config, "pooling", get_args(Pooling))
        parts = checks.entry(config, "embedding")
        embedding = JoinedEmbedding.from_config(parts, _under("embedding.", tensors))
        vectors = modality.has_audio + modality.has_visual * (2 if pooling == "mean-deviation" else 1)
        if len(embedding.vector_widths()) != vectors:
            raise InputError(f"the embedding uses {len(embedding.vector_widths())} of {vectors} vectors")
        heads = _heads(modality, config.get("heads"), tensors, sum(embedding.sizes))
        return cls(kind, modality, pooling=pooling, embedding=embedding, heads=heads)


def _heads(
    modality: Modality, views: Any, tensors: Mapping[str, Tensor], width: int
) -> dict[Modality, ClosedFormHead]:
    if views is None:  # format version 1
        columns, inverse_temperature = torch.arange(width), torch.ones((), dtype=torch.float64)
        own = {name: value for name, value in tensors.items() if not name.startswith("embedding.")}
        views, under = [modality], {modality: {"columns": columns, "sharpness": inverse_temperature} | own}
    else:
        allowed = list(Modality) if modality is Modality.AUDIO_VISUAL else [modality]
        right = isinstance(views, list) and views[:1] == [modality] and all(view in allowed for view in views)
        if not right or len(set(views)) != len(views):
            raise InputError(
                f"heads is {views!r:.60}; allowed are {', '.join(allowed)}, each once, {modality} first"
            )
        under = {view: _under(f"head.{view}.", tensors) for view in views}
        used = [f"head.{view}.{name}" for view, own in under.items() for name in own]
        checks.no_others(tensors, [*used, *(name for name in tensors if name.startswith("embedding."))])
    classes = under[modality].get("bias", torch.empty(0)).numel()
    return {Modality(view): ClosedFormHead.from_tensors(under[view], width, classes) for view in views}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
