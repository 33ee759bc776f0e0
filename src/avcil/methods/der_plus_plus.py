"""DER++: rehearsal with stored logits. Buzzega et al., NeurIPS 2020.

    total = CE(z(new), y) + alpha MSE(z(x'), z_stored(x')) + beta CE(z(x''), y'')

x' is the first half of the exemplars of a batch, x'' the other half; they are two independent samples, as published.
The logits of an exemplar are stored once, at the end of the step that selected it, and compared over the classes known
at that time. Published (Split CIFAR-10, 500 exemplars): alpha 0.2, beta 0.5, reservoir sampling and SGD. Here, the
exemplar memory and the optimizer are those of the run.

E exemplars, K classes known when the last of them were stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, ClipPool, Step
from avcil.nn.network import Network, NetworkOutput
from avcil.utils import checks
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class DerOptions:
    """Hyper-parameters."""

    alpha: float = 0.2
    """Weight of the squared error to the stored logits. 0: off."""
    beta: float = 0.5
    """Weight of the exemplars' cross-entropy. 0: off, which is DER."""

    def __post_init__(self) -> None:
        check_range(self, "alpha", "beta", least=0)


class DerPlusPlus(GradientMethod):
    """Rehearsal with labels and stored logits."""

    name = "der-plus-plus"
    summary = "rehearsal with labels and the logits stored with each exemplar (NeurIPS 2020)"
    learns_known_classes = True
    Options = DerOptions
    rehearsal = "random"
    batching = "paired"
    stores_exemplar_data = True

    def __init__(self, options: DerOptions, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.logits = torch.zeros(0, 0)
        """(E, K), stored logits; 0 for classes that were added later."""
        self.known = torch.zeros(0, dtype=torch.int64)
        """(E,), number of classes when the logits were stored."""

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        new = batch.new_count
        terms = {"cross_entropy": F.cross_entropy(output.logits[:new], batch.labels[:new])}
        count = len(batch.labels) - new
        if count == 0:
            return terms
        self._check(len(step.pool) - step.new_count)
        half = (count + 1) // 2
        stored, labeled = slice(new, new + half), slice(len(batch.labels) - half, None)
        if self.options.alpha:
            positions = (batch.rows[stored] - step.new_count).cpu()
            terms["stored_logits"] = self.options.alpha * self._distance(output.logits[stored], positions)
        if self.options.beta:
            term = F.cross_entropy(output.logits[labeled], batch.labels[labeled])
            terms["exemplar_cross_entropy"] = self.options.beta * term
        return terms

    def _distance(self, logits: Tensor, positions: Tensor) -> Tensor:
        """Mean squared difference from the stored logits of the exemplars at `positions`."""
        is_stored = (torch.arange(self.logits.shape[1]) < self.known[positions, None]).to(logits)
        difference = logits[:, : self.logits.shape[1]] - self.logits[positions].to(logits)
        return (difference.square() * is_stored).sum() / is_stored.sum()

    def update_exemplar_data(self, network: Network, exemplars: ClipPool, previous: Tensor) -> None:
        with torch.no_grad():
            logits = torch.cat([network(*features).logits.cpu() for _, features in exemplars.all()])
        classes = logits.shape[1]
        self._check(int(previous.max()) + 1, least=True)
        is_old = previous >= 0
        padded = F.pad(self.logits.to(logits), (0, classes - self.logits.shape[1]))
        logits[is_old] = padded[previous[is_old]]
        known = torch.full((len(previous),), classes, dtype=torch.int64)
        known[is_old] = self.known[previous[is_old]]
        self.logits, self.known = logits, known

    def _check(self, count: int, *, least: bool = False) -> None:
        if len(self.logits) < count or (len(self.logits) != count and not least):
            raise InputError(
                f"logits of {len(self.logits)} exemplars were stored, but there are {count} exemplars"
            )

    def tensors(self) -> dict[str, Tensor]:
        return {"logits": self.logits, "known": self.known}

    def load(self, tensors: dict[str, Tensor]) -> None:
        known = tensors.get("known", torch.zeros(0))
        count, logits = known.numel(), tensors.get("logits", torch.zeros(0))
        width = logits.shape[1] if logits.ndim == 2 else 0
        self.known = checks.tensor(tensors, "known", (count,), dtypes=(torch.int64,))
        self.logits = checks.tensor(tensors, "logits", (count, width))
        if count and not 0 < int(known.min()) <= int(known.max()) <= width:
            raise InputError(
                f"the numbers of stored logits of exemplars are {known.tolist()[:5]}; allowed are 1 to {width}"
            )
