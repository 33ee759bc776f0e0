"""PODNet compared with an independent implementation, and its two forms of the NCA loss."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lock_step import assert_lock_step, record_run
from plain_equations import herd, plain_forward, unit
from plain_proxies import PROXIES, ProxyTranscription, nca

from avcil.errors import InputError
from avcil.losses import nca_margin_loss
from avcil.methods.podnet import PodnetOptions

ITERATIONS, RATE = 4, 0.5


def nca_of_the_paper(z, y, margin):
    """[-log(exp(s_y - margin) / sum_{j != y} exp s_j)]_+ of each clip."""
    losses = []
    for scores, label in zip(z, y, strict=True):
        others = [torch.exp(scores[j]) for j in range(len(scores)) if j != int(label)]
        ratio = torch.exp(scores[label] - margin) / sum(others) if others else torch.tensor(torch.inf)
        losses.append((-torch.log(ratio)).clamp(min=0))
    return torch.stack(losses)


class PodnetTranscription(ProxyTranscription):
    """PODNet; `margin` selects the loss of the paper."""

    margin: float | None = None

    def start(self, w, record):
        if self.index:
            w["head.frozen"] = torch.cat([self.old["head.frozen"], self.old["head.learning"]])
            w["head.scale"] = self.old["head.scale"]
            self.assert_proxies_are_centers(w, points=unit)

    def nca(self, w, h, y):
        z = self.z(w, h)
        return (
            nca(z, y) if self.margin is None else nca_of_the_paper(z, y, w["head.scale"] * self.margin)
        ).mean()

    def loss(self, w, rows, n_c):
        a, V, y = self.a[rows], self.V[rows], self.y[rows]
        new = plain_forward(w, a, V)
        total = self.nca(w, new.h, y)
        if not self.index:
            return total
        old = plain_forward(self.old, a, V)
        pairs = ((new.x, old.x), (new.f_a, old.f_a), (new.f_v, old.f_v))
        pooled = sum((unit(one**2) - unit(other**2)).norm(dim=1).mean() for one, other in pairs) / 3
        flat = 1 - (unit(new.h) * unit(old.h)).sum(dim=1).mean()
        return total + math.sqrt(self.total / self.sizes[self.index]) * (3 * pooled + flat)

    def end(self):
        """Stochastic gradient descent on all proxies; the batch is the whole balanced set."""
        if not self.index:
            return
        rows = [row for kept in self.memory.values() for row in kept]
        count = max(len(kept) for kept in self.memory.values())
        for label in range(self.known, self.total):
            own = self.rows("train", [label])
            h = plain_forward(self.w, self.a[own], self.V[own]).h
            rows += [int(own[i]) for i in herd(h, count, repeats=False)]
        h, y = plain_forward(self.w, self.a[rows], self.V[rows]).h, self.y[rows]
        names = ("head.frozen", "head.learning")
        momentum = dict.fromkeys(names, 0.0)
        for _ in range(ITERATIONS):
            w = self.w | {name: self.w[name].clone().requires_grad_() for name in names}
            gradients = torch.autograd.grad(self.nca(w, h, y), [w[name] for name in names])
            for name, gradient in zip(names, gradients, strict=True):
                momentum[name] = 0.9 * momentum[name] + gradient + 5e-4 * self.w[name]
                self.w[name] = self.w[name] - RATE * momentum[name]


@pytest.mark.parametrize("form", ["release", "paper"])
def test_podnet(form, store, tmp_path):
    """Loss, imprinted proxies, fine-tuning of all proxies, exemplars and weights of a whole run."""
    recorded = record_run(
        store,
        tmp_path,
        "podnet",
        f"proxies={PROXIES}",
        f"nca={form}",
        f"finetuning_iterations={ITERATIONS}",
        f"finetuning_learning_rate={RATE}",
        exemplars=12,
    )
    transcription = PodnetTranscription(recorded)
    transcription.margin = 0.6 if form == "paper" else None
    assert_lock_step(recorded, transcription)


@given(classes=st.integers(1, 5), margin=st.floats(0, 2), seed=st.integers(0, 99))
def test_margin_loss(classes, margin, seed):
    """The loss equals the equation, also for one class, and its gradient is finite."""
    draw = torch.Generator().manual_seed(seed)
    z = (3 * torch.randn(6, classes, generator=draw, dtype=torch.float64)).requires_grad_()
    y = torch.randint(classes, (6,), generator=draw)
    loss = nca_margin_loss(z, y, margin=margin)
    torch.testing.assert_close(loss, nca_of_the_paper(z, y, margin).to(loss))
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("options", [{"proxies": 0}, {"finetuning_iterations": -1}])
def test_invalid_options(options):
    """The error names the option."""
    with pytest.raises(InputError, match=f"option {next(iter(options))} must be"):
        PodnetOptions(**options)
