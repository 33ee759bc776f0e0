"""Security headers of all responses, such as the content security policy."""

from __future__ import annotations

from starlette.types import Message, Send

_SOURCES = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Gradio has inline scripts and uses eval
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _SOURCES.items()),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with "no-referrer", browsers send forms of the page with Origin: null
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def with_headers(send: Send) -> Send:
    """Wrap the `send` of ASGI so that responses have the headers, replacing those of the application."""
    names = {name.encode() for name in HEADERS}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [line for line in message.get("headers", ()) if line[0].lower() not in names]
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*others, *added]}
        await send(message)

    return sending
