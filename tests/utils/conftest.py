"""A server for downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from download_server import Behavior, Handler, Server


@pytest.fixture
def server() -> Iterator[tuple[str, Behavior]]:
    behavior = Behavior()
    handler = type("H", (Handler,), {"behavior": behavior})
    with Server(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}", behavior
        http_server.shutdown()
        thread.join()
