"""AV-CIL with other classifiers instead of its head, compared with computations from the same features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lock_step import SeparatedSoftmax, assert_lock_step, record_run
from plain_equations import cross_entropy, linear_scores, logits, plain_forward

from avcil.utils.rng import generator

NEITHER = ("lambda_instance=0", "lambda_class=0", "vad_spatial=false", "vad_temporal=false")


class Answering(SeparatedSoftmax):
    """Trains as AV-CIL without similarity and attention distillation; `answer` is the classifier after each step."""

    answer = "head"

    def __init__(self, recorded):
        super().__init__(recorded)
        self.past = []
        """For each step: features of its clips by the network of that step, and labels."""

    def h(self, rows):
        return plain_forward(self.w, self.a[rows], self.V[rows]).h

    def end(self):
        own = self.rows("train", range(self.known, self.total))
        self.past.append((self.h(own), self.y[own]))
        self.before = {label: list(rows) for label, rows in self.memory.items()}

    def scores(self, w, rows):
        return getattr(self, f"by_{self.answer}")(rows)

    def by_nme(self, rows):
        return self.mean_scores(self.w, rows, self.memory)

    def by_wa(self, rows):
        """The mean norm of each step's rows equals that of the first step's rows."""
        weight, start = self.w["head.weight"].clone(), 0
        first = weight[: self.sizes[0]].norm(dim=1).mean()
        for size in self.sizes[: self.index + 1]:
            own = weight[start : start + size]
            weight[start : start + size] = own * first / own.norm(dim=1).mean()
            start += size
        return linear_scores(self.w | {"head.weight": weight}, self.h(rows))

    def held(self):
        """One in ten exemplars, at least one, of each old class, and as many clips of each new class."""
        count = max(1, int(0.1 * min(len(rows) for rows in self.before.values())))
        draw, held = generator(0, "held out", self.index), []
        for label in range(self.total):
            is_old = label < self.known
            own = torch.tensor(self.before[label]) if is_old else self.rows("train", [label])
            held.append(own[torch.randperm(len(own), generator=draw)[:count]])
        return torch.cat(held)

    def by_bic(self, rows):
        """a and b of each later step, with an optimizer of PyTorch."""
        if not self.index:
            return logits(self.w, self.a[rows], self.V[rows])
        held = self.held()
        z, y = logits(self.w, self.a[held], self.V[held]), self.y[held]
        at = torch.tensor([[1.0, 0.0]] * self.index, dtype=torch.float64, requires_grad=True)
        descent = torch.optim.LBFGS(
            [at], max_iter=5000, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def corrected(z, at):
            first, *later = z.split(list(self.sizes[: self.index + 1]), dim=1)
            return torch.cat([first, *(a * part + b for (a, b), part in zip(at, later, strict=True))], dim=1)

        def loss():
            descent.zero_grad()
            value = cross_entropy(corrected(z, at), y) + 1e-4 * (at**2).sum()
            value.backward()
            return value

        descent.step(loss)
        return corrected(logits(self.w, self.a[rows], self.V[rows]), at.detach())

    def by_blade_exemplars(self, rows):
        chosen = torch.tensor([row for rows in self.memory.values() for row in rows])
        return self.by_estimator(self.h(chosen), self.y[chosen], rows)

    def by_blade_statistics(self, rows):
        h, y = (torch.cat(parts) for parts in zip(*self.past, strict=True))
        return self.by_estimator(h, y, rows)

    def by_estimator(self, h, y, rows):
        """One-hot predictions of the scikit-learn estimator, fitted to all features at once."""
        from avcil import Blade

        predicted = Blade().fit(h.numpy(), y.numpy()).predict(self.h(rows).numpy())
        return torch.from_numpy(np.eye(self.total)[predicted])


@pytest.mark.parametrize("name", ["nme", "wa", "bic", "blade-exemplars", "blade-statistics"])
def test_predictions(name, store, tmp_path):
    """Training equals that with the head to 1e-8; after each step, predictions are those of the classifier."""
    if name.startswith("blade"):
        pytest.importorskip("sklearn")
    recorded = record_run(store, tmp_path, "av-cil", *NEITHER, f"classifier={name}", exemplars_per_class=4)
    transcription = Answering(recorded)
    transcription.answer = name.replace("-", "_")
    assert_lock_step(recorded, transcription)


def test_bic_holds_clips_out(store, tmp_path):
    """The clips that the correction is fitted to are in no batch of the step."""
    options = (*NEITHER, "classifier=bic")
    recorded = record_run(store, tmp_path, "av-cil", *options, exemplars_per_class=4, exemplar_batch_size=2)
    transcription = Answering(recorded)
    transcription.answer = "bic"
    transcription.run()
    last = recorded.steps[2].batches
    trained = {int(row) for epoch in last for rows, _ in epoch for row in rows}
    assert not trained & set(transcription.held().tolist())
    assert len(transcription.held()) == 6


def test_only_bic_changes_training(store, tmp_path):
    """For other classifiers, training equals that with the head."""
    losses = {
        name: record_run(
            store, tmp_path / name, "av-cil", f"classifier={name}", exemplars_per_class=3, epochs=2
        ).losses()
        for name in ("head", "nme", "wa", "blade-exemplars", "blade-statistics", "bic")
    }
    assert all(losses[name] == losses["head"] for name in losses if name != "bic")
    assert losses["bic"] != losses["head"]
