"""Where an encoder runs, and how exactly: a CUDA GPU in bfloat16 where there is one, else the processor in
float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from avcil.errors import InputError


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


@contextlib.contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """No gradients; on a GPU matrix products run in bfloat16."""
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
        yield
