"""The GPU kernel in Triton's interpreter, in a separate process, because it is selected when Triton is imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

CHECK = """
import torch
from avcil.nn.kernels import operators, triton_kernel
from avcil.nn.kernels.interface import SumGradients

def draw(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)

for clips, slices, spatial, width, old in [(3, 2, 5, 7, 0), (3, 2, 21, 70, 2), (1, 1, 1, 1, 1), (2, 3, 16, 64, 2)]:
    generator = torch.Generator().manual_seed(width)
    shape = (clips, slices, spatial, width)
    projected, tokens, bias, query = draw(*shape), draw(*shape), draw(width), draw(clips, width).tanh()
    log = draw(old, *shape[1:]).log_softmax(dim=2) if old else None
    gradients = SumGradients(*(draw(clips, slices, width) for _ in range(3)), draw(old))
    results = []
    for kernel in (operators, triton_kernel):
        keys, out = projected.clone(), torch.empty_like(projected)
        sums = kernel.forward(keys, tokens, bias, query, log)
        grads = kernel.backward(keys, tokens, query, sums.total, gradients, log, out)
        results.append([keys, *(part for part in sums if part is not None), *grads, out])
    assert len(results[0]) == len(results[1])
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)
"""


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from avcil.nn.kernels import triton_kernel as kernel

def type_of(name, coarse):
    if name in ("HAS_OLD", "BLOCK_S", "BLOCK_D"):
        return "constexpr"
    if name in ("first_old", "slices", "spatial", "width"):
        return "i32"
    if name.startswith("log_tokens"):
        return "fp32"
    return "*bf16" if coarse and name in ("keys", "tokens", "out") else "*fp32"

for capability in (80, 90):
    for function in (kernel._forward, kernel._backward):
        for coarse in (True, False):
            signature = {name: type_of(name, coarse) for name in function.arg_names}
            fixed = {"HAS_OLD": True, "BLOCK_S": kernel.BLOCK_S, "BLOCK_D": kernel.BLOCK_D}
            source = ASTSource(function, signature, constexprs=fixed)
            assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
"""
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed (extra gpu)"
)


@needs_triton
def test_compiles_for_gpus(tmp_path):
    """Compilation for two GPU generations in bfloat16 and float32 needs no GPU."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@needs_triton
def test_equals_pytorch_operators():
    """Forward, backward and divergence agree to 1e-10, also for shapes that are no multiple of the block."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
