"""Device and dtypes of a run. The precisions are:

float64     everything in float64: for comparisons
float32     everything in float32; the default on the CPU
bfloat16    tokens and the products over them in bfloat16; weights, sums, losses and the optimizer in float32; the
            default on a GPU
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from avcil.utils.devices import choose_device

EVALUATION_BYTES = {"cpu": 2**28, "cuda": 2**29}
"""Bytes of visual tokens per batch in evaluation, by device type, if memory is not short."""
_MAX_EVAL_BATCH = 256
"""Clips per batch in evaluation."""


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """Device and dtypes of a run."""

    device: torch.device
    weights: torch.dtype
    """Dtype of weights, reductions, losses and the optimizer's state."""
    tokens: torch.dtype
    """Dtype of visual tokens and of products over them."""
    eval_bytes: int | None = None
    """Bytes of visual tokens per batch in evaluation; None: `EVALUATION_BYTES`."""

    @classmethod
    def of(cls, device: str | None, precision: str | None) -> DeviceConfig:
        """From the names of device and precision.

        Args:
            device: None selects a GPU if there is one.
            precision: None selects the default of the device.

        >>> DeviceConfig.of("cpu", None).tokens
        torch.float32
        """
        where = choose_device(device)
        name = precision or ("bfloat16" if where.type == "cuda" else "float32")
        weights = torch.float64 if name == "float64" else torch.float32
        return cls(device=where, weights=weights, tokens=getattr(torch, name))

    @classmethod
    def on_cpu(cls, dtype: torch.dtype) -> DeviceConfig:
        """The CPU, with one dtype for everything."""
        return cls(device=torch.device("cpu"), weights=dtype, tokens=dtype)

    @property
    def precision(self) -> str:
        """Name of the precision, such as "bfloat16"."""
        return str(self.tokens).removeprefix("torch.")

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def name(self) -> str:
        """`cpu`, or the product name of the GPU."""
        return torch.cuda.get_device_name(self.device) if self.on_gpu else "cpu"

    def eval_batch_size_for(self, clip_bytes: int) -> int:
        """Batch size for evaluation without gradients, for clips with `clip_bytes` bytes of tokens."""
        available = EVALUATION_BYTES[self.device.type] if self.eval_bytes is None else self.eval_bytes
        return max(1, min(_MAX_EVAL_BATCH, available // max(1, clip_bytes)))
