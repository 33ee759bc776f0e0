"""The queue in which clips wait for a worker: first come, first served, with clients taking turns."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from avcil.serve.limits import BusyError

LONGEST_WAIT = 120
"""Seconds: the largest Retry-After."""
LOOK_EVERY = 1.0
"""Seconds between looks whether a client that waits is still connected."""


@dataclass(eq=False)
class Ticket:
    """One clip's place in the queue."""

    client: str
    turn: Future[None] = field(default_factory=Future)
    """Done when a worker is free for it."""
    began: float | None = None


class Admission:
    """Hands out slots to clients in turns (round robin), and to each client's requests in order (FIFO).

    When the queue is full, the client with the most requests in it loses the newest of them to a client that has
    fewer; so one client cannot lock out the others. Used from threads and from coroutines.
    """

    def __init__(self, slots: int, waiting: int) -> None:
        """Make an empty queue.

        Args:
            slots: Requests that are worked on at once.
            waiting: Requests that may wait.
        """
        self.slots, self.most_waiting = slots, waiting
        self.running = self.waiting = 0
        self._seconds = 1.0  # mean time of one request, updated with each
        self._queues: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._lock = threading.Lock()

    def enter(self, client: str) -> Ticket:
        """Join the queue.

        Args:
            client: Who asks; requests with the same name share one turn.

        Raises:
            BusyError: The queue is full.
        """
        ticket = Ticket(client)
        with self._lock:
            if self.waiting >= self.most_waiting and self.running >= self.slots:
                self._make_room(client)
            self._queues.setdefault(client, deque()).append(ticket)
            self.waiting += 1
            self._start_next()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give up the slot, or the place in the queue."""
        with self._lock:
            if ticket.began is not None:
                self.running -= 1
                self._seconds += 0.1 * (time.monotonic() - ticket.began - self._seconds)
            else:
                self._remove(ticket)
            self._start_next()

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """A slot for a thread, which waits for it."""
        ticket = self.enter(client)
        try:
            ticket.turn.result()
            yield
        finally:
            self.leave(ticket)

    @asynccontextmanager
    async def async_slot(self, client: str, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
        """A slot for a coroutine.

        Args:
            client: Who asks.
            gone: Tells whether the client hung up; then its place in the queue is given up.

        Raises:
            BusyError: The queue is full.
            ConnectionAbortedError: The client hung up while it waited.
        """
        ticket = self.enter(client)
        try:
            turn = asyncio.wrap_future(ticket.turn)
            while not (await asyncio.wait({turn}, timeout=LOOK_EVERY))[0]:
                if await gone():
                    turn.cancel()
                    raise ConnectionAbortedError("the client hung up")
            turn.result()
            yield
        finally:
            self.leave(ticket)

    def retry_after(self) -> int:
        """Seconds until the requests that wait now are done, as far as one can tell."""
        seconds = (self.waiting / self.slots + 1) * self._seconds
        return max(1, min(LONGEST_WAIT, math.ceil(seconds)))

    def _busy(self) -> BusyError:
        return BusyError(
            f"too many clips are waiting now; send this one again in {self.retry_after()} s",
            retry_after=self.retry_after(),
        )

    def _make_room(self, client: str) -> None:
        longest = max(self._queues.values(), key=len, default=None)
        if longest is None or len(longest) <= len(self._queues.get(client, ())) + 1:
            raise self._busy()
        dropped = longest[-1]
        self._remove(dropped)
        if dropped.turn.set_running_or_notify_cancel():
            dropped.turn.set_exception(self._busy())

    def _remove(self, ticket: Ticket) -> None:
        queue = self._queues.get(ticket.client, deque())
        if ticket in queue:
            queue.remove(ticket)
            self.waiting -= 1
        if not queue:
            self._queues.pop(ticket.client, None)

    def _start_next(self) -> None:
        while self.running < self.slots and self._queues:
            client, queue = self._queues.popitem(last=False)
            ticket = queue.popleft()
            self.waiting -= 1
            if queue:
                self._queues[client] = queue  # to the end: the other clients come first
            if ticket.turn.set_running_or_notify_cancel():
                ticket.began = time.monotonic()
                self.running += 1
                ticket.turn.set_result(None)
