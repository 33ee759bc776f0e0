"""Work done ahead: while one thing is used, the next ones are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Asked = TypeVar("Asked")
Done = TypeVar("Done")
AHEAD = 2
"""Batches that wait ready at most: one would do if reading always took the same time."""


def ahead(
    asked: Iterable[Asked], do: Callable[[Asked], Done], *, workers: int = 1, depth: int = AHEAD
) -> Generator[Done]:
    """`do` of each of `asked`, in order, at most `depth` of them before they are wanted, by `workers` threads.

    An error of `do` is raised where its result would have come.

    >>> list(ahead([1, 2, 3], lambda x: x * x))
    [1, 4, 9]
    """
    waiting: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="read-ahead") as threads:
        try:
            for one in asked:
                waiting.append(threads.submit(do, one))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
