"""AV-CIL: separated softmax, task-wise distillation, D-AVSC and VAD. Pian et al., ICCV 2023 (arXiv 2308.11073).

    total = L_CE + L_KD + lambda_I L_I + lambda_C L_C + lambda L_s + (1 - lambda) L_t

from step 1 on; the loss of step 0 is the cross-entropy. With one modality there is neither similarity nor attention,
so the loss is L_CE + L_KD.

The separated softmax never compares new classes with old ones. The option `classifier` selects another classifier
after a step; training, with the head, is the same (except for the clips that `bic` holds out).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avcil.closed_form.class_moments import ClassMoments
from avcil.data.modality import Modality
from avcil.losses import (
    attention_divergence,
    audio_visual_log_similarity,
    class_similarity,
    instance_similarity,
)
from avcil.losses.similarity import ClassForm
from avcil.methods._bias_correction import held_rows, rows_without
from avcil.methods._head_classifiers import (
    add_step,
    aligned_head,
    blade_classifier,
    corrected_head,
    exemplar_classifier,
)
from avcil.methods.ss_il import SsIl, SsIlOptions
from avcil.methods.step import Batch, Step
from avcil.nn.network import Network, NetworkOutput
from avcil.utils.options import check_range

Classifier = Literal["head", "nme", "wa", "bic", "blade-exemplars", "blade-statistics"]
_HELD_OUT = 0.1
"""Fraction of each class's exemplars that `classifier=bic` holds out of training, at least one clip."""


@dataclass(frozen=True, kw_only=True)
class AvCilOptions(SsIlOptions):
    """Options of AV-CIL; the default weights are those of the authors' release for AVE."""

    lambda_instance: float = 0.5
    """Weight of the instance-aware similarity; the release has 0.5 for AVE, 0.1 for the other benchmarks. 0: off."""
    lambda_class: float = 1.0
    """Weight of the class-aware similarity. 0: off."""
    class_form: ClassForm = "release"
    """Class-aware similarity as in the paper's Eq. 7, or as in the release, for which lambda_class = 1 was tuned."""
    vad_balance: float = 0.5
    """lambda: weight of spatial distillation; temporal distillation has weight 1 - lambda."""
    vad_spatial: bool = True
    """Distill spatial attention."""
    vad_temporal: bool = True
    """Distill temporal attention."""
    temperature_similarity: float = 0.05
    """Temperature tau of the similarity softmax."""
    classifier: Classifier = "head"
    """Classifier after a step: the head (as published); nme: the nearest exemplar mean; wa: the head, rows of later
    steps scaled to the first step's mean norm; bic: the head, logits of later steps corrected on a tenth of the clips;
    blade-exemplars: BLADE on the features of all exemplars; blade-statistics: BLADE on statistics of all clips, those
    of old classes with the features of their own step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "lambda_instance", "lambda_class", least=0)
        check_range(self, "vad_balance", least=0, most=1)
        check_range(self, "temperature_similarity", above=0)


def _spatial(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    output = network(batch.audio, batch.visual, maps=True)
    assert output.spatial_log is not None
    return (output.spatial_log,)


def _temporal(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    output = network(batch.audio, batch.visual)
    assert output.temporal_log is not None
    return (output.temporal_log,)


class AvCil(SsIl):
    """The loss of SS-IL with audio-visual similarity constraints and attention distillation."""

    name = "av-cil"
    summary = "rehearsal with audio-visual similarity constraints and attention distillation (ICCV 2023)"
    Options = AvCilOptions

    def __init__(self, options: AvCilOptions, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.statistics: ClassMoments | None = None
        """Of the features h of all clips, each by the network of its step; for `blade-statistics`."""

    @property
    def classifier(self) -> Literal["head", "nearest-mean"]:
        return "nearest-mean" if self.options.classifier == "nme" else "head"

    def trained_rows(self, step: Step) -> Tensor | None:
        if step.index == 0 or self.options.classifier != "bic":
            return None
        return rows_without(step, held_rows(step, _HELD_OUT))

    def end_step(self, step: Step) -> None:
        """Set the classifier."""
        name = self.options.classifier
        if name == "blade-statistics":
            self.statistics = add_step(self.statistics, step)
            step.network.set_classifier(*blade_classifier(self.statistics))
        elif name == "blade-exemplars":
            assert step.next_exemplars is not None
            step.network.set_classifier(*exemplar_classifier(step, step.next_exemplars))
        elif name == "wa":
            step.network.set_classifier(*aligned_head(step))
        elif name == "bic":
            step.network.set_classifier(*corrected_head(step, _HELD_OUT))

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.statistics is None else self.statistics.tensors()

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.statistics = None
        if tensors:
            means = tensors.get("means", torch.empty(0))
            self.statistics = ClassMoments((0, *means.shape)[-1])
            self.statistics.load(tensors)

    @property
    def uses_teacher_attention(self) -> bool:
        return self.options.vad_spatial and self.modality is Modality.AUDIO_VISUAL

    def forward(self, batch: Batch, step: Step) -> NetworkOutput:
        """If spatial attention is distilled, the output has the divergence from the teacher's for the exemplars."""
        if not (self.options.vad_spatial and self._distils(batch, step)):
            return super().forward(batch, step)
        assert step.teacher is not None
        (spatial,) = step.teacher.cached_rows("spatial attention", _spatial, batch.exemplars())
        return step.network(batch.audio, batch.visual, old_spatial_log=spatial)

    def _distils(self, batch: Batch, step: Step) -> bool:
        """Whether attention is distilled: there is a teacher, both modalities, and exemplars in the batch."""
        has_attention = step.teacher is not None and self.modality is Modality.AUDIO_VISUAL
        return has_attention and batch.new_count < len(batch.labels)

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = super().loss(output, batch, step)
        if step.teacher is not None and self.modality is Modality.AUDIO_VISUAL:
            terms |= self._similarity(output, batch) | self._attention_distillation(output, batch, step)
        return terms

    def _similarity(self, output: NetworkOutput, batch: Batch) -> dict[str, Tensor]:
        options = self.options
        assert output.audio_feature is not None
        assert output.visual_feature is not None
        log_similarity = audio_visual_log_similarity(
            output.audio_feature, output.visual_feature, temperature=options.temperature_similarity
        )
        terms = {}
        if options.lambda_instance:
            terms["instance_similarity"] = options.lambda_instance * instance_similarity(log_similarity)
        if options.lambda_class:
            similarity = class_similarity(log_similarity, batch.labels, form=options.class_form)
            terms["class_similarity"] = options.lambda_class * similarity
        return terms

    def _attention_distillation(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        options, terms = self.options, {}
        if options.vad_spatial and self._distils(batch, step):
            assert output.spatial_divergence is not None
            terms["spatial_distillation"] = options.vad_balance * output.spatial_divergence.mean()
        if options.vad_temporal and self._distils(batch, step):
            assert output.temporal_log is not None
            assert step.teacher is not None
            (temporal,) = step.teacher.cached("temporal attention", _temporal, batch.exemplars())
            divergence = attention_divergence(output.temporal_log[batch.new_count :], temporal)
            terms["temporal_distillation"] = (1 - options.vad_balance) * divergence
        return terms
