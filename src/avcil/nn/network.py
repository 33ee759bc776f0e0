"""The network of AV-CIL and of every method trained by gradient beside it.

B clips, T time slices, S spatial tokens, Da and Dv widths of sound and picture, D width of the features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avcil.errors import InputError
from avcil.models import checks
from avcil.models.base import MODALITIES, Modality, modality_parts
from avcil.nn.fused_attention import attention_maps, projected_attention
from avcil.nn.head import Head
from avcil.nn.heads import head_from_config, head_shapes
from avcil.nn.token_rows import Tokens
from avcil.nn.workspace import Workspace

CLASSIFIERS = ("class_means", "answer_weight", "answer_bias")
"""Tensors of the classifiers that may answer in place of the head."""


@dataclass(frozen=True, kw_only=True)
class NetworkOutput:
    """Everything a loss may ask of one forward pass; what the modality lacks is None."""

    logits: Tensor
    """(B, C)"""
    feature: Tensor
    """h (B, D): what the head sees."""
    audio_feature: Tensor | None = None
    """f_a (B, D)"""
    visual_feature: Tensor | None = None
    """f_v (B, D)"""
    attended: Tensor | None = None
    """x (B, D), what the audio-visual network sees"""
    temporal_log: Tensor | None = None
    """log A_t (B, T, D), of the audio-visual network"""
    spatial_log: Tensor | None = None
    """log A_s (B, T, S, D), where the maps were asked for"""
    spatial_divergence: Tensor | None = None
    """(n,): KL(A_old || A_s) summed over T and D, for the last n clips, where their old maps were given"""


class Network(nn.Module):
    """Maps a clip's audio vector and visual tokens to logits.

    Audio only: h = ReLU(W_a a + b_a). Visual only: h = ReLU(W_v mean(V) + b_v). Audio-visual: the sound guides
    attention over the picture, x, and h = ReLU(W_a a + b_a) + ReLU(W_v x + b_v). Source: AV-CIL, section 3.
    The attention has one map per channel of the picture, so D = Dv there.
    """

    kind = "network"

    def __init__(self, modality: Modality, *, audio_width: int, visual_width: int, head: Head) -> None:
        super().__init__()
        self.modality = modality
        self.audio_width, self.visual_width = audio_width, visual_width
        has_audio, has_visual = modality_parts(modality)
        width = self.feature_width(modality, audio_width=audio_width, visual_width=visual_width)
        if has_audio:
            self.audio_projection = nn.Linear(audio_width, width)  # W_a, b_a
        if has_visual:
            self.visual_projection = nn.Linear(visual_width, width)  # W_v, b_v
        if has_audio and has_visual:
            self.audio_attention = nn.Linear(audio_width, width)  # U_a, c_a
            self.visual_attention = nn.Linear(visual_width, width)  # U_v, c_v
        self.head = head
        for name in CLASSIFIERS:
            self.register_buffer(name, None)
        self.workspace = Workspace()  # what one iteration of training leaves to the next

    class_means: Tensor | None
    """(C, D), for the nearest-mean classifier; None where another classifies."""
    answer_weight: Tensor | None
    """(C, D), with `answer_bias` a linear classifier that answers in place of the head; None where there is none."""
    answer_bias: Tensor | None
    """(C,)"""

    @staticmethod
    def feature_width(modality: Modality, *, audio_width: int, visual_width: int) -> int:
        """D: the picture's width, or the sound's where there is no picture."""
        return visual_width if "visual" in modality else audio_width

    @property
    def classes(self) -> int:
        return self.head.classes

    @property
    def input_widths(self) -> dict[str, int]:
        """Da and Dv of what it looks at."""
        has_audio, has_visual = modality_parts(self.modality)
        return ({"audio": self.audio_width} if has_audio else {}) | (
            {"visual": self.visual_width} if has_visual else {}
        )

    @property
    def answers(self) -> tuple[Modality, ...]:
        """What a clip may consist of."""
        return MODALITIES if self.modality == "audio-visual" else (self.modality,)

    def forward(
        self,
        audio: Tensor | None,
        visual: Tokens | None,
        *,
        maps: bool = False,
        old_spatial_log: Tokens | None = None,
    ) -> NetworkOutput:
        """One pass over audio (B, Da) and visual (B, T, S, Dv); the one that the modality lacks is not looked at.

        Where the audio-visual network is given one of them alone, the other's summand of h is left out, and without
        sound to guide it the attention is even: x = mean(V). `maps` asks for the spatial attention itself;
        `old_spatial_log` (n, T, S, Dv), an older model's for the last n clips, for the divergence from it, which
        needs no map of this one.
        """
        has_audio, has_visual = modality_parts(self.modality)
        audio, visual = audio if has_audio else None, visual if has_visual else None
        audio_feature = None if audio is None else F.relu(self.audio_projection(audio))
        visual_feature = None
        looked: dict[str, Tensor] = {}
        if audio is not None and visual is not None:
            looked = self._look(audio, visual, maps=maps, old_spatial_log=old_spatial_log)
            visual_feature = F.relu(self.visual_projection(looked["attended"]))
        elif visual is not None:
            mean = visual.mean(dim=(1, 2), dtype=self.visual_projection.weight.dtype)
            visual_feature = F.relu(self.visual_projection(mean))
        parts = [part for part in (audio_feature, visual_feature) if part is not None]
        if not parts:
            raise InputError(
                f"this network answers for clips with {', or '.join(self.answers)}, not with neither"
            )
        feature = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return NetworkOutput(
            logits=self.head(feature),
            feature=feature,
            audio_feature=audio_feature,
            visual_feature=visual_feature,
            **looked,
        )

    def _look(
        self, audio: Tensor, visual: Tokens, *, maps: bool, old_spatial_log: Tokens | None
    ) -> dict[str, Tensor]:
        query, keys = torch.tanh(self.audio_attention(audio)), self.visual_attention
        if maps and old_spatial_log is not None:
            raise ValueError("ask for the attention maps or for the divergence from old ones, not for both")
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
        """Scores (B, C): the head's, minus the squared distance of hat(h) to each class's exemplar mean, or those of
        the linear classifier set by `answer_by`."""
        if self.answer_weight is not None:
            return F.linear(output.feature, self.answer_weight, self.answer_bias)
        if self.class_means is not None:
            return -torch.cdist(F.normalize(output.feature, dim=1), self.class_means).square()
        return output.logits

    def answer_by(self, weight: Tensor, bias: Tensor) -> None:
        """Answer with weight (C, D) and bias (C,) from now on; the head stays as it is for training."""
        self.answer_weight, self.answer_bias = (
            tensor.detach().to(self.visual_or_audio.weight).clone(memory_format=torch.contiguous_format)
            for tensor in (weight, bias)
        )

    def answer_by_head(self) -> None:
        """Answer with the head's logits from now on."""
        for name in CLASSIFIERS:
            setattr(self, name, None)

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` gave; the head has as many classes already."""
        for name in CLASSIFIERS:
            found = tensors.get(name)
            own = (
                None if found is None else torch.empty_like(found, device=self.visual_or_audio.weight.device)
            )
            setattr(self, name, own)
        self.load_state_dict(tensors)

    @property
    def visual_or_audio(self) -> nn.Linear:
        """A projection that the network has."""
        return self.visual_projection if "visual" in self.modality else self.audio_projection

    def scores(self, audio: Tensor | None, visual: Tokens | None) -> Tensor:
        """Scores (B, C) of the classifier in use."""
        return self.classify(self(audio, visual))

    @property
    def classifier(self) -> str:
        """Who answers: the head, nearest class means, or a linear classifier beside the head."""
        if self.answer_weight is not None:
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
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    @classmethod
    def from_config(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Network:
        """Build the network that `to_config` and `tensors` describe.

        Raises:
            InputError: If they do not fit each other, or hold what no network has.
        """
        modality = checks.choice(config, "modality", MODALITIES)
        has_audio, has_visual = modality_parts(modality)
        widths = {"audio": checks.whole_number(config, "audio_width", least=1)} if has_audio else {}
        widths |= {"visual": checks.whole_number(config, "visual_width", least=1)} if has_visual else {}
        classifier = checks.choice(config, "classifier", ("head", "nearest-mean", "linear"))
        width = widths["visual" if has_visual else "audio"]
        head = checks.entry(config, "head")
        # Compared first: a network of the config's widths might take all memory.
        shapes = {f"head.{name}": shape for name, shape in head_shapes(head, width, tensors).items()}
        for name, own in widths.items():
            for kind in ("projection", "attention") if has_audio and has_visual else ("projection",):
                shapes |= {f"{name}_{kind}.weight": (width, own), f"{name}_{kind}.bias": (width,)}
        if classifier == "nearest-mean":
            shapes["class_means"] = (head["classes"], width)
        if classifier == "linear":
            shapes |= {"answer_weight": (head["classes"], width), "answer_bias": (head["classes"],)}
        dtypes = {tensor.dtype for tensor in tensors.values()}
        if len(dtypes) != 1:
            raise InputError("the tensors of a network are of one type")
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
