"""Using a trained model: predict, explain, learn more classes."""

from typing import TYPE_CHECKING, Any

from avcil.inference.clip_features import ClipArrays, ClipFeatures
from avcil.inference.prediction import Prediction
from avcil.inference.recognizer import Recognizer

if TYPE_CHECKING:
    from avcil.inference.learning import LearnReport

__all__ = ["ClipArrays", "ClipFeatures", "LearnReport", "Prediction", "Recognizer"]


def __getattr__(name: str) -> Any:
    """Import `LearnReport` when it is used: it needs the training code, which predicting does not."""
    if name == "LearnReport":
        from avcil.inference.learning import LearnReport

        return LearnReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
