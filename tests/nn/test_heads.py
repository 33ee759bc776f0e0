"""Adding classes to heads: the rows of old classes are unchanged; AFC's proxies are frozen."""

from __future__ import annotations

import math

import pytest
import torch

from avcil.nn.head import LinearHead
from avcil.nn.head_config import head_from_config
from avcil.nn.proxy_head import ProxyHead


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_linear_head_keeps_old_rows():
    """Growth copies the rows of known classes, and all weights are trainable."""
    head = LinearHead(6).double()
    head.add_classes(2)
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    head.add_classes(3)
    assert torch.equal(head.weight[:2], weight)
    assert torch.equal(head.bias[:2], bias)
    assert head.weight.dtype == torch.float64
    assert head.weight.requires_grad
    assert head.bias.requires_grad


def test_old_proxies_are_frozen():
    """Growth keeps old proxies and removes them from the parameters, so that no optimizer changes them."""
    head = ProxyHead(6, proxies=4)
    head.add_classes(2)
    before = head.all_proxies().detach().clone()
    head.add_classes(3)
    assert torch.equal(head.frozen, before)
    assert {name for name, _ in head.named_parameters()} == {"learning", "scale"}
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1, weight_decay=0.1)
    head(torch.randn(5, 6)).square().sum().backward()
    optimizer.step()
    assert torch.equal(head.frozen, before)
    assert head.scale.item() != 1.0


def test_proxy_scores_equal_explicit_loops():
    """score_c = sum_p softmax_p(sim) sim, with sim minus the squared distance of unit vectors, times eta."""
    head = ProxyHead(5, proxies=3).double()
    head.add_classes(2)
    head.add_classes(2)
    head.scale.data.fill_(1.5)
    features, proxies = torch.randn(3, 5, dtype=torch.float64), head.all_proxies().detach()
    logits = head(features).detach()
    for b in range(3):
        for c in range(4):
            unit = features[b] / features[b].norm()
            sims = [-float(((unit - w / w.norm()) ** 2).sum()) for w in proxies[c]]
            total = sum(math.exp(sim) for sim in sims)
            expected = 1.5 * sum(math.exp(sim) / total * sim for sim in sims)
            assert float(logits[b, c]) == pytest.approx(expected, rel=1e-12)


def test_imprinted_proxies():
    """They point to the centers, and have the mean length of the old ones."""
    head = ProxyHead(5, proxies=3)
    head.add_classes(2)
    head.add_classes(2)
    centers = torch.randn(2, 3, 5)
    head.imprint(centers)
    mean = sum(float(w.norm()) for c in head.frozen for w in c) / 6
    for got, center in zip(head.learning.reshape(-1, 5), centers.reshape(-1, 5), strict=True):
        torch.testing.assert_close(got, center / center.norm() * mean)
    assert head.learning.requires_grad


@pytest.mark.parametrize("sizes", [(2, 2, 2), (6,), (1, 5)])
def test_saved_head_with_other_frozen_classes_is_loaded(sizes):
    """A head created at once can load a saved one with any frozen part; adding classes then freezes all."""
    saved = ProxyHead(5, proxies=3)
    for size in sizes:
        saved.add_classes(size)
    again = head_from_config(saved.to_config())
    again.load_state_dict(saved.state_dict())
    feature = torch.randn(4, 5)
    assert torch.equal(again(feature), saved(feature))
    assert len(again.frozen) == len(saved.frozen)
    again.add_classes(2)
    assert torch.equal(again.frozen, saved.all_proxies())


def test_saved_head_of_other_classes_is_an_error():
    """A number of classes that differs from the config is an error."""
    saved, other = ProxyHead(5, proxies=3), ProxyHead(5, proxies=3)
    saved.add_classes(3)
    other.add_classes(4)
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(saved.state_dict())


@pytest.mark.parametrize("build", [lambda: LinearHead(4), lambda: ProxyHead(4, proxies=2)])
def test_gradients(build):
    """Gradients with respect to the feature equal finite differences."""
    head = build().double()
    head.add_classes(3)
    assert torch.autograd.gradcheck(head, torch.randn(2, 4, dtype=torch.float64).requires_grad_())
