"""Recursive least squares with modality compensation. MMAL-like (Yue et al., ACM MM 2024, no code is published).

The main stream is recursive ridge regression on h = ReLU(z W / sqrt(P)) of both modalities. Ridge regression under-fits
new classes. Therefore each modality m has a compensation stream, h_m = tanh(z_m W_m / sqrt(P_m)), which is fitted to
the residuals of the main stream for the clips of the step, with the columns of old classes set to 0:

    score = h Theta + c sum_m h_m Theta_m

The residuals are leave-one-out residuals, which do not vanish if the main stream overfits. The recursion requires that
lambda is fixed at the first step. If the constants of the encoders are known, the main stream equals joint ridge
regression for any order of clips and classes; otherwise, features are standardized with the clips of the first step.
The compensation and the inverse temperature depend on how classes are grouped in steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form import RIDGES, Moments, RidgePath
from avcil.closed_form.embedding import Scaling
from avcil.closed_form.joined_embedding import Block
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.methods._recursive_method import RecursiveMethod
from avcil.utils.options import check_range

_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Candidate values of c."""


@dataclass(frozen=True, kw_only=True)
class RlsOptions:
    """Options of recursive least squares."""

    features: int = 2000
    """M, the number of random features of the main stream. Memory is 8 M M bytes."""
    stream_features: int = 500
    """Number of random features of the compensation stream of each modality, m. Memory is 8 m m bytes per modality."""
    normalize: Scaling = "encoder"
    """encoder: features are scaled by constants of the encoders, then each modality is scaled to a fixed norm.
    first-step: features are standardized with the clips of the first step; also used if the constants are unknown.
    length: each modality is scaled to a fixed norm. both: first-step, then length."""
    ridge: float = 300.0
    """The penalty lambda in all steps. 0: chosen in the first step by generalized cross-validation; with few classes in
    the first step, it is far too small for the later ones."""
    compensation: float = 0.5
    """c, the weight of the compensation. Below 0: chosen in the first step. With 0 there is no compensation stream, and
    clips can be forgotten."""

    def __post_init__(self) -> None:
        check_range(self, "features", "stream_features", least=1)
        check_range(self, "ridge", least=0)


class Rls(RecursiveMethod):
    """Recursive ridge regression with a residual stream for each modality."""

    name = "rls"
    summary = (
        "recursive least squares with a compensation stream for each modality; exemplar-free (ACM MM 2024)"
    )
    Options = RlsOptions

    def blocks(self, vectors: int) -> list[Block]:
        main = self.block_config("relu", features=self.options.features)
        blocks: list[Block] = [(main, tuple(range(vectors)))]
        if self.options.compensation != 0:
            small = partial(self.block_config, "tanh", features=self.options.stream_features)
            blocks += [(small(purpose=f"compensation {number}"), (number,)) for number in range(vectors)]
        return blocks

    def new_ridge(self, number: int, features: Tensor, labels: Tensor) -> float:
        if self.options.ridge:
            return self.options.ridge
        moments = Moments(features.shape[1])
        moments.add_classes(self.classes)
        moments.add(features, labels)
        return min(RIDGES, key=RidgePath(moments).gcv)

    def update(self, blocks: Sequence[Tensor], targets: Tensor, is_new: Tensor) -> Tensor:
        main, *others = self.streams
        main.add(blocks[0], targets)
        residual = main.leave_one_out_residual(blocks[0], targets)
        new_residual = residual * is_new
        compensation = torch.zeros_like(new_residual)
        for stream, block in zip(others, blocks[1:], strict=True):
            stream.add(block, new_residual)
            compensation += new_residual - stream.leave_one_out_residual(block, new_residual)
        if "settled_classes" not in self.fitted:  # in the first step
            self.fitted["compensation"] = self._weight(residual, compensation)
        return targets - residual + self.fitted["compensation"] * compensation

    def _weight(self, residual: Tensor, compensation: Tensor) -> float:
        """c, from the leave-one-out residuals and the scores of the compensation streams, (n, C) each."""
        if self.options.compensation >= 0:
            return self.options.compensation
        return min(_WEIGHTS, key=lambda c: float((residual - c * compensation).square().sum()))

    def stream_weights(self) -> list[float]:
        return [1.0] + [self.fitted["compensation"]] * (len(self.streams) - 1)

    @property
    def forgets_clips(self) -> bool:
        return self.options.compensation == 0

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        if self.options.compensation != 0:
            raise InputError("the compensation stream cannot remove single clips. Train with compensation=0")
        super().forget(audio, visual, labels)

    def subtract(self, parts: tuple[Tensor, ...], labels: Tensor, modality: Modality | None) -> None:
        """Remove clips from the main stream, up to rounding; the targets of the compensation are not stored."""
        assert self.embedding is not None
        features = self.embedding(parts)
        self.streams[0].remove(features, F.one_hot(labels, self.classes).double())
