"""A run of AV-CIL compared with an independent implementation in plain PyTorch, step by step in float64.  The
implementation shares with the run the clips, rows of batches, exemplars and initial weights; the equations
of network, losses and optimizer are in `plain_equations`; D-AVSC, VAD, growth, teacher and accuracy are
here. B clips, T slices, S tokens, D width, C classes."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from plain_equations import (
    DECAY,
    LEARNING_RATE,
    PlainAdam,
    cross_entropy,
    linear_scores,
    logits,
    plain_forward,
    probabilities,
    taskwise,
    unit,
)

from avcil.features import FeatureStore
from avcil.saved_models.folder import load_tensors
from avcil.training import gradient
from avcil.training.config import TrainConfig
from avcil.training.run import Run

OPTIONS = ("lambda_instance=0.3", "lambda_class=0.7", "vad_balance=0.4")
LAMBDA_I, LAMBDA_C, LAMBDA = 0.3, 0.7, 0.4
TAU = 0.05


def plain_loss(w, old, a, V, y, n_c, sizes):
    """The specification's total, term by term; `old` has the teacher's weights, None at step 0."""
    now = plain_forward(w, a, V)
    z = linear_scores(w, now.h)
    if old is None:
        return cross_entropy(z, y)
    N, n_e, K_old = len(y), len(y) - n_c, sum(sizes[:-1])
    total = (
        n_c * cross_entropy(z[:n_c, K_old:], y[:n_c] - K_old) + n_e * cross_entropy(z[n_c:, :K_old], y[n_c:])
    ) / N
    with torch.no_grad():
        before = plain_forward(old, a, V)
    total = total + taskwise(z, linear_scores(old, before.h), sizes[:-1])
    log_g = torch.log(probabilities(unit(now.f_a) @ unit(now.f_v).T / TAU))
    for i in range(N):
        total = total - LAMBDA_I * log_g[i, i] / N
        for j in range(N):
            if y[i] == y[j]:
                total = total - LAMBDA_C * log_g[i, j] / N**2  # the release's form
    A_s, A_t, A_s_old, A_t_old = now.A_s[n_c:], now.A_t[n_c:], before.A_s[n_c:], before.A_t[n_c:]
    spatial = (A_s_old * (A_s_old / A_s).log()).sum() / n_e
    temporal = (A_t_old * (A_t_old / A_t).log()).sum() / n_e
    return total + LAMBDA * spatial + (1 - LAMBDA) * temporal


def plain_run(store, recorded, sizes, epochs):
    """Losses of every epoch and the accuracy matrix, with the rows of the run's batches."""
    clips = FeatureStore(store).clips
    everything = range(len(clips))
    features = FeatureStore(store)
    a = torch.from_numpy(features.audio(np.array(everything))).double()
    V = torch.from_numpy(features.visual(np.array(everything))).double()
    y = torch.tensor([int(clip.label[1:]) for clip in clips])
    of_split = {s: torch.tensor([clip.split == s for clip in clips]) for s in ("train", "val", "test")}
    losses, matrix, w, old = [], [], {}, None
    for step, record in enumerate(recorded):
        seen = sum(sizes[: step + 1])
        old = dict(w) if step else None
        start = record["start"]
        w = {name: w[name] if name in w and "head" not in name else start[name].clone() for name in start}
        for name in ("head.weight", "head.bias"):
            if old is not None:
                w[name] = torch.cat([old[name], start[name][len(old[name]) :]])
        adam, best, best_w = PlainAdam(w), -1.0, None
        for epoch in range(epochs):
            sums = []
            for rows, n_c in record["batches"][epoch]:
                w = {name: value.detach().requires_grad_(True) for name, value in w.items()}
                loss = plain_loss(w, old, a[rows], V[rows], y[rows], n_c, sizes[: step + 1])
                gradients = dict(zip(w, torch.autograd.grad(loss, list(w.values())), strict=True))
                w = {name: value.detach() for name, value in w.items()}
                adam.step(w, gradients)
                sums.append(float(loss.detach()))
            losses.append(math.fsum(sums) / len(sums))
            held = of_split["val"] & (y < seen)
            accuracy = float((logits(w, a[held], V[held]).argmax(dim=1) == y[held]).double().mean())
            if accuracy > best:
                best, best_w = accuracy, dict(w)
        w = best_w
        row = []
        for task in range(step + 1):
            first = sum(sizes[:task])
            tested = of_split["test"] & (y >= first) & (y < first + sizes[task])
            row.append(float((logits(w, a[tested], V[tested]).argmax(dim=1) == y[tested]).double().mean()))
        matrix.append(row)
    return losses, matrix, w


