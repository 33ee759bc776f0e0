"""Reading pickles of plain data without executing anything in them, and without loading them completely.

The released split and feature files are pickles inside .npy files. Python's own unpickler calls whatever a file names;
this reader supports dict, list, tuple, str, int, float, None, and NumPy's arrays, dtypes and scalars (`pickled_numpy`).
Any other name is an error, and nothing is ever imported or called. The memory of strings, bytes and objects is limited.

`load_npy` reads a small file completely. `stream_arrays` yields the (name, array) pairs of a pickled dict one by one,
so a dict of 20 GB needs the memory of one array.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from avcil.datasets.released.pickle_machine import Machine
from avcil.datasets.released.pickle_source import MIB, Limits
from avcil.datasets.released.pickled_numpy import PickledArray, UnsupportedPickle
from avcil.errors import InputError

_STREAM_LIMITS = Limits(operations=6_000_000)


def load_npy(file: BinaryIO, where: str, limits: Limits | None = None) -> Any:
    """Read the plain containers and numeric arrays in an .npy file or a pickle.

    Args:
        file: The file.
        where: Name of the file in error messages.
        limits: Limits of time and memory; None uses the default ones.

    Raises:
        InputError: The file has other content, is damaged, or exceeds the limits.
    """
    machine = Machine(_buffered(file), where, limits or Limits(), streaming=False)
    with machine.explained():
        _skip_npy_header(machine.file, where)
    for _ in machine.run():
        pass
    with machine.explained():
        return _plain(machine.result)


def stream_arrays(file: BinaryIO, where: str) -> Iterator[tuple[str, np.ndarray]]:
    """Read a pickled dict of numeric arrays, one array at a time. The file is read to its end.

    Args:
        file: The file.
        where: Name of the file in error messages.

    Yields:
        Names and arrays, in the order of the file.

    Raises:
        InputError: As for `load_npy`, or a name occurs twice, or a value is not a numeric array.
    """
    machine = Machine(_buffered(file), where, _STREAM_LIMITS, streaming=True)
    with machine.explained():
        _skip_npy_header(machine.file, where)
    yield from machine.run()
    with machine.explained():
        if _unwrapped(machine.result) is not machine.root:
            raise UnsupportedPickle("contains no dict from clip ids to arrays")


def _buffered(file: BinaryIO) -> BinaryIO:
    if isinstance(file, io.BufferedReader | io.BytesIO):
        return file
    return io.BufferedReader(file, MIB)  # type: ignore[type-var]  # typeshed asks for a RawIOBase


def _skip_npy_header(file: BinaryIO, where: str) -> None:
    """Skip the header that `numpy.save` writes before a pickled object; a bare pickle has none."""
    start = file.read(1)
    if start == b"\x80":  # the first byte of every pickle since protocol 2; its number follows
        protocol = file.read(1)
    elif start == b"\x93" and file.read(5) == b"NUMPY":
        version = file.read(2)
        length = int.from_bytes(file.read(2 if version == b"\x01\x00" else 4), "little")
        header = file.read(length) if length <= 10_000 else b""
        if not re.fullmatch(
            rb"\{'descr': '\|O', 'fortran_order': (True|False), 'shape': \(\), \}\s*", header
        ):
            raise InputError(
                f"{where} is an .npy file, but not of a pickled dict as numpy.save writes it. "
                "Download the released file again"
            )
        start, protocol = file.read(1), file.read(1)
    else:
        raise InputError(f"{where} is neither an .npy file nor a pickle. Download the released file again")
    if start != b"\x80" or protocol not in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise InputError(f"{where} contains no pickle of protocol 2 to 5. Download the released file again")


def _unwrapped(value: Any) -> Any:
    """The dict in the 0-d array that `numpy.save` creates for it."""
    if isinstance(value, PickledArray) and value.objects is not None and value.shape == ():
        return value.objects[0]
    return value


def _plain(value: Any) -> Any:
    """The value with its arrays as NumPy arrays; containers that occur several times are converted once."""
    root = [_unwrapped(value)]
    waiting: list[Any] = [root]
    seen: set[int] = set()
    while waiting:
        container = waiting.pop()
        if id(container) in seen:
            continue
        seen.add(id(container))
        for key, item in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if isinstance(item, PickledArray) and not isinstance(container, tuple):
                container[key] = item.to_numpy()
            elif isinstance(item, dict | list | tuple):
                waiting.append(item)
            elif not (item is None or isinstance(item, bool | int | float | str)):
                raise UnsupportedPickle(
                    "contains something that is neither a container, text, a number nor an array of numbers"
                )
    return root[0]
