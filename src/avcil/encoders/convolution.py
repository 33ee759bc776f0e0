"""Convolutions as TensorFlow computes them, for small pretrained networks: SAME padding and ReLU6.

Shapes: B pictures, I and O channels, H x W pixels, k x k kernel.

On a CPU in float32 all of them are computed by oneDNN, whatever the batch size. `torch.nn.functional.conv2d` chooses
between two implementations by batch size and number of threads, which round differently.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CEILING = 6.0
"""ReLU6 limits to 0 and 6."""


class SameConvolution(nn.Module):
    """A convolution (B, I, H, W) -> (B, O, ceil(H / stride), ceil(W / stride)), followed by ReLU6 if `activated`.

    Inputs and outputs are in channels-last memory format.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activated: bool = True,
    ) -> None:
        """
        Args:
            weight: (O, I, k, k) float32, or (O, 1, k, k) of a depthwise convolution.
            bias: (O,) float32; None is none.
            stride: The same in both directions.
            depthwise: Each channel alone.
            activated: Apply ReLU6.
        """
        super().__init__()
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.kernel = weight.shape[2]
        self.groups = len(weight) if depthwise else 1
        self.stride, self.activated = stride, activated

    def forward(self, x: Tensor) -> Tensor:
        vertical, horizontal = (same_padding(size, self.kernel, self.stride) for size in x.shape[2:])
        padding = [vertical[0], horizontal[0]]
        if vertical[0] != vertical[1] or horizontal[0] != horizontal[1]:
            x, padding = functional.pad(x, (*horizontal, *vertical)), [0, 0]
        return self._convolved(x, padding)

    def _convolved(self, x: Tensor, padding: list[int]) -> Tensor:
        strides, dilation = [self.stride] * 2, [1, 1]
        if has_onednn(x):
            activation, limits = ("hardtanh", [0.0, CEILING]) if self.activated else ("none", [])
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, padding, strides, dilation, self.groups, activation, limits, ""
            )
        x = functional.conv2d(x, self.weight, self.bias, strides, padding, dilation, self.groups)
        return x.clamp_(0, CEILING) if self.activated else x


def has_onednn(x: Tensor) -> bool:
    """Whether the convolution with a fused activation, which `torch.compile` uses, can compute this."""
    return (
        x.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
    )


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind `size` values so that ceil(size / stride) remain; the odd one goes behind.

    >>> same_padding(224, 3, 2), same_padding(7, 5, 1)
    ((0, 1), (2, 2))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
