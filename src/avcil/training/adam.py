"""Adam without `torch.optim.Adam`, whose constructor imports PyTorch's compiler, which takes 2 s.

The arithmetic is PyTorch's own (`torch.optim.adam.adam`, fused), and the state has the form of
`torch.optim.Adam.state_dict`, so checkpoints are interchangeable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class Adam:
    """Adam (Kingma & Ba, 2015) over all parameters in one fused pass; weight decay is an L2 penalty."""

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, weight_decay: float = 0.0) -> None:
        """Prepare the optimizer; its state is allocated in the first steps.

        Args:
            parameters: The parameters, in the order in which the state refers to them.
            lr: Learning rate.
            weight_decay: L2 penalty, added to the gradient as weight_decay * parameter.
        """
        self.parameters = list(parameters)
        self.lr, self.weight_decay = lr, weight_decay
        self.state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Remove the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update each parameter that has a gradient."""
        updated = [(i, p) for i, p in enumerate(self.parameters) if p.grad is not None]
        slots = [self.state.setdefault(i, {}) or self._allocate(i) for i, _ in updated]
        adam(
            [parameter for _, parameter in updated],
            [parameter.grad for _, parameter in updated if parameter.grad is not None],
            [slot["exp_avg"] for slot in slots],
            [slot["exp_avg_sq"] for slot in slots],
            [],
            [slot["step"] for slot in slots],
            fused=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self.lr,
            weight_decay=self.weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    def _allocate(self, index: int) -> dict[str, Tensor]:
        parameter = self.parameters[index]
        self.state[index] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        return self.state[index]

    def state_dict(self) -> dict[str, Any]:
        """The state, by position of the parameter, and the settings. Tensors are shared, not copied."""
        group = {
            "lr": self.lr,
            "betas": _BETAS,
            "eps": _EPSILON,
            "weight_decay": self.weight_decay,
            "amsgrad": False,
            "maximize": False,
            "foreach": None,
            "capturable": False,
            "differentiable": False,
            "fused": True,
            "decoupled_weight_decay": False,
            "params": list(range(len(self.parameters))),
        }
        return {"state": {i: dict(slot) for i, slot in self.state.items()}, "param_groups": [group]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` of this class or of `torch.optim.Adam` returned.

        Args:
            saved: The tensors in "state", which are copied to the devices of the parameters; the learning rate and the
                weight decay in "param_groups".

        Raises:
            ValueError: The state has another number of parameters.
        """
        (group,) = saved["param_groups"]
        if len(group["params"]) != len(self.parameters):
            raise ValueError(
                f"the optimizer's state is of {len(group['params'])} parameters, not of {len(self.parameters)}"
            )
        self.lr, self.weight_decay = group["lr"], group["weight_decay"]
        self.state = {
            index: {
                name: value.detach().to(self.parameters[index].device, copy=True)
                for name, value in slot.items()
            }
            for index, slot in saved["state"].items()
        }
