"""The network of AV-CIL and of all other gradient methods.

B clips, T time slices, S spatial tokens, audio width Da, visual width Dv, feature width D, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.nn.fused_attention import attention_maps, projected_attention
from avcil.nn.head import Head, LinearHead
from avcil.nn.head_config import head_from_config, head_shapes
from avcil.nn.token_rows import Tokens
from avcil.nn.workspace import Workspace
from avcil.utils import checks

CLASSIFIERS = {
    "class_means": "class_means",
    "classifier_weight": "answer_weight",
    "classifier_bias": "answer_bias",
}
"""Buffers of classifiers that can replace the head in prediction, and their names in saved models."""


@dataclass(frozen=True, kw_only=True)
class NetworkOutput:
    """The result of a forward pass; None for what the modality does not have."""

    logits: Tensor
    """(B, C)"""
    feature: Tensor
    """h (B, D), the input of the head."""
    audio_feature: Tensor | None = None
    """f_a (B, D)"""
    visual_feature: Tensor | None = None
    """f_v (B, D)"""
    attended: Tensor | None = None
    """x (B, D), the attended tokens, with audio and visual input."""
    temporal_log: Tensor | None = None
    """log A_t (B, T, D), with audio and visual input."""
    spatial_log: Tensor | None = None
    """log A_s (B, T, S, D), if requested."""
    spatial_divergence: Tensor | None = None
    """(n,): KL(A_old || A_s), summed over T and D, for the last n clips, if their old maps are given."""


class Network(nn.Module):
    """Computes logits from audio vectors and visual tokens.

    Audio only: h = ReLU(W_a a + b_a). Visual only: h = ReLU(W_v mean(V) + b_v). Audio-visual: audio-guided
    attention gives x, and h = ReLU(W_a a + b_a) + ReLU(W_v x + b_v). Source: AV-CIL, section 3.
    There is one attention map per visual channel, so D = Dv.
    """

    kind = "network"

    def __init__(self, modality: Modality, *, audio_width: int, visual_width: int, head: Head) -> None:
        super().__init__()
        self.modality = modality = Modality(modality)
        self.audio_width, self.visual_width = audio_width, visual_width
        width = self.feature_width(modality, audio_width=audio_width, visual_width=visual_width)
        if modality.has_audio:
            self.audio_projection = nn.Linear(audio_width, width)  # W_a, b_a
        if modality.has_visual:
            self.visual_projection = nn.Linear(visual_width, width)  # W_v, b_v
        if modality is Modality.AUDIO_VISUAL:
            self.audio_attention = nn.Linear(audio_width, width)  # U_a, c_a
            self.visual_attention = nn.Linear(visual_width, width)  # U_v, c_v
        self.head = head
        for name in CLASSIFIERS:
            self.register_buffer(name, None)
        self.workspace = Workspace()  # buffers that are reused in the next iteration

    class_means: Tensor | None
    """(C, D), for the nearest-mean classifier; None with another classifier."""
    classifier_weight: Tensor | None
    """(C, D), weight of a linear classifier that replaces the head in prediction; None without one."""
    classifier_bias: Tensor | None
    """(C,)"""

    @staticmethod
    def feature_width(modality: Modality, *, audio_width: int, visual_width: int) -> int:
        """D: the visual width, or the audio width without visual input."""
        return visual_width if modality.has_visual else audio_width

    @property
    def classes(self) -> int:
        return self.head.classes

    @property
    def linear_head(self) -> LinearHead:
        """The head of a network that is known to have a linear one."""
        assert isinstance(self.head, LinearHead)
        return self.head

    @property
    def input_widths(self) -> dict[str, int]:
        """Da and Dv, as far as the modality has them."""
        widths = {"audio": self.audio_width, "visual": self.visual_width}
        return {part.value: widths[part] for part in self.modality.parts}

    @property
    def input_modalities(self) -> tuple[Modality, ...]:
        """Modalities from which the network can predict."""
        return tuple(Modality) if self.modality is Modality.AUDIO_VISUAL else (self.modality,)

    def forward(
        self,
        audio: Tensor | None,
        visual: Tokens | None,
        *,
        maps: bool = False,
        old_spatial_log: Tokens | None = None,
    ) -> NetworkOutput:
        """Compute logits and features.

        If the audio-visual network gets one modality only, the term of the other one in h is omitted; without audio,
        attention is uniform: x = mean(V).

        Args:
            audio: (B, Da), or None.
            visual: (B, T, S, Dv), or None.
            maps: Whether to return the spatial attention.
            old_spatial_log: (n, T, S, Dv), log attention of an older model for the last n clips, to compute the
                divergence from it.
        """
        audio = audio if self.modality.has_audio else None
        visual = visual if self.modality.has_visual else None
        audio_feature = None if audio is None else F.relu(self.audio_projection(audio))
        visual_feature = None
        attention: dict[str, Tensor] = {}
        if audio is not None and visual is not None:
            attention = self._attend(audio, visual, maps=maps, old_spatial_log=old_spatial_log)
            visual_feature = F.relu(self.visual_projection(attention["attended"]))
        elif visual is not None:
            mean = visual.mean(dim=(1, 2), dtype=self.visual_projection.weight.dtype)
            visual_feature = F.relu(self.visual_projection(mean))
        parts = [part for part in (audio_feature, visual_feature) if part is not None]
        if not parts:
            raise InputError(
                f"a clip has no features; this network can predict clips with {' or '.join(self.input_modalities)}"
            )
        feature = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return NetworkOutput(
            logits=self.head(feature),
            feature=feature,
            audio_feature=audio_feature,
            visual_feature=visual_feature,
            **attention,
        )

    def _attend(
        self, audio: Tensor, visual: Tokens, *, maps: bool, old_spatial_log: Tokens | None
    ) -> dict[str, Tensor]:
        query, keys = torch.tanh(self.audio_attention(audio)), self.visual_attention
        if maps and old_spatial_log is not None:
            raise ValueError("maps and old_spatial_log cannot be combined")
        if maps:
            return attention_maps(visual, keys.weight, keys.bias, query)._asdict()
        return projected_attention(
            visual,
            keys.weight,
            keys.bias,
            query,
            old_spatial_log=old_spatial_log,
            workspace=self.workspace,
        )._asdict()

    def classify(self, output: NetworkOutput) -> Tensor:
        """Logits (B, C) of the classifier in use.

        They are those of the head, minus squared distances of hat(h) to class means, or those of `set_classifier`.
        """
        if self.classifier_weight is not None:
            return F.linear(output.feature, self.classifier_weight, self.classifier_bias)
        if self.class_means is not None:
            return -torch.cdist(F.normalize(output.feature, dim=1), self.class_means).square()
        return output.logits

    def set_classifier(self, weight: Tensor, bias: Tensor) -> None:
        """Predict with a linear classifier with weight (C, D) and bias (C,); training still uses the head."""
        self.classifier_weight, self.classifier_bias = (
            tensor.detach().to(self.visual_or_audio.weight).clone(memory_format=torch.contiguous_format)
            for tensor in (weight, bias)
        )

    def use_head(self) -> None:
        """Predict with the head."""
        for name in CLASSIFIERS:
            setattr(self, name, None)

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load `tensors`; the head must already have the right number of classes."""
        buffers = {name: tensors[saved] for name, saved in CLASSIFIERS.items() if saved in tensors}
        for name in CLASSIFIERS:
            value = buffers.get(name)
            setattr(self, name, None if value is None else value.to(self.visual_or_audio.weight, copy=True))
        self.load_state_dict({n: t for n, t in tensors.items() if n not in CLASSIFIERS.values()} | buffers)

    @property
    def visual_or_audio(self) -> nn.Linear:
        """The visual projection, or the audio projection without visual input."""
        return self.visual_projection if self.modality.has_visual else self.audio_projection

    def scores(self, audio: Tensor | None, visual: Tokens | None) -> Tensor:
        """Scores (B, C) of the classifier in use."""
        return self.classify(self(audio, visual))

    @property
    def classifier(self) -> str:
        """The classifier in use: "head", "nearest-mean" or "linear"."""
        if self.classifier_weight is not None:
            return "linear"
        return "head" if self.class_means is None else "nearest-mean"

    def to_config(self) -> dict[str, Any]:
        return {
            "modality": self.modality,
            "audio_width": self.audio_width,
            "visual_width": self.visual_width,
            "head": self.head.to_config(),
            "classifier": self.classifier,
        }

    def tensors(self) -> dict[str, Tensor]:
        return {CLASSIFIERS.get(name, name): tensor.detach() for name, tensor in self.state_dict().items()}

    @classmethod
    def from_config(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Network:
        """Restore from `to_config` and `tensors`.

        Raises:
            InputError: They are invalid or inconsistent.
        """
        modality = Modality(checks.choice(config, "modality", tuple(Modality)))
        widths = {
            part.value: checks.whole_number(config, f"{part}_width", least=1) for part in modality.parts
        }
        classifier = checks.choice(config, "classifier", ("head", "nearest-mean", "linear"))
        width = widths[modality.parts[-1].value]
        head = checks.entry(config, "head")
        # Shapes are checked before the network is built, which might need too much memory.
        shapes = {f"head.{name}": shape for name, shape in head_shapes(head, width, tensors).items()}
        for name, own in widths.items():
            for kind in ("projection", "attention") if len(widths) == 2 else ("projection",):
                shapes |= {f"{name}_{kind}.weight": (width, own), f"{name}_{kind}.bias": (width,)}
        if classifier == "nearest-mean":
            shapes["class_means"] = (head["classes"], width)
        if classifier == "linear":
            shapes |= {"answer_weight": (head["classes"], width), "answer_bias": (head["classes"],)}
        dtypes = {tensor.dtype for tensor in tensors.values()}
        if len(dtypes) != 1:
            raise InputError("the tensors of a network must have the same dtype")
        for name, shape in shapes.items():
            checks.tensor(tensors, name, shape)
        checks.no_others(tensors, shapes)
        network = cls(
            modality,
            audio_width=widths.get("audio", 0),
            visual_width=widths.get("visual", 0),
            head=head_from_config(head),
        )
        network.to(dtypes.pop())
        network.load_tensors(tensors)
        return network
