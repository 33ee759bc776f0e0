"""The HTTP API: the service for programs. Its schema is at /api/openapi.json, and to read at /api/docs."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from avcil.errors import AvcilError, InputError, StorageError
from avcil.inference.answering import Answer
from avcil.inference.timeline import Event
from avcil.media.container import MediaError
from avcil.serve import schema
from avcil.serve.forms import StrictRoute
from avcil.serve.guard import client_of
from avcil.serve.incoming import Upload
from avcil.serve.limits import (
    BusyError,
    LearningError,
    NothingToUndoError,
    ReadOnlyError,
    ShuttingDownError,
)
from avcil.serve.routes import methods_of
from avcil.serve.service import Service, words
from avcil.serve.teaching import FULL_DISK
from avcil.utils.files import is_storage_error
from avcil.utils.version import __version__

STATUS: tuple[tuple[type[AvcilError], int, str], ...] = (
    (BusyError, 503, "busy"),
    (ShuttingDownError, 503, "shutting_down"),
    (StorageError, 507, "no_space"),
    (LearningError, 409, "learning"),
    (NothingToUndoError, 409, "nothing_to_undo"),
    (ReadOnlyError, 403, "read_only"),
    (MediaError, 415, "not_a_clip"),
    (InputError, 422, "bad_input"),
    (AvcilError, 500, "failed"),
)
ABOUT = """Ask a recognizer about clips, and teach it classes. Clips go as `multipart/form-data`, at most {size:g} MB a
request, each of at most {seconds:g} s. Every error is JSON of one shape, `{{"error": {{"code", "message"}}}}`."""
REASONS = {
    403: "From another site or for another host, or served read-only",
    404: "Not there",
    409: "It is learning, or there is nothing to undo",
    413: "More bytes than are taken",
    415: "No media file that can be read",
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


def make_api(service: Service) -> FastAPI:
    """The application with every route under /api."""
    app = FastAPIOffline(  # FastAPI's own pages of the schema load their scripts from other hosts
        title="avcil serve",
        description=ABOUT.format(size=service.limits.upload_bytes / 10**6, seconds=service.limits.seconds),
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url="/api/docs",
        redoc_url=None,
        static_url="/api/docs/static",
        swagger_ui_oauth2_redirect_url="/api/docs/oauth2-redirect",
        swagger_ui_parameters={"validatorUrl": None, "defaultModelsExpandDepth": 0},
        responses=problems(*ALWAYS),
    )
    _handle_errors(app)
    routes = APIRouter(route_class=_route_class(service.limits.clips))
    _add_questions(routes, service)
    _add_teaching(routes, service)
    _add_model(routes, service)
    app.include_router(routes)
    _add_unknown(app)
    return app


def _route_class(clips: int) -> type[StrictRoute]:
    """Routes that take one file more than a teaching may have, so that the message about that is given."""
    return type("Route", (StrictRoute,), {"most_files": clips + 1})


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an address, for the schema."""
    return {status: {"model": schema.Problem, "description": REASONS[status]} for status in statuses}


def _add_questions(app: APIRouter, service: Service) -> None:
    @app.post(
        "/api/predict",
        response_model=schema.Prediction,
        summary="What a clip shows",
        tags=["ask"],
        responses=problems(*UPLOADS),
    )
    async def predict(
        request: Request,
        file: Annotated[UploadFile, File(description="a media file")],
        timeline: Annotated[bool, Query(description="events of a long clip too")] = False,
    ) -> dict[str, Any]:
        async with service.queue.async_slot(client_of(request.scope), request.is_disconnected):
            return await run_in_threadpool(_predict, service, file, timeline)

    @app.get("/api/classes", response_model=list[schema.KnownClass], summary="What it knows", tags=["ask"])
    def classes() -> list[dict[str, Any]]:
        return service.classes()


def _predict(service: Service, file: UploadFile, timeline: bool) -> dict[str, Any]:
    with saved([file]) as (upload,):
        try:
            answer = service.answer(upload.path)
            found = _events(service, upload.path) if timeline else []
        except AvcilError as error:
            error.args = (words(error, upload.path, upload.name),)
            raise
    return _prediction(upload.name, answer, found)


def _events(service: Service, path: Path) -> list[Event]:
    return list(service.events(path))


