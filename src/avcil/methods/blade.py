"""BLADE: block-penalised discriminant, exemplar-free. Second moments of a clip's vectors, a penalty for each vector.

    h      = [a, m, d]: sound, mean and standard deviation of the visual tokens, each number standardised by the
             first step; with features > 0 also ReLU(l(.) W) of each, l(.) scaling to one length
    Lambda = argmin GCV of ridge regression on class indicators, one lambda for each of these blocks, and for each
             part of a block that a combined encoder made
    K      = (W + Lambda)^-1, W the within-class scatter
    score  = s (N mu_c^T K h - N mu_c^T K mu_c / 2)

All of it follows from G, Q and the class counts of all clips ever seen, so nothing is forgotten and no clip is
kept. GCV weighs the blocks against one another: a modality that says little gets a large penalty, one that says
nothing is out. The discriminant counts all classes alike and has not the masking between classes that regression
on indicators has. The sharpness s is fitted to exact leave-one-out scores of every step's clips.
See docs/beyond-the-paper.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.methods._moments_method import MomentsMethod
from avcil.methods._views import View
from avcil.models.closed_form import LinearHead, Oddity
from avcil.models.embedding import EmbeddingConfig, Pooling
from avcil.models.joined_embedding import Block
from avcil.statistics.block_ridge import choose_penalties
from avcil.statistics.conformal import OddityCounts
from avcil.statistics.discriminant import Discriminant, oddity
from avcil.statistics.moments import Moments

START = 300.0
"""Penalty from which the first search goes down; later ones start where the last ended."""


@dataclass(frozen=True, kw_only=True)
class BladeOptions:
    """What is to be chosen."""

    pooling: Pooling = "mean-deviation"
    """What is taken of the visual tokens: their mean over time and space, or mean and standard deviation."""
    features: int = 0
    """Random features of each vector besides the vector itself: a curved instead of a straight boundary. With M
    features in all, those and the vectors' widths, memory is 8 M M bytes."""

    balanced: bool = False
    """Correct the distances for what each class's mean owes to chance, 1 / n_c: else classes of few clips seem
    farther than they are. With equally many clips of each class it changes no answer."""

    def __post_init__(self) -> None:
        if self.features < 0:
            raise InputError(f"option features must be 0 or more; not {self.features}")


class Blade(MomentsMethod):
    """Discriminant analysis whose penalties are chosen by generalised cross-validation."""

    name = "blade"
    summary = "discriminant analysis on second moments, a penalty for each block of features; no exemplars"
    Options = BladeOptions
    whole_tokens = True

    @property
    def pooling(self) -> Pooling:
        return self.options.pooling

    def blocks(self, vectors: int) -> list[Block]:
        shared = {"features": self.options.features, "seed": self.seed}
        plain = EmbeddingConfig(normalise="first-step", activation="none", **shared)
        blocks: list[Block] = [(plain, (number,)) for number in range(vectors)]
        if self.options.features:
            random = {"normalise": "both", "activation": "relu", **shared}
            blocks += [(EmbeddingConfig(purpose=f"vector {n}", **random), (n,)) for n in range(vectors)]
        return blocks

    def settle(self, view: View, moments: Moments, features: Tensor, labels: Tensor) -> LinearHead:
        """The penalties by all moments; calibration and oddity by the clips that have another of their class."""
        start = [view.figures.get(f"penalty{number}", START) for number in range(len(view.sizes))]
        for number, penalty in enumerate(choose_penalties(moments, view.sizes, start)):
            view.figures[f"penalty{number}"] = penalty
        found = self._discriminant(view, moments)
        judged = moments.counts[labels] > 1
        if judged.any():
            scores, length = found.leave_one_out(features[judged], labels[judged])
            view.calibration.add(scores, labels[judged])
            # Oddities of a model of fewer clips are larger, and would hide what is odd now.
            view.oddities.add(oddity(scores, length), fading=1 - len(labels) / moments.total)
        return self._head(view, found)

    def fitted(self, view: View, moments: Moments) -> LinearHead:
        return self._head(view, self._discriminant(view, moments))

    def _discriminant(self, view: View, moments: Moments) -> Discriminant:
        return Discriminant(moments, _penalty(view), corrected=self.options.balanced)

    def _head(self, view: View, found: Discriminant) -> LinearHead:
        view.figures["jitter"] = found.jitter
        return LinearHead(
            columns=view.columns,
            weight=found.weight,
            bias=found.bias,
            sharpness=view.calibration.sharpness,
            oddity=Oddity(inverse=found.inverse(), counts=OddityCounts(view.oddities.counts)),
        )


def _penalty(view: View) -> Tensor:
    """(m,)"""
    parts = [
        torch.full((size,), view.figures[f"penalty{number}"], dtype=torch.float64)
        for number, size in enumerate(view.sizes)
    ]
    return torch.cat(parts)
