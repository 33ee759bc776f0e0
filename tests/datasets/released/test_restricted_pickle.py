"""Pickles of plain data are read; all others are rejected with the name of the operation and not executed."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avcil.datasets.released.restricted_pickle import Limits, load_npy, stream_arrays
from avcil.errors import InputError

PROTOCOLS = (2, 3, 4, 5)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(-9, 9), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def load(data: bytes) -> object:
    return load_npy(io.BytesIO(data), "the file")


def saved(value: object) -> bytes:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


@settings(deadline=None, max_examples=60)
@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_values_equal_those_of_pickle(value, protocol):
    """The result equals the pickled value for all supported types and protocols."""
    assert load(pickle.dumps(value, protocol)) == value


def test_dict_in_an_npy_file():
    """numpy stores a dict in a 0-d object array; the reader unwraps it."""
    assert load(saved({"train": {0: ["a", "b"]}})) == {"train": {0: ["a", "b"]}}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i8", "|u1", "|b1"])
def test_numeric_arrays_and_scalars(protocol, kind):
    """Numbers of every numeric dtype, byte order and protocol are read exactly."""
    values = np.arange(6).reshape(2, 3).astype(kind)
    result = load(pickle.dumps({"c": values, "f": np.asfortranarray(values), "n": [values[1, 1]]}, protocol))
    assert np.array_equal(result["c"], values)
    assert np.array_equal(result["f"], values)
    assert result["n"] == [values[1, 1]]


def test_module_names_of_numpy_1_and_2():
    """numpy 1 wrote numpy.core, numpy 2 writes numpy._core; the released files are from numpy 1."""
    new = pickle.dumps({"a": np.zeros(3, np.float32)}, 3)
    old = new.replace(b"numpy._core.", b"numpy.core.")
    assert old != new
    assert load(old)["a"].shape == load(new)["a"].shape == (3,)


class Calls:
    """Pickled as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class WithState:
    """Pickled as an object with a state."""

    def __setstate__(self, state):  # pragma: no cover - must not run
        raise AssertionError("ran")


