"""Every published value of iCaRL, SS-IL, LwF, herding and AFC, to 1e-9 relative in float64.  The authors'
release computed the values in float64 on inputs generated from a seed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avcil.losses import (
    discrepancy,
    icarl_distillation,
    importance_weights,
    nca_loss,
    separated_softmax,
    taskwise_distillation,
)
from avcil.methods.afc import layers, teacher_layers
from avcil.methods.exemplars import choose_by_herding
from avcil.methods.step import Batch
from avcil.nn.head import LinearHead
from avcil.nn.network import Network
from avcil.nn.proxy_head import ProxyHead

WIDTH = 768
LINEAR, AFC = json.loads((Path(__file__).parent / "baselines.json").read_text())
MAPS = ["audio_projection", "visual_projection", "audio_attention", "visual_attention"]


def close(value, figure):
    np.testing.assert_allclose(np.asarray(value, dtype=np.float64), figure, rtol=1e-9, atol=0)


def draw(case):
    """Inputs, labels, and the old and the new network, generated as described in the file of reference values."""
    g = np.random.default_rng(case["seed"])
    n = case["n_new"] + case["n_exemplars"]
    per_step = case["classes_per_step"]
    known = per_step * case["step"]
    visual = g.standard_normal((n, 8 * case["spatial"], WIDTH)).astype(np.float32).astype(np.float64)
    audio = g.standard_normal((n, WIDTH)).astype(np.float32).astype(np.float64)
    labels = [g.integers(known, known + per_step, case["n_new"]), g.integers(0, known, case["n_exemplars"])]
    batch = Batch(
        audio=torch.from_numpy(audio),
        visual=torch.from_numpy(visual).reshape(n, 8, case["spatial"], WIDTH),
        labels=torch.from_numpy(np.concatenate(labels)),
        rows=torch.arange(n),
        new_count=case["n_new"],
    )
    return batch, draw_network(g, known), draw_network(g, known + per_step)


def draw_network(g: np.random.Generator, classes: int) -> Network:
    head = LinearHead(WIDTH)
    head.add_classes(classes)
    network = Network("audio-visual", audio_width=WIDTH, visual_width=WIDTH, head=head).double()
    for layer in [getattr(network, name) for name in MAPS] + [network.head]:
        out = len(layer.bias)
        weight = g.standard_normal((out, WIDTH)).astype(np.float32) / np.float32(np.sqrt(WIDTH))
        layer.weight.data = torch.from_numpy(weight.astype(np.float64))
        bias = (0.1 * g.standard_normal(out)).astype(np.float32)
        layer.bias.data = torch.from_numpy(bias.astype(np.float64))
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def linear():
    batch, old, new = draw(LINEAR)
    return batch, old(batch.audio, batch.visual), new(batch.audio, batch.visual)


KNOWN = LINEAR["classes_per_step"] * LINEAR["step"]
TASKS = [LINEAR["classes_per_step"]] * LINEAR["step"]


def test_icarl(linear):
    """Cross-entropy over all classes and both forms of the distillation."""
    batch, old, new = linear
    ce = F.cross_entropy(new.logits, batch.labels)
    release, original = (
        icarl_distillation(new.logits[:, :KNOWN], old.logits, form=form) for form in ("release", "original")
    )
    close(ce, LINEAR["icarl"]["ce"])
    close(release, LINEAR["icarl"]["distill_release_double_sigmoid"])
    close(original, LINEAR["icarl"]["distill_standard"])
    close(ce + release, LINEAR["icarl"]["release_total"])


def test_ss_il(linear):
    """Separated softmax and task-wise distillation over all clips."""
    batch, old, new = linear
    ce = separated_softmax(new.logits, batch.labels, new_count=batch.new_count, known=KNOWN)
    close(ce, LINEAR["ssil"]["ce"])
    close(taskwise_distillation(new.logits, old.logits, task_sizes=TASKS), LINEAR["ssil"]["kd"])


def test_lwf(linear):
    """The same distillation, and cross-entropy over the new classes, on new clips only."""
    batch, old, new = linear
    n = batch.new_count
    figures = LINEAR["lwf_on_new_samples_only"]
    close(F.cross_entropy(new.logits[:n, KNOWN:], batch.labels[:n] - KNOWN), figures["ce"])
    close(taskwise_distillation(new.logits[:n], old.logits[:n], task_sizes=TASKS), figures["kd"])


def test_herding(linear):
    """The order equals that of the release until the release selects a clip twice."""
    _, _, new = linear
    figure = LINEAR["herding_first6_all_samples_one_class_release_allows_repeats"]
    assert choose_by_herding(new.feature, 6, repeats=True) == figure
    assert len(set(figure)) == 6
    assert choose_by_herding(new.feature, 6) == figure


def proxy_head(proxies: np.ndarray, known: int) -> ProxyHead:
    head = ProxyHead(WIDTH, proxies=10).double()
    classes = len(proxies) // 10
    head.add_classes(known)
    head.add_classes(classes - known)
    everything = torch.from_numpy(proxies).reshape(classes, 10, WIDTH)
    saved = {"frozen": everything[:known], "learning": everything[known:], "scale": torch.tensor(1.0)}
    head.load_state_dict(saved)
    return head.requires_grad_(False)


def test_afc():
    """Scores, NCA loss of both models, importance, discrepancy, and the total at step 2; steps are counted from 0."""
    batch, old, new = draw(AFC)
    figures = AFC["afc"]
    known = AFC["classes_per_step"] * AFC["step"]
    g = np.random.default_rng(AFC["seed"] + 1000)
    known_proxies = g.standard_normal((10 * known, WIDTH)) / math.sqrt(WIDTH)
    new_proxies = g.standard_normal((10 * AFC["classes_per_step"], WIDTH)) / math.sqrt(WIDTH)
    new.head = proxy_head(np.concatenate([known_proxies, new_proxies]), known)
    old.head = proxy_head(np.concatenate([known_proxies, new_proxies[::-1]]), known)
    output, before = new(batch.audio, batch.visual), old(batch.audio, batch.visual)
    *teacher, norms = teacher_layers(old, batch)
    nca = nca_loss(output.logits, batch.labels).mean()
    parts = zip(layers(output), teacher, importance_weights(norms).T, strict=True)
    disc = sum(discrepancy(feature, frozen, weight) for feature, frozen, weight in parts)
    close(output.logits[0], figures["logits_row0"])
    close(nca, figures["nca_new"])
    close(nca_loss(before.logits, batch.labels).mean(), figures["nca_teacher"])
    close(norms[0] / len(batch.labels), figures["importance_row0"])  # of the mean loss
    close(disc, figures["discrepancy"])
    close(nca + AFC["lam_disc"] * math.sqrt(AFC["step"] + 1) * disc, figures["total"])
