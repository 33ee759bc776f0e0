"""The package's Adam equals PyTorch's, without importing PyTorch's compiler."""

from __future__ import annotations

import pytest
import torch

from avcil.training.adam import Adam

SHAPES = ((5, 3), (7,), (2, 2))


def parameters() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in SHAPES]


def run(optimizer, trained: list[torch.Tensor], steps: range) -> None:
    """Steps with random gradients; the last parameter has none in every second step."""
    for step in steps:
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        for number, parameter in enumerate(trained):
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = None if number == 2 and step % 2 else gradient
        optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equal_to_pytorch_bit_for_bit(weight_decay):
    """Weights and state after several steps, also of a parameter without a gradient in some steps."""
    ours, theirs = parameters(), parameters()
    settings = {"lr": 0.01, "weight_decay": weight_decay}
    run(first := Adam(ours, **settings), ours, range(5))
    run(second := torch.optim.Adam(theirs, fused=True, **settings), theirs, range(5))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(first.state_dict()["state"], second.state_dict()["state"], rtol=0, atol=0)
    assert first.state_dict()["param_groups"] == second.state_dict()["param_groups"]


@pytest.mark.parametrize("theirs", [True, False])
def test_checkpoints_are_interchangeable(theirs):
    """A run resumes bit-exactly with checkpoints of either optimizer."""

    def optimizer(trained, other):
        return torch.optim.Adam(trained, lr=0.01, fused=True) if other else Adam(trained, lr=0.01)

    whole, halved = parameters(), parameters()
    run(optimizer(whole, theirs), whole, range(6))
    run(before := optimizer(halved, theirs), halved, range(3))
    after = optimizer(halved, not theirs)
    after.load_state_dict(before.state_dict())
    run(after, halved, range(3, 6))
    torch.testing.assert_close(halved, whole, rtol=0, atol=0)


def test_optimizer_state_of_other_parameters_is_an_error():
    """A state with another number of parameters is rejected."""
    saved = Adam(parameters(), lr=0.01).state_dict()
    with pytest.raises(ValueError, match="of 3 parameters, not of 1"):
        Adam(parameters()[:1], lr=0.01).load_state_dict(saved)
