"""Untrusted safetensors files: the header must describe exactly the whole file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from avcil.errors import InputError
from avcil.utils.tensor_files import load_tensors

GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def write(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def tensor(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_files_of_safetensors_are_read(tmp_path: Path) -> None:
    """Every dtype that avcil writes, empty tensors, and metadata."""
    tensors = {
        "a": torch.arange(3.0),
        "empty": torch.zeros(0, 4),
        "b": torch.tensor([1, 2]),
        "c": torch.ones(2, 2, dtype=torch.float64),
        "d": torch.tensor(True),
    }
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    read = load_tensors(tmp_path / "a.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12), "do not directly follow"),
        ({"a": tensor([2], 0, 8), "b": tensor([2], 0, 8)}, bytes(8), "do not directly follow"),
        ({"a": tensor([2], 4, 12)}, bytes(12), "do not directly follow"),
        (GOOD, bytes(9), "the file at byte"),
        (GOOD, bytes(7), "the file at byte"),
        ({f"t{n}": tensor([0], 0, 0) for n in range(20_000)}, b"", "at most 10000 tensors"),
        ({"a": tensor([3], 0, 8)}, bytes(8), "has 8 bytes"),
        ({"a": tensor([2**62, 4], 0, 0)}, b"", "has 0 bytes"),
        ({"a": tensor([-2], 0, 8)}, bytes(8), "shape"),
        ({"a": tensor([True, 2], 0, 8)}, bytes(8), "shape"),
        ({"a": tensor([1] * 9, 0, 4)}, bytes(4), "shape"),
        ({"a": tensor("2", 0, 8)}, bytes(8), "shape"),
        ({"a": tensor([2], 8, 0)}, bytes(8), "bytes"),
        ({"a": tensor([2], 0.0, 8)}, bytes(8), "offsets"),
        ({"a": tensor([2], 0, 8, "PICKLE")}, bytes(8), "unknown dtype"),
        ({"a": tensor([2], 0, 8, ["F32"])}, bytes(8), "unknown dtype"),
        ({"a": tensor([8], 0, 8, "F8_E4M3")}, bytes(8), "a dtype that is not allowed"),
        ({"a": {"dtype": "F32"}}, bytes(8), "dtype, shape and data_offsets"),
        ({"a": None}, bytes(8), "dtype, shape and data_offsets"),
        ({"__metadata__": {"format": 1}, **GOOD}, bytes(8), "metadata"),
        ([], b"", "tensors"),
        (b'{"a": 1, "a": 1}', b"", "occurs twice"),
        (b"{" * 1_000, b"", "not valid JSON"),
    ],
)
def test_invalid_headers_are_rejected(header: Any, data: bytes, message: str, tmp_path: Path) -> None:
    """Overlaps, gaps, missing and surplus bytes, huge shapes, and values of the wrong type."""
    with pytest.raises(InputError, match=message) as caught:
        load_tensors(write(tmp_path / "a.safetensors", header, data))
    assert "a.safetensors" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"1234567", (2**63).to_bytes(8, "little") + bytes(8), bytes(16)])
def test_invalid_header_lengths_are_rejected(content: bytes, tmp_path: Path) -> None:
    """No memory is allocated for a length that exceeds the file."""
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="is damaged: a header of"):
        load_tensors(tmp_path / "a.safetensors")
