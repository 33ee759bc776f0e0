"""The model of closed-form methods: scores that are linear in an embedding of the clip.

B clips, M features of which a head uses m, C classes:   scores = h Theta + bias

The model has a head for its modality and, for some methods, one for each single modality, which is used for clips that
lack the other one. A head may also have a test for clips of unknown classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avcil.closed_form.embedded_model import EmbeddedModel
from avcil.closed_form.embedding import pool
from avcil.closed_form.head import ClosedFormHead, UnknownTest
from avcil.data.modality import Modality
from avcil.encoders.parts import EncoderPart
from avcil.errors import InputError
from avcil.utils import checks
from avcil.utils.tensor_names import add_prefix, strip_prefix


@dataclass(kw_only=True, eq=False, repr=False)
class LinearModel(EmbeddedModel):
    """Embedding and linear scores."""

    heads: Mapping[Modality, ClosedFormHead]
    """The head of `modality`, and optionally of its parts."""

    @property
    def classes(self) -> int:
        """C"""
        return len(self.heads[self.modality].bias)

    @property
    def input_modalities(self) -> tuple[Modality, ...]:
        """Modalities with a head."""
        return tuple(self.heads)

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C) of audio (B, Da) and visual (B, T, S, Dv); None if the clips lack the modality."""
        head, features = self._select(audio, visual)
        return head.scores(features)

    def p_values(self, audio: Tensor | None, visual: Tensor | None) -> Tensor | None:
        """p-values (B,) of the test for unknown classes; None without a test.

        For a clip of a known class, p <= alpha has probability at most alpha.
        """
        head, features = self._select(audio, visual)
        return head.p_values(features)

    @property
    def can_leave_out_modalities(self) -> bool:
        """Whether there is a test for audio and one for frames, each with enough learned clips."""
        heads = [self.heads.get(modality) for modality in Modality.AUDIO_VISUAL.parts]
        tests = [None if head is None else head.unknown for head in heads]
        return all(isinstance(test, UnknownTest) and test.can_find_outliers for test in tests)

    def outlying(self, audio: Tensor, visual: Tensor) -> dict[Modality, Tensor]:
        """Clips of which only one modality is unlike all training clips: a mask (B,) for each modality.

        Such a clip may be recorded under other conditions: its prediction is better without that modality. Empty if
        `can_leave_out_modalities` is false.

        Args:
            audio: (B, Da)
            visual: (B, T, S, Dv)
        """
        if not self.can_leave_out_modalities:
            return {}
        _, features = self._select(audio, visual)
        found = {}
        for modality in Modality.AUDIO_VISUAL.parts:
            head = self.heads[modality]
            assert isinstance(head.unknown, UnknownTest)
            found[modality] = head.unknown.is_outlier(features[:, head.columns])
        first, second = found
        return {first: found[first] & ~found[second], second: found[second] & ~found[first]}

    def margin_contributions(
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
        head, terms = self._margin_terms(audio, visual, pair)
        parts = {part: self.heads[part].columns for part in Modality.AUDIO_VISUAL.parts if part in self.heads}
        used = {name: columns[torch.isin(columns, head.columns)] for name, columns in parts.items()}
        if len(head.columns) != sum(map(len, used.values())):
            return {}
        values = {name: float(terms[columns].sum()) for name, columns in used.items() if len(columns)}
        return values | {"bias": head.inverse_temperature * float(head.bias[pair[0]] - head.bias[pair[1]])}

    def encoder_margin_contributions(
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
            Values by modality and encoder; their sum for a modality is its value in `margin_contributions`. Empty if
            features mix several encoders.
        """
        if any(block.config.activation != "none" for block, _ in self.embedding.blocks):
            return {}
        _, terms = self._margin_terms(audio, visual, pair)
        values = {modality: {part.name: 0.0 for part in encoders} for modality, encoders in parts.items()}
        begin = 0
        for block, at in self.embedding.blocks:
            for vector, width in zip(at, block.widths, strict=True):
                modality = "audio" if vector == 0 and self.modality.has_audio else "visual"
                terms_of_vector = terms[begin : begin + width]
                for part in parts.get(modality, ()):
                    values[modality][part.name] += float(terms_of_vector[part.start : part.stop].sum())
                begin += width
        return values

    def _margin_terms(
        self, audio: Tensor | None, visual: Tensor | None, pair: tuple[int, int]
    ) -> tuple[ClosedFormHead, Tensor]:
        """The head, and the contribution (M,) of each feature to a margin; arguments as for `margin_contributions`."""
        head, features = self._select(audio, visual)
        weight = head.inverse_temperature * (head.weight[:, pair[0]] - head.weight[:, pair[1]])
        terms = torch.zeros(features.shape[1], dtype=torch.float64)
        terms[head.columns] = features[0, head.columns] * weight
        return head, terms

    def _select(self, audio: Tensor | None, visual: Tensor | None) -> tuple[ClosedFormHead, Tensor]:
        """The head for the given modalities, and features (B, M); those of a missing modality are arbitrary."""
        has_audio = self.modality.has_audio
        given = self.modality.present(audio, visual)
        if given is None or given not in self.heads:
            raise InputError(
                f"this {self.kind} model can predict clips with {' or '.join(self.input_modalities)}, not with "
                f"{given or 'no features'}"
            )
        widths = self.embedding.vector_widths()
        vectors = iter(pool(audio, visual, given, self.pooling))
        count = next(len(features) for features in (visual, audio) if features is not None)
        parts = []
        for number, width in enumerate(widths):
            is_given = audio is not None if has_audio and number == 0 else visual is not None
            parts.append(next(vectors) if is_given else torch.zeros(count, width, dtype=torch.float64))
        return self.heads[given], self.embedding(tuple(parts))

    def to_config(self) -> dict[str, Any]:
        return super().to_config() | {"heads": list(self.heads)}

    def tensors(self) -> dict[str, Tensor]:
        saved = super().tensors()
        for modality, head in self.heads.items():
            saved |= add_prefix(f"head.{modality}", head.tensors())
        return saved

    @classmethod
    def from_config(cls, kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> LinearModel:
        """Restore from `to_config` and `tensors`; a file of format version 1 has one head without a name.

        Raises:
            InputError: They are invalid or inconsistent.
        """
        arguments = cls.read_embedding(config, tensors)
        width = sum(arguments["embedding"].sizes)
        heads = _heads(arguments["modality"], config.get("heads"), tensors, width)
        return cls(kind=kind, **arguments, heads=heads)


def _heads(
    modality: Modality, modalities: Any, tensors: Mapping[str, Tensor], width: int
) -> dict[Modality, ClosedFormHead]:
    """The heads of the modalities that the configuration lists; `modality` is that of the model."""
    others = {name: tensor for name, tensor in tensors.items() if not name.startswith("embedding.")}
    if modalities is None:  # format version 1
        default = {
            "columns": torch.arange(width),
            "inverse_temperature": torch.ones((), dtype=torch.float64),
        }
        modalities, by_modality = [modality], {modality: default | others}
    else:
        allowed = list(Modality) if modality is Modality.AUDIO_VISUAL else [modality]
        is_valid = (
            isinstance(modalities, list)
            and modalities[:1] == [modality]
            and all(name in allowed for name in modalities)
        )
        if not is_valid or len(set(modalities)) != len(modalities):
            raise InputError(
                f"heads is {modalities!r:.60}; allowed are {', '.join(allowed)}, each once, {modality} first"
            )
        by_modality = {name: strip_prefix(f"head.{name}", tensors) for name in modalities}
        used = [name for part, saved in by_modality.items() for name in add_prefix(f"head.{part}", saved)]
        checks.no_others(others, used)
    classes = by_modality[modality].get("bias", torch.empty(0)).numel()
    heads: dict[Modality, ClosedFormHead] = {}
    for name in reversed(modalities):  # the first one has the distances of the others
        tests = [heads[part].unknown for part in Modality(name).parts if part in heads]
        shared = [own for test in tests if isinstance(test, UnknownTest) for own in test.parts]
        heads[Modality(name)] = ClosedFormHead.from_tensors(by_modality[name], width, classes, shared)
    if len({head.unknown is None for head in heads.values()}) > 1:
        raise InputError("some heads have a test for unknown classes and others have none")
    return dict(reversed(heads.items()))
