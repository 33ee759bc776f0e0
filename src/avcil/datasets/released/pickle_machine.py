"""The interpreter behind `restricted_pickle`: the operations of the pickle format that plain data needs.

A pickle is a program for a machine with a stack, marks and a memo. Python's own machine calls whatever the
program names; this one has no operation that imports, calls or sets state outside `pickled_numpy`.
"""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np

from avcil.datasets.released import pickled_numpy
from avcil.datasets.released.pickled_numpy import ByteBuffer, PickledArray, Symbol, UnsupportedPickle
from avcil.errors import InputError

MIB = 2**20
BULK = 64 * 1024  # longer texts are kept in a Bulk, so that their memory can be given back
DEEPEST = 1000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on time and memory for a file."""

    operations: int = 3_000_000
    """Maximum number of operations; each creates at most one small object."""
    held: int = 96 * MIB
    """Maximum bytes of all strings and arrays in memory."""


class _Emitted:
    """Placeholder on the stack for an array that was yielded."""


EMITTED = _Emitted()
MISSING = object()


class Machine:
    """A pickle interpreter: stack, marks, memo. `root` is the first dict of the file."""

    def __init__(self, source: BinaryIO, where: str, limits: Limits, *, streaming: bool):
        self.source, self.where, self.limits, self.streaming = source, where, limits, streaming
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.root: dict[Any, Any] | None = None
        self.names: set[str] = set()
        self.result: Any = MISSING
        self.held = 0
        self.position = 0
        self.operations: dict[int, Callable[[], object]] = {
            code[0]: do for code, do in self.known_operations().items()
        }

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> Iterator[tuple[str, np.ndarray]]:
        """Run to the end of the pickle. In streaming mode, yield each array of the root dict when it is complete."""
        with self.explained():
            for _ in range(self.limits.operations):
                code = self.take(1)[0]
                operation = self.operations.get(code)
                if operation is None:
                    raise UnsupportedPickle(
                        f"uses the pickle operation {bytes([code])!r}, which plain data does not need"
                    )
                operation()
                if self.streaming and code in (b"b"[0], b"R"[0]) and (pair := self.completed()):
                    yield pair
                    del pair  # or the array would live until the next one is whole
                if self.result is not MISSING:
                    break
            else:
                raise UnsupportedPickle("is longer than any released file")
            if self.source.read(1):
                raise UnsupportedPickle("goes on after the end of its pickle")

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Context manager that turns errors in the file into an `InputError` with its name."""
        try:
            yield
        except UnsupportedPickle as error:
            self.refuse(str(error), error)
        except (UnicodeDecodeError, OverflowError) as error:
            self.refuse("is damaged: it holds text that is not UTF-8 or a number out of range", error)
        except (EOFError, zlib.error, zipfile.BadZipFile) as error:
            self.refuse(f"is damaged inside its archive ({error})", error)

    def refuse(self, what: str, error: Exception) -> NoReturn:
        raise InputError(
            f"{self.where} {what} (byte {self.position}). Get the released file again"
        ) from error

    def completed(self) -> tuple[str, np.ndarray] | None:
        """Remove the array from the stack if it is complete and a value of the root dict."""
        array = self.stack[-1]
        if not (isinstance(array, PickledArray) and array.is_numeric and len(self.stack) >= 2):
            return None
        in_batch = (
            len(self.stack) % 2 == 0 and self.marks and self.marks[-1] and self.marks[-1][-1] is self.root
        )
        alone = len(self.stack) >= 3 and self.stack[-3] is self.root
        if self.root is None or not (in_batch or alone):
            return None
        name = self.stack[-2]
        if not isinstance(name, str):
            raise UnsupportedPickle(f"has a key of type {type(name).__name__}; clip ids are text")
        if name in self.names:
            raise UnsupportedPickle(f"holds the clip {name!r} twice")
        self.names.add(name)
        values, buffer = array.to_numpy(), array.data
        assert buffer is not None  # to_numpy checks it
        self.held -= buffer.size
        buffer.data = None  # the memo still points here: let it not keep the bytes alive
        self.stack[-1] = EMITTED
        return name, values

    # -- reading ---------------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes of the file; for small counts."""
        data = self.source.read(count)
        if len(data) != count:
            raise UnsupportedPickle("is cut short")
        self.position += count
        return data

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def bulk(self, count: int) -> bytearray:
        """`count` bytes within the budget, read piece by piece: a wrong length costs no memory."""
        self.hold(count)
        data = bytearray()
        while len(data) < count:
            piece = self.source.read(min(count - len(data), 8 * MIB))
            if not piece:
                raise UnsupportedPickle("is cut short")
            data += piece
        self.position += count
        return data

    def hold(self, count: int) -> None:
        self.held += count
        if not 0 <= self.held <= self.limits.held:
            raise UnsupportedPickle(
                f"asks for more than {self.limits.held // MIB} MiB at once, which no released file does"
            )

    # -- the stack -------------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise UnsupportedPickle("is damaged: it takes more from its stack than it put there")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise UnsupportedPickle("is damaged: a mark is missing")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise UnsupportedPickle(f"is damaged: it adds to a {kind.__name__} that is not there")
        return self.stack[-1]

    def text(self, count: int) -> None:
        data = self.bulk(count)
        text = data.decode("utf-8")
        self.push(ByteBuffer(text, count) if count > BULK else text)

    def binary(self, count: int) -> None:
        self.push(ByteBuffer(self.bulk(count), count))

    def long_number(self) -> None:
        count = self.take(1)[0]
        if count > 8:
            raise UnsupportedPickle("holds a whole number of more than 64 bits")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def global_name(self, module: Any, name: Any) -> None:
        kind = (
            pickled_numpy.ADMITTED.get((module, name))
            if isinstance(module, str) and isinstance(name, str)
            else None
        )
        if kind is None:
            imported = (
                f"{module}.{name}"[:120]
                if isinstance(module, str) and isinstance(name, str)
                else "an unreadable name"
            )
            raise UnsupportedPickle(
                f"was refused: it asks for {imported}, which a file of plain data never needs and which may be "
                "meant to run code on your machine. Nothing of it was run"
            )
        self.push(Symbol(kind))

    def set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise UnsupportedPickle("is damaged: a key without a value")
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise UnsupportedPickle("has a key that is neither text nor a whole number")
            if self.streaming and target is self.root:
                if value is not EMITTED:
                    raise UnsupportedPickle(
                        f"holds for {str(key)[:40]!r} something that is no array of numbers of its own"
                    )
            elif key in target:
                raise UnsupportedPickle(f"has the key {str(key)[:40]!r} twice")
            else:
                target[key] = value

    # -- operations ------------------------------------------------------------------------------------

    def known_operations(self) -> dict[bytes, Callable[[], object]]:
        """The implementation of each supported pickle operation."""
        push, number = self.push, self.number
        return {
            b".": self.stop,
            b"\x95": lambda: self.take(8),  # a frame only helps readers that fetch ahead
            b"(": self.mark,
            b"0": lambda: self.pop() if self.stack else self.pop_mark(),
            b"1": self.pop_mark,
            b"N": lambda: push(None),
            b"\x88": lambda: push(True),
            b"\x89": lambda: push(False),
            b"J": lambda: push(number("<i")),
            b"K": lambda: push(number("<B")),
            b"M": lambda: push(number("<H")),
            b"G": lambda: push(number(">d")),
            b"\x8a": self.long_number,
            b"X": lambda: self.text(number("<I")),
            b"\x8c": lambda: self.text(number("<B")),
            b"\x8d": lambda: self.text(number("<Q")),
            b"B": lambda: self.binary(number("<I")),
            b"C": lambda: self.binary(number("<B")),
            b"\x8e": lambda: self.binary(number("<Q")),
            b"\x96": lambda: self.binary(number("<Q")),
            b"]": lambda: push([]),
            b")": lambda: push(()),
            b"}": self.empty_dict,
            b"t": lambda: push(tuple(self.pop_mark())),
            b"\x85": lambda: self.short_tuple(1),
            b"\x86": lambda: self.short_tuple(2),
            b"\x87": lambda: self.short_tuple(3),
            b"a": lambda: self.extend([self.pop()]),
            b"e": lambda: self.extend(self.pop_mark()),
            b"s": lambda: self.set_items([self.pop(), self.pop()][::-1]),
            b"u": lambda: self.set_items(self.pop_mark()),
            b"c": self.global_by_line,
            b"\x93": lambda: self.global_name(*[self.pop(), self.pop()][::-1]),
            b"R": self.reduce,
            b"b": self.build,
            b"q": lambda: self.remember(number("<B")),
            b"r": lambda: self.remember(number("<I")),
            b"\x94": lambda: self.remember(len(self.memo)),
            b"h": lambda: self.recall(number("<B")),
            b"j": lambda: self.recall(number("<I")),
        }

    def stop(self) -> None:
        self.result = self.pop()

    def mark(self) -> None:
        if len(self.marks) >= DEEPEST:
            raise UnsupportedPickle("is nested deeper than any released file")
        self.marks.append(self.stack)
        self.stack = []

    def empty_dict(self) -> None:
        self.push({})
        self.root = self.stack[-1] if self.root is None else self.root

    def short_tuple(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def global_by_line(self) -> None:
        module, name = self.source.readline(256), self.source.readline(256)
        self.position += len(module) + len(name)
        if not (module.endswith(b"\n") and name.endswith(b"\n")):
            raise UnsupportedPickle("is damaged: a name without an end")
        self.global_name(module[:-1].decode("utf-8"), name[:-1].decode("utf-8"))

    def reduce(self) -> None:
        arguments, symbol = self.pop(), self.pop()
        if not isinstance(symbol, Symbol) or type(arguments) is not tuple:
            raise UnsupportedPickle("is damaged: it calls something that is no name")
        result = pickled_numpy.call(symbol, arguments)
        if isinstance(result, ByteBuffer):  # bytes made of a text: a long text was given back for them
            self.hold(
                result.size - (arguments[0].size if arguments and isinstance(arguments[0], ByteBuffer) else 0)
            )
        self.push(result)

    def build(self) -> None:
        state = self.pop()
        if not self.stack:
            raise UnsupportedPickle("is damaged: it fills in an object that is not there")
        pickled_numpy.build(self.stack[-1], state)

    def remember(self, index: int) -> None:
        if not self.stack:
            raise UnsupportedPickle("is damaged: it remembers an object that is not there")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        value = self.memo.get(index, MISSING)
        if value is MISSING:
            raise UnsupportedPickle("is damaged: it recalls an object that it never made")
        self.push(value)
