"""Reading untrusted safetensors files: the header is checked before any tensor is read.

A file consists of the header length (eight bytes), a JSON header, and the tensors. The tensors must be contiguous and
fill the rest of the file. Source: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from avcil.errors import InputError
from avcil.utils.input_files import open_regular, parse_json

if TYPE_CHECKING:
    from torch import Tensor

ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes per element, by name of the dtype in the format."""
_MODEL_DTYPES = ("F16", "BF16", "F32", "F64", "I32", "I64", "U8", "BOOL")
"""Dtypes in the files of avcil."""
_HEADER_BYTES = 4 << 20
_MAX_TENSORS = 10_000
_MAX_DIMENSIONS = 8


@dataclass(frozen=True, kw_only=True)
class _StoredTensor:
    """Position, dtype and shape of a tensor in a file."""

    dtype: str
    """A key of `ITEM_BYTES`."""
    shape: tuple[int, ...]
    begin: int
    """Offset of the first byte from the beginning of the file."""
    end: int


def read_layout(file: BinaryIO, where: Path | str) -> dict[str, _StoredTensor]:
    """The tensors of an open safetensors file by name.

    Args:
        file: The file, positioned at its beginning.
        where: Name of the file in error messages.

    Raises:
        InputError: The header is damaged, or does not describe the whole file.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= min(_HEADER_BYTES, size - 8):
        raise _damaged(where, f"a header of {length} bytes in a file of {size}")
    header = parse_json(file.read(length), f"the header of {where}")
    if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
        raise _damaged(where, f"its header must name at most {_MAX_TENSORS} tensors")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _damaged(where, "its metadata must map strings to strings")
    tensors = {name: _tensor(name, entry, 8 + length, where) for name, entry in header.items()}
    position = 8 + length
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != position:
            raise _damaged(where, f"the bytes of {name!r:.60} do not directly follow the previous tensor")
        position = tensor.end
    if position != size:
        raise _damaged(where, f"its tensors end at byte {position}, the file at byte {size}")
    return tensors


def _tensor(name: str, entry: Any, start: int, where: Path | str) -> _StoredTensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(where, f"the entry of {name!r:.60} must give dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _damaged(where, f"{name!r:.60} has the unknown dtype {dtype!r:.40}")
    if not _whole_numbers(shape) or len(shape) > _MAX_DIMENSIONS:
        raise _damaged(where, f"{name!r:.60} has the shape {shape!r:.60}")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise _damaged(where, f"{name!r:.60} has the offsets {offsets!r:.60}")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise _damaged(where, f"{name!r:.60} of shape {shape!r:.60} has {end - begin} bytes")
    return _StoredTensor(dtype=dtype, shape=tuple(shape), begin=start + begin, end=start + end)


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _damaged(where: Path | str, what: str) -> InputError:
    return InputError(f"{where} is damaged: {what}")


def load_tensors(path: Path, *, dtypes: Collection[str] = _MODEL_DTYPES) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Args:
        path: The file; links are followed.
        dtypes: Allowed dtypes, as keys of `ITEM_BYTES`.

    Raises:
        InputError: The file does not exist or is damaged, or a tensor has another dtype.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with open_regular(path) as file:
        layout = read_layout(file, path)
    other = [
        f"{name!r:.60} ({tensor.dtype})" for name, tensor in layout.items() if tensor.dtype not in dtypes
    ]
    if other:
        raise InputError(f"{path}: {other[0]} has a dtype that is not allowed; allowed: {', '.join(dtypes)}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {error}") from None
