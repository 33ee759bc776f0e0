"""Every published value of one AV-CIL iteration, to 1e-9 relative in float64, with gradients.  The authors'
release computed the values in float64 on inputs generated from a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avcil.losses import (
    attention_divergence,
    audio_visual_log_similarity,
    class_similarity,
    instance_similarity,
    separated_softmax,
    taskwise_distillation,
)
from avcil.nn.head import LinearHead
from avcil.nn.network import Network

WIDTH = 768
FIGURES = json.loads((Path(__file__).parent / "av_cil.json").read_text())
MAPS = ["audio_projection", "visual_projection", "audio_attention", "visual_attention"]
NAMES = dict(zip(MAPS, ["audio_proj", "visual_proj", "attn_audio_proj", "attn_visual_proj"], strict=True))


def close(value, figure):
    np.testing.assert_allclose(np.asarray(value, dtype=np.float64), figure, rtol=1e-9, atol=0)


def draw_network(g: np.random.Generator, classes: int) -> Network:
    head = LinearHead(WIDTH)
    head.add_classes(classes)
    network = Network("audio-visual", audio_width=WIDTH, visual_width=WIDTH, head=head).double()
    for layer in [getattr(network, name) for name in MAPS] + [network.head]:
        out = len(layer.bias)
        weight = g.standard_normal((out, WIDTH)).astype(np.float32) / np.float32(np.sqrt(WIDTH))
        bias = (0.1 * g.standard_normal(out)).astype(np.float32)
        layer.weight.data = torch.from_numpy(weight.astype(np.float64))
        layer.bias.data = torch.from_numpy(bias.astype(np.float64))
    return network


@pytest.mark.parametrize("case", FIGURES, ids=lambda case: f"seed{case['seed']}")
def test_one_iteration(case):
    """Losses, logits, attention, features and gradient norms equal those of the release."""
    g = np.random.default_rng(case["seed"])
    n_new, n = case["n_new"], case["n_new"] + case["n_exemplars"]
    known = case["classes_per_step"] * case["step"]
    visual = g.standard_normal((n, 8 * case["spatial"], WIDTH)).astype(np.float32).astype(np.float64)
    audio = g.standard_normal((n, WIDTH)).astype(np.float32).astype(np.float64)
    labels = torch.from_numpy(
        np.concatenate(
            [
                g.integers(known, known + case["classes_per_step"], n_new),
                g.integers(0, known, case["n_exemplars"]),
            ]
        )
    )
    teacher, student = draw_network(g, known), draw_network(g, known + case["classes_per_step"])
    tokens, waveform = torch.from_numpy(visual).reshape(n, 8, case["spatial"], WIDTH), torch.from_numpy(audio)
    with torch.no_grad():
        old = teacher(waveform, tokens, maps=True)
    new = student(waveform, tokens, old_spatial_log=old.spatial_log[n_new:])
    terms = loss_terms(case, new, old, labels)
    assert set(terms) == set(case["losses"])
    for name, figure in case["losses"].items():
        close(terms[name].detach(), figure)
    logits = new.logits.detach()
    close(logits[0], case["logits_row0"])
    close(logits.sum(), case["logits_sum"])
    close(logits.abs().sum(), case["logits_abs_sum"])
    check_samples(case, student(waveform, tokens, maps=True))
    terms["total_release"].backward()
    for ours, theirs in NAMES.items():
        for part in ("weight", "bias"):
            close(getattr(getattr(student, ours), part).grad.norm(), case["grad_norms"][f"{theirs}.{part}"])
    close(student.head.weight.grad.norm(), case["grad_norms"]["classifier.weight"])
    close(student.head.bias.grad.norm(), case["grad_norms"]["classifier.bias"])


def loss_terms(case, new, old, labels):
    """Every loss term by its name in the file of values."""
    n_new = case["n_new"]
    known = case["classes_per_step"] * case["step"]
    log_similarity = audio_visual_log_similarity(
        new.audio_feature, new.visual_feature, temperature=case["temperature_contrastive"]
    )
    terms = {
        "ce": separated_softmax(new.logits, labels, new_count=n_new, known=known),
        "ce_new": torch.nn.functional.cross_entropy(new.logits[:n_new, known:], labels[:n_new] - known),
        "ce_exemplars": torch.nn.functional.cross_entropy(new.logits[n_new:, :known], labels[n_new:]),
        "kd": taskwise_distillation(
            new.logits,
            old.logits,
            task_sizes=[case["classes_per_step"]] * case["step"],
            temperature=case["temperature_kd"],
        ),
        "instance": instance_similarity(log_similarity),
        "class_release": class_similarity(log_similarity, labels, form="release"),
        "class_paper_eq7": class_similarity(log_similarity, labels, form="paper"),
        "vad_spatial": new.spatial_divergence.mean(),
        "vad_temporal": attention_divergence(new.temporal_log[n_new:], old.temporal_log[n_new:]),
    }
    terms["total_release"] = (
        terms["ce"]
        + terms["kd"]
        + case["lam_I"] * terms["instance"]
        + case["lam_C"] * terms["class_release"]
        + case["lam"] * terms["vad_spatial"]
        + (1 - case["lam"]) * terms["vad_temporal"]
    )
    return terms


def check_samples(case, output):
    spatial, temporal = (
        output.spatial_log.exp().detach(),
        output.temporal_log.exp().detach(),
    )
    close(spatial[0, 0, :, :3], case["spatial_attention_sample"])
    close(temporal[0, :, :3], case["temporal_attention_sample"])
    for ours, figure in (
        ("audio_feature", "audio_feature_row0_first5"),
        ("visual_feature", "visual_feature_row0_first5"),
    ):
        close(
            torch.nn.functional.normalize(getattr(output, ours), dim=1)[0, :5].detach(), case[figure]
        )  # unit length
