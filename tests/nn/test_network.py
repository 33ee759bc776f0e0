"""The network with every modality and shape."""

from __future__ import annotations

import pytest
import torch

from avcil.data.modality import Modality
from avcil.nn.head import LinearHead
from avcil.nn.network import Network
from avcil.nn.proxy_head import ProxyHead


def build(modality, *, audio_width=5, visual_width=7, head=LinearHead):
    modality = Modality(modality)
    torch.manual_seed(0)
    width = Network.feature_width(modality, audio_width=audio_width, visual_width=visual_width)
    head = head(width) if head is LinearHead else head(width, proxies=3)
    network = Network(modality, audio_width=audio_width, visual_width=visual_width, head=head)
    head.add_classes(2)
    head.add_classes(2)
    return network.eval()


def inputs(modality, shape=(2, 3)):
    modality = Modality(modality)
    torch.manual_seed(1)
    audio, visual = torch.randn(4, 5), torch.randn(4, *shape, 7)
    return audio if modality.has_audio else None, visual if modality.has_visual else None


@pytest.mark.parametrize("modality", Modality)
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (1, 4), (3, 1)])
def test_widths_and_grids(modality, shape):
    """Audio and visual features may have different widths, and a clip may have one slice or one token."""
    output = build(modality)(*inputs(modality, shape))
    assert output.logits.shape == (4, 4)
    assert output.feature.shape == (4, 5 if modality == "audio" else 7)
    assert output.logits.isfinite().all()
    assert (output.attended is not None) == (modality == "audio-visual")


@pytest.mark.parametrize("head", [LinearHead, ProxyHead])
@pytest.mark.parametrize("modality", Modality)
@pytest.mark.parametrize("classifier", ["head", "nearest-mean"])
def test_saved_and_restored(modality, classifier, head):
    """A network that is restored from config and tensors gives the same scores, for each head and classifier."""
    network = build(modality, head=head)
    if classifier == "nearest-mean":
        network.class_means = torch.nn.functional.normalize(torch.randn(4, network.head.width), dim=1)
    again = Network.from_config(network.to_config(), network.tensors()).eval()
    assert torch.equal(again.scores(*inputs(modality)), network.scores(*inputs(modality)))


def test_nearest_mean_equals_explicit_loops():
    """Scores are minus the squared Euclidean distances of hat(h) to the means: the largest is the nearest."""
    network = build("audio-visual")
    network.class_means = torch.rand(4, 7)
    with torch.no_grad():
        features = network(*inputs("audio-visual")).feature
        scores = network.scores(*inputs("audio-visual"))
    for i, feature in enumerate(features):
        unit = feature / feature.norm()
        distances = [float(((unit - mean) ** 2).sum()) for mean in network.class_means]
        assert scores[i].tolist() == pytest.approx([-d for d in distances], abs=1e-5)
        assert int(scores[i].argmax()) == distances.index(min(distances))


def test_maps_and_divergence_exclude_each_other():
    """They are computed in different ways; requesting both is an error."""
    network = build("audio-visual")
    with pytest.raises(ValueError, match="cannot be combined"):
        network(*inputs("audio-visual"), maps=True, old_spatial_log=inputs("audio-visual")[1])
