"""The recogniser in use."""

from typing import TYPE_CHECKING, Any

from avcil.serving.clip_features import ClipArrays, ClipFeatures
from avcil.serving.recognizer import Answer, Recognizer

if TYPE_CHECKING:
    from avcil.serving.learning import LearnReport

__all__ = ["Answer", "ClipArrays", "ClipFeatures", "LearnReport", "Recognizer"]


def __getattr__(name: str) -> Any:
    """Import `LearnReport` when it is used: it needs the training code, which predicting does not."""
    if name == "LearnReport":
        from avcil.serving.learning import LearnReport

        return LearnReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