def hostile(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Attacks by name: the file, and the text that the error must contain."""
    command = f"touch {marker}"
    state = WithState()
    state.ran = True
    return {
        "system": (pickle.dumps(Calls(os.system, command), 4), f"{os.name}.system"),
        "system, protocol 2": (pickle.dumps(Calls(os.system, command), 2), f"{os.name}.system"),
        "eval": (pickle.dumps(Calls(eval, f"open({str(marker)!r}, 'w')"), 4), "builtins.eval"),
        "exec": (pickle.dumps(Calls(exec, f"open({str(marker)!r}, 'w')"), 3), "builtins.exec"),
        "numpy.load": (pickle.dumps(Calls(np.load, "x.npy", None, True), 4), "numpy.load"),
        "getattr of numpy": (pickle.dumps(Calls(getattr, np.float32, "mro"), 4), "builtins.getattr"),
        "nested": (pickle.dumps({"train": {0: [Calls(os.system, command)]}}, 4), f"{os.name}.system"),
        "inside npy": (saved(np.array(Calls(os.system, command), dtype=object)), f"{os.name}.system"),
        "setstate": (pickle.dumps(state, 4), "WithState"),
        "dotted": (b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93.", "numpy.f2py.os.system"),
        "by instance": (b"\x80\x02(cos\nsystem\no.", "os.system"),
        "object array": (
            pickle.dumps({"a": np.array([Calls(os.system, command)], dtype=object)}, 4),
            "system",
        ),
    }


@pytest.mark.parametrize("name", list(hostile(Path("x"))))
def test_malicious_file_is_rejected_and_not_run(name, tmp_path):
    """The error names the requested object, which is not called, in both ways of reading."""
    marker = tmp_path / "ran"
    data, asked = hostile(marker)[name]
    with pytest.raises(InputError, match=r"Nothing of it was run") as refused:
        load(data)
    assert asked in str(refused.value)
    with pytest.raises(InputError):
        list(stream_arrays(io.BytesIO(data), "the file"))
    assert not marker.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02(ios\nsystem\n.",  # INST
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # NEWOBJ
        b"\x80\x04cnumpy\nndarray\n)}\x92.",  # NEWOBJ_EX
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02K\x01Q.",  # BINPERSID
        b"\x80\x02Pname\n.",  # PERSID
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x02I1\n.",  # text of protocol 0
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4b.",  # state of a name
        b"\x80\x02cnumpy\nndarray\nK\x03\x85R.",  # a call of ndarray: uninitialized memory
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00V9\x85R.",
        b"\x80\x02}}K\x01s.",  # a dict as a key
        b"\x80\x02(((.",
        b"\x80\x02u.",
        b"\x80\x02h\x05.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02N.trailing",
        b"\x80\x02\x8b\xff\xff\xff\x7f1.",  # LONG4
        b"\x80\x02\x8a\xff1.",  # LONG1 of 255 bytes
        b"\x80\x00N.",
        b"not a pickle",
        b"",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'}",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    ],
)
def test_other_pickle_operations_are_rejected(data):
    """Operations that create objects, use external data or unbalance the stack are errors."""
    with pytest.raises(InputError, match="the file"):
        load(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62),  # BINBYTES8
        b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x",  # BINUNICODE8
        b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"x",
        b"\x80\x02B" + struct.pack("<I", 90 * 2**20) + b"x",  # within the budget, but not in the file
        b"\x80\x05\x96" + struct.pack("<Q", 2**50),  # BYTEARRAY8
        b"\x80\x02" + b"]" * 300_000,
        b"\x80\x02" + b"(" * 100_000,
        b"\x80\x02]" + b"]2" * 300_000,  # DUP
    ],
    ids=["bytes8", "text8", "text", "short", "bytearray8", "lists", "marks", "dup"],
)
def test_memory_bombs_are_rejected(data):
    """Lengths beyond the file and unlimited objects are errors before memory is allocated."""
    tracemalloc.start()
    with pytest.raises(InputError):
        load_npy(io.BytesIO(data), "the file", Limits(operations=200_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20


def test_shape_larger_than_the_data_is_rejected():
    """A shape must match the number of bytes in the file."""
    data = pickle.dumps({"a": np.zeros((7, 3), np.float32)}, 3).replace(b"K\x07K\x03\x86", b"K\xffK\xff\x86")
    with pytest.raises(InputError, match="do not fit that shape"):
        load(data)


def arrays(count: int, size: int = 60_000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"clip {i}": rng.standard_normal(size, dtype=np.float32) for i in range(count)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", [1, 2, 1000, 1001, 2500])
def test_streamed_arrays_equal_those_of_the_dict(protocol, count):
    """Order and values agree for one entry (SETITEM), one batch, several batches, and a batch plus one."""
    given_arrays = arrays(count, size=3)
    data = pickle.dumps(given_arrays, protocol)
    result = list(stream_arrays(io.BytesIO(data), "the file"))
    assert [name for name, _ in result] == list(given_arrays)
    assert all(np.array_equal(values, given_arrays[name]) for name, values in result)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_streaming_memory_is_independent_of_the_count(protocol):
    """120 arrays of 240 kB are 29 MB; reading them needs the memory of a few, for any batch size."""
    data = pickle.dumps(arrays(120), protocol)
    file = io.BytesIO(data)
    tracemalloc.start()
    count = 0
    for _name, values in stream_arrays(file, "the file"):
        count += len(values) > 0
        del values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 120
    assert peak < 3 * 2**20


def test_stream_requires_a_dict_of_arrays():
    """Other values, duplicate keys, one array under two keys, and other objects than a dict are errors."""
    one = np.zeros(3, np.float32)
    twice = pickle.dumps({"aa": one, "bb": one.copy()}, 3).replace(b"bb", b"aa")
    for data, reason in [
        (pickle.dumps({"aa": [1, 2]}, 4), "no array of numbers"),
        (pickle.dumps({"aa": one, "bb": one}, 4), "or the array of another key"),
        (pickle.dumps({3: one}, 4), "clip ids are text"),
        (pickle.dumps({"aa": np.array(["x", None], dtype=object)}, 4), "no array of numbers"),
        (pickle.dumps([one], 4), "contains no dict"),
        (pickle.dumps(one, 4), "contains no dict"),
        (twice, "twice"),
    ]:
        with pytest.raises(InputError, match=reason):
            list(stream_arrays(io.BytesIO(data), "the file"))


SEEDS = [
    saved({"train": {0: ["-abc", "def"]}, "val": {}}),
    pickle.dumps(arrays(3, size=20), 3),
    pickle.dumps(arrays(3, size=20), 5),
    saved({"a": np.float32(1.5), "b": (1, None)}),
]


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(SEEDS), st.data())
def test_damaged_pickles_raise_only_input_errors(seed, data):
    """Changed, deleted or inserted bytes give an InputError or plain data."""
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        piece = data.draw(st.binary(max_size=3))
        damaged[at : at + data.draw(st.integers(0, 3))] = piece or b"R"
    for read in (load, lambda b: list(stream_arrays(io.BytesIO(b), "the file"))):
        try:
            result = read(bytes(damaged))
        except InputError:
            pass
        else:
            assert result is None or isinstance(result, dict | list | tuple | str | int | float | np.ndarray)


def test_all_operations_of_plain_pickles_are_supported():
    """Covers what Python and numpy write for plain data in protocols 2 to 5."""
    value = {
        "k": [1, 300, 70_000, -5, 2**40, 1.5, None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    }
    value |= {"a": np.zeros((2, 2), np.float32), "long": "x" * 300, "d": {}, "l": []}
    for protocol in PROTOCOLS:
        data = pickle.dumps(value, protocol)
        assert "REDUCE" in {op.name for op, _, _ in pickletools.genops(data)}
        assert load(data)["k"] == value["k"]


@pytest.mark.parametrize("shape", [(0, 2**39, 2**39), (2**39, 0, 2**39, 2**39), (2**20, 0, 2**20)])
def test_zero_length_axis_with_huge_axes(shape):
    """The product is 0 and matches the bytes, but numpy cannot create such an array."""
    values = np.zeros((0, 1, 1, 1)[: len(shape)], np.float32)
    data = pickle.dumps({"a": values}, 2)
    old = pickle.dumps(values.shape, 2)[2:-1]
    new = pickle.dumps(shape, 2)[2:-1]
    assert old.rstrip(b"q\x00") in data
    with pytest.raises(InputError, match="an impossible shape"):
        load(data.replace(old.partition(b"q")[0], new.partition(b"q")[0], 1))
