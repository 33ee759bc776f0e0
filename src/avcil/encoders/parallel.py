"""Small networks on several cores: each thread computes a part of the batch alone.

PyTorch would divide each operator among its threads, which wait for each other after each of them: of 60 operators that
take a tenth of a millisecond that is a large share, and far more where other processes, such as those that decode
clips, want the cores too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_parallel(function: Callable[[Part], Result], parts: Sequence[Part], *, on_cpu: bool) -> list[Result]:
    """The results for all parts, in order.

    Args:
        function: Called by several threads at once.
        parts: Each is computed by one thread, if there are two or more.
        on_cpu: Whether that is where it computes; a GPU takes one part after another.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(parts))
    if workers < 2 or not on_cpu:
        return [function(part) for part in parts]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, parts))
    finally:
        torch.set_num_threads(threads)  # threads that start later take the number that was set last


def part_size(count: int, most: int) -> int:
    """Items of a part, at most `most`, such that `count` of them occupy all threads."""
    return max(1, min(most, -(-count // torch.get_num_threads())))