def _prediction(name: str, answer: Answer, found: Sequence[Event]) -> dict[str, Any]:
    return {
        "filename": name,
        "label": answer.label,
        "probability": answer.probability,
        "predictions": [{"label": label, "probability": p} for label, p in answer.probabilities.items()],
        "known": answer.known,
        "p_value": answer.p_value,
        "threshold": answer.threshold,
        "modality": answer.modality,
        "notes": answer.notes,
        "events": [
            {key: getattr(event, key) for key in ("start", "end", "label", "probability", "known", "notes")}
            for event in found
        ],
    }


def _add_teaching(app: APIRouter, service: Service) -> None:
    @app.post(
        "/api/teach",
        status_code=202,
        response_model=schema.TeachingBody,
        summary="Begin to teach a class",
        tags=["teach"],
        responses=problems(*UPLOADS, 409),
    )
    def teach(
        label: Annotated[str, Form(description="a new class, or one that is known")],
        files: Annotated[list[UploadFile], File(description="clips of it")],
    ) -> dict[str, Any]:
        """Goes on in the background, whether or not the sender waits: `GET /api/teach` tells how far it is. A name
        that is known already means more clips of that class."""
        service.check_may_teach()
        with saved(files) as uploads:
            return service.start_teaching(label, uploads).to_dict()

    @app.get(
        "/api/teach",
        response_model=schema.TeachingBody,
        summary="How far the last teaching is, or what came of it",
        tags=["teach"],
        responses=problems(404),
    )
    def teaching() -> dict[str, Any]:
        if service.teaching is None:
            raise HTTPException(404, "nothing was taught since the server started")
        return service.teaching.to_dict()

    @app.post(
        "/api/undo",
        response_model=schema.Undone,
        summary="Take the last teaching back",
        tags=["teach"],
        responses=problems(409, 507),
    )
    def undo() -> dict[str, Any]:
        undone = service.undo()
        return {
            "label": undone["label"],
            "learnt": undone["learnt"],
            "classes": list(service.recognizer.classes_),
        }


def _add_model(app: APIRouter, service: Service) -> None:
    @app.get(
        "/api/model", response_class=FileResponse, summary="The model's folder as a zip file", tags=["server"]
    )
    def model() -> FileResponse:
        folder = Path(tempfile.mkdtemp(prefix="avcil-model-"))
        try:
            zip_model(service, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        remove = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        return FileResponse(
            folder / "model.zip", media_type="application/zip", filename="model.zip", background=remove
        )

    @app.get(
        "/api/health", response_model=schema.Health, summary="Whether the server is well", tags=["server"]
    )
    def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "version": __version__,
            "classes": len(service.recognizer.classes_),
            "learning": service.learning,
            "read_only": service.read_only,
        }


def _add_unknown(app: FastAPI) -> None:
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    @app.api_route("/api/{rest:path}", methods=methods, include_in_schema=False)
    async def unknown(rest: str) -> None:
        if allowed := methods_of(f"/api/{rest}"):
            raise HTTPException(
                405, "this address takes another method", {"allow": ", ".join(sorted(allowed))}
            )
        raise HTTPException(404, "there is no such address; /api/openapi.json lists those there are")


def zip_model(service: Service, folder: Path) -> None:
    """Write model.zip into `folder`: the recognizer as it is at one moment."""
    service.recognizer.save(folder / "model")
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        for path in sorted((folder / "model").iterdir()):
            archive.write(path, f"model/{path.name}")
    shutil.rmtree(folder / "model")


@contextmanager
def saved(files: Sequence[UploadFile]) -> Iterator[list[Upload]]:
    """The uploads as files under names of our own, for as long as they are looked at."""
    with tempfile.TemporaryDirectory(prefix="avcil-upload-", ignore_cleanup_errors=True) as folder:
        uploads = []
        for number, file in enumerate(files):
            path = Path(folder) / f"{number:04d}"
            with open(path, "wb") as target:
                shutil.copyfileobj(file.file, target)
            name = (file.filename or "clip").replace("\\", "/").rsplit("/", 1)[-1]
            uploads.append(Upload(path, name or "clip"))
        yield uploads


def _handle_errors(app: FastAPI) -> None:
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
