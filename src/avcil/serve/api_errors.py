"""Errors of the HTTP API: their statuses and codes, for the schema and for the responses."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from avcil.errors import AvcilError, InputError, StorageError
from avcil.media.container import MediaError
from avcil.serve import schema
from avcil.serve.limits import (
    BusyError,
    LearningError,
    NothingToUndoError,
    ReadOnlyError,
    ShuttingDownError,
)
from avcil.serve.model_zip import NotAZipError
from avcil.serve.teaching import FULL_DISK
from avcil.utils.files import is_storage_error

STATUS: tuple[tuple[type[AvcilError], int, str], ...] = (
    (BusyError, 503, "busy"),
    (ShuttingDownError, 503, "shutting_down"),
    (StorageError, 507, "no_space"),
    (LearningError, 409, "learning"),
    (NothingToUndoError, 409, "nothing_to_undo"),
    (ReadOnlyError, 403, "read_only"),
    (MediaError, 415, "not_a_clip"),
    (NotAZipError, 415, "not_a_zip"),
    (InputError, 422, "bad_input"),
    (AvcilError, 500, "failed"),
)
REASONS = {
    403: "From another site or for another host, or served read-only",
    404: "Not there",
    409: "It is learning or being changed, or there is nothing to undo",
    413: "More bytes than are taken",
    415: "No media file that can be read; or no zip file, where a model is expected",
    422: "Not as it is expected, or nothing in it to answer from",
    400: "Malformed, or cut off",
    401: "No valid password",
    408: "The body arrived too slowly",
    429: "Too many wrong passwords; Retry-After says when to try again",
    503: "The queue is full, or the server is shutting down; Retry-After says when to try again",
    507: "The server's disk is full or cannot be written to",
}
UPLOADS = (400, 408, 413, 415, 422, 503, 507)
"""Errors of routes that take files."""
ALWAYS = (401, 403, 429)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an address, for the schema."""
    return {status: {"model": schema.Problem, "description": REASONS[status]} for status in statuses}


def handle_errors(app: FastAPI) -> None:
    @app.exception_handler(AvcilError)
    def known(request: Request, error: AvcilError) -> JSONResponse:
        status, code = next((status, code) for kind, status, code in STATUS if isinstance(error, kind))
        headers = (
            {"Retry-After": str(error.retry_after)}
            if isinstance(error, BusyError | ShuttingDownError)
            else None
        )
        return problem(status, code, FULL_DISK if is_storage_error(error) else str(error), headers)

    @app.exception_handler(OSError)
    def operating_system(request: Request, error: OSError) -> JSONResponse:
        if is_storage_error(error):
            return problem(507, "no_space", FULL_DISK)
        return problem(500, "failed", f"unexpected {type(error).__name__}")

    @app.exception_handler(StarletteHTTPException)
    def http(request: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.__cause__ is not None and is_storage_error(error.__cause__):  # the form could not be stored
            return problem(507, "no_space", FULL_DISK)
        codes = {400: "bad_request", 404: "not_found", 405: "not_allowed", 422: "bad_input"}
        code = codes.get(error.status_code, "http_error")
        return problem(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return problem(422, "bad_input", f"{found}. /api/openapi.json says what is expected")

    @app.exception_handler(ClientDisconnect)
    @app.exception_handler(ConnectionAbortedError)
    def gone(request: Request, error: Exception) -> JSONResponse:
        return problem(400, "cut_off", "the upload ended before its end")

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        """A programming error; Starlette writes its traceback to the server's log."""
        return problem(500, "failed", "something failed on the server; its log says what")


def problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
