"""The fused operator against the plain transcription of the paper's equations."""

from __future__ import annotations

import pytest
import torch

from avcil.models import fused_attention
from avcil.models.attention import guided_attention
from avcil.models.fused_attention import projected_attention


def plain(tokens, weight, bias, query, *, maps_from):
    keys = torch.tanh(tokens @ weight.T + bias)
    attended, spatial_log, temporal_log = guided_attention(tokens, keys, query)
    return attended, spatial_log[maps_from:], temporal_log[maps_from:]


def draw(clips, slices, spatial, width):
    generator = torch.Generator().manual_seed(clips)
    tokens, weight = torch.randn(clips, slices, spatial, width, generator=generator, dtype=torch.float64), None
    weight = torch.randn(width, width, generator=generator, dtype=torch.float64).requires_grad_()
    bias = torch.randn(width, generator=generator, dtype=torch.float64).requires_grad_()
    query = torch.randn(clips, width, generator=generator, dtype=torch.float64).tanh().requires_grad_()
    return tokens, weight, bias, query


@pytest.mark.parametrize("shape", [(7, 3, 4, 5), (1, 1, 1, 2), (5, 2, 9, 3)])
@pytest.mark.parametrize("block_clips", [1, 2, 100])
@pytest.mark.parametrize("maps_from", [0, 1, "all"])
def test_equals_the_plain_transcription(shape, block_clips, maps_from, monkeypatch):
    """Values and gradients agree, whatever the blocks and whichever clips' maps are asked for."""
    monkeypatch.setattr(fused_attention, "BLOCK_ELEMENTS", block_clips * shape[1] * shape[2] * shape[3])
    maps_from = shape[0] if maps_from == "all" else maps_from
    inputs = draw(*shape)
    found = []
    for function in (plain, projected_attention):
        outputs = tuple(function(*inputs, maps_from=maps_from))
        pull = torch.Generator().manual_seed(1)
        loss = sum((out * torch.randn(out.shape, generator=pull, dtype=torch.float64)).sum() for out in outputs)
        found.append([*outputs, *torch.autograd.grad(loss, inputs[1:])])
    for ours, oracle in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, oracle, rtol=1e-10, atol=1e-12)


def test_gradient_by_finite_differences():
    """The hand-written way back is the derivative of the way forth."""
    tokens, *rest = draw(3, 2, 3, 4)
    assert torch.autograd.gradcheck(lambda *x: tuple(projected_attention(tokens, *x, maps_from=1)), rest)


def test_nothing_is_kept_without_gradient():
    """Asking a model costs no memory for a way back."""
    with torch.no_grad():
        assert projected_attention(*draw(2, 2, 3, 4)).attended.grad_fn is None
