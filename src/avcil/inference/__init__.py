"""Using a trained model: predict, explain, learn more classes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from avcil.inference.clip_features import ClipArrays, ClipFeatures
from avcil.inference.prediction import Prediction
from avcil.inference.recognizer import Recognizer

if TYPE_CHECKING:
    from avcil.inference.forgetting import ForgetReport
    from avcil.inference.learning import LearnReport

__all__ = ["ClipArrays", "ClipFeatures", "ForgetReport", "LearnReport", "Prediction", "Recognizer"]

_MODULES = {"ForgetReport": "forgetting", "LearnReport": "learning"}
"""Names that are imported when they are used: they need the training code, which predicting does not."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
