"""Online EWC: quadratic penalty by Fisher information. Schwarz et al., ICML 2018, after Kirkpatrick et al., PNAS 2017.

    total = CE over all K logits on the new clips + (lambda / 2) sum_j F_j (theta_j - theta*_j)^2
    after each step: F <- gamma F + mean over the step's clips of (d log p(y | x) / d theta_j)^2,   theta* <- theta

F is the diagonal of the empirical Fisher information, computed from the gradient of each clip. F is 0 for the rows of
new classes in the head until they are learned. Published for Split CIFAR-10 (Buzzega et al., 2020): gamma 1 and lambda
20 in this form (10 without the 1/2). No clips are stored. EWC is known to fail if classes of different steps must be
discriminated (van de Ven & Tolias, 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput
from avcil.utils import checks
from avcil.utils.options import check_range
from avcil.utils.tensor_names import add_prefix, strip_prefix


@dataclass(frozen=True, kw_only=True)
class EwcOptions:
    """Hyper-parameters."""

    penalty: float = 20.0
    """lambda, weight of the penalty."""
    decay: float = 1.0
    """gamma, decay factor of the Fisher information of earlier steps."""

    def __post_init__(self) -> None:
        check_range(self, "penalty", least=0)
        check_range(self, "decay", least=0, most=1)


class Ewc(GradientMethod):
    """Quadratic penalty by Fisher information."""

    name = "ewc"
    summary = "online elastic weight consolidation: penalty weighted by Fisher information; exemplar-free (ICML 2018)"
    learns_known_classes = True
    Options = EwcOptions

    def __init__(self, options: EwcOptions, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.fisher: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}
        """theta* by parameter name; for the head, only the rows of earlier classes."""

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
        if self.fisher and self.options.penalty:
            distances = [
                self._distance(name, parameter)
                for name, parameter in step.network.named_parameters()
                if name in self.fisher
            ]
            terms["penalty"] = self.options.penalty / 2 * torch.stack(distances).sum()
        return terms

    def _distance(self, name: str, parameter: Tensor) -> Tensor:
        """sum_j F_j (theta_j - theta*_j)^2"""
        fisher, anchor = (saved[name].to(parameter) for saved in (self.fisher, self.anchor))
        if anchor.shape[1:] != parameter.shape[1:] or len(anchor) > len(parameter):
            raise InputError(
                f"the saved {name} has shape {tuple(anchor.shape)}, the network's {tuple(parameter.shape)}"
            )
        return (fisher * (parameter[: len(anchor)] - anchor).square()).sum()

    def end_step(self, step: Step) -> None:
        """Add the Fisher information of the clips of the step."""
        parameters = dict(step.network.named_parameters())
        squares = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        rows = torch.arange(step.new_count).split(1)
        for row, features in zip(rows, step.pool.stream(rows), strict=True):
            loss = F.cross_entropy(step.network(*features).logits, step.pool.labels[row])
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            for total, gradient in zip(squares.values(), gradients, strict=True):
                total += gradient.square()
        for name, total in squares.items():
            total /= step.new_count
            if name in self.fisher:
                before = self.fisher[name].to(total)
                total[: len(before)] += self.options.decay * before
        step.network.workspace.clear()
        self.fisher = squares
        self.anchor = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def tensors(self) -> dict[str, Tensor]:
        return add_prefix("fisher", self.fisher) | add_prefix("anchor", self.anchor)

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.fisher, anchor = strip_prefix("fisher", tensors), strip_prefix("anchor", tensors)
        self.anchor = {
            name: checks.tensor(anchor, name, tuple(tensor.shape)) for name, tensor in self.fisher.items()
        }
        checks.no_others(tensors, self.tensors())
