"""Objects of NumPy pickles, rebuilt from their parts without calling anything that the file names.

NumPy writes an array as a call of one of a few functions, and a state. Here, these functions are only symbols, and the
array is rebuilt from its shape, dtype and bytes, so no function named in a file is ever looked up, imported or called.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
}
"""The names in pickles of plain containers and NumPy arrays, written by old and new versions in protocols 2 to 5."""

_NUMERIC = re.compile(r"[<>=|]?(f[248]|[iu][1248]|b1)")
_MAX_AXES = 8
_MAX_SIZE = 2**40
"""Maximum number of elements of an array."""


class UnsupportedPickle(Exception):
    """The pickle has content that NumPy does not write; the reader adds file and position."""


@dataclass(frozen=True)
class Symbol:
    """One of the allowed names; it is never called."""

    kind: str


@dataclass(eq=False)
class ByteBuffer:
    """Bytes, or the text that protocol 2 writes for bytes; `data` is None after they were used."""

    data: bytes | bytearray | str | None
    size: int
    """Size in the file in bytes."""

    def take_bytes(self) -> bytes | bytearray:
        """The bytes as read."""
        if self.data is None:
            raise UnsupportedPickle("uses the bytes of one array twice")
        if isinstance(self.data, str):
            raise UnsupportedPickle("has text where bytes were expected")
        return self.data


@dataclass(eq=False)
class _PickledType:
    """A dtype that is being built: its name, then its byte order."""

    code: str
    order: Literal["<", ">", "=", "|"] = "="

    def to_numpy(self) -> np.dtype:
        """The numeric dtype."""
        if not _NUMERIC.fullmatch(self.code):
            raise UnsupportedPickle(
                f"has an array of type {self.code[:20]!r}; allowed: floats, integers, booleans"
            )
        return np.dtype(self.code).newbyteorder(self.order)


@dataclass(eq=False)
class PickledArray:
    """An array that is being built: empty at first, complete when its state was read."""

    shape: tuple[int, ...] | None = None
    kind: _PickledType | None = None
    fortran: bool = False
    data: ByteBuffer | None = None
    objects: list[Any] | None = None
    """The content of an array of Python objects, instead of `data`."""

    @property
    def is_numeric(self) -> bool:
        """Whether the array is complete and numeric."""
        return self.data is not None

    def fill(self, shape: Any, kind: Any, fortran: Any, data: Any) -> None:
        """Set shape, dtype and content after checking that they fit."""
        if self.shape is not None:
            raise UnsupportedPickle("fills one array twice")
        if not (isinstance(shape, tuple) and len(shape) <= _MAX_AXES and all(_is_size(n) for n in shape)):
            raise UnsupportedPickle("has an array with an impossible shape")
        if math.prod(max(n, 1) for n in shape) >= _MAX_SIZE:  # also of axes beside one of length 0
            raise UnsupportedPickle("has an array with an impossible shape")
        if not isinstance(kind, _PickledType):
            raise UnsupportedPickle("has an array without a type")
        if kind.code in ("O", "O8"):
            if not isinstance(data, list) or len(data) != math.prod(shape):
                raise UnsupportedPickle("has an array of objects whose contents do not fit its shape")
            self.objects = data
        else:
            size = len(data.take_bytes()) if isinstance(data, ByteBuffer) else -1
            if size != math.prod(shape) * kind.to_numpy().itemsize:
                raise UnsupportedPickle(f"has an array of shape {shape} whose contents do not fit that shape")
            self.data = data
        self.shape, self.kind, self.fortran = shape, kind, bool(fortran)

    def to_numpy(self) -> np.ndarray:
        """The array, which shares memory with the bytes that were read."""
        if self.data is None or self.kind is None or self.shape is None:
            raise UnsupportedPickle("has an array that is not made of numbers")
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        return np.frombuffer(self.data.take_bytes(), self.kind.to_numpy()).reshape(self.shape, order=order)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_SIZE


def call(symbol: Symbol, arguments: tuple[Any, ...]) -> Any:
    """The result of a call of an allowed name, built from plain parts.

    >>> call(Symbol("dtype"), ("f4", False, True)).to_numpy().itemsize
    4
    """
    match symbol.kind, arguments:
        case "reconstruct", (Symbol(kind="ndarray"), tuple(), _):
            return PickledArray()
        case "dtype", (str(code), *_):
            return _PickledType(code)
        case "scalar", (_PickledType() as kind, ByteBuffer() as data):
            return _scalar(kind.to_numpy(), bytes(data.take_bytes()))
        case "frombuffer", (
            ByteBuffer() as data,
            _PickledType() as kind,
            tuple() as shape,
            "C" | "F" as order,
            *rest,
        ):
            if any(part is not None for part in rest):
                raise UnsupportedPickle("has an array with permuted axes")
            array = PickledArray()
            array.fill(shape, kind, order == "F", data)
            return array
        case "encode", (str(text), "latin1" | "latin-1"):
            return _latin1(text)
        case "encode", (ByteBuffer(data=str(text)) as bulk, "latin1" | "latin-1"):
            bulk.data = None  # releases the text, which is as large as the array
            return _latin1(text)
        case "bytes", ():
            return ByteBuffer(bytearray(), 0)
    raise UnsupportedPickle(f"calls numpy's {symbol.kind!r} with arguments that NumPy does not write")


def build(target: Any, state: Any) -> None:
    """Set the state of an object; only arrays and dtypes of this file have one."""
    match target, state:
        case PickledArray(), (int(), shape, kind, bool() as fortran, data):
            target.fill(shape, kind, fortran, data)
        case _PickledType(), (int(), "<" | ">" | "=" | "|" as order, None, None, None, int(), int(), int()):
            target.order = order
        case _:
            raise UnsupportedPickle(
                "sets the state of an object that is neither an array nor a type of numbers"
            )


def _scalar(kind: np.dtype, data: bytes) -> bool | int | float:
    if len(data) != kind.itemsize:
        raise UnsupportedPickle("has a number whose bytes do not fit its type")
    return np.frombuffer(data, kind)[0].item()


def _latin1(text: str) -> ByteBuffer:
    try:
        data = bytearray(text.encode("latin-1"))
        return ByteBuffer(data, len(data))
    except UnicodeEncodeError:
        raise UnsupportedPickle("has text that stands for bytes but has other characters") from None
