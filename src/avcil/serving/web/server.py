"""Page and API as one application, and the server that it runs in."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Before gradio is imported, which reads it once: no request may leave this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio
import uvicorn
from fastapi import FastAPI

from avcil.errors import InputError
from avcil.evaluation import attention_figure
from avcil.serving.web.api import make_api
from avcil.serving.web.guard import LOOPBACK, Guard
from avcil.serving.web.limits import Limits
from avcil.serving.web.page import HEAD, WORDS, make_page, make_theme
from avcil.serving.web.service import Service

STYLES = [Path(__file__).with_name("page.css"), attention_figure.STYLE]
ICON = Path(__file__).with_name("icon.svg")


def make_app(service: Service, *, names: Iterable[str] | None = ()) -> FastAPI:
    """The whole application: /api for programs, / for people. Requests may be for this machine by its own names or by
    `names`; None lets them be for any."""
    with ThreadPoolExecutor(1) as apart:  # gradio leaves an event loop open where none is running
        app = apart.submit(lambda: asyncio.run(_mounted(service))).result()
    app.add_middleware(Guard, service=service, names=None if names is None else LOOPBACK | set(names))
    return app


async def _mounted(service: Service) -> FastAPI:
    return gradio.mount_gradio_app(
        make_api(service),
        make_page(service),
        path="/",
        allowed_paths=[],
        max_file_size=service.limits.upload_bytes,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        footer_links=[],
        theme=make_theme(),
        css_paths=STYLES,
        favicon_path=str(ICON),
        i18n=WORDS,
        head=HEAD,
    )


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    run: Path,
    *,
    host: str,
    port: int,
    work: Path | None,
    limits: Limits,
    read_only: bool,
    names: Sequence[str] = (),
) -> None:
    """Serve a run until stopped; InputError if the address cannot be had or the run not served."""
    with tempfile.TemporaryDirectory(prefix="avcil-serve-", ignore_cleanup_errors=True) as cache:
        os.environ["GRADIO_TEMP_DIR"] = cache  # uploads of the page; gone with the server
        listening = _listen(host, port)
        service = Service(run, work=work, limits=limits, read_only=read_only)
        try:
            app = make_app(service, names=names if names or is_local(host) else None)
            _announce(service, host, listening.getsockname()[1])
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
            server = uvicorn.Server(config)
            quiet = logging.getLogger("uvicorn.error")
            quiet.addFilter(
                lambda _: not server.should_exit
            )  # pages that are open when it is stopped are no errors
            server.run(sockets=[listening])
        finally:
            service.close()
            listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # who comes before the server is up waits, and is not turned away
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}, port {port}: {error.strerror}. Choose another --port"
        ) from None
    return listening


def _announce(service: Service, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(
        f"Serving {service.run} ({len(service.recognizer.classes_)} classes) at http://{shown}:{port}",
        flush=True,
    )
    print(
        f"What it is taught is kept in {service.work.folder}; the run itself stays as it is. Ctrl-C stops.",
        flush=True,
    )
    if not is_local(host):
        print(
            "avcil: warning: everyone who can reach this machine can ask, "
            f"{'' if service.read_only else 'teach and undo, '}and download the model; there is no password. "
            "Leave --host out to keep it to this machine",
            file=sys.stderr,
            flush=True,
        )
