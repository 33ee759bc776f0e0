"""What the HTTP API answers with; these are its documented schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorBody(BaseModel):
    """What is wrong, and what to do."""

    code: str
    message: str


class Problem(BaseModel):
    """Every error has this shape."""

    error: ErrorBody


class ClassProbability(BaseModel):
    """One class of an answer."""

    label: str
    probability: float = Field(ge=0, le=1)


class EventBody(BaseModel):
    """A stretch of a long clip."""

    start: float = Field(description="seconds")
    end: float = Field(description="seconds")
    label: str | None = Field(description="null where nothing can be answered for")
    probability: float
    known: bool | None
    notes: str


class Prediction(BaseModel):
    """The answer for one clip."""

    filename: str = Field(description="as it was sent")
    label: str
    probability: float
    predictions: list[ClassProbability] = Field(description="of all classes, likeliest first")
    known: bool | None = Field(description="false: like none of the classes; null: the method cannot tell")
    p_value: float | None = Field(
        description="share of clips of the classes known that are as odd; known is false up to 0.05"
    )
    modality: Literal["audio-visual", "audio", "visual"] = Field(description="what it was answered from")
    notes: str
    events: list[EventBody] = Field(description="of clips of 6 s or longer, if asked for")


class KnownClass(BaseModel):
    """A class that the recogniser knows."""

    label: str
    clips: int | None = Field(description="learnt; null where the model does not say")
    taught_here: bool


class LeftOut(BaseModel):
    """A clip that was not learnt from."""

    name: str
    reason: str


class TeachingBody(BaseModel):
    """How far a teaching is."""

    state: Literal["learning", "done", "failed"]
    number: int
    label: str
    clips: int
    doing: str
    done: int
    total: int
    left_out: list[LeftOut]
    result: dict[str, Any] | None = Field(
        description="new_class, learnt, held_out, accuracy_before and accuracy_after (old, new; fractions), notes"
    )
    error: str | None


class Undone(BaseModel):
    """What was taken back."""

    label: str
    learnt: int
    classes: list[str] = Field(description="known now")


class Health(BaseModel):
    """Whether the server is well."""

    status: Literal["ok"]
    version: str
    classes: int
    learning: bool
    read_only: bool
