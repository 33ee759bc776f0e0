"""Status codes and error codes of the HTTP API, for the schema and the responses."""

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
from avcil.serve.learning_job import FULL_DISK
from avcil.serve.limits import (
    BusyError,
    LearningError,
    NothingToUndoError,
    ReadOnlyError,
    ShuttingDownError,
)
from avcil.serve.model_zip import NotAZipError
from avcil.serve.refusal import error_response
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
_REASONS = {
    403: "The request comes from another site or names another host, or the server is read-only",
    404: "Not found",
    409: "The model is being changed, or there is nothing to undo",
    413: "The body is too large",
    415: "The file is not a media file that can be read, or not a zip file",
    422: "Invalid input, or the clip has no usable modality",
    400: "Malformed or incomplete request",
    401: "No valid password",
    408: "The body arrived too slowly",
    429: "Too many wrong passwords; Retry-After has the waiting time",
    503: "The queue is full, or the server is shutting down; Retry-After has the waiting time",
    507: "The server's disk is full or read-only",
}
UPLOADS = (400, 408, 413, 415, 422, 503, 507)
"""Errors of routes that accept files."""
ALWAYS = (401, 403, 429)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for the schema."""
    return {status: {"model": schema.ErrorResponse, "description": _REASONS[status]} for status in statuses}


def handle_errors(app: FastAPI) -> None:
    @app.exception_handler(AvcilError)
    def known(request: Request, error: AvcilError) -> JSONResponse:
        status, code = next((status, code) for kind, status, code in STATUS if isinstance(error, kind))
        headers = (
            {"Retry-After": str(error.retry_after)}
            if isinstance(error, BusyError | ShuttingDownError)
            else None
        )
        return error_response(status, code, FULL_DISK if is_storage_error(error) else str(error), headers)

    @app.exception_handler(OSError)
    def operating_system(request: Request, error: OSError) -> JSONResponse:
        if is_storage_error(error):
            return error_response(507, "no_space", FULL_DISK)
        return error_response(500, "failed", f"unexpected {type(error).__name__}")

    @app.exception_handler(StarletteHTTPException)
    def http(request: Request, error: StarletteHTTPException) -> JSONResponse:
        if error.__cause__ is not None and is_storage_error(error.__cause__):  # while the form was stored
            return error_response(507, "no_space", FULL_DISK)
        codes = {400: "bad_request", 404: "not_found", 405: "not_allowed", 422: "bad_input"}
        code = codes.get(error.status_code, "http_error")
        return error_response(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return error_response(422, "bad_input", f"{reasons}. The schema is at /api/openapi.json")

    @app.exception_handler(ClientDisconnect)
    @app.exception_handler(ConnectionAbortedError)
    def client_disconnected(request: Request, error: Exception) -> JSONResponse:
        return error_response(400, "cut_off", "the upload is incomplete")

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        """A programming error; Starlette writes the traceback to the log."""
        return error_response(500, "failed", "an unexpected error occurred; the server's log has the details")
