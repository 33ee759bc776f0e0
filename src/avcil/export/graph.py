"""Build an ONNX graph with readable names.

Graphs are written from the equations of the models and not exported from PyTorch: ONNX has no operators for the fused
attention, batches in chunks and distances, and both exporters of PyTorch depend on its version. Each export is compared
with the model in ONNX Runtime (`check.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET, _IR_VERSION = 18, 8
"""Of ONNX 1.13 (2022), which current runtimes can read."""
Shape = tuple[str | int, ...]
"""Sizes, or names of sizes that can vary."""
_MIN_NORM = 1e-12
"""As in `torch.nn.functional.normalize`."""
Input = str | Tensor | np.ndarray | float
"""Name of a value, or a constant."""
_FLOATS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


class Graph:
    """Nodes and constants of a graph. Methods return the name of the value that they add."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._names: set[str] = set()

    def _unique(self, name: str) -> str:
        """The name, with a number if it is already used."""
        number, unique = 1, name
        while unique in self._names:
            number, unique = number + 1, f"{name}_{number + 1}"
        self._names.add(unique)
        return unique

    @property
    def bytes(self) -> int:
        """Size of the constants, which are nearly all of the file."""
        return sum(len(constant.raw_data) for constant in self._constants)

    def input(self, name: str, shape: Shape, about: str) -> str:
        """Add an input, float32."""
        info = helper.make_tensor_value_info(self._unique(name), TensorProto.FLOAT, shape, about)
        self._inputs.append(info)
        return name

    def output(self, value: str, name: str, shape: Shape, about: str) -> None:
        """Add an output, float32."""
        self.node("Cast", value, name=name, to=TensorProto.FLOAT)
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape, about))

    def constant(self, name: str, value: Tensor | np.ndarray | float) -> str:
        """Add a constant in the dtype of `value`; a Python float is float64."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = self._unique(name)
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, *inputs: Input, name: str, **attributes: Any) -> str:
        """Add the operator `op`; inputs that are no names are added as constants."""
        name = self._unique(name)
        names = [
            each if isinstance(each, str) else self.constant(f"{name}_constant", each) for each in inputs
        ]
        self._nodes.append(helper.make_node(op, names, [name], name, **attributes))
        return name

    def cast(self, value: str, dtype: str, *, name: str) -> str:
        """Add a cast to "float32" or "float64"."""
        return self.node("Cast", value, name=name, to=_FLOATS[dtype])

    def reduced(self, op: str, value: str, axes: list[int], *, name: str, keep: bool = False) -> str:
        """Add `op` (ReduceMean, ReduceSum, ReduceMax, ReduceL2) over `axes`."""
        return self.node(op, value, np.array(axes, dtype=np.int64), name=name, keepdims=int(keep))

    def with_axes(self, value: str, axes: list[int], *, name: str) -> str:
        """Insert axes of length 1."""
        return self.node("Unsqueeze", value, np.array(axes, dtype=np.int64), name=name)

    def affine(self, value: str, weight: Tensor, bias: Tensor, *, name: str) -> str:
        """x W + b over the last axis, for W (D_in, D_out) and b (D_out,)."""
        return self.node("Add", self.node("MatMul", value, weight, name=f"{name}_product"), bias, name=name)

    def unit(self, value: str, dtype: str = "float64", *, name: str = "unit") -> str:
        """z / |z| (B, D), as `torch.nn.functional.normalize`."""
        norm = self.reduced("ReduceL2", value, [1], name="norm", keep=True)
        norm = self.node("Max", norm, np.array(_MIN_NORM, dtype=dtype), name="norm_above_zero")
        return self.node("Div", value, norm, name=name)

    def model(self, name: str, about: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """The complete model; onnx.checker.ValidationError if nodes are inconsistent."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, self._constants, doc_string=about
        )
        opset = [helper.make_opsetid("", OPSET)]
        whole = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION, producer_name="avcil")
        helper.set_model_props(whole, dict(metadata))
        onnx.checker.check_model(whole, full_check=True)
        return whole
