"""Which form of guided attention runs, and whether it gives what the plain equations give.

B clips, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from avcil.doctor.finding import CheckResult

if TYPE_CHECKING:
    from torch import Tensor

SHAPE = (4, 3, 16, 32)
"""B, T, S, D"""
LARGEST = 1e-4
"""Of the largest number, in float32; 1e-6 is usual."""


def attention() -> Iterator[CheckResult]:
    """The kernel that the processor gets, against the equations: values and gradients."""
    import torch

    from avcil.nn.kernels import choice

    name = choice.choose(torch.zeros(SHAPE), torch.float32).__name__.rpartition(".")[2]
    error = attention_error("cpu")
    fast, reason, advice = _why(name)
    agrees = error <= LARGEST
    if not agrees:
        advice = (
            "remove the folder ~/.cache/avcil and try again, or train with CC=false for PyTorch's operators"
        )
    yield CheckResult(
        status="broken" if not agrees else "ok" if fast else "missing",
        what="attention",
        figure=f"{reason}; differs from the equations by {error:.0e} of the largest number",
        advice=advice,
        core=not agrees,  # without a compiler it is slower, no more
    )


def _why(name: str) -> tuple[bool, str, str]:
    """Whether the kernel of this name is the fast one, why it was chosen, and what to do for a faster one."""
    from avcil.nn.kernels import native

    if name == "native":
        return True, f"compiled C ({native.compiler()}, kept in {native.library_folder()})", ""
    reason = native.why_not() or "float32 on this processor"
    return (
        False,
        f"PyTorch's operators, because {reason}",
        "install gcc"
        + ("" if shutil.which("gcc") is None else " and a C library's headers, or set CC")
        + "; training then takes a third less time",
    )


def attention_error(device: str) -> float:
    """The largest difference of values and gradients between the operator that runs and the equations, relative."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    clips, _, _, width = SHAPE
    tokens = normal(*SHAPE)
    learnt = [(0.2 * normal(width, width)), normal(width), normal(clips, width).tanh()]
    plain = _values(_by_equations, tokens, learnt)
    fast = _values(_as_it_runs, tokens, learnt)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(fast, plain, strict=True))


def _as_it_runs(tokens: Tensor, weight: Tensor, bias: Tensor, query: Tensor) -> Tensor:
    from avcil.nn.fused_attention import projected_attention

    return projected_attention(tokens, weight, bias, query).attended


def _by_equations(tokens: Tensor, weight: Tensor, bias: Tensor, query: Tensor) -> Tensor:
    from avcil.nn.attention import guided_attention

    return guided_attention(tokens, (tokens @ weight.T + bias).tanh(), query).attended


def _values(function: Callable[..., Tensor], tokens: Tensor, learnt: list[Tensor]) -> list[Tensor]:
    """The result and its gradients by the three learnt parts."""
    import torch

    parts = [part.clone().requires_grad_() for part in learnt]
    attended = function(tokens, *parts)
    gradients = torch.autograd.grad(attended.square().sum(), parts)
    return [part.double().cpu() for part in (attended.detach(), *gradients)]
