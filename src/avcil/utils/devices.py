"""Where numbers are computed: the processor, or an NVIDIA GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avcil.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """The device of this name; None is the first CUDA GPU, or the processor where there is none.

    Raises InputError for a device that is not there.

    >>> choose_device("cpu").type
    'cpu'
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"there is no kind of device {name!r}; allowed are cpu, cuda, cuda:0, ...") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"avcil runs on cpu or cuda, not on {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {name!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA GPUs. "
            "Leave the device out, or name cpu"
        )
    return device
