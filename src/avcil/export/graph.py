"""An ONNX graph under construction: nodes, constants, and names that a person can read in a viewer.

Models are written node by node from their equations and not traced from PyTorch: their fused attention, batches in
chunks and distances are no operators of ONNX, and both of PyTorch's exporters depend on its version and warn of their
own internals. That a graph says what its model says is checked with onnxruntime at every export (`check.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET, IR_VERSION = 18, 8
"""Of ONNX 1.13 (2022), which runtimes of today all read."""
Shape = tuple[str | int, ...]
"""Sizes, or names of those that may vary."""
FLOATS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


class Graph:
    """Nodes and constants; every method that adds something gives the name by which others refer to it."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._taken: set[str] = set()

    def _named(self, name: str) -> str:
        """The name itself, or with the first number that makes it unique."""
        number, unique = 1, name
        while unique in self._taken:
            number, unique = number + 1, f"{name}_{number + 1}"
        self._taken.add(unique)
        return unique

    @property
    def bytes(self) -> int:
        """Of the constants, which are nearly all of the file."""
        return sum(len(constant.raw_data) for constant in self._constants)

    def input(self, name: str, shape: Shape, about: str) -> str:
        """An input, float32."""
        info = helper.make_tensor_value_info(self._named(name), TensorProto.FLOAT, shape, about)
        self._inputs.append(info)
        return name

    def output(self, value: str, name: str, shape: Shape, about: str) -> None:
        """Give a value out, as float32."""
        self.node("Cast", value, name=name, to=TensorProto.FLOAT)
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape, about))

    def constant(self, name: str, value: Tensor | np.ndarray) -> str:
        """Numbers of the model, in the dtype that they have."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = self._named(name)
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        """What the operator `op` gives of `inputs`."""
        name = self._named(name)
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def cast(self, value: str, dtype: str, *, name: str) -> str:
        """A value as "float32" or "float64"."""
        return self.node("Cast", value, name=name, to=FLOATS[dtype])

    def reduced(self, op: str, value: str, axes: list[int], *, name: str, keep: bool = False) -> str:
        """`op` (ReduceMean, ReduceSum, ReduceMax, ReduceL2) over `axes`."""
        where = self.constant(f"{name}_axes", np.array(axes, dtype=np.int64))
        return self.node(op, value, where, name=name, keepdims=int(keep))

    def model(self, name: str, about: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """The whole; raises onnx.checker.ValidationError where nodes do not fit each other."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, self._constants, doc_string=about
        )
        opset = [helper.make_opsetid("", OPSET)]
        whole = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="avcil")
        helper.set_model_props(whole, dict(metadata))
        onnx.checker.check_model(whole, full_check=True)
        return whole
