"""BLADE: block-penalised discriminant, exemplar-free. Second moments of blocks of features, a penalty each.

    z_m    pooled vector of modality m (of the picture, mean and deviation of the tokens), standardised
    h      = [ReLU(l(z_a) W_a), ReLU(l(z_v) W_v), z_a, z_v], l(.) scaling to one length: two blocks a modality
    Lambda = argmin GCV of ridge regression on class indicators, one lambda per block, from G, Q and N
    K      = (W + Lambda)^-1, W the within-class scatter
    score  = s (N mu_c^T K h - N mu_c^T K mu_c / 2)

The statistics are those of all clips ever seen, so nothing is forgotten. GCV weighs the modalities against one
another and drops a block that says nothing, by the statistics of all classes and no clip. The discriminant counts
all classes alike and has not the masking between classes that regression on indicators has. The sharpness s is
fitted to leave-one-out scores of the step's clips. See docs/beyond-the-paper.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.methods._moments_method import MomentsMethod
from avcil.models.embedding import EmbeddingConfig, Pooling
from avcil.models.joined_embedding import Block
from avcil.statistics.block_ridge import choose_penalties
from avcil.statistics.discriminant import Discriminant
from avcil.statistics.moments import Moments
from avcil.statistics.sharpness import fit_sharpness

START = 300.0
"""Penalty from which the first search goes down; later ones start where the last ended."""


@dataclass(frozen=True, kw_only=True)
class BladeOptions:
    """What is to be chosen."""

    features: int = 500
    """Random features of each modality; 0: the standardised vectors alone. With M features in all, those and the
    pooled widths, memory is 8 M M bytes."""
    pooling: Pooling = "mean-deviation"
    """What is taken of the visual tokens: their mean over time and space, or mean and standard deviation."""

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

    def blocks(self, modalities: int) -> list[Block]:
        shared = {"features": self.options.features, "seed": self.seed}
        plain = EmbeddingConfig(normalise="first-step", activation="none", **shared)
        linear: list[Block] = [(plain, (number,)) for number in range(modalities)]
        if not self.options.features:
            return linear
        random: list[Block] = [
            (
                EmbeddingConfig(normalise="both", activation="relu", purpose=f"modality {number}", **shared),
                (number,),
            )
            for number in range(modalities)
        ]
        return random + linear

    def settle(self, features: Tensor, labels: Tensor, old: Moments) -> None:
        """The penalties by all moments; the sharpness by clips that have another of their class."""
        assert self.embedding is not None
        sizes = self.embedding.sizes
        start = [self.figures.get(f"penalty{number}", START) for number in range(len(sizes))]
        for number, penalty in enumerate(choose_penalties(self.moments, sizes, start)):
            self.figures[f"penalty{number}"] = penalty
        found = Discriminant(self.moments, self._penalty())
        judged = self.moments.counts[labels] > 1
        scores = found.leave_one_out(features[judged], labels[judged])
        self.figures["sharpness"] = fit_sharpness(scores, labels[judged]) if judged.any() else 1.0

    def _penalty(self) -> Tensor:
        """(M,)"""
        assert self.embedding is not None
        parts = [
            torch.full((size,), self.figures[f"penalty{number}"], dtype=torch.float64)
            for number, size in enumerate(self.embedding.sizes)
        ]
        return torch.cat(parts)

    def linear(self) -> tuple[Tensor, Tensor]:
        found = Discriminant(self.moments, self._penalty())
        self.figures["jitter"] = found.jitter
        sharpness = self.figures["sharpness"]
        return sharpness * found.weight, sharpness * found.bias
