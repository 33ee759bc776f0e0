"""Response models of the HTTP API, for its OpenAPI schema."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ErrorBody(BaseModel):
    """An error and the next step."""

    code: str = Field(description="a stable code for programs")
    message: str = Field(description="a message for users, which can change")


class ErrorResponse(BaseModel):
    """The body of all errors."""

    error: ErrorBody


class ClassProbability(BaseModel):
    """The probability of a class."""

    label: str
    probability: float = Field(ge=0, le=1)


class EventResponse(BaseModel):
    """A part of a long clip."""

    start: float = Field(description="seconds")
    end: float = Field(description="seconds")
    label: str | None = Field(description="null if the part cannot be predicted")
    probability: float
    in_distribution: bool | None
    notes: str


class PredictionResponse(BaseModel):
    """The prediction for a clip."""

    filename: str = Field(description="name of the uploaded file")
    label: str
    probability: float
    predictions: list[ClassProbability] = Field(description="of all classes, the most probable first")
    in_distribution: bool | None = Field(
        description="false if the clip is possibly of an unknown class; null if the model has no test for that"
    )
    p_value: float | None = Field(
        description="fraction of clips of the calibration sample (training clips) that are at least as unusual; "
        "in_distribution is false if it is at most the option --alpha of the server, 0.05 by default; null if the "
        "method has no p-values"
    )
    threshold: float | None = Field(
        description="in_distribution is false if the probability of the label is smaller; null without a threshold"
    )
    background: float | None = Field(
        description="probability of the background, in addition to those of the classes; in_distribution is false if "
        "it is the largest; null if no background clips were learned"
    )
    modality: Literal["audio-visual", "audio", "visual"] = Field(
        description="the modalities that the prediction uses"
    )
    notes: str
    events: list[EventResponse] = Field(description="the timeline of a clip of 6 s or longer, if requested")


class ClassResponse(BaseModel):
    """A class of the model."""

    label: str
    clips: int | None = Field(description="number of learned clips; null if the model does not store it")
    taught_here: bool = Field(description="whether the class was learned on this server")


class SkippedClip(BaseModel):
    """A clip that was not learned."""

    name: str
    reason: str


class Accuracies(BaseModel):
    """Accuracies on held-out clips, fractions."""

    old: float | None = Field(description="of the old classes; null without clips")
    new: float | None = Field(description="of the learned class; null without clips")


class TeachResult(BaseModel):
    """The result of a learning job."""

    new_class: bool = Field(description="false if clips were added to a known class, or to the background")
    learned: int = Field(description="number of learned clips")
    held_out: int = Field(description="number of held-out clips of the class")
    old_clips: int = Field(description="number of evaluated clips of old classes")
    accuracy_before: Accuracies
    accuracy_after: Accuracies
    notes: list[str]
    seconds_learning: float


class TeachResponse(BaseModel):
    """The progress or result of a learning job."""

    state: Literal["learning", "done", "failed", "lost"] = Field(
        description="lost: the job was accepted, the server was killed before it finished, and it cannot be resumed"
    )
    number: int = Field(description="number of the job; a restarted server resumes it with the same number")
    label: str = Field(description="the class; (background) for background clips")
    clips: int = Field(description="number of uploaded clips")
    doing: str = Field(description="the current phase, for users")
    done: int = Field(description="number of finished items of the phase, of `total`")
    total: int
    left_out: list[SkippedClip]
    result: TeachResult | None = Field(description="set when the job is done")
    error: str | None = Field(description="set when the job failed or is lost; then the model is unchanged")


class ChangeResponse(BaseModel):
    """The result of a change."""

    kind: Literal["rename", "forget", "merge"]
    change: str = Field(description="a description for users")
    accuracy_before: float | None = Field(
        description="accuracy on held-out clips of the classes that the model has before and after; null without "
        "clips, and for renaming"
    )
    accuracy_after: float | None = Field(description="the same after the change")
    test_clips: int = Field(description="number of held-out clips")
    notes: list[str]
    classes: list[str] = Field(description="after the change")


class UndoResponse(BaseModel):
    """The change that was undone."""

    kind: Literal["teach", "rename", "forget", "merge"]
    change: str = Field(description="a description for users")
    label: str = Field(description="the class; for a merged model, the name of its file")
    learned: int = Field(description="number of clips that were learned, for the kind teach")
    classes: list[str] = Field(description="after undoing")


class HealthResponse(BaseModel):
    """The status of the server."""

    status: Literal["ok"]
    version: str
    classes: int
    learning: bool
    read_only: bool
