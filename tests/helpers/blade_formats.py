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
    tests = {name: strip_prefix(f"head.{name}.unknown", tensors) for name in width}
    blocks = [unpacked(tests[name]["inverse"], size) for name, size in width.items()]
    joint = {
        "inverse": packed(torch.block_diag(*blocks)),
        "weight": torch.cat([own["weight"] for own in tests.values()]),
        "bias": torch.stack([own["bias"] for own in tests.values()]).sum(dim=0),
    }
    return tensors | add_prefix("head.audio-visual.unknown", joint)


def heads_of_class_means(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the tensors of a model to those of format 5, whose heads have the scores of class means alone."""
    saved = dense_unknown_test(tensors)
    for name in ("audio", "visual", "audio-visual"):
        for part in ("weight", "bias"):
            saved[f"head.{name}.{part}"] = saved.pop(f"head.{name}.unknown.{part}")
    del saved["head.audio-visual.unknown.inverse"]
    return saved
