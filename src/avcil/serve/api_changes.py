"""Routes of the HTTP API that change the classes: rename, forget, merge, undo. Each responds after the change."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile

from avcil.data.renaming import renaming
from avcil.serve import schema
from avcil.serve.api_errors import UPLOADS, problems
from avcil.serve.api_files import saved
from avcil.serve.service import Service
from avcil.serve.state_entries import ChangeEntry, describe_change, kind_of

Label = Annotated[str, Form(description="the name of a known class")]


def add_changes(app: APIRouter, service: Service) -> None:
    """Add the routes."""
    _add_rename(app, service)
    _add_forget(app, service)
    _add_merge(app, service)
    _add_undo(app, service)


def _add_rename(app: APIRouter, service: Service) -> None:
    @app.post(
        "/api/rename",
        summary="Rename a class",
        tags=["change"],
        responses=problems(400, 408, 409, 413, 422, 503, 507),
    )
    def rename(
        label: Label, new_label: Annotated[str, Form(description="its new name")]
    ) -> schema.ChangeResponse:
        return _response(service.rename(label, new_label), service)


def _add_forget(app: APIRouter, service: Service) -> None:
    @app.post(
        "/api/forget",
        summary="Forget a class, or clips of it",
        tags=["change"],
        responses=problems(*UPLOADS, 409),
    )
    def forget(
        label: Label,
        files: Annotated[
            list[UploadFile] | None,
            File(description="clips of it that were learned; without files, the whole class is forgotten"),
        ] = None,
    ) -> schema.ChangeResponse:
        """With clips, only these are forgotten, and the model equals one that never learned them. If no clips of the
        class are left, the class is forgotten."""
        service.check_may_change()
        with saved(files or []) as uploads:
            return _response(service.forget(label, uploads), service)


def _add_merge(app: APIRouter, service: Service) -> None:
    @app.post(
        "/api/merge",
        summary="Merge another model",
        tags=["change"],
        responses=problems(*UPLOADS, 409),
    )
    def merge(
        file: Annotated[UploadFile, File(description="the zip file from `GET /api/model` of another server")],
        same_classes: Annotated[
            bool, Form(description="whether classes with the same name are the same class")
        ] = False,
        rename: Annotated[
            list[str] | None,
            Form(description="OLD=NEW, repeatable: the class OLD of the file becomes the class NEW"),
        ] = None,
    ) -> schema.ChangeResponse:
        """Both models need the method blade and the same encoders, modality and options. The result equals one model
        that learned the clips of both."""
        service.check_may_change()
        renamed = renaming(rename or [], where="rename")
        with saved([file]) as (archive,):
            entry = service.merge(archive, same_classes=same_classes, renamed=renamed)
        return _response(entry, service)


def _add_undo(app: APIRouter, service: Service) -> None:
    @app.post(
        "/api/undo",
        summary="Undo the last change",
        tags=["change"],
        responses=problems(409, 507),
    )
    def undo() -> schema.UndoResponse:
        undone = service.undo()
        return schema.UndoResponse(
            kind=kind_of(undone),
            change=describe_change(undone),
            label=undone["label"],
            learned=undone.get("learned", 0),
            classes=list(service.recognizer.classes_),
        )


def _response(entry: ChangeEntry, service: Service) -> schema.ChangeResponse:
    """The response to a change, from its entry."""
    classes = list(service.recognizer.classes_)
    return schema.ChangeResponse.model_validate(
        {"kind": entry["kind"], "change": describe_change(entry), **entry["result"], "classes": classes}
    )
