"""Where an encoder runs, and how exactly: a CUDA GPU in bfloat16 where there is one, else the processor in
float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

import torch

from avcil.errors import unknown_name
from avcil.utils.devices import choose_device

PRECISIONS = ("float32", "bfloat16")


def choose_precision(name: str | None, device: torch.device) -> str:
    """ "float32" or "bfloat16"; None is bfloat16 on a GPU, float32 on the processor.

    >>> choose_precision(None, torch.device("cpu"))
    'float32'
    """
    if name is None:
        return "bfloat16" if device.type == "cuda" else "float32"
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    return name


@contextlib.contextmanager
def inference(device: torch.device, precision: str) -> Iterator[None]:
    """No gradients; matrix products in bfloat16 if `precision` says so."""
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        yield


class Placed:
    """An encoder whose model stands on a device; mixed into encoders that have a torch model `_model`."""

    runs_on_gpu: ClassVar[bool] = True
    _model: torch.nn.Module

    def place(self, device: str | None = None, precision: str | None = None) -> None:
        """Move the model; names as `choose_device` and `choose_precision` take them."""
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._model.to(self.device)
