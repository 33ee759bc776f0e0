"""BiC: bias correction, two numbers that make new and old classes' logits comparable. Wu et al., CVPR 2019.

    total = (1 - r) CE over all K logits + r KD on the K_old logits,   r = K_old / K
    after the step, on clips held out of training: z_new <- a z_new + b, with CE over all K logits least

A tenth of the exemplars of each old class (at least one) and as many clips of each new class are held out. A class with
a single exemplar is trained on and used for the correction as well. a and b minimize the cross-entropy with weight
decay 2e-4 and are found by Newton's method, where the paper takes epochs of gradient descent. They become part of the
head's weights, so the corrected network is the next step's teacher and starting point.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.methods._balanced_distillation import balanced_distillation
from avcil.methods.base import Batch, GradientMethod, Step
from avcil.nn.heads import LinearHead
from avcil.nn.network import NetworkOutput
from avcil.utils.rng import generator

DECAY = 2e-4
"""Weight decay of a and b: their minimum exists also where the clips held out are all answered correctly."""
NEWTON_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class BicOptions:
    """Hyper-parameters."""

    temperature_distillation: float = 2.0
    """T of the distillation's softmax."""
    held_out: float = 0.1
    """Share of each class's exemplars that is held out for the correction, at least one clip."""


class Bic(GradientMethod):
    """Distillation, then two numbers fitted to clips held out."""

    name = "bic"
    summary = "rehearsal with distillation and a linear correction of the new classes' logits (CVPR 2019)"
    Options = BicOptions
    rehearsal = "herding"
    batching = "mixed"
    uses_teacher = True

    def __init__(self, options: BicOptions, *, modality: str) -> None:
        super().__init__(options, modality=modality)
        self.correction = (1.0, 0.0)
        """a and b of the last step."""

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        return balanced_distillation(output, batch, step, temperature=self.options.temperature_distillation)

    def trained_rows(self, step: Step) -> Tensor | None:
        if step.index == 0:
            return None
        is_held = torch.zeros(len(step.pool), dtype=torch.bool)
        is_held[self.held_rows(step)] = True
        labels = step.pool.labels.cpu()
        for label in labels.unique():  # no class is left without a clip
            own = labels == label
            if is_held[own].all():
                is_held[own] = False
        return (~is_held).nonzero()[:, 0]

    def held_rows(self, step: Step) -> Tensor:
        """Rows of the pool that the correction is fitted to: the same number of every class, where it has as many."""
        labels = step.pool.labels.cpu()
        fewest = min(int((labels == label).sum()) for label in range(step.known))
        count = max(1, int(self.options.held_out * fewest))
        draw = generator(step.seed, "held out", step.index)
        held = []
        for label in range(step.total):
            own = (labels == label).nonzero()[:, 0]
            held.append(own[torch.randperm(len(own), generator=draw)[:count]])
        return torch.cat(held)

    def end_step(self, step: Step) -> None:
        """Fit the correction and make it part of the head."""
        self.correction = (1.0, 0.0)
        if step.index == 0:
            return
        rows = self.held_rows(step)
        with torch.no_grad():
            parts = step.pool.stream(rows.split(step.pool.eval_batch_size))
            logits = torch.cat([step.network(*taken).logits for taken in parts]).double()
        factor, offset = fit_correction(logits, step.pool.labels[rows], step.known)
        head = step.network.head
        assert isinstance(head, LinearHead)
        with torch.no_grad():
            head.weight[step.known :] *= factor
            head.bias[step.known :] = factor * head.bias[step.known :] + offset
        self.correction = (factor, offset)

    def report(self) -> dict[str, float]:
        return {"correction_factor": self.correction[0], "correction_offset": self.correction[1]}


def fit_correction(logits: Tensor, labels: Tensor, known: int) -> tuple[float, float]:
    """a and b for the logits (n, K) of the classes from `known` on, float64."""
    new = torch.zeros(logits.shape[1], dtype=logits.dtype, device=logits.device)
    new[known:] = 1
    slopes = torch.stack(
        [logits * new, new.expand_as(logits)]
    )  # of the corrected logits by a and b: (2, n, K)
    at = torch.tensor([1.0, 0.0], dtype=logits.dtype, device=logits.device)

    def corrected(at: Tensor) -> Tensor:
        return logits * (1 - new) + torch.einsum("p,pnk->nk", at, slopes)

    def loss(at: Tensor) -> Tensor:
        return F.cross_entropy(corrected(at), labels) + DECAY / 2 * at.square().sum()

    unit = torch.eye(2, dtype=logits.dtype, device=logits.device)
    target = F.one_hot(labels, logits.shape[1]).to(logits)
    for _ in range(NEWTON_STEPS):
        share = corrected(at).softmax(dim=1)
        slope = torch.einsum("nk,pnk->p", share - target, slopes) / len(labels) + DECAY * at
        mean = torch.einsum("nk,pnk->pn", share, slopes)
        curvature = torch.einsum("nk,pnk,qnk->pq", share, slopes, slopes) - mean @ mean.T
        move = torch.linalg.solve(curvature / len(labels) + DECAY * unit, slope)
        length = 1.0
        while (
            loss(at - length * move) > loss(at) and length > 1e-6
        ):  # far from the minimum a whole step may overshoot
            length /= 2
        at = at - length * move
        if float(move.abs().max()) < 1e-12:
            break
    return float(at[0]), float(at[1])
