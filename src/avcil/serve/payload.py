"""Check the events that the page sends to Gradio: only known events, and only uploaded files.

Gradio reads any file that a payload names. Each file must therefore be a regular file in the upload folder; URLs are
never fetched. Gradio receives a new serialization of the checked content, so that both parse the same values.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import unquote, urlsplit

from avcil.serve.refusal import RefusedError

if TYPE_CHECKING:
    import gradio

_JOIN_KEYS = frozenset({"data", "fn_index", "trigger_id", "session_hash", "event_data"})
_FILE_KEYS = frozenset({"path", "url", "orig_name", "size", "mime_type", "is_stream", "meta"})
_FILE_MARKS = frozenset({"path", "url", "is_stream", "meta", "_type", "is_file"})
"""Gradio can treat a mapping with one of these keys as a file."""
_FILE_ROUTE = "/gradio_api/file="
_MAX_SESSION_NAME = 100
"""Length of the name of a session."""
MAX_DEPTH = 20
"""Levels of nesting of a value; values of the page have fewer than ten."""


def uploaded_file(path: object, folder: Path) -> Path | None:
    """The path of a file in the upload folder.

    Args:
        path: The value from the client, of any type.
        folder: The upload folder.

    Returns:
        The path; None unless it is absolute, without `..` and symbolic links, and a regular file in the folder.
    """
    if not isinstance(path, str) or "\0" in path or os.path.normpath(path) != path:
        return None
    folder = folder.absolute()
    given = Path(path)
    if not given.is_relative_to(folder) or given == folder:
        return None
    try:
        real = Path(os.path.realpath(given, strict=True))
        regular = stat.S_ISREG(os.lstat(real).st_mode)
    except (OSError, ValueError):
        return None
    inside = real == Path(os.path.realpath(folder)) / given.relative_to(folder)
    return given if inside and regular else None


def session_name(text: object) -> str:
    """Check the name of a page session.

    Raises:
        RefusedError: It is not a short alphanumeric string.
    """
    if not isinstance(text, str) or not text.isascii() or not text.isalnum() or len(text) > _MAX_SESSION_NAME:
        raise RefusedError(400, "bad_request", "session_hash must be a short string of letters and digits")
    return text


class PayloadCheck:
    """Checks the events that a page sends."""

    def __init__(self, page: gradio.Blocks, folder: Path) -> None:
        """Set the page with the allowed events, and the upload folder."""
        self.page, self.folder = page, folder

    def check_join(self, body: bytes) -> tuple[bytes, str]:
        """Check an event of the page.

        Args:
            body: The body of the request.

        Returns:
            The body for Gradio, and the name of the session.

        Raises:
            RefusedError: 400 for an invalid event, 403 for a file that was not uploaded to this server.
        """
        content = _parse(body)
        if not isinstance(content, dict) or not content.keys() <= _JOIN_KEYS:
            raise _bad("an event must have the keys " + ", ".join(sorted(_JOIN_KEYS)))
        session = session_name(content.get("session_hash"))
        number, trigger, data = content.get("fn_index"), content.get("trigger_id"), content.get("data")
        event = self.page.fns.get(number) if _is_int(number) else None
        if event is None or event.fn is None:
            raise _bad("fn_index is not an event of this page")
        if trigger is not None and not (_is_int(trigger) and trigger in (*self.page.blocks, self.page._id)):
            raise _bad("trigger_id is not a component of this page")
        if not isinstance(data, list) or len(data) != len(event.inputs):
            raise _bad("data must have one value for each input of the event")
        checked = [
            self._clean(value, text=not takes_files(component))
            for component, value in zip(event.inputs, data, strict=True)
        ]
        content["data"] = checked
        content["event_data"] = self._clean(content.get("event_data"), text=True)
        return json.dumps(content).encode(), session

    def _clean(self, value: Any, *, text: bool, depth: int = 0) -> Any:
        """The value with its files checked; `text` allows text outside of files."""
        if depth > MAX_DEPTH:
            raise _bad("the values of the event are nested too deeply")
        if isinstance(value, list):
            return [self._clean(item, text=text, depth=depth + 1) for item in value]
        if isinstance(value, dict):
            if _FILE_MARKS & value.keys():
                return self._clean_file(value)
            return {key: self._clean(item, text=text, depth=depth + 1) for key, item in value.items()}
        if isinstance(value, str) and not text:
            raise _not_uploaded()
        return value

    def _clean_file(self, value: dict[str, Any]) -> dict[str, Any]:
        path = uploaded_file(value.get("path"), self.folder)
        if path is None or not value.keys() <= _FILE_KEYS or value.get("is_stream"):
            raise _not_uploaded()
        if not _is_own_url(value.get("url"), str(path)):
            raise _not_uploaded()
        name = value.get("orig_name")
        return {
            "path": str(path),
            "orig_name": name if isinstance(name, str) else None,
            "meta": {"_type": "gradio.FileData"},
        }


def takes_files(component: Any) -> bool:
    """Whether the values of a Gradio component contain files."""
    model = getattr(component, "data_model", None)
    return model is not None and "gradio.FileData" in json.dumps(model.model_json_schema())


def _is_own_url(url: object, path: str) -> bool:
    """Whether it is None, or the URL of the same file on this server; it is never used."""
    if url is None:
        return True
    try:
        return isinstance(url, str) and unquote(urlsplit(url).path) == _FILE_ROUTE + path
    except ValueError:
        return False


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # ValueError: malformed, not UTF-8, or a number with too many digits
        raise _bad("the body is not valid JSON, or nested too deeply") from None


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not valid JSON")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _bad(message: str) -> RefusedError:
    return RefusedError(400, "bad_request", message)


def _not_uploaded() -> RefusedError:
    return RefusedError(403, "forbidden", "the request names a file that was not uploaded to this server")
