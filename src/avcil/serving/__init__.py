"""The recogniser in use."""

from avcil.serving.clip_features import ClipArrays, ClipFeatures
from avcil.serving.learning import LearnReport
from avcil.serving.recognizer import Answer, Recognizer

__all__ = ["Answer", "ClipArrays", "ClipFeatures", "LearnReport", "Recognizer"]
