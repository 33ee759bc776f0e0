"""Contributions of modalities and encoders: exact sums for linear scores, ablation for networks."""

from __future__ import annotations

import pytest
import torch

from avcil.encoders.constants import typical_features
from avcil.encoders.registry import audio_encoder, visual_encoder
from avcil.inference.contributions import contributions, margin
from avcil.nn.head import LinearHead
from avcil.nn.network import Network
from avcil.saved_models.folder import SavedModel


def description(audio: int, visual: int) -> dict:
    """Features of the default encoders' parts, of small widths."""

    def encoder(names, widths):
        return {"name": "+".join(names), "parts": [{"name": name} for name in names], "widths": widths}

    return {
        "audio": {"encoder": encoder(["log-mel", "yamnet"], [2, audio - 2]), "shape": [audio]},
        "visual": {
            "encoder": encoder(["patch-motion", "efficientnet-lite0"], [3, visual - 3]),
            "shape": [2, 4, visual],
        },
    }


@pytest.fixture
def state():
    torch.manual_seed(0)
    head = LinearHead(6)
    head.add_classes(3)
    network = Network("audio-visual", audio_width=5, visual_width=6, head=head).double()
    return SavedModel(model=network, labels=("a", "b", "c"), description=description(5, 6))


def test_ignored_encoder_has_zero_contribution(state):
    """The features of one encoder have zero weights; the other encoder has a contribution."""
    network = state.model
    with torch.no_grad():
        network.audio_projection.weight[:, 2:] = 0
        network.audio_attention.weight[:, 2:] = 0
    audio, visual = torch.randn(1, 5).double(), torch.randn(1, 2, 4, 6).double()
    result = contributions(state, audio, visual, (0, 1))
    assert result.kind == "ablation"
    assert result.encoders["audio"]["yamnet"] == pytest.approx(0, abs=1e-12)
    assert abs(result.encoders["audio"]["log-mel"]) > 1e-6
    assert set(result.encoders["visual"]) == {"patch-motion", "efficientnet-lite0"}


def test_ablation_of_an_encoder_replaces_its_features(state):
    """The margin minus the margin with the encoder's features at zero, the center of combined encoders."""
    audio, visual = torch.randn(1, 5).double(), torch.randn(1, 2, 4, 6).double()
    result = contributions(state, audio, visual, (2, 0))
    without = visual.clone()
    without[..., 3:] = 0
    expected = margin(state.model, audio, visual, (2, 0)) - margin(state.model, audio, without, (2, 0))
    assert result.encoders["visual"]["efficientnet-lite0"] == pytest.approx(expected, abs=1e-6)


def test_missing_audio_has_no_contribution(state):
    """A missing modality has no contribution."""
    result = contributions(state, None, torch.randn(1, 2, 4, 6).double(), (0, 1))
    assert (result.modalities, set(result.encoders)) == ({}, {"visual"})


@pytest.mark.parametrize(
    ("make", "name"), [(audio_encoder, "log-mel+yamnet"), (visual_encoder, "patch-motion")]
)
def test_reference_features_are_the_means_of_encoders(make, name):
    """They are computed from the fingerprint, without weights."""
    encoder = make(name)
    result = typical_features(encoder.fingerprint(), encoder.width)
    assert result == pytest.approx(encoder.center)
