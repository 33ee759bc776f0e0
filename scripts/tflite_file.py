"""Read the operators and constants of a TensorFlow Lite file, a FlatBuffers table.

Only the fields that `make_encoder_weights.py` needs are known here. The numbers of fields are those of TensorFlow's
schema (tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

DTYPES = {0: np.float32, 2: np.int32, 9: np.int8}
"""NumPy's types of TensorFlow Lite's tensor types."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A tensor whose values are in the file."""

    values: np.ndarray
    scales: np.ndarray
    """Of each channel (or one for all); empty if the values are not quantized. Zero points must be 0."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of the graph, its constants in the order of its inputs."""

    code: int
    constants: list[Constant]


class _Table:
    """A FlatBuffers table at a position of a buffer."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def field(self, number: int) -> int | None:
        """The position of a field's value; None where the file leaves it at its default."""
        vtable = self.position - self._int32(self.position)
        entry = 4 + 2 * number
        if entry >= struct.unpack_from("<H", self.data, vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self.data, vtable + entry)[0]
        return self.position + offset if offset else None

    def number(self, field: int, form: str = "<i") -> int:
        """A scalar; 0 by default."""
        place = self.field(field)
        return 0 if place is None else struct.unpack_from(form, self.data, place)[0]

    def array(self, field: int, dtype: type[np.generic]) -> np.ndarray:
        """A vector of scalars; empty by default."""
        place = self.field(field)
        if place is None:
            return np.zeros(0, dtype)
        start = place + self._int32(place)
        return np.frombuffer(self.data, dtype, self._int32(start), start + 4)

    def tables(self, field: int) -> Iterator[_Table]:
        """A vector of tables."""
        place = self.field(field)
        if place is None:
            return
        start = place + self._int32(place)
        for index in range(self._int32(start)):
            entry = start + 4 + 4 * index
            yield _Table(self.data, entry + self._int32(entry))

    def table(self, field: int) -> _Table | None:
        """A table that this one refers to."""
        place = self.field(field)
        return None if place is None else _Table(self.data, place + self._int32(place))

    def _int32(self, place: int) -> int:
        return struct.unpack_from("<i", self.data, place)[0]


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
