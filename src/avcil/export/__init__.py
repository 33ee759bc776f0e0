"""Models in formats that other programs run."""

from avcil.export.check import Comparison
from avcil.export.onnx_file import OnnxExport, export_onnx

__all__ = ["Comparison", "OnnxExport", "export_onnx"]
