"""Distributed data-parallel training with torch.distributed. With a single process, all functions do nothing.

    torchrun --nproc-per-node 2 -m avcil train features --out runs/x ...

Each process has the whole network and a shard of each batch. Outputs are gathered, so losses that compare clips with
one another get the whole batch; gradients are summed. Only the process with rank 0 writes files.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed

from avcil.errors import AvcilError, InputError

_TIMEOUT_SECONDS = 1800
"""Timeout of collective operations. It must be longer than writing a checkpoint takes."""


class ProcessGroup:
    """The processes of a run: this one has number `rank` (from 0) of `size`."""

    def __init__(self, rank: int = 0, size: int = 1, local_size: int = 1) -> None:
        """`local_size`: number of processes on this machine."""
        self.rank, self.size, self.local_size = rank, size, local_size

    @classmethod
    def from_environment(cls, device: str | None = None) -> ProcessGroup:
        """Join the group of a process started by torchrun; any other process is a group of its own.

        Args:
            device: The requested device; None: one GPU for each process, or the CPU without GPUs.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not distributed.is_available():
            raise InputError("this PyTorch lacks torch.distributed: start one process, without torchrun")
        if not distributed.is_initialized():
            from datetime import timedelta

            timeout, own_device = timedelta(seconds=_TIMEOUT_SECONDS), cls.device_of_process(device)
            if own_device is not None and own_device.startswith("cuda"):
                torch.cuda.set_device(own_device)
                distributed.init_process_group("nccl", timeout=timeout, device_id=torch.device(own_device))
            else:
                distributed.init_process_group("gloo", timeout=timeout)
            atexit.register(distributed.destroy_process_group)
        return cls(distributed.get_rank(), size, int(os.environ.get("LOCAL_WORLD_SIZE", size)))

    @staticmethod
    def device_of_process(requested: str | None) -> str | None:
        """The GPU of this process if each process has one; otherwise the requested device.

        Raises:
            InputError: There are fewer GPUs than processes, or one GPU was requested for all.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return requested
        if requested is not None and requested.startswith("cuda:"):
            raise InputError(
                f"--device {requested} is one GPU, but each process needs its own: leave out --device, and "
                "select the GPUs with CUDA_VISIBLE_DEVICES"
            )
        if requested == "cpu" or not torch.cuda.is_available():
            return requested
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise InputError(
                f"process {local + 1} of this machine finds {torch.cuda.device_count()} GPUs: start no more processes "
                "than there are GPUs, or give --device cpu"
            )
        return f"cuda:{local}"

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """The slice of `count` items that belongs to this process; sizes of slices differ by at most one.

        >>> [ProcessGroup(rank, 3).shard(7) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
        """
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def all_gather(self, part: Tensor) -> Tensor:
        """Concatenate the tensors `part` (n, ...) of all processes in order of rank; n may differ."""
        if self.size == 1:
            return part
        lengths = [torch.zeros((), dtype=torch.int64, device=part.device) for _ in range(self.size)]
        distributed.all_gather(lengths, torch.tensor(len(part), device=part.device))
        longest = max(int(length) for length in lengths)
        padded = part.new_zeros((longest, *part.shape[1:]))
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        return torch.cat([each[: int(length)] for each, length in zip(parts, lengths, strict=True)])

    def all_reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the processes, in a single all-reduce."""
        if self.size == 1:
            return
        parameters = list(parameters)
        has = torch.tensor([float(p.grad is not None) for p in parameters]).to(parameters[0])
        flat = torch.cat([*(_gradient(parameter).flatten() for parameter in parameters), has])
        distributed.all_reduce(flat)
        *parts, has = flat.split([*(parameter.numel() for parameter in parameters), len(parameters)])
        for parameter, part, owners in zip(parameters, parts, has.tolist(), strict=True):
            parameter.grad = (
                part.view_as(parameter) if owners else None
            )  # no weight decay for unused parameters

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()

    def assert_in_sync(self, tensors: Iterable[Tensor], what: str) -> None:
        """Compare tensors across processes.

        Raises:
            AvcilError: The tensors differ. `what` names them in the message.
        """
        if self.size == 1:
            return
        sums = torch.stack([_digest(tensor.detach()) for tensor in tensors])
        of_all = self.all_gather(sums[None])
        if not bool((of_all == of_all[0]).all()):
            raise AvcilError(
                f"the processes have different {what}. Use machines of the same kind, with the same versions and "
                "number of threads, and run the command again to resume from the last checkpoint"
            )


def _digest(tensor: Tensor) -> Tensor:
    """A number that depends on all values of the tensor and on their order."""
    flat = tensor.double().flatten()
    return (flat * torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device)).sum()


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
