"""Prefetching: results are computed in threads before they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
DEPTH = 2
"""Default number of prefetched results."""


def prefetch(
    items: Iterable[Item], function: Callable[[Item], Result], *, workers: int = 1, depth: int = DEPTH
) -> Generator[Result]:
    """Apply a function to items in threads and yield the results in order.

    Args:
        items: Its arguments.
        function: An exception that it raises is raised in place of the result.
        workers: Number of threads.
        depth: Maximum number of results that are computed before they are consumed.

    >>> list(prefetch([1, 2, 3], lambda x: x * x))
    [1, 4, 9]
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="prefetch") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
