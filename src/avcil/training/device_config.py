"""Where a run computes and in which numbers.

float64     everything in float64: for comparisons
float32     everything in float32; the processor's default
bfloat16    tokens and the products over them in bfloat16; weights, sums, losses and the optimizer in float32; the
            GPU's default
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from avcil.utils.devices import choose_device

EVALUATION_BYTES = {"cpu": 2**28, "cuda": 2**29}
"""Tokens of the clips that a model is asked about at once, where there is room."""


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """Device and dtypes of a run."""

    device: torch.device
    weights: torch.dtype
    """Of weights, reductions, losses and the optimizer's state."""
    tokens: torch.dtype
    """Of visual tokens, in which products over them are made."""
    asked_bytes: int | None = None
    """Tokens of the clips that a model is asked about at once; None: as `EVALUATION_BYTES` has it."""

    @classmethod
    def of(cls, device: str | None, precision: str | None) -> DeviceConfig:
        """From names; None is a GPU if there is one, and that device's default precision.

        >>> DeviceConfig.of("cpu", None).tokens
        torch.float32
        """
        where = choose_device(device)
        name = precision or ("bfloat16" if where.type == "cuda" else "float32")
        weights = torch.float64 if name == "float64" else torch.float32
        return cls(device=where, weights=weights, tokens=getattr(torch, name))

    @classmethod
    def on_cpu(cls, dtype: torch.dtype) -> DeviceConfig:
        """The processor, all numbers in `dtype`."""
        return cls(device=torch.device("cpu"), weights=dtype, tokens=dtype)

    @property
    def precision(self) -> str:
        """The name of its precision."""
        return str(self.tokens).removeprefix("torch.")

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return self.device.type == "cuda"

    def name(self) -> str:
        """The device in words, such as "cpu" or a GPU's make."""
        return torch.cuda.get_device_name(self.device) if self.on_gpu else "cpu"

    def eval_batch_size_for(self, clip_bytes: int, *, most: int = 256) -> int:
        """How many clips of so many bytes a model is asked about at once, no gradient wanted."""
        room = EVALUATION_BYTES[self.device.type] if self.asked_bytes is None else self.asked_bytes
        return max(1, min(most, room // max(1, clip_bytes)))
