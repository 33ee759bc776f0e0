"""What the HTTP API answers with; these are its documented schema."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ErrorBody(BaseModel):
    """What is wrong, and what to do."""

    code: str = Field(description="for programs; stays the same while messages may change")
    message: str = Field(description="for people")


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
    in_distribution: bool | None
    notes: str


class Prediction(BaseModel):
    """The answer for one clip."""

    filename: str = Field(description="as it was sent")
    label: str
    probability: float
    predictions: list[ClassProbability] = Field(description="of all classes, likeliest first")
    in_distribution: bool | None = Field(
        description="false: unknown, by the p-value or by the threshold of the label; null: the model has neither"
    )
    p_value: float | None = Field(
        description="share of clips of known classes that are at least as unusual; in_distribution is false up to the "
        "error rate, 0.05 unless the server was started with another"
    )
    threshold: float | None = Field(
        description="probability that the label must reach, else in_distribution is false; null: no threshold"
    )
    modality: Literal["audio-visual", "audio", "visual"] = Field(description="what it was answered from")
    notes: str
    events: list[EventBody] = Field(description="of clips of 6 s or longer, if asked for")


class KnownClass(BaseModel):
    """A class that the recognizer knows."""

    label: str
    clips: int | None = Field(description="learnt; null where the model does not say")
    taught_here: bool


class LeftOut(BaseModel):
    """A clip that was not learnt from."""

    name: str
    reason: str


class Accuracies(BaseModel):
    """Fractions of clips kept aside that are answered with their class."""

    old: float | None = Field(description="of the classes known before; null without clips to ask about")
    new: float | None = Field(description="of the class that was taught; null without clips to ask about")


class TeachingResult(BaseModel):
    """What a teaching came to."""

    new_class: bool = Field(description="false where the class was known, and the clips are more of it")
    learnt: int = Field(description="clips")
    held_out: int = Field(description="clips of the class kept aside to measure by")
    old_clips: int = Field(description="clips of the classes known before that were asked about")
    accuracy_before: Accuracies
    accuracy_after: Accuracies
    notes: list[str]
    seconds_learning: float


class TeachingBody(BaseModel):
    """How far a teaching is."""

    state: Literal["learning", "done", "failed", "lost"] = Field(
        description="lost: accepted, but the server was killed before it was learned, and it cannot be resumed"
    )
    number: int = Field(description="of the teaching; it stays the same where a restarted server resumes it")
    label: str
    clips: int = Field(description="sent")
    doing: str = Field(description="what is under way, for people")
    done: int = Field(description="of `total`, in what is under way")
    total: int
    left_out: list[LeftOut]
    result: TeachingResult | None = Field(description="when it is done")
    error: str | None = Field(description="when it failed or is lost; nothing has changed then")


class ChangeBody(BaseModel):
    """What a change other than a teaching did."""

    kind: Literal["rename", "forget", "merge"]
    change: str = Field(description="for people")
    accuracy_before: float | None = Field(
        description="fraction of held-out clips, of the classes known before and after, that are predicted right; null "
        "without held-out clips, and for renaming, which changes no prediction"
    )
    accuracy_after: float | None = Field(description="the same after the change")
    test_clips: int = Field(description="held-out clips that were predicted")
    notes: list[str]
    classes: list[str] = Field(description="known now")


class Undone(BaseModel):
    """What was undone."""

    kind: Literal["teach", "rename", "forget", "merge"]
    change: str = Field(description="for people")
    label: str = Field(description="the class; of a merged model, the name of its file")
    learnt: int = Field(description="clips, of a teaching")
    classes: list[str] = Field(description="known now")


class Health(BaseModel):
    """Whether the server is well."""

    status: Literal["ok"]
    version: str
    classes: int
    learning: bool
    read_only: bool
