"""The queue for slots: order, fairness, a full queue, clients that disconnect."""

from __future__ import annotations

import contextlib

import pytest
from anyio.from_thread import start_blocking_portal

from avcil.serve.admission import Admission, Ticket
from avcil.serve.limits import BusyError


def order(queue: Admission, tickets: dict[str, Ticket]) -> list[str]:
    """The names of the tickets in the order of admission."""
    result = []
    while waiting := [name for name in tickets if name not in result]:
        name = next(name for name in waiting if tickets[name].turn.done())
        result.append(name)
        queue.leave(tickets[name])
    return result


def test_requests_of_clients_alternate():
    """Requests of one client are in order; a client with one request waits for one request of each other client."""
    queue = Admission(1, 10)
    names = ["a1", "a2", "a3", "a4", "b1", "c1", "c2"]
    tickets = {name: queue.enter(name[0]) for name in names}
    assert order(queue, tickets) == ["a1", "a2", "b1", "c1", "a3", "c2", "a4"]
    assert (queue.running, queue.waiting) == (0, 0)


def test_full_queue():
    """For a client with few requests, the newest request of the client with the most requests is dropped."""
    queue = Admission(1, 3)
    greedy = [queue.enter("greedy") for _ in range(4)]
    with pytest.raises(BusyError) as full:
        queue.enter("greedy")
    assert 1 <= full.value.retry_after <= 120
    other = queue.enter("other")
    assert isinstance(greedy[3].turn.exception(0), BusyError)
    with pytest.raises(BusyError):
        queue.enter("other")
    queue.leave(greedy[3])
    queue.leave(greedy[0])
    assert greedy[1].turn.done()
    queue.leave(greedy[1])
    assert other.turn.done()


def test_retry_after_depends_on_the_queue():
    """The time depends on the number of waiting requests and the mean duration."""
    queue = Admission(2, 200)
    empty = queue.retry_after()
    tickets = [queue.enter(str(number)) for number in range(60)]
    assert queue.retry_after() > empty
    for ticket in tickets:
        queue.leave(ticket)
    assert queue.retry_after() == 1


def test_disconnected_client():
    """Its request is removed from the queue, and the next request is admitted."""
    queue = Admission(1, 10)
    held = queue.enter("a")

    async def is_disconnected() -> bool:
        return True

    async def wait() -> None:
        async with queue.async_slot("b", is_disconnected):
            raise AssertionError("it has no slot")

    # In its own thread: Playwright leaves an event loop running in the main thread.
    with start_blocking_portal() as portal, pytest.raises(ConnectionAbortedError):
        portal.call(wait)
    assert queue.waiting == 0
    later = queue.enter("c")
    queue.leave(held)
    assert later.turn.done()


def test_threads_wait_in_the_queue():
    """A thread waits for the slot, and releases it after an error."""
    queue = Admission(1, 10)
    with contextlib.suppress(ZeroDivisionError), queue.slot("a"):
        assert queue.running == 1
        raise ZeroDivisionError
    assert queue.running == 0
