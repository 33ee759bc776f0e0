"""Tensors of BLADE as model format 3 stores them."""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.symmetric import packed, unpacked
from avcil.utils.tensor_names import add_prefix, strip_prefix


def format_3(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the saved statistics of an audio-visual BLADE that learned complete clips only.

    Format 3 has the moments of all features together. Products of audio and visual features, which are not stored any
    more, are 0 here; no version uses them.
    """
    saved = strip_prefix("moments", tensors)
    audio, visual = (_moments(strip_prefix(name, saved)) for name in ("audio", "visual"))
    joint = ClassMoments(0)
    joint.counts = tensors["complete_counts"]
    joint.means = torch.cat([audio.means, visual.means], dim=1)
    joint.within = torch.block_diag(audio.within, visual.within)
    others = {name: value for name, value in tensors.items() if not name.startswith(("moments.", "complete"))}
    return others | add_prefix("moments", joint.tensors())


def _moments(tensors: dict[str, Tensor]) -> ClassMoments:
    moments = ClassMoments(tensors["means"].shape[1])
    moments.load(tensors)
    return moments


def dense_unknown_test(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the tensors of a model: the unknown test of both modalities has its own block-diagonal matrix."""
    width = {name: len(tensors[f"head.{name}.columns"]) for name in ("audio", "visual")}
    blocks = [unpacked(tensors[f"head.{name}.unknown.inverse"], size) for name, size in width.items()]
    return tensors | {"head.audio-visual.unknown.inverse": packed(torch.block_diag(*blocks))}
