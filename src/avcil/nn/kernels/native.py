"""The kernel in C, compiled for this CPU at first use. Shapes as in `interface`.

Needs a C compiler (`$CC`, gcc or cc) and the headers of the C library. The compiled library is stored in the user's
cache folder, with a name that depends on source, flags, compiler and CPU, and it is loaded only if no other user can
have changed it. It uses the OpenMP library of PyTorch. Without a compiler, PyTorch operators are used, which are
slower, and training prints a notice.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from avcil.nn.kernels import library_cache
from avcil.nn.kernels.interface import SumGradients, Sums

SOURCE = Path(__file__).with_name("attention.c")
_FLAGS = ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi")
_LINK = ("-fopenmp", "-shared", "-fPIC")
_TYPES = {torch.float32: ("float", "int", ctypes.c_float), torch.float64: ("double", "long", ctypes.c_double)}


@functools.cache
def unavailable_reason() -> str:
    """Why the library can neither be loaded nor compiled, in one line; empty if it can."""
    try:
        for dtype in _TYPES:
            _library(dtype)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        return reason.strip().splitlines()[-1]
    return ""


@functools.cache
def print_notice() -> None:
    """Print once to stderr that training is slower without the library, and why it cannot be used."""
    print(
        "avcil: training is slower because the attention kernel could not be compiled "
        f"({unavailable_reason()}). Install gcc, or set CC to a C compiler.",
        file=sys.stderr,
    )


def compiler() -> str:
    """The path of the C compiler: $CC, gcc or cc; FileNotFoundError if there is none."""
    for name in (os.environ.get("CC"), "gcc", "cc"):
        if name and (path := shutil.which(name)):
            return path
    raise FileNotFoundError("there is no C compiler")


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL:
    cc = compiler()
    real, integer, _ = _TYPES[dtype]
    command = [cc, *_FLAGS, *_LINK, f"-DREAL={real}", f"-DINTEGER={integer}"]
    inputs = "\n".join([*command, _version(cc), _processor(), SOURCE.read_text(encoding="utf-8")])
    name = f"attention-{real}-{hashlib.sha256(inputs.encode()).hexdigest()}.so"

    def build(path: Path) -> None:
        arguments = [*command, str(SOURCE), "-o", str(path)]
        subprocess.run(arguments, check=True, capture_output=True, text=True)

    return library_cache.load(_library_folder(), name, build)


def _library_folder() -> Path:
    """Folder of compiled libraries; see `library_cache` for its security."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avcil"


def _version(cc: str) -> str:
    return subprocess.run([cc, "--version"], check=True, capture_output=True, text=True).stdout


def _processor() -> str:
    """Properties of the CPU on which -march=native depends."""
    described = Path("/proc/cpuinfo")
    if not described.exists():
        return platform.processor()
    lines = described.read_text(encoding="utf-8").splitlines()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def forward(keys: Tensor, tokens: Tensor, bias: Tensor, query: Tensor, old_log: Tensor | None) -> Sums:
    """See `kernels.Kernel`; float32 or float64, all of one dtype."""
    clips, slices, spatial, width = keys.shape
    total, attended, summary = (keys.new_empty(clips, slices, width) for _ in range(3))
    cross = None if old_log is None else keys.new_empty(len(old_log), slices, width)
    log_tokens = _TYPES[keys.dtype][2](math.log(spatial))
    first_old = ctypes.c_long(clips - (0 if old_log is None else len(old_log)))
    _library(keys.dtype).attend_forward(
        *map(ctypes.c_long, keys.shape),
        *_pointers(keys, tokens, bias, query, old_log),
        first_old,
        log_tokens,
        *_pointers(total, attended, summary, cross),
    )
    return Sums(total, attended, summary, cross)


def backward(
    keys: Tensor,
    tokens: Tensor,
    query: Tensor,
    total: Tensor,
    gradients: SumGradients,
    old_log: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    """See `kernels.Kernel`."""
    clips, slices, _, width = keys.shape
    grad_query, grad_bias = (keys.new_empty(clips, slices, width) for _ in range(2))
    first_old = ctypes.c_long(clips - (0 if old_log is None else len(old_log)))
    given = (
        keys,
        tokens,
        query,
        total,
        gradients.attended,
        gradients.summary,
        gradients.shared,
        old_log,
        gradients.divergence,
    )
    _library(keys.dtype).attend_backward(
        *map(ctypes.c_long, keys.shape), *_pointers(*given), first_old, *_pointers(out, grad_query, grad_bias)
    )
    return grad_query.sum(dim=1), grad_bias.sum(dim=(0, 1))


def _pointers(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    assert all(tensor is None or tensor.is_contiguous() for tensor in tensors)
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]
