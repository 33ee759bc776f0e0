"""Checks of the attention kernels, and of GPUs.

B clips, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from avcil.doctor.result import CheckResult

if TYPE_CHECKING:
    from torch import Tensor

_SHAPE = (4, 3, 16, 32)
"""B, T, S, D"""
TOLERANCE = 1e-4
"""In float32, relative to the largest number; 1e-6 is usual."""
BF16_TOLERANCE = 2e-2
"""bfloat16 has 8 significant bits."""
_SIDE = 512
"""Rows and columns of the matrices that are multiplied."""


def attention() -> Iterator[CheckResult]:
    """The kernel for the CPU against the plain equations: values and gradients."""
    from avcil.nn.kernels import native

    reason, error = native.unavailable_reason(), _attention_error("cpu")
    passed = error <= TOLERANCE
    if not passed:
        advice = (
            "remove ~/.cache/avcil and try again, or train with CC=false, which selects PyTorch's operators"
        )
    elif not reason:
        advice = ""
    elif shutil.which("gcc"):
        advice = "install the headers of the C library, or set CC; training then takes a third less time"
    else:
        advice = "install gcc; training then takes a third less time"
    kernel = f"PyTorch's operators, because {reason}" if reason else f"compiled with {native.compiler()}"
    yield CheckResult(
        status="broken" if not passed else "missing" if reason else "ok",
        name="attention",
        detail=f"{kernel}; relative difference from the equations {error:.0e}",
        advice=advice,
        required=not passed,  # without a compiler it is only slower
    )


def gpu() -> Iterator[CheckResult]:
    """For each GPU that PyTorch can use, a matrix product and the attention kernel; or why there is none."""
    import torch

    if not torch.cuda.is_available():
        yield explain_missing_gpu(torch.version.cuda)
        return
    has_triton = find_spec("triton") is not None
    for number in range(torch.cuda.device_count()):
        device, properties = f"cuda:{number}", torch.cuda.get_device_properties(number)
        exact, coarse = product_errors(device)
        error = _attention_error(device)
        passed = exact <= TOLERANCE and coarse <= BF16_TOLERANCE and error <= TOLERANCE
        if not passed:
            advice = f"use --device cpu; the GPU or its driver is faulty: nvidia-smi -q -i {number}"
        else:
            advice = "" if has_triton else "pip install 'avcil[gpu]' (Triton); training is then faster"
        yield CheckResult(
            status="broken" if not passed else "ok" if has_triton else "missing",
            name=f"gpu {number}",
            detail=f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"{'with' if torch.cuda.is_bf16_supported(including_emulation=False) else 'without'} bfloat16; "
            f"relative differences: product {exact:.0e}, in bfloat16 {coarse:.0e}, attention {error:.0e}",
            advice=advice,
            required=False,
        )


def explain_missing_gpu(cuda: str | None) -> CheckResult:
    """Why PyTorch, built for this CUDA version or for the CPU (None), can use no GPU."""
    if shutil.which("nvidia-smi") is None:
        detail = "no NVIDIA driver; everything runs on the CPU"
        advice = "" if cuda is None else "if there is an NVIDIA GPU, install its driver"
    else:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        driver = ((done.stdout or done.stderr).strip().splitlines() or ["nvidia-smi prints nothing"])[0]
        if cuda is None:
            detail, advice = (
                f"{driver}, but this PyTorch is the CPU build",
                "rm -rf .venv && TORCH=cuda make setup",
            )
        else:
            detail = f"{driver}, but PyTorch for CUDA {cuda} cannot use it"
            advice = "check CUDA_VISIBLE_DEVICES; else update the driver for this CUDA version"
    return CheckResult(status="missing", name="gpu", detail=detail, advice=advice, required=False)


def product_errors(device: str) -> tuple[float, float]:
    """Differences of a matrix product from the CPU's in float64, relative to the largest number: float32, bfloat16."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(_SIDE, _SIDE, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = left @ right

    def error(dtype: torch.dtype) -> float:
        product = (left.to(device, dtype) @ right.to(device, dtype)).double().cpu()
        return float((product - expected).abs().max() / expected.abs().max())

    return error(torch.float32), error(torch.bfloat16)


def _attention_error(device: str) -> float:
    """The largest relative difference of values and gradients between the kernel and the equations."""
    import torch

    generator = torch.Generator().manual_seed(0)
    clips, _, _, width = _SHAPE
    shapes = (_SHAPE, (width, width), (width,), (clips, width))
    tokens, weight, bias, query = (torch.randn(s, generator=generator).to(device) for s in shapes)

    def values(function: Callable[..., Tensor]) -> list[Tensor]:
        parts = [part.clone().requires_grad_() for part in (0.2 * weight, bias, query.tanh())]
        attended = function(tokens, *parts)
        return [attended.detach(), *torch.autograd.grad(attended.square().sum(), parts)]

    pairs = zip(values(kernel_attention), values(plain_attention), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def kernel_attention(tokens: Tensor, weight: Tensor, bias: Tensor, query: Tensor) -> Tensor:
    """Guided attention as in training."""
    from avcil.nn.fused_attention import projected_attention

    return projected_attention(tokens, weight, bias, query).attended


def plain_attention(tokens: Tensor, weight: Tensor, bias: Tensor, query: Tensor) -> Tensor:
    """Guided attention by the plain equations."""
    from avcil.nn.attention import guided_attention

    return guided_attention(tokens, (tokens @ weight.T + bias).tanh(), query).attended
