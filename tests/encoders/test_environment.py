"""The environment that set-up makes: pinned libraries, and none that would replace torch."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"


@pytest.mark.parametrize("package", ["torch", "transformers", "numpy", "safetensors"])
def test_pinned_versions_are_installed(package: str) -> None:
    """Features depend on them; the encoders' extra must not pull another torch."""
    pins = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if "==" in line)
    assert version(package).split("+")[0] == pins[package]


@pytest.mark.skipif(torch.version.cuda is not None, reason="with CUDA's torch they fit, and do no harm")
@pytest.mark.parametrize("package", ["torchvision", "torchaudio", "timm"])
def test_nothing_that_breaks_transformers_is_installed(package: str) -> None:
    """On a CPU build their mere presence keeps models from being imported."""
    assert importlib.util.find_spec(package) is None
