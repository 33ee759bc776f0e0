"""Selection of the kernel by device and dtype."""

from __future__ import annotations

import functools
import importlib.util
import sys

import torch

from avcil.nn.kernels.interface import Kernel
from avcil.nn.token_rows import Tokens


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed; if not, print a notice once."""
    if importlib.util.find_spec("triton") is None:
        print(
            "avcil: Triton is not installed, so guided attention uses PyTorch operators, which are slower on a "
            "GPU. Install the package triton",
            file=sys.stderr,
        )
        return False
    return True


def choose(tokens: Tokens, dtype: torch.dtype) -> Kernel:
    """The fastest kernel for `tokens` with reductions in `dtype`."""
    if tokens.is_cuda and has_triton():
        from avcil.nn.kernels import triton_kernel

        return triton_kernel
    if tokens.device.type == "cpu" and tokens.dtype == dtype and dtype in (torch.float32, torch.float64):
        from avcil.nn.kernels import native

        if not native.unavailable_reason():
            return native
        if not torch.is_inference_mode_enabled():  # in prediction, attention takes little of the time
            native.print_notice()
    from avcil.nn.kernels import operators

    return operators
