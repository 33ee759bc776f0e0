"""Devices and precisions are used as requested, or rejected with a message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from avcil.errors import InputError
from avcil.inference import Recognizer
from avcil.inference.clip_features import ClipFeatures
from avcil.saved_models.folder import load_tensors
from avcil.training.config import TrainConfig
from avcil.training.device_config import DeviceConfig
from avcil.training.run import Run, train


def config(store: Path, out: Path, **changes) -> TrainConfig:
    settings = {
        "method": "av-cil",
        "classes_per_step": 3,
        "epochs": 12,
        "batch_size": 8,
        "exemplars_per_class": 2,
    }
    return TrainConfig(features=store, out=out, **settings | changes)


def test_cpu_defaults(monkeypatch):
    """float32 for all tensors; with bfloat16, weights and sums are float32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert DeviceConfig.of(None, None) == DeviceConfig.on_cpu(torch.float32)
    coarse = DeviceConfig.of("cpu", "bfloat16")
    assert (coarse.weights, coarse.tokens, coarse.precision) == (torch.float32, torch.bfloat16, "bfloat16")


def test_missing_gpu(store, tmp_path, monkeypatch):
    """The message lists the available devices; nothing is written."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name in ("cuda", "cuda:3", "tpu"):
        with pytest.raises(InputError, match=r"CUDA GPUs|unknown device|cpu or cuda"):
            train(config(store, tmp_path / "run", device=name), quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()


def test_invalid_options_of_closed_form_methods(store, tmp_path):
    """They run on the CPU and sum in float64."""
    for changes in (
        {"device": "cuda"},
        {"precision": "bfloat16"},
        {"max_memory": "1GB"},
        {"teacher_cache": "none"},
    ):
        with pytest.raises(InputError, match="closed form"):
            Run(config(store, tmp_path / "run", method="blade", **changes), quiet=True)


def test_bfloat16_training(store, tmp_path):
    """The accuracy is close to float32, weights are float32, and the precision is part of the configuration."""
    fine = train(config(store, tmp_path / "fine"), quiet=True)
    coarse = train(config(store, tmp_path / "coarse", precision="bfloat16"), quiet=True)
    assert abs(coarse["average_incremental_accuracy"] - fine["average_incremental_accuracy"]) < 0.1
    tensors = load_tensors(tmp_path / "coarse" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert json.loads((tmp_path / "coarse" / "config.json").read_text())["precision"] == "bfloat16"
    with pytest.raises(InputError, match=r"precision: 'bfloat16' in this run, 'float32' in the command"):
        train(config(store, tmp_path / "coarse"), quiet=True)


def test_bfloat16_model_is_updated_in_float32(store, tmp_path):
    """A model trained in bfloat16 predicts and learns on the CPU in float32."""
    train(config(store, tmp_path / "run", precision="bfloat16", epochs=2), quiet=True)
    recognizer = Recognizer.load(tmp_path / "run")
    draw = torch.Generator().manual_seed(0)
    clips = [
        ClipFeatures(
            clip_id=f"new/{i}",
            audio=torch.randn(1, 10, generator=draw),
            visual=torch.randn(1, 2, 3, 12, generator=draw),
        )
        for i in range(4)
    ]
    recognizer.learn(clips, ["new"] * 4)
    assert recognizer.classes_[-1] == "new"
    assert {tensor.dtype for tensor in recognizer.model.tensors().values()} == {torch.float32}
