"""Whether there is a GPU, and whether it computes as the processor does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec

from avcil.doctor.attention import LARGEST, attention_error
from avcil.doctor.finding import CheckResult

SIDE = 512
"""Of the matrices that are multiplied."""
LARGEST_BF16 = 2e-2
"""Of the largest number: bfloat16 keeps 8 bits."""


def gpu() -> Iterator[CheckResult]:
    """Each GPU that PyTorch sees, with a product and the attention on it; or why it sees none."""
    import torch

    if not torch.cuda.is_available():
        yield _none(torch.version.cuda)
        return
    for number in range(torch.cuda.device_count()):
        yield from _one(number)


def _none(cuda: str | None) -> CheckResult:
    driver = _driver()
    if driver is None:
        found = "no NVIDIA driver; the processor does all the work"
        advice = "" if cuda is None else "if there is an NVIDIA GPU, install its driver"
    elif cuda is None:
        found = f"{driver}, but this PyTorch is built for the processor alone"
        advice = "rm -rf .venv && TORCH=cuda make setup"
    else:
        found = f"{driver}, but PyTorch for CUDA {cuda} cannot use it"
        advice = "look at CUDA_VISIBLE_DEVICES; else bring the driver up to date for this CUDA version"
    return CheckResult(status="missing", what="gpu", figure=found, advice=advice, core=False)


def _driver() -> str | None:
    """What the driver says that there is; None without a driver."""
    if shutil.which("nvidia-smi") is None:
        return None
    words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    said = (done.stdout or done.stderr).strip().splitlines()
    return said[0] if said else "a driver that says nothing"


def _one(number: int) -> Iterator[CheckResult]:
    import torch

    device, what = f"cuda:{number}", f"gpu {number}"
    about = torch.cuda.get_device_properties(number)
    exact, coarse = _product_errors(device)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    right = exact <= LARGEST and coarse <= LARGEST_BF16
    yield CheckResult(
        status="ok" if right else "broken",
        what=what,
        figure=f"{about.name}, {about.total_memory / 2**30:.0f} GiB, {'has' if has_bf16 else 'no'} bfloat16; a product "
        f"differs from the processor's by {exact:.0e} in float32, {coarse:.0e} in bfloat16",
        advice=""
        if right
        else f"encode with --device cpu; the GPU or its driver is at fault: nvidia-smi -q -i {number}",
        core=False,
    )
    yield _attention(device, what)


def _product_errors(device: str) -> tuple[float, float]:
    """Largest difference of A B to the processor's, relative to its largest number: in float32 and in bfloat16."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=generator, dtype=torch.float64) for _ in range(2))
    due = left @ right

    def error(dtype: torch.dtype) -> float:
        got = (left.to(device, dtype) @ right.to(device, dtype)).double().cpu()
        return float((got - due).abs().max() / due.abs().max())

    return error(torch.float32), error(torch.bfloat16)


def _attention(device: str, what: str) -> CheckResult:
    error, has_triton = attention_error(device), find_spec("triton") is not None
    right = error <= LARGEST
    return CheckResult(
        status="broken" if not right else "ok" if has_triton else "missing",
        what=f"{what} attention",
        figure=f"{'Triton' if has_triton else 'PyTorch operators: Triton is not installed'}; differs from the "
        f"equations by {error:.0e} of the largest number",
        advice="train on the processor" if not right else "" if has_triton else "pip install 'avcil[gpu]'",
        core=False,
    )