@pytest.fixture(scope="module")
def recorded_run(store, tmp_path_factory):
    """A run in float64 with the rows of its batches and the initial weights of its steps."""
    out = tmp_path_factory.mktemp("plain")
    sizes, epochs = (3, 1, 2), 4
    steps = out / "steps.json"
    steps.write_text(json.dumps([["c0", "c1", "c2"], ["c3"], ["c4", "c5"]]))
    config = TrainConfig(
        features=store,
        out=out / "run",
        method="av-cil",
        steps=steps,
        set=OPTIONS,
        epochs=epochs,
        batch_size=7,
        exemplar_batch_size=4,
        exemplars_per_class=3,
        learning_rate=LEARNING_RATE,
        weight_decay=DECAY,
        precision="float64",
    )
    recorded = []
    original = gradient.batches

    def record(method, step, settings, epoch, *, whole):
        if epoch == 0:
            start = {name: value.clone() for name, value in step.network.tensors().items()}
            recorded.append({"start": start, "batches": []})
        taken = []
        for batch in original(method, step, settings, epoch, whole=whole):
            taken.append((torch.from_numpy(step.pool._rows)[batch.rows], batch.new_count))
            yield batch
        recorded[-1]["batches"].append(taken)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient, "batches", record)
        results = Run(config, quiet=True).finish()
    return out / "run", results, recorded, sizes, epochs


def test_run_equals_plain_loop(store, recorded_run):
    """Losses of every epoch to 1e-9, the last weights to 1e-8, and the accuracy matrix exactly."""
    out, _, recorded, sizes, epochs = recorded_run
    losses, matrix, weights = plain_run(store, recorded, sizes, epochs)
    logged = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert logged == pytest.approx(losses, rel=1e-9, abs=1e-9)
    with open(out / "accuracy_matrix.csv", newline="") as file:
        rows = [[float(cell) for cell in row[1:] if cell] for row in list(csv.reader(file))[2:]]
    assert rows == matrix
    saved = load_tensors(out / "model" / "model.safetensors")
    assert saved.keys() == weights.keys()
    for name in saved:
        torch.testing.assert_close(saved[name], weights[name], rtol=1e-8, atol=1e-8)


def test_exemplars_of_the_run(recorded_run, store):
    """The exemplars in the batches are those saved by the previous step, and all are training clips."""
    out, _, recorded, sizes, _ = recorded_run
    clips = FeatureStore(store).clips
    for step, record in enumerate(recorded):
        old = {
            clips[int(row)].clip_id
            for epoch in record["batches"]
            for rows, n_c in epoch
            for row in rows[n_c:]
        }
        new = {clips[int(row)] for epoch in record["batches"] for rows, n_c in epoch for row in rows[:n_c]}
        assert all(clip.split == "train" for clip in new)
        assert {int(clip.label[1:]) for clip in new} == set(range(sum(sizes[:step]), sum(sizes[: step + 1])))
        if step:
            kept = json.loads((out / "checkpoints" / f"step_{step - 1}" / "state.json").read_text())[
                "exemplars"
            ]
            assert old <= {clip_id for ids in kept.values() for clip_id in ids}
        else:
            assert not old
