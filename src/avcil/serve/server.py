"""The application of page and API, and its server."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

# Gradio reads these when it is imported: no request must leave this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import gradio
import uvicorn
from fastapi import FastAPI

from avcil.errors import InputError
from avcil.inference.rejection import Rejection
from avcil.reporting import attention_figure
from avcil.serve.api import make_api
from avcil.serve.authentication import Authentication
from avcil.serve.body import MinimumRate
from avcil.serve.connection import Connection
from avcil.serve.guard import Guard
from avcil.serve.limits import ServeLimits
from avcil.serve.metrics import Metrics
from avcil.serve.origin import OriginCheck, is_loopback
from avcil.serve.page import HEAD, I18N, make_page, make_theme
from avcil.serve.page_routes import add_login, add_metrics, add_upload, handle_refusals
from avcil.serve.payload import PayloadCheck
from avcil.serve.service import Service
from avcil.serve.stopping import StoppableServer, stops_on_signals
from avcil.serve.temporary import temporary_folder
from avcil.serve.uploads import UploadLimits, Uploads

_STYLES = [Path(__file__).with_name("page.css"), attention_figure.STYLE]
_ICON = Path(__file__).with_name("icon.svg")


def make_app(
    service: Service,
    *,
    names: Iterable[str] | None = (),
    password: str | None = None,
    rate: MinimumRate | None = None,
) -> Guard:
    """Make the application: the API below /api, and the page at /.

    Args:
        service: The service.
        names: Allowed host names, as for `OriginCheck`.
        password: The password; None requires none.
        rate: How fast the bodies of requests must arrive.
    """
    authentication = None if password is None else Authentication(password)
    metrics = Metrics(service)
    folder = Path(gradio.utils.get_upload_folder())
    api = make_api(service)
    handle_refusals(api)
    add_upload(api, Uploads(folder, _upload_limits(service.limits)), service.limits.clips)
    add_metrics(api, metrics)
    if authentication is not None:
        add_login(api, authentication, metrics)
    with ThreadPoolExecutor(1) as thread:  # Gradio leaves an event loop open if none is running
        mounting = thread.submit(lambda: asyncio.run(_mount_page(api, service, authentication is not None)))
        page = mounting.result()
    return Guard(
        api,
        limits=service.limits,
        origins=OriginCheck(names),
        payloads=PayloadCheck(page, folder),
        metrics=metrics,
        authentication=authentication,
        rate=rate,
    )


async def _mount_page(api: FastAPI, service: Service, logout: bool) -> gradio.Blocks:
    page = make_page(service, logout=logout)
    gradio.mount_gradio_app(
        api,
        page,
        path="/",
        allowed_paths=[],
        max_file_size=service.limits.upload_bytes,
        show_error=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        theme=make_theme(),
        css_paths=_STYLES,
        favicon_path=str(_ICON),
        i18n=I18N,
        head=HEAD,
    )
    page.has_launched = True  # otherwise Gradio does not check that files were uploaded to this server
    return page


def _upload_limits(limits: ServeLimits) -> UploadLimits:
    """Limits of the page's upload folder."""
    return UploadLimits(
        client_bytes=4 * limits.upload_bytes,
        client_files=4 * limits.clips,
        total_bytes=20 * limits.upload_bytes,
        total_files=20 * limits.clips,
    )


def serve(
    model: Path,
    *,
    host: str,
    port: int,
    state_dir: Path | None,
    limits: ServeLimits,
    read_only: bool,
    names: Sequence[str] = (),
    password: str | None = None,
    rejection: Rejection | None = None,
) -> None:
    """Serve a model until stopped; InputError if it cannot be loaded, or the address cannot be used."""
    with temporary_folder() as cache, closing(_listen(host, port)) as listening:
        os.environ["GRADIO_TEMP_DIR"] = cache  # uploads of the page, removed when the server stops
        service = Service(model, state_dir=state_dir, limits=limits, read_only=read_only, rejection=rejection)
        try:
            app = make_app(service, names=names if names or is_loopback(host) else None, password=password)
            _announce(service, host, listening.getsockname()[1])
            if password is None and (names or not is_loopback(host)):
                _warn(service)
            _allow_open_files(2 * service.limits.open_requests)
            config = server_config(app, proxy=bool(names), timeout_graceful_shutdown=5)
            server = StoppableServer(config, service)
            quiet = logging.getLogger("uvicorn.error")
            quiet.addFilter(
                lambda _: not server.should_exit
            )  # open pages are not errors when the server stops
            with stops_on_signals(server):
                server.run(sockets=[listening])
                service.close()
        finally:
            service.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # clients wait until the server is ready
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror}. Choose another --port"
        ) from None
    return listening


def _announce(service: Service, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(
        f"Serving {service.model} ({len(service.recognizer.classes_)} classes) at http://{shown}:{port}",
        flush=True,
    )
    print(
        f"Changes of the model are saved in {service.state_directory.folder}; the given model does not change. "
        "Stop with Ctrl-C.",
        flush=True,
    )
    for message in service.messages:
        print(f"avcil: {message}", file=sys.stderr, flush=True)


def server_config(app: Guard, *, proxy: bool = False, **options: Any) -> uvicorn.Config:
    """The configuration of the HTTP server.

    Args:
        app: The application.
        proxy: Whether a proxy on this machine forwards requests; then X-Forwarded-For has the client's address.
        options: Further options of uvicorn.
    """
    options = {"log_level": "warning", "http": Connection, "ws": "none", "proxy_headers": proxy, **options}
    return uvicorn.Config(app, server_header=False, **options)


def _warn(service: Service) -> None:
    """Warn that no password is set."""
    actions = "predict" if service.read_only else "predict, change the model"
    print(
        f"avcil: warning: no password is set: everyone who can reach this server can {actions} and download the model. "
        "Set one with --password-file FILE or AVCIL_PASSWORD",
        file=sys.stderr,
        flush=True,
    )


def _allow_open_files(count: int) -> None:
    """Raise the limit of open files, of which each connection needs one, if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
