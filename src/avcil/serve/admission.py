"""A fair queue for clips that wait for a worker: round robin over clients, first in first out for each client."""

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

_MAX_RETRY_AFTER = 120
"""Seconds."""
_POLL_SECONDS = 1.0
"""Interval for checking whether a waiting client is still connected."""


@dataclass(eq=False)
class Ticket:
    """A request in the queue."""

    client: str
    turn: Future[None] = field(default_factory=Future)
    """Done when the request gets a slot."""
    began: float | None = None


class Admission:
    """Assigns slots to clients in turns (round robin), and to the requests of each client in order (FIFO).

    When the queue is full, the newest request of the client with the most requests is dropped in favor of a client with
    fewer, so that one client cannot block the others. Can be used from threads and from coroutines.
    """

    def __init__(self, slots: int, waiting: int) -> None:
        """Make an empty queue.

        Args:
            slots: Number of requests that are processed in parallel.
            waiting: Maximum number of waiting requests.
        """
        self.slots, self.max_waiting = slots, waiting
        self.running = self.waiting = 0
        self._seconds = 1.0  # mean time of one request, updated with each
        self._queues: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._lock = threading.Lock()

    def enter(self, client: str) -> Ticket:
        """Join the queue.

        Args:
            client: Name of the client; requests with the same name share one turn.

        Raises:
            BusyError: The queue is full.
        """
        ticket = Ticket(client)
        with self._lock:
            if self.waiting >= self.max_waiting and self.running >= self.slots:
                self._make_room(client)
            self._queues.setdefault(client, deque()).append(ticket)
            self.waiting += 1
            self._start_next()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Release the slot, or leave the queue."""
        with self._lock:
            if ticket.began is not None:
                self.running -= 1
                self._seconds += 0.1 * (time.monotonic() - ticket.began - self._seconds)
            else:
                self._remove(ticket)
            self._start_next()

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """Wait for a slot in a thread."""
        ticket = self.enter(client)
        try:
            ticket.turn.result()
            yield
        finally:
            self.leave(ticket)

    @asynccontextmanager
    async def async_slot(
        self, client: str, is_disconnected: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[None]:
        """Wait for a slot in a coroutine.

        Args:
            client: Name of the client.
            is_disconnected: Returns whether the client has disconnected; then it leaves the queue.

        Raises:
            BusyError: The queue is full.
            ConnectionAbortedError: The client disconnected while it waited.
        """
        ticket = self.enter(client)
        try:
            turn = asyncio.wrap_future(ticket.turn)
            while not (await asyncio.wait({turn}, timeout=_POLL_SECONDS))[0]:
                if await is_disconnected():
                    turn.cancel()
                    raise ConnectionAbortedError("the client disconnected")
            turn.result()
            yield
        finally:
            self.leave(ticket)

    def retry_after(self) -> int:
        """Estimated seconds until the waiting requests are finished."""
        seconds = (self.waiting / self.slots + 1) * self._seconds
        return max(1, min(_MAX_RETRY_AFTER, math.ceil(seconds)))

    def _busy(self) -> BusyError:
        return BusyError(
            f"too many clips are waiting; send this one again in {self.retry_after()} s",
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
                self._queues[client] = queue  # at the end, so that the other clients come first
            if ticket.turn.set_running_or_notify_cancel():
                ticket.began = time.monotonic()
                self.running += 1
                ticket.turn.set_result(None)
