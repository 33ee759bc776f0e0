"""Device and precision of encoders. Default: a CUDA GPU in bfloat16 if there is one, otherwise the CPU in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

import torch

from avcil.errors import unknown_name
from avcil.utils.devices import choose_device

PRECISIONS = ("float32", "bfloat16")


def _choose_precision(name: str | None, device: torch.device) -> str:
    """ "float32" or "bfloat16"; None is bfloat16 on a GPU, float32 on the CPU.

    >>> _choose_precision(None, torch.device("cpu"))
    'float32'
    """
    if name is None:
        return "bfloat16" if device.type == "cuda" else "float32"
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return name


@contextlib.contextmanager
def inference(device: torch.device, precision: str) -> Iterator[None]:
    """Context without gradients, with matrix products in bfloat16 if `precision` is "bfloat16"."""
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        yield


class Placed:
    """Mixin for encoders with a torch model `_model`."""

    runs_on_gpu: ClassVar[bool] = True
    _model: torch.nn.Module

    def place(self, device: str | None = None, precision: str | None = None) -> None:
        """Move the model; see `choose_device` and `_choose_precision` for the arguments."""
        self.device = choose_device(device)
        self.precision = _choose_precision(precision, self.device)
        self._model.to(self.device)
