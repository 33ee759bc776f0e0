"""Strict parsing of forms: only the fields, files and sizes that a route declares."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, get_args, get_origin

from fastapi import HTTPException, Request
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

_MAX_FIELDS = 100
_FIELD_BYTES = 10_000
"""Maximum size of a field that is not a file."""


class FormRequest(Request):
    """A request whose form and files are closed when the client disconnects; Starlette does that only for bad forms."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body in parts."""
        try:
            async for part in super().stream():
                yield part
        except ClientDisconnect:
            raise MultiPartException("the upload is incomplete") from None


class StrictRoute(APIRoute):
    """A route that rejects unknown fields and repeated single fields.

    FastAPI ignores unknown fields and silently uses the last of repeated ones.
    """

    most_files = 1000

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with checks before it."""
        handle = super().get_route_handler()
        form = _fields(self.dependant.body_params)
        query = _fields(self.dependant.query_params)
        most_files = self.most_files

        class StrictRequest(FormRequest):
            async def form(self, **limits: Any) -> FormData:  # type: ignore[override]
                fields = await super().form(
                    max_files=most_files, max_fields=_MAX_FIELDS, max_part_size=_FIELD_BYTES
                )
                try:
                    _check_names("field", (name for name, _ in fields.multi_items()), form)
                except HTTPException:
                    await fields.close()
                    raise
                return fields

        async def checked(request: Request) -> Response:
            _check_names("query parameter", (name for name, _ in request.query_params.multi_items()), query)
            return await handle(StrictRequest(request.scope, request.receive))

        return checked


def _fields(declared: list[Any]) -> dict[str, bool]:
    """Names of the parameters, and whether each may be given several times."""
    return {field.alias: _is_list(field.field_info.annotation) for field in declared}


def _is_list(annotation: Any) -> bool:
    """Whether a type is a list, or a list or None.

    >>> _is_list(list[str]), _is_list(list[str] | None), _is_list(str)
    (True, True, False)
    """
    return get_origin(annotation) is list or any(get_origin(part) is list for part in get_args(annotation))


def _check_names(kind: str, given: Any, known: dict[str, bool]) -> None:
    """Check the names of fields.

    Args:
        kind: "field" or "query parameter", for the message.
        given: The names that the client sent.
        known: The allowed names, and whether each can be repeated.

    Raises:
        HTTPException: 422 for an unknown name, or a repeated name that can be given only once.
    """
    for name, count in Counter(given).items():
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise HTTPException(422, f"unknown {kind} {name[:50]!r}; allowed: {allowed}")
        if count > 1 and not known[name]:
            raise HTTPException(422, f"the {kind} {name!r} is given {count} times; it is allowed once")
