"""ER, DER++, GDumb, WA, BiC and EWC compared with implementations of their equations: weights to 1e-8."""

from __future__ import annotations

import pytest
import torch
from lock_step import Transcription, assert_lock_step, record_run
from plain_equations import cross_entropy, linear_scores, logits, plain_forward, probabilities

from avcil.utils.rng import generator


class PlainLogits(Transcription):
    """Cross-entropy over all classes."""

    def z(self, w, rows):
        return linear_scores(w, plain_forward(w, self.a[rows], self.V[rows]).h)

    def loss(self, w, rows, n_c):
        return cross_entropy(self.z(w, rows), self.y[rows])


def test_er(store, tmp_path):
    """Cross-entropy on new clips and exemplars together."""
    recorded = record_run(store, tmp_path, "er", exemplars=12)
    assert_lock_step(recorded, PlainLogits(recorded))
    (rows, n_c), *_ = recorded.steps[1].batches[0]
    assert len(rows) - n_c == 4


class DerPlusPlus(PlainLogits):
    """Logits are stored when an exemplar is selected, and never updated."""

    def __init__(self, recorded):
        super().__init__(recorded)
        self.stored = {}

    def loss(self, w, rows, n_c):
        total = cross_entropy(self.z(w, rows[:n_c]), self.y[rows[:n_c]])
        exemplars = rows[n_c:]
        if not len(exemplars):
            return total
        half = -(-len(exemplars) // 2)
        first, second = exemplars[:half], exemplars[len(exemplars) - half :]
        squares = [
            (z[: len(self.stored[int(row)])] - self.stored[int(row)]).square()
            for z, row in zip(self.z(w, first), first, strict=True)
        ]
        total = total + 0.3 * torch.cat(squares).mean()
        return total + 0.6 * cross_entropy(self.z(w, second), self.y[second])

    def remember(self):
        for rows in self.memory.values():
            for row in rows:
                if row not in self.stored:
                    self.stored[row] = logits(self.w, self.a[[row]], self.V[[row]])[0]


def test_der_plus_plus(store, tmp_path):
    """Stored logits, of two steps and lengths, and labels, on the two halves of a batch's exemplars."""
    options = ("alpha=0.3", "beta=0.6")
    recorded = record_run(store, tmp_path, "der-plus-plus", *options, exemplars=12, exemplar_batch_size=5)
    assert_lock_step(recorded, DerPlusPlus(recorded))


class Gdumb(PlainLogits):
    """Each step starts with new weights."""

    starts_afresh = True

    def start(self, w, record):
        if self.index:
            assert not torch.allclose(w["audio_projection.weight"], self.old["audio_projection.weight"])


def test_gdumb(store, tmp_path):
    """Every batch has clips of the memory after the step, each at most once per epoch."""
    recorded = record_run(store, tmp_path, "gdumb", exemplars=14, batch_size=2)
    transcription = Gdumb(recorded)
    assert_lock_step(recorded, transcription)
    for step, record in enumerate(recorded.steps):
        kept = [clip_id for ids in recorded.exemplars(step).values() for clip_id in ids]
        for epoch in record.batches:
            taken = [transcription.clips[int(row)].clip_id for rows, _ in epoch for row in rows]
            assert len(set(taken)) == len(taken) == len(kept) // 2 * 2
            assert set(taken) <= set(kept)


class Wa(PlainLogits):
    """Distillation with T = 2, weights of the head of at least 0, then aligned rows of the new classes."""

    herds = True
    clips_weights = True

    def constrain(self, w):
        if self.clips_weights:
            w["head.weight"] = torch.where(w["head.weight"] < 0, 0.0, w["head.weight"])

    def loss(self, w, rows, n_c):
        z = self.z(w, rows)
        if not self.index:
            return cross_entropy(z, self.y[rows])
        q = probabilities(logits(self.old, self.a[rows], self.V[rows]) / 2)
        distillation = -(q * probabilities(z[:, : self.known] / 2).log()).sum(dim=1).mean()
        share = self.known / self.total
        return (1 - share) * cross_entropy(z, self.y[rows]) + share * distillation

    def end(self):
        if self.index:
            rows = [row / row.norm() for row in self.w["head.weight"]]
            norms = [float(row.norm()) for row in self.w["head.weight"]]
            old, new = norms[: self.known], norms[self.known :]
            factor = (sum(old) / len(old)) / (sum(new) / len(new))
            scaled = [
                row * norm * (factor if c >= self.known else 1)
                for c, (row, norm) in enumerate(zip(rows, norms, strict=True))
            ]
            self.w["head.weight"] = torch.stack(scaled)


@pytest.mark.parametrize("clips_weights", [True, False])
def test_wa(clips_weights, store, tmp_path):
    """The aligned network is evaluated, saved, and used as the teacher of the next step."""
    recorded = record_run(store, tmp_path, "wa", f"clip_weights={clips_weights}", exemplars=12)
    transcription = Wa(recorded)
    transcription.clips_weights = clips_weights
    assert_lock_step(recorded, transcription)


class Bic(Wa):
    """The same loss without the held-out clips; a and b by bisection of the derivative, alternately."""

    clips_weights = False

    def held(self):
        fewest = min(
            [len(rows) for rows in self.memory.values()]
            + [len(self.rows("train", [c])) for c in range(self.known)]
        )
        count = max(1, int(0.25 * fewest))
        draw = generator(0, "held out", self.index)
        held = []
        for label in range(self.total):
            own = torch.tensor(self.memory[label]) if label < self.known else self.rows("train", [label])
            held.append(own[torch.randperm(len(own), generator=draw)[:count]])
        return torch.cat(held)

    def end(self):
        if not self.index:
            return
        rows = self.held()
        for epoch in self.recorded.steps[self.index].batches:
            trained = torch.cat([batch for batch, _ in epoch])
            assert not torch.isin(trained, rows).any()
        z, y = logits(self.w, self.a[rows], self.V[rows]), self.y[rows]
        at = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
        descent = torch.optim.LBFGS(
            [at], lr=1, max_iter=2000, tolerance_grad=1e-14, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def loss():
            descent.zero_grad()
            corrected = torch.cat([z[:, : self.known], at[0] * z[:, self.known :] + at[1]], dim=1)
            value = cross_entropy(corrected, y) + 1e-4 * (at**2).sum()
            value.backward()
            return value

        descent.step(loss)
        a, b = at.detach()
        new = torch.arange(self.total) >= self.known
        self.w["head.weight"] = torch.where(new[:, None], a * self.w["head.weight"], self.w["head.weight"])
        self.w["head.bias"] = torch.where(new, a * self.w["head.bias"] + b, self.w["head.bias"])


def test_bic(store, tmp_path):
    """Held-out clips are not trained on; the correction minimizes their cross-entropy and is kept with the head."""
    recorded = record_run(store, tmp_path, "bic", "held_out=0.25", exemplars=18, batch_size=5)
    assert_lock_step(recorded, Bic(recorded), rtol=1e-5)


class Ewc(PlainLogits):
    """The penalty with the gradient of each clip."""

    def __init__(self, recorded):
        super().__init__(recorded)
        self.fisher, self.anchor = {}, {}

    def loss(self, w, rows, n_c):
        total = super().loss(w, rows, n_c)
        for name, fisher in self.fisher.items():
            total = total + 3 * (fisher * (w[name][: len(fisher)] - self.anchor[name]) ** 2).sum()
        return total

    def end(self):
        names, rows = list(self.w), self.rows("train", range(self.known, self.total))
        fisher = {name: torch.zeros_like(self.w[name]) for name in names}
        for row in rows:
            w = {name: self.w[name].clone().requires_grad_() for name in names}
            likelihood = torch.log(probabilities(self.z(w, row[None])))[0, self.y[row]]
            gradients = torch.autograd.grad(likelihood, [w[name] for name in names])
            for name, g in zip(names, gradients, strict=True):
                fisher[name] += g**2 / len(rows)
        for name, before in self.fisher.items():
            fisher[name][: len(before)] += 0.7 * before
        self.fisher, self.anchor = fisher, dict(self.w)


def test_ewc(store, tmp_path):
    """The decayed Fisher information of all steps weights changes from the last step's weights."""
    recorded = record_run(store, tmp_path, "ewc", "penalty=6", "decay=0.7")
    assert_lock_step(recorded, Ewc(recorded))


@pytest.mark.parametrize("method", ["der-plus-plus", "ewc"])
def test_stored_statistics_are_counted(method, store, tmp_path):
    """Stored logits and Fisher information are part of the stored bytes."""
    from avcil.experiments.footprint import footprint
    from avcil.features import FeatureStore

    recorded = record_run(store, tmp_path, method, epochs=1, **({"exemplars": 12} if method != "ewc" else {}))
    kept = footprint(recorded.out, FeatureStore(store))
    if method == "der-plus-plus":
        assert (
            kept.statistics == 12 * 6 * 8 + 12 * 8
        )  # float64 logits of 6 classes, and the number of known classes
    else:
        weights = sum(t.numel() * 8 for n, t in recorded.tensors(2).items() if not n.startswith("method."))
        assert kept.statistics == 2 * weights
