"""Stopping the server: the first SIGTERM or Ctrl-C finishes accepted work, the second one exits at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn

from avcil.serve.service import Service

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppableServer(uvicorn.Server):
    """A server that finishes the accepted learning job before it stops; new requests receive status 503."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self._stopping = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled by `stops_on_signals`, also after `run`."""
        yield

    def handle_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            os._exit(128 + number)
        self._stopping = True
        self.service.shut_down()
        threading.Thread(target=self._finish, name="stop", daemon=True).start()

    def _finish(self) -> None:
        if self.service.learning:
            print(
                "Stopping after the accepted clips are learned. Press Ctrl-C again to stop at once.",
                file=sys.stderr,
                flush=True,
            )
        self.service.wait_for_learning()
        self.should_exit = True


@contextlib.contextmanager
def stops_on_signals(server: StoppableServer) -> Iterator[None]:
    """Handle SIGINT and SIGTERM with `server.handle_stop`."""
    before = {number: signal.signal(number, server.handle_stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
