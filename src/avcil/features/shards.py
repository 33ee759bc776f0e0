"""Reading and writing a shard: a safetensors file with one tensor (n, ...) of n clips for each array name.

A file consists of the header length (eight bytes), a JSON header, and the tensors. This module writes it row by row,
without a stacked copy in memory, and computes its hash at the same time.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avcil.errors import InputError
from avcil.utils.files import write_atomically
from avcil.utils.input_files import open_regular
from avcil.utils.tensor_files import read_layout

_CODES = {"float16": "F16", "float32": "F32"}
_DTYPES: dict[str, np.dtype] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


def write_shard(path: Path, columns: Mapping[str, Sequence[np.ndarray]]) -> tuple[int, str]:
    """Write rows of equal shape and dtype, by array name, to a new shard. Returns its size in bytes and its SHA-256."""
    header, end = {}, 0
    for name, rows in columns.items():
        begin, end = end, end + sum(row.nbytes for row in rows)
        shape = [len(rows), *rows[0].shape]
        header[name] = {"dtype": _CODES[rows[0].dtype.name], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the tensors to eight bytes
    pieces = [len(text).to_bytes(8, "little"), text]
    digest = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
        for rows in columns.values():
            for row in rows:
                data = np.ascontiguousarray(row, dtype=row.dtype.newbyteorder("<")).data
                file.write(data)
                digest.update(data)

    write_atomically(path, write)
    return 8 + len(text) + end, digest.hexdigest()


@dataclass(frozen=True)
class Column:
    """Position of an array in a shard: n clips of `shape`, starting at byte `offset`."""

    offset: int
    dtype: np.dtype
    n: int
    shape: tuple[int, ...]

    @cached_property
    def row_bytes(self) -> int:
        """Bytes per clip."""
        return self.dtype.itemsize * math.prod(self.shape)


def read_header(path: Path) -> dict[str, Column]:
    """The arrays of a shard by name; InputError if the header is invalid."""
    try:
        with open_regular(path, follow=False) as file:
            layout = read_layout(file, "it")
        for name, tensor in layout.items():
            if tensor.dtype not in _DTYPES or not tensor.shape:
                raise InputError(f"{name!r:.60} is {tensor.dtype} of shape {tensor.shape}")
    except (InputError, OSError) as error:
        raise InputError(
            f"the shard {path} cannot be read ({error}). Delete this file and run the avcil extract command that "
            "made the store again, which encodes its clips again"
        ) from None
    return {
        name: Column(tensor.begin, _DTYPES[tensor.dtype], tensor.shape[0], tensor.shape[1:])
        for name, tensor in layout.items()
    }


def check_columns(
    columns: Mapping[str, Column],
    arrays: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
    clips: int,
    where: str,
) -> None:
    """Raise InputError unless a shard has these arrays with this dtype and number of clips."""
    for name, shape in arrays.items():
        column = columns.get(name)
        if column is None or (column.n, column.shape, column.dtype) != (clips, shape, dtype):
            raise InputError(f"{where} has no {name} features {(clips, *shape)} {dtype}")


def row_digest(arrays: Sequence[np.ndarray]) -> str:
    """A hash of the stored arrays of a clip, independent of the shard."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
