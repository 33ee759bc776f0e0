"""Read the operators and constants of a TensorFlow Lite file, a FlatBuffers table.

It reads only the fields that `make_encoder_weights.py` needs. The numbers of fields are those of TensorFlow's
schema (tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

DTYPES = {0: np.float32, 2: np.int32, 9: np.int8}
"""NumPy types by the codes of TensorFlow Lite."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A tensor with values in the file."""

    values: np.ndarray
    scales: np.ndarray
    """Scales of the channels, or one for all; empty if the values are not quantized. Zero points are 0."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator of the graph, with its constants in the order of the inputs."""

    code: int
    constants: list[Constant]


class _Table:
    """A FlatBuffers table at a position of a buffer."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def field(self, number: int) -> int | None:
        """The position of a field's value; None if it has its default value."""
        vtable = self.position - self._int32(self.position)
        entry = 4 + 2 * number
        if entry >= struct.unpack_from("<H", self.data, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, vtable + entry)[0]
        return self.position + offset if offset else None

    def number(self, field: int, form: str = "<i") -> int:
        """The scalar in a field; 0 if it has its default value."""
        position = self.field(field)
        return 0 if position is None else struct.unpack_from(form, self.data, position)[0]

    def array(self, field: int, dtype: type[np.generic]) -> np.ndarray:
        """The vector of scalars in a field; empty by default."""
        position = self.field(field)
        if position is None:
            return np.zeros(0, dtype)
        start = position + self._int32(position)
        return np.frombuffer(self.data, dtype, self._int32(start), start + 4)

    def tables(self, field: int) -> Iterator[_Table]:
        """The vector of tables in a field."""
        position = self.field(field)
        if position is None:
            return
        start = position + self._int32(position)
        for index in range(self._int32(start)):
            entry = start + 4 + 4 * index
            yield _Table(self.data, entry + self._int32(entry))

    def table(self, field: int) -> _Table | None:
        """The table in a field; None by default."""
        position = self.field(field)
        return None if position is None else _Table(self.data, position + self._int32(position))

    def _int32(self, position: int) -> int:
        return struct.unpack_from("<i", self.data, position)[0]


def read_operators(data: bytes) -> list[Operator]:
    """The operators of the first subgraph, in the order of computation."""
    model = _Table(data, struct.unpack_from("<I", data)[0])
    graph = next(model.tables(2))
    codes = [max(code.number(0, "<b"), code.number(3)) for code in model.tables(1)]
    buffers = [buffer.array(0, np.uint8) for buffer in model.tables(4)]
    tensors = list(graph.tables(0))
    found = []
    for operator in graph.tables(3):
        inputs = [tensors[index] for index in operator.array(1, np.int32) if index >= 0]
        constants = [_constant(tensor, buffers[tensor.number(2, "<I")]) for tensor in inputs]
        code = codes[operator.number(0, "<I")]
        found.append(Operator(code=code, constants=[constant for constant in constants if constant]))
    return found


def _constant(tensor: _Table, data: np.ndarray) -> Constant | None:
    if not len(data):
        return None
    quantization = tensor.table(4)
    scales = np.zeros(0, np.float32) if quantization is None else quantization.array(2, np.float32)
    if quantization is not None and quantization.array(3, np.int64).any():
        raise ValueError("a quantized constant has a zero point other than 0")
    dtype = DTYPES[tensor.number(1, "<b")]
    return Constant(values=data.view(dtype).reshape(tensor.array(0, np.int32)), scales=scales)
