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


class Team:
    """This process among `size` of them, numbered `rank` from 0."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def from_environment(cls) -> Team:
        """The team that torchrun started this process for; a process started otherwise is alone."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not distributed.is_available():
            raise InputError(
                "this PyTorch cannot work in several processes (torch.distributed); start one alone"
            )
        if not distributed.is_initialized():
            from datetime import timedelta

            backend = "nccl" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, timeout=timedelta(seconds=PATIENCE_SECONDS))
            atexit.register(distributed.destroy_process_group)
        return cls(distributed.get_rank(), size)

    @staticmethod
    def own_device(asked: str | None) -> str | None:
        """The GPU of this process where each process of a machine has one; else what was asked for."""
        if (
            int(os.environ.get("WORLD_SIZE", "1")) > 1
            and asked in (None, "cuda")
            and torch.cuda.is_available()
        ):
            return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        return asked

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in order; parts differ by one at most.

        >>> [Team(rank, 3).share(7) for rank in range(3)]
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

    def add_up(self, parameters: Iterable[Tensor]) -> None:
        """Let every parameter's gradient be the sum over processes, in one message."""
        if self.size == 1:
            return
        parameters = list(parameters)
        flat = torch.cat([_gradient(parameter).flatten() for parameter in parameters])
        distributed.all_reduce(flat)
        parts = flat.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            distributed.barrier()

    def check_same(self, tensors: Iterable[Tensor], what: str) -> None:
        """Raise AvcilError if processes hold different numbers, which would go unnoticed until the end."""
        if self.size == 1:
            return
        sums = torch.stack([tensor.detach().double().sum() for tensor in tensors])
        everybody = self.gather(sums[None])
        if not bool((everybody == everybody[0]).all()):
            raise AvcilError(
                f"the processes do not hold the same {what} any more. Start them on machines of one kind, with "
                "the same versions and number of threads, and run the command again to go on from the last checkpoint"
            )


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
