"""The recogniser in use."""

from avcil.serving.recognizer import Answer, Recognizer

__all__ = ["Answer", "Recognizer"]
