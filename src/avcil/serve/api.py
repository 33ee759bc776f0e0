"""The HTTP API. Its schema is at /api/openapi.json, the documentation at /api/docs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import FileResponse
from fastapi_offline import FastAPIOffline
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from avcil.errors import AvcilError, InputError
from avcil.inference.prediction import Prediction
from avcil.inference.timeline import TimelineEvent
from avcil.serve import schema
from avcil.serve.api_changes import add_changes
from avcil.serve.api_errors import ALWAYS, UPLOADS, handle_errors, problems
from avcil.serve.api_files import saved, zip_model
from avcil.serve.forms import StrictRoute
from avcil.serve.guard import client_of
from avcil.serve.messages import public_message
from avcil.serve.routes import methods_of
from avcil.serve.service import Service
from avcil.utils.version import __version__

_ABOUT = """Predict clips, and add classes to the model. Clips are sent as `multipart/form-data`, at most {size:g} MB
per request and {seconds:g} s per clip. All errors have the JSON form `{{"error": {{"code", "message"}}}}`."""


def make_api(service: Service) -> FastAPI:
    """The application with all routes under /api."""
    app = FastAPIOffline(  # the documentation pages of FastAPI load scripts from other hosts
        title="avcil serve",
        description=_ABOUT.format(size=service.limits.upload_bytes / 10**6, seconds=service.limits.seconds),
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
    _add_prediction(routes, service)
    _add_learning(routes, service)
    add_changes(routes, service)
    _add_model(routes, service)
    app.include_router(routes)
    _add_unknown(app)
    return app


def _route_class(clips: int) -> type[StrictRoute]:
    """Routes that accept one file more than allowed, so that the error message names the limit."""
    return type("Route", (StrictRoute,), {"most_files": clips + 1})


def _add_prediction(app: APIRouter, service: Service) -> None:
    @app.post(
        "/api/predict",
        summary="Predict the class of a clip",
        tags=["predict"],
        responses=problems(*UPLOADS),
    )
    async def predict(
        request: Request,
        file: Annotated[UploadFile, File(description="a media file")],
        timeline: Annotated[bool, Query(description="also predict a timeline of a long clip")] = False,
    ) -> schema.PredictionResponse:
        async with service.queue.async_slot(client_of(request.scope), request.is_disconnected):
            return await run_in_threadpool(_predict, service, file, timeline)

    @app.get("/api/classes", summary="List the classes", tags=["predict"])
    def classes() -> list[schema.ClassResponse]:
        return service.classes()


def _predict(service: Service, file: UploadFile, timeline: bool) -> schema.PredictionResponse:
    with saved([file]) as (upload,):
        try:
            prediction = service.predict(upload.path)
            events = service.events(upload.path) if timeline else ()
        except AvcilError as error:
            error.args = (public_message(error, upload.path, upload.name),)
            raise
    return _prediction(upload.name, prediction, events)


def _prediction(
    name: str, prediction: Prediction, events: Sequence[TimelineEvent]
) -> schema.PredictionResponse:
    names = "label probability in_distribution p_value threshold background modality notes"
    ranked = prediction.probabilities.items()
    return schema.PredictionResponse(
        filename=name,
        predictions=[schema.ClassProbability(label=label, probability=p) for label, p in ranked],
        events=[schema.EventResponse.model_validate(event, from_attributes=True) for event in events],
        **{field: getattr(prediction, field) for field in names.split()},
    )


def _add_learning(app: APIRouter, service: Service) -> None:
    @app.post(
        "/api/teach",
        status_code=202,
        summary="Start to learn clips of a class, or background clips",
        tags=["teach"],
        responses=problems(*UPLOADS, 409),
    )
    def teach(
        files: Annotated[list[UploadFile], File(description="clips of the class, or background clips")],
        label: Annotated[
            str | None, Form(description="a new or a known class; omit it for background clips")
        ] = None,
        background: Annotated[
            bool, Form(description="learn background clips: similar clips are rejected")
        ] = False,
    ) -> schema.TeachResponse:
        """Starts a job in the background; `GET /api/teach` returns its progress. For a known class, the clips are added
        to it."""
        service.check_may_change()
        if background == (label is not None):
            raise InputError(
                "give the field label for clips of a class, or background=true for background clips"
            )
        with saved(files) as uploads:
            job = (
                service.start_background(uploads) if label is None else service.start_learning(label, uploads)
            )
            return job.response()

    @app.get(
        "/api/teach",
        summary="Progress or result of the last job",
        tags=["teach"],
        responses=problems(404),
    )
    def learning_job() -> schema.TeachResponse:
        if service.job is None:
            raise HTTPException(404, "no job was started since the server started")
        return service.job.response()


def _add_model(app: APIRouter, service: Service) -> None:
    @app.get(
        "/api/model", response_class=FileResponse, summary="The model folder as a zip file", tags=["server"]
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

    @app.get("/api/health", summary="Status of the server", tags=["server"])
    def health() -> schema.HealthResponse:
        return schema.HealthResponse(
            status="ok",
            version=__version__,
            classes=len(service.recognizer.classes_),
            learning=service.learning,
            read_only=service.read_only,
        )


def _add_unknown(app: FastAPI) -> None:
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    @app.api_route("/api/{rest:path}", methods=methods, include_in_schema=False)
    async def unknown(rest: str) -> None:
        if allowed := methods_of(f"/api/{rest}"):
            raise HTTPException(
                405, "this route does not support the method", {"allow": ", ".join(sorted(allowed))}
            )
        raise HTTPException(404, "there is no such route; /api/openapi.json lists all routes")
