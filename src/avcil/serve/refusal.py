"""Errors of rejected requests, and their responses."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import JSONResponse


@dataclass
class RefusedError(Exception):
    """A rejected request, with the content of the error response."""

    status: int
    code: str
    message: str
    retry_after: int | None = None
    """Seconds until the client can try again, for the header Retry-After."""
    headers: tuple[tuple[str, str], ...] = ()

    def all_headers(self) -> dict[str, str]:
        """The headers of the response, without those of the body."""
        retry = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return {**dict(self.headers), **retry}

    def response(self) -> JSONResponse:
        """The response."""
        return error_response(self.status, self.code, self.message, self.all_headers())


def error_response(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error in the format of the API (`schema.ErrorResponse`)."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
