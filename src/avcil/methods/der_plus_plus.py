"""DER++: rehearsal with stored logits. Buzzega et al., NeurIPS 2020.

    total = CE(z(new), y) + alpha MSE(z(x'), z_stored(x')) + beta CE(z(x''), y'')

x' is the first half of a batch's exemplars, x'' the other half, so that they are two draws as published. The logits of
an exemplar are stored once, at the end of the step that chose it, and compared over the classes known then. Published
(Split CIFAR-10, 500 exemplars): alpha 0.2, beta 0.5; reservoir sampling and SGD, in place of which the run's memory and
optimizer are used here.

E exemplars, K classes known when the last of them were stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.methods.base import Batch, ClipPool, GradientMethod, Step
from avcil.models import checks
from avcil.nn.network import Network, NetworkOutput


@dataclass(frozen=True, kw_only=True)
class DerOptions:
    """Hyper-parameters."""

    alpha: float = 0.2
    """Weight of the squared error to the stored logits. 0: off."""
    beta: float = 0.5
    """Weight of the exemplars' cross-entropy. 0: off, which is DER."""


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
            places = (batch.rows[stored] - step.new_count).cpu()
            terms["stored_logits"] = self.options.alpha * self._distance(output.logits[stored], places)
        if self.options.beta:
            term = F.cross_entropy(output.logits[labeled], batch.labels[labeled])
            terms["exemplar_cross_entropy"] = self.options.beta * term
        return terms

    def _distance(self, logits: Tensor, places: Tensor) -> Tensor:
        """Mean squared error over the logits that were stored."""
        was_known = (torch.arange(self.logits.shape[1]) < self.known[places, None]).to(logits)
        away = logits[:, : self.logits.shape[1]] - self.logits[places].to(logits)
        return (away.square() * was_known).sum() / was_known.sum()

    def update_exemplar_data(self, network: Network, exemplars: ClipPool, previous: Tensor) -> None:
        with torch.no_grad():
            said = torch.cat([network(*taken).logits.cpu() for _, taken in exemplars.all()])
        classes = said.shape[1]
        self._check(int(previous.max()) + 1, least=True)
        is_old = previous >= 0
        padded = F.pad(self.logits.to(said), (0, classes - self.logits.shape[1]))
        said[is_old] = padded[previous[is_old]]
        known = torch.full((len(previous),), classes, dtype=torch.int64)
        known[is_old] = self.known[previous[is_old]]
        self.logits, self.known = said, known

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
            raise InputError(f"the stored logits are of {width} classes, of which {known.tolist()[:5]} count")
