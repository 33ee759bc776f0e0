"""DS-AL: analytic learning with a second stream for the residual of the first. Zhuang et al., AAAI 2024.

    main:          h = ReLU(z W / sqrt(P)),   Theta = (H^T H + gamma I)^-1 H^T Y
    compensation:  k = tanh(z W / sqrt(P)),   targets Y - H Theta of each step, columns of old classes set to 0
    score = h Theta + c k Phi,   Phi = (K^T K + gamma_c I)^-1 K^T targets

Both streams have the same W. The sums are over the clips of all steps. The targets of a step are computed once, with
the Theta of that step. So the compensation depends on how classes are grouped in steps. The method `rls` has a
compensation stream for each modality, and uses leave-one-out residuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from avcil.closed_form.embedding import Scaling
from avcil.closed_form.joined_embedding import Block
from avcil.methods._recursive_method import RecursiveMethod
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class DsAlOptions:
    """Options of DS-AL."""

    features: int = 2000
    """M, the number of random features of each stream. Memory is 16 M M bytes; published: 8192 (1.1 GB)."""
    penalty: float = 0.1
    """gamma, the penalty of the main stream in all steps, as published."""
    compensation_penalty: float = 0.1
    """gamma_c, the penalty of the compensation stream in all steps, as published."""
    compensation: float = 0.6
    """c, the weight of the compensation stream (published for CIFAR-100)."""
    normalize: Scaling = "encoder"
    """encoder: features are scaled by constants of the encoders, then each modality is scaled to a fixed norm.
    first-step: features are standardized with the clips of the first step; also used if the constants are unknown.
    length: each modality is scaled to a fixed norm. both: first-step, then length."""

    def __post_init__(self) -> None:
        check_range(self, "features", least=1)
        check_range(self, "penalty", "compensation_penalty", above=0)
        check_range(self, "compensation", least=0)


class DsAl(RecursiveMethod):
    """Dual-stream analytic learning."""

    name = "ds-al"
    summary = "analytic learning with a compensation stream for the main stream's residual; exemplar-free (AAAI 2024)"
    Options = DsAlOptions

    def blocks(self, vectors: int) -> list[Block]:
        features, every = self.options.features, tuple(range(vectors))
        return [
            (self.block_config("relu", features=features), every),
            (self.block_config("tanh", features=features), every),
        ]

    def new_ridge(self, number: int, features: Tensor, labels: Tensor) -> float:
        return (self.options.penalty, self.options.compensation_penalty)[number]

    def update(self, blocks: Sequence[Tensor], targets: Tensor, is_new: Tensor) -> Tensor:
        main, compensation = self.streams
        h, k = blocks
        main.add(h, targets)
        residual = (targets - h @ main.theta) * is_new
        compensation.add(k, residual)
        compensated = residual - compensation.leave_one_out_residual(k, residual)
        scores = targets - main.leave_one_out_residual(h, targets)
        return scores + self.options.compensation * compensated

    def stream_weights(self) -> list[float]:
        return [1.0, self.options.compensation]
