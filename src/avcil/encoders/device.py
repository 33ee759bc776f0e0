"""Where an encoder runs, and how exactly: a CUDA GPU in bfloat16 where there is one, else the processor in
float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

import torch

from avcil.errors import InputError, unknown_name

PRECISIONS = ("float32", "bfloat16")


def choose_device(name: str | None) -> torch.device:
    """The device of this name; None is the first CUDA GPU, or the processor where there is none.

    >>> choose_device("cpu").type
    'cpu'
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"there is no kind of device {name!r}; allowed are cpu, cuda, cuda:0, ...") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"encoders run on cpu or cuda, not on {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {name!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA GPUs. "
            "Leave the device out, or name cpu"
        )
    return device


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
