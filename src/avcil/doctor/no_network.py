"""Let nothing in this process speak to another machine, and note who was asked for."""

from __future__ import annotations

import sys
from typing import Any

HERE = ("localhost", "127.0.0.1", "::1", "", None)


def refuse_network() -> list[str]:
    """From now on names are not looked up and connections not made, but to this machine; the list notes the hosts."""
    hosts: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        if host not in HERE:
            hosts.append(str(host))
            raise ConnectionRefusedError(f"avcil doctor asks no other machine, and so not {host}")

    sys.addaudithook(watch)
    return hosts
