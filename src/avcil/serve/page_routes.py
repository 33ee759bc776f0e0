"""Routes outside the API: uploads of the page, login and logout, metrics."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from avcil.serve.authentication import Authentication
from avcil.serve.forms import FormRequest
from avcil.serve.guard import client_of, session_cookie
from avcil.serve.metrics import CONTENT_TYPE_LATEST, Metrics
from avcil.serve.refusal import RefusedError
from avcil.serve.routes import UPLOAD
from avcil.serve.uploads import Uploads
from avcil.utils.templates import render


def add_upload(app: FastAPI, uploads: Uploads, most_files: int) -> None:
    """Replace Gradio's route for uploads, which has no total limits."""

    @app.post(UPLOAD.template, include_in_schema=False)
    async def upload(request: Request, upload_id: str = "") -> list[str]:
        """Store files; the response has their paths for the next event of the page."""
        from gradio.routes import file_upload_statuses

        try:
            async with FormRequest(request.scope, request.receive).form(
                max_files=most_files, max_fields=0
            ) as form:
                found = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
                files = [(file.filename or "clip", file.file, file.size or 0) for file in found]
                if not files:
                    raise HTTPException(422, "the upload contains no file")
                paths = await run_in_threadpool(uploads.add, client_of(request.scope), files)
        finally:
            if upload_id in file_upload_statuses._statuses:
                file_upload_statuses.set_done(upload_id)
        return [str(path) for path in paths]


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
    """Serve metrics for Prometheus."""

    @app.get("/metrics", include_in_schema=False)
    def prometheus() -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})


def add_login(app: FastAPI, authentication: Authentication, metrics: Metrics) -> None:
    """Serve the login page, and log in and out."""

    @app.get("/login", include_in_schema=False)
    def login_page() -> HTMLResponse:
        return _login_page()

    @app.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        async with request.form(max_files=0, max_fields=1, max_part_size=10_000) as form:
            password = form.get("password")
        given = password.encode("utf-8", "surrogatepass") if isinstance(password, str) else b""
        try:
            if authentication.is_password(given, client_of(request.scope)):
                return _logged_in(request, authentication)
        except RefusedError as refusal:
            metrics.rejection(refusal.code)
            problem = f"Too many wrong passwords. Try again in {refusal.retry_after} s."
            return _login_page(problem, refusal.status, refusal.all_headers())
        metrics.rejection("wrong_password")
        return _login_page("The password is wrong.", 401)

    @app.post("/logout", include_in_schema=False)
    def logout(request: Request) -> Response:
        name = session_cookie(request.scope)
        if token := request.cookies.get(name):
            authentication.close_session(token)
        response = RedirectResponse("login", 303)
        response.delete_cookie(name, path="/", httponly=True, samesite="strict")
        return response


def _login_page(problem: str = "", status: int = 200, headers: Mapping[str, str] = {}) -> HTMLResponse:
    """The login page, which loads no other files; `problem` is the error of the last attempt."""
    page = str(render("avcil.serve", "login", problem=problem))
    return HTMLResponse(page, status, {**headers, "cache-control": "no-store"})


def _logged_in(request: Request, authentication: Authentication) -> Response:
    response = RedirectResponse("./", 303)
    response.set_cookie(
        session_cookie(request.scope),
        authentication.open_session(),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


def handle_refusals(app: FastAPI) -> None:
    """Handle rejections that are raised inside routes."""

    @app.exception_handler(RefusedError)
    def refused(request: Request, refusal: RefusedError) -> JSONResponse:
        return refusal.response()
