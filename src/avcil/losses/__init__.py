"""Losses: pure functions of tensors, each with its equation and source."""

from avcil.losses.attention_distillation import attention_divergence
from avcil.losses.discrepancy import discrepancy, importance_weights
from avcil.losses.distillation import soft_cross_entropy, taskwise_distillation
from avcil.losses.icarl_distillation import icarl_distillation
from avcil.losses.nca import nca_loss, nca_margin_loss
from avcil.losses.separated_softmax import separated_softmax
from avcil.losses.similarity import audio_visual_log_similarity, class_similarity, instance_similarity

__all__ = [
    "attention_divergence",
    "audio_visual_log_similarity",
    "class_similarity",
    "discrepancy",
    "icarl_distillation",
    "importance_weights",
    "instance_similarity",
    "nca_loss",
    "nca_margin_loss",
    "separated_softmax",
    "soft_cross_entropy",
    "taskwise_distillation",
]
