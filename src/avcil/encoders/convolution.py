"""Convolutions with TensorFlow's SAME padding and ReLU6, for small pretrained networks.

Shapes: B images, I and O channels, H x W pixels, k x k kernel.

In float32 on a CPU, they use the oneDNN operator of `torch.compile`. `torch.nn.functional.conv2d` selects between two
implementations by batch size and number of threads, which round differently. It is also slower: it packs the weights in
each call and applies ReLU6 in a second pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_RELU6_MAX = 6.0
"""ReLU6 limits to 0 and 6."""
_PACKED_FOR = 8
"""Batch size for which oneDNN packs weights; they can be used with any batch size."""


class SameConvolution(nn.Module):
    """A convolution (B, I, H, W) -> (B, O, H / stride, W / stride), followed by ReLU6 if `activated`.

    Inputs and outputs are in channels-last memory format.
    """

    weight: Tensor
    bias: Tensor | None

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
            weight: (O, I, k, k) float32, or (O, 1, k, k) of a depthwise convolution; k is odd.
            bias: (O,) float32, or None.
            stride: 1, or 2 for even H and W.
            depthwise: Whether it is a depthwise convolution.
            activated: Whether to apply ReLU6.
        """
        super().__init__()
        if stride == 2:  # SAME pads more at the end: zeros in the kernel avoid a copy of the image
            weight = functional.pad(weight, (1, 0, 1, 0))
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.padding = [(weight.shape[2] - 1) // 2] * 2
        self.strides = [stride] * 2
        self.groups = len(weight) if depthwise else 1
        self.activated = activated
        self._packed: dict[tuple[int, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if self.strides[0] == 2 and (x.shape[2] % 2 or x.shape[3] % 2):
            raise ValueError(f"a convolution with stride 2 needs even height and width; got {tuple(x.shape)}")
        given = self.padding, self.strides, [1, 1], self.groups
        if _is_exact_on_cpu(x):
            activation, limits = ("hardtanh", [0.0, _RELU6_MAX]) if self.activated else ("none", [])
            weight = self._weight_for(x)
            return torch.ops.mkldnn._convolution_pointwise(
                x, weight, self.bias, *given, activation, limits, ""
            )
        x = functional.conv2d(x, self.weight, self.bias, self.strides, self.padding, groups=self.groups)
        return x.clamp_(0, _RELU6_MAX) if self.activated else x

    def _weight_for(self, x: Tensor) -> Tensor:
        """The weight packed by oneDNN for images of this size."""
        size = tuple(x.shape[1:])
        if size not in self._packed:
            given = self.padding, self.strides, [1, 1], self.groups, [_PACKED_FOR, *size]
            self._packed[size] = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *given)
        return self._packed[size]


def _is_exact_on_cpu(x: Tensor) -> bool:
    """Whether it runs in float32 on a CPU, and PyTorch has oneDNN."""
    return (
        x.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
    )
