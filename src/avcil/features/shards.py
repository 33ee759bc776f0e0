"""One shard: a safetensors file with n clips stacked per modality.

The format is eight bytes of header length, a JSON header, and the tensors' bytes one after another. Writing
it here lets rows go to the disk as they are, without a stacked copy in memory, and hashes them on the way.

Shapes: n clips in a shard, ... one clip's shape.
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

CODES = {"float16": "F16", "float32": "F32"}
DTYPES: dict[str, np.dtype] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


def write_shard(path: Path, columns: Mapping[str, Sequence[np.ndarray]]) -> tuple[int, str]:
    """Write rows of equal shape and dtype, by modality, to a new shard; its size in bytes and its SHA-256."""
    header, end = {}, 0
    for name, rows in columns.items():
        begin, end = end, end + sum(row.nbytes for row in rows)
        shape = [len(rows), *rows[0].shape]
        header[name] = {"dtype": CODES[rows[0].dtype.name], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight bytes
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
    """Where one modality lies in a shard: n clips of `shape`, from byte `offset` on."""

    offset: int
    dtype: np.dtype
    n: int
    shape: tuple[int, ...]

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one clip's array."""
        return self.dtype.itemsize * math.prod(self.shape)


def read_header(path: Path) -> dict[str, Column]:
    """Where each modality lies in the shard at `path`; refuses what does not fit the file's size."""
    try:
        with open_regular(path, follow=False) as file:
            layout = read_layout(file, "it")
        for name, tensor in layout.items():
            if tensor.dtype not in DTYPES or not tensor.shape:
                raise InputError(f"{name!r:.60} is {tensor.dtype} of shape {tensor.shape}")
    except (InputError, OSError) as error:
        raise InputError(
            f"the shard {path} cannot be read ({error}). Run the avcil extract command that made the store "
            "again after deleting this file: its clips are then made anew"
        ) from None
    return {
        name: Column(tensor.begin, DTYPES[tensor.dtype], tensor.shape[0], tensor.shape[1:])
        for name, tensor in layout.items()
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_digest(arrays: Sequence[np.ndarray]) -> str:
    """A hash of one clip's stored numbers, whatever shard they lie in."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
