"""Several processes that train one network together, by torch.distributed; alone, all of it does nothing.

    torchrun --nproc-per-node 2 -m avcil train features --out runs/x ...

Every process has the whole network and takes an equal part of each batch's clips. What a loss looks at is gathered, so
that losses which compare clips with one another see the whole batch; gradients are summed. The first process writes.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable

import torch
from torch import Tensor, distributed

from avcil.errors import AvcilError, InputError

PATIENCE_SECONDS = 1800
"""How long processes wait for one that is behind, such as the first one when it writes a checkpoint."""


class ProcessGroup:
    """This process among `size` of them, numbered `rank` from 0."""

    def __init__(self, rank: int = 0, size: int = 1, on_machine: int = 1) -> None:
        """`on_machine`: how many of the processes share this machine."""
        self.rank, self.size, self.on_machine = rank, size, on_machine

    @classmethod
    def from_environment(cls, device: str | None = None) -> ProcessGroup:
        """The team that torchrun started this process for; a process started otherwise is alone.

        `device`: what was asked for; without it, a GPU for each process where there are GPUs.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not distributed.is_available():
            raise InputError(
                "this PyTorch cannot work in several processes (torch.distributed); start one alone"
            )
        if not distributed.is_initialized():
            from datetime import timedelta

            patience, own = timedelta(seconds=PATIENCE_SECONDS), cls.own_device(device)
            if own is not None and own.startswith("cuda"):
                torch.cuda.set_device(own)
                distributed.init_process_group("nccl", timeout=patience, device_id=torch.device(own))
            else:
                distributed.init_process_group("gloo", timeout=patience)
            atexit.register(distributed.destroy_process_group)
        return cls(distributed.get_rank(), size, int(os.environ.get("LOCAL_WORLD_SIZE", size)))

    @staticmethod
    def own_device(asked: str | None) -> str | None:
        """The GPU of this process where each process of a machine has one; else what was asked for.

        Raises InputError where several processes are to share one GPU, or there are too few.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return asked
        if asked is not None and asked.startswith("cuda:"):
            raise InputError(
                f"--device {asked} is one GPU, for one process; each of several takes its own: leave --device out, and "
                "say with CUDA_VISIBLE_DEVICES which GPUs they are"
            )
        if asked == "cpu" or not torch.cuda.is_available():
            return asked
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise InputError(
                f"process {local + 1} of this machine finds {torch.cuda.device_count()} GPUs: start no more processes "
                "than there are GPUs, or give --device cpu"
            )
        return f"cuda:{local}"

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in order; parts differ by one at most.

        >>> [ProcessGroup(rank, 3).share(7) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
        """
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather(self, part: Tensor) -> Tensor:
        """Every process's `part` (n, ...), n its own, one behind the other in order of rank."""
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
        """Let every parameter's gradient be the sum over processes, in one message."""
        if self.size == 1:
            return
        parameters = list(parameters)
        has = torch.tensor([float(p.grad is not None) for p in parameters]).to(parameters[0])
        flat = torch.cat([*(_gradient(parameter).flatten() for parameter in parameters), has])
        distributed.all_reduce(flat)
        *parts, has = flat.split([*(parameter.numel() for parameter in parameters), len(parameters)])
        for parameter, part, owners in zip(parameters, parts, has.tolist(), strict=True):
            parameter.grad = part.view_as(parameter) if owners else None  # unused ones are not decayed

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            distributed.barrier()

    def assert_in_sync(self, tensors: Iterable[Tensor], what: str) -> None:
        """Raise AvcilError if processes hold different numbers, which would go unnoticed until the end."""
        if self.size == 1:
            return
        sums = torch.stack([_digest(tensor.detach()) for tensor in tensors])
        everybody = self.gather(sums[None])
        if not bool((everybody == everybody[0]).all()):
            raise AvcilError(
                f"the processes do not hold the same {what} any more. Start them on machines of one kind, with "
                "the same versions and number of threads, and run the command again to go on from the last checkpoint"
            )


def _digest(tensor: Tensor) -> Tensor:
    """A number that changes with any of the tensor's, and with their order."""
    flat = tensor.double().flatten()
    return (flat * torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device)).sum()


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
