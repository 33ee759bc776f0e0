"""Data parallelism for small networks: each thread computes a part of the batch.

PyTorch parallelizes each operator and synchronizes its threads after each one. For 60 operators of 0.1 ms, this is a
large overhead, in particular while other processes decode clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import numpy as np
import torch

Item = TypeVar("Item")
Items = TypeVar("Items", bound=Sequence | np.ndarray)
Result = TypeVar("Result")

_CUDA_BATCH_SIZE = 256
"""Items of a group on a GPU."""


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], device: torch.device
) -> list[Result]:
    """Results for all items in order; on a CPU, several threads call `function`, each with one PyTorch thread."""
    threads = torch.get_num_threads()
    workers = min(threads, len(items))
    if workers < 2 or device.type != "cpu":
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # threads that start later use the number that was set last


def in_groups(
    function: Callable[[Items], Result], items: Items, device: torch.device, *, most: int
) -> list[Result]:
    """Results for groups of consecutive items: at most `most` on a CPU, fewer if there are not enough for all
    threads."""
    size = min(most, -(-len(items) // torch.get_num_threads())) if device.type == "cpu" else _CUDA_BATCH_SIZE
    # a slice has the type of the sequence
    groups = [cast(Items, items[begin : begin + size]) for begin in range(0, len(items), size)]
    return in_parallel(function, groups, device)
