"""Saved models of each kind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from changed_models import METHODS

from avcil.training.config import TrainConfig
from avcil.training.run import train


@pytest.fixture(scope="session")
def models(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each kind, with the data for learning additional classes."""
    out = tmp_path_factory.mktemp("models")
    for method, options in METHODS.items():
        config = TrainConfig(
            features=store,
            out=out / "runs" / method,
            method=method,
            set=options,
            classes_per_step=3,
            epochs=1,
            exemplars_per_class=1,
        )
        train(config, quiet=True)
        shutil.copytree(out / "runs" / method / "model", out / method)
    return out


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda method: Path(shutil.copytree(models / method, tmp_path / method))
