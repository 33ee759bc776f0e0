"""Export models to ONNX."""

from avcil.export.check import ExportComparison
from avcil.export.onnx_file import OnnxExport, export_onnx

__all__ = ["ExportComparison", "OnnxExport", "export_onnx"]
