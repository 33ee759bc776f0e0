"""Saved models: loaded models equal saved ones, and damage is reported."""

from __future__ import annotations

import json

import pytest
import torch

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.nn.head import LinearHead
from avcil.nn.network import Network
from avcil.saved_models.folder import load_model, save_model, save_tensors
from avcil.utils.tensor_files import load_tensors

CLASSES = ['b, "c"', "-a", "🎸"]


def network(modality: str, dtype: torch.dtype, *, nearest_mean: bool) -> Network:
    head = LinearHead(Network.feature_width(Modality(modality), audio_width=5, visual_width=7))
    made = Network(modality, audio_width=5, visual_width=7, head=head)
    made.head.add_classes(2)
    made.head.add_classes(1)
    if nearest_mean:
        made.class_means = torch.randn(3, head.width)
    return made.to(dtype).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nearest_mean", [False, True])
@pytest.mark.parametrize("modality", ["audio-visual", "audio", "visual"])
def test_round_trip(modality, nearest_mean, dtype, tmp_path):
    """Equal tensors bit for bit, and equal type, scores, class names and description."""
    torch.manual_seed(0)
    made = network(modality, dtype, nearest_mean=nearest_mean)
    save_model(tmp_path, made, labels=CLASSES, description={"dtype": "float16"})
    loaded, labels, config = load_model(tmp_path)
    assert (labels, config["dtype"]) == (CLASSES, "float16")
    assert made.tensors().keys() == loaded.tensors().keys()
    for name, tensor in made.tensors().items():
        assert tensor.dtype == loaded.tensors()[name].dtype
        assert torch.equal(tensor, loaded.tensors()[name])
    audio, visual = torch.randn(4, 5, dtype=dtype), torch.randn(4, 2, 3, 7, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(made.scores(audio, visual), loaded.scores(audio, visual))


def test_scores_depend_only_on_their_modality(tmp_path):
    """Networks with audio or visual input only predict without the other modality."""
    for modality, audio, visual in (
        ("audio", torch.randn(2, 5), None),
        ("visual", None, torch.randn(2, 2, 3, 7)),
    ):
        assert network(modality, torch.float32, nearest_mean=False).scores(audio, visual).shape == (2, 3)


def test_unreadable_tensor_files(tmp_path):
    """The error names the missing or truncated file."""
    with pytest.raises(InputError, match="there is no file"):
        load_tensors(tmp_path / "none.safetensors")
    file = tmp_path / "torn.safetensors"
    save_tensors(file, {"w": torch.ones(50)})
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"torn\.safetensors is damaged"):
        load_tensors(file)


@pytest.mark.parametrize(
    "change", [{"head": {"kind": "wizard"}}, {"modality": "touch"}, {"head": {}}, {"head": 3}]
)
def test_invalid_descriptions(change, tmp_path):
    """An invalid config is an InputError, never a crash."""
    save_model(tmp_path, network("audio", torch.float32, nearest_mean=False), labels=CLASSES, description={})
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="do not fit each other"):
        load_model(tmp_path)
