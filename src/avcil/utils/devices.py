"""The device of a computation: the CPU or an NVIDIA GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avcil.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """The device with this name.

    Args:
        name: "cpu", "cuda", "cuda:1", ...; None chooses the first CUDA GPU, or the CPU if there is none.

    Raises:
        InputError: The device does not exist.

    >>> choose_device("cpu").type
    'cpu'
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}; allowed are cpu, cuda, cuda:0, ...") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"avcil runs on cpu or cuda, not on {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"the device {name!r} does not exist: PyTorch finds {torch.cuda.device_count()} CUDA GPUs. "
            "Omit the device, or use cpu"
        )
    return device
