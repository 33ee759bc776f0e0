"""Small models with random weights, saved with the tools of their authors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 16,
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests must not send requests to a hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def save_model(folder: Path, model_class: str, config_class: str, **config: Any) -> Path:
    """A model of transformers with random values in every weight, including biases and scales."""
    import transformers

    torch.manual_seed(3)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0.02, 0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def videomae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VideoMAE as published after pre-training, with its decoder and without pooling; 4 frames of 32 x 32."""
    decoder = {
        "decoder_num_attention_heads": 2,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_intermediate_size": 32,
    }
    folder = tmp_path_factory.mktemp("models") / "videomae"
    options = TINY | decoder | {"num_frames": 4, "use_mean_pooling": False}
    return save_model(folder, "VideoMAEForPreTraining", "VideoMAEConfig", **options)
