"""Device and precision of encoders. Default: a CUDA GPU in bfloat16 if there is one, otherwise the CPU in float32."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import cached_property

import torch

from avcil.encoders.base import Encoder
from avcil.errors import unknown_name
from avcil.utils.devices import choose_device

_PRECISIONS = ("float32", "bfloat16")


def _choose_precision(name: str | None, device: torch.device) -> str:
    """ "float32" or "bfloat16"; None is bfloat16 on a GPU, float32 on the CPU.

    >>> _choose_precision(None, torch.device("cpu"))
    'float32'
    """
    if name is None:
        return "bfloat16" if device.type == "cuda" else "float32"
    if name not in _PRECISIONS:
        raise unknown_name("precision", name, _PRECISIONS)
    return name


@contextlib.contextmanager
def inference(device: torch.device, precision: str) -> Iterator[None]:
    """Context without gradients, with matrix products in bfloat16 if `precision` is "bfloat16"."""
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        yield


class TorchEncoder(Encoder):
    """Base class of encoders with a PyTorch model `_model`, which can run on a GPU."""

    runs_on_gpu = True
    _model: torch.nn.Module

    def to(self, device: str | None = None, precision: str | None = None) -> None:
        """Move the model.

        Args:
            device: "cpu", "cuda", "cuda:1", ...; None is the first GPU, or the CPU if there is none.
            precision: "float32" or "bfloat16"; None is bfloat16 on a GPU, float32 on the CPU.
        """
        self.device = choose_device(device)
        self.precision = _choose_precision(precision, self.device)
        self._model.to(self.device)

    @cached_property
    def _hash_of_model(self) -> str:
        return _state_hash(self._model)

    def _weights_hash(self) -> str:
        return self._hash_of_model


def _state_hash(model: torch.nn.Module) -> str:
    """SHA-256 of the weights, independent of their order and names, which libraries change."""
    digests = []
    for tensor in model.state_dict().values():
        array = tensor.detach().cpu().contiguous().numpy()
        digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data if array.size else b"")
        digests.append(digest.hexdigest())
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
