"""The HTTP API: the service for programs. Its schema is at /api/openapi.json, and to read at /api/docs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from avcil.errors import AvcilError
from avcil.inference.answering import Answer
from avcil.inference.timeline import Event
from avcil.serve import schema
from avcil.serve.api_changes import add_changes
from avcil.serve.api_errors import ALWAYS, UPLOADS, handle_errors, problems
from avcil.serve.api_files import saved, zip_model
from avcil.serve.forms import StrictRoute
from avcil.serve.guard import client_of
from avcil.serve.messages import words
from avcil.serve.routes import methods_of
from avcil.serve.service import Service
from avcil.utils.version import __version__

ABOUT = """Ask a recognizer about clips, and teach it classes. Clips go as `multipart/form-data`, at most {size:g} MB a
request, each of at most {seconds:g} s. Every error is JSON of one shape, `{{"error": {{"code", "message"}}}}`."""


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
    handle_errors(app)
    routes = APIRouter(route_class=_route_class(service.limits.clips))
    _add_questions(routes, service)
    _add_teaching(routes, service)
    add_changes(routes, service)
    _add_model(routes, service)
    app.include_router(routes)
    _add_unknown(app)
    return app


def _route_class(clips: int) -> type[StrictRoute]:
    """Routes that take one file more than a teaching may have, so that the message about that is given."""
    return type("Route", (StrictRoute,), {"most_files": clips + 1})


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
        "in_distribution": answer.in_distribution,
        "p_value": answer.p_value,
        "threshold": answer.threshold,
        "modality": answer.modality,
        "notes": answer.notes,
        "events": [
            {
                key: getattr(event, key)
                for key in ("start", "end", "label", "probability", "in_distribution", "notes")
            }
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
        service.check_may_change()
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
