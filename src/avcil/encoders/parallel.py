"""Small networks on several cores: each thread computes a part of the batch alone.

PyTorch would divide each operator among its threads, which wait for each other after each of them: of 60 operators that
take a tenth of a millisecond that is a large share, and far more where other processes, such as those that decode
clips, want the cores too.
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

AT_ONCE_CUDA = 256
"""Items of a group on a GPU."""


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], device: torch.device
) -> list[Result]:
    """The results for all items, in order; on a CPU several threads call `function`, each computing alone."""
    threads = torch.get_num_threads()
    workers = min(threads, len(items))
    if workers < 2 or device.type != "cpu":
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # threads that start later take the number that was set last


def in_groups(
    function: Callable[[Items], Result], items: Items, device: torch.device, *, most: int
) -> list[Result]:
    """The results for groups of consecutive items: on a CPU at most `most`, and fewer where all threads need some."""
    size = min(most, -(-len(items) // torch.get_num_threads())) if device.type == "cpu" else AT_ONCE_CUDA
    # a slice has the type of what is sliced
    groups = [cast(Items, items[begin : begin + size]) for begin in range(0, len(items), size)]
    return in_parallel(function, groups, device)
