"""The installed environment: pinned versions, and no package that breaks torch or transformers."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"


@pytest.mark.parametrize("package", ["torch", "transformers", "numpy", "safetensors"])
def test_pinned_versions_are_installed(package: str) -> None:
    """Features depend on the versions; the extra for encoders must not install another torch."""
    pins = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if "==" in line)
    assert version(package).split("+")[0] == pins[package]


@pytest.mark.skipif(torch.version.cuda is not None, reason="with CUDA's torch they fit, and do no harm")
@pytest.mark.parametrize("package", ["torchvision", "torchaudio", "timm"])
def test_no_package_that_breaks_transformers(package: str) -> None:
    """In a CPU build, the presence of these packages makes the import of models fail."""
    assert importlib.util.find_spec(package) is None
