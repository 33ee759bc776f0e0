"""The interpreter behind `restricted_pickle`: the operations of the pickle format that plain data needs.

A pickle is a program for a machine with a stack, marks and a memo. Python's own machine calls whatever the program
names; this one has no operation that imports, calls or sets state outside of `pickled_numpy`. `pickletools` of the
standard library decodes the operations.
"""

from __future__ import annotations

import contextlib
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from avcil.datasets.released import pickled_numpy
from avcil.datasets.released.pickle_source import Limits, PickleSource
from avcil.datasets.released.pickled_numpy import ByteBuffer, PickledArray, Symbol, UnsupportedPickle
from avcil.errors import InputError

_MIN_BUFFER_BYTES = 64 * 1024
"""Longer strings are stored in a `ByteBuffer`, so that their memory can be released."""
_MAX_DEPTH = 1000


class _Emitted:
    """Placeholder on the stack for an array that was yielded."""


_EMITTED = _Emitted()
MISSING = object()


class Machine:
    """A pickle interpreter.

    Args:
        file: The pickle after its protocol number.
        where: Name of the file in error messages.
        limits: Limits of time and memory.
        streaming: Whether to yield the arrays of the first dict instead of storing them.
    """

    def __init__(self, file: BinaryIO, where: str, limits: Limits, *, streaming: bool) -> None:
        self.file, self.where, self.limits, self.streaming = file, where, limits, streaming
        self.source = PickleSource(file, limits.held)
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        """The stack below each mark."""
        self.memo: dict[int, Any] = {}
        self.root: dict[Any, Any] | None = None
        """The first dict of the file."""
        self.names: set[str] = set()
        self.result: Any = MISSING
        self.operations = self._known_operations()

    def run(self) -> Iterator[tuple[str, np.ndarray]]:
        """Run to the end of the pickle. In streaming mode, yield each array of the root dict when it is complete."""
        with self.explained():
            for count, (name, argument) in enumerate(self._decoded()):
                if count >= self.limits.operations:
                    raise UnsupportedPickle("is longer than any released file")
                operation = self.operations.get(name)
                if operation is None:
                    raise UnsupportedPickle(
                        f"uses the pickle operation {name}, which plain data does not need"
                    )
                operation(argument)
                argument = None  # or the bytes of an array would remain in memory until the next operation
                if self.streaming and name in ("BUILD", "REDUCE") and (pair := self._completed()):
                    yield pair
                    del pair  # or the array would remain in memory until the next one is complete
            if self.file.read(1):
                raise UnsupportedPickle("continues after the end of its pickle")

    def _decoded(self) -> Iterator[tuple[str, Any]]:
        """Names and arguments of the operations."""
        operations = pickletools.genops(self.source)  # type: ignore[arg-type]  # it needs read and readline only
        while True:
            try:
                code, argument, _ = next(operations)
            except StopIteration:
                return
            except (ValueError, OverflowError) as error:
                raise UnsupportedPickle(f"is damaged ({error})") from error
            yield code.name, argument
            del argument

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Convert errors in the file to `InputError` with its name."""
        try:
            yield
        except (UnsupportedPickle, EOFError, zlib.error, zipfile.BadZipFile) as error:
            what = (
                str(error) if isinstance(error, UnsupportedPickle) else f"is damaged in its archive ({error})"
            )
            raise InputError(
                f"{self.where} {what} (byte {self.source.position}). Download the released file again"
            ) from error

    def _completed(self) -> tuple[str, np.ndarray] | None:
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
            raise UnsupportedPickle(f"contains the clip {name!r} twice")
        self.names.add(name)
        values, buffer = array.to_numpy(), array.data
        assert buffer is not None  # to_numpy checks it
        self.source.hold(-buffer.size)
        buffer.data = None  # the memo still has the buffer
        self.stack[-1] = _EMITTED
        return name, values

    def _known_operations(self) -> dict[str, Callable[[Any], object]]:
        """The implementation of each supported operation, by its name in `pickletools`."""
        push = self._push
        return {
            "STOP": lambda _: setattr(self, "result", self._pop()),
            "FRAME": lambda _: None,  # for readers that fetch ahead
            "MARK": lambda _: self._mark(),
            "POP": lambda _: self._pop() if self.stack else self._pop_mark(),
            "POP_MARK": lambda _: self._pop_mark(),
            "NONE": lambda _: push(None),
            "NEWTRUE": lambda _: push(True),
            "NEWFALSE": lambda _: push(False),
            **dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT"), push),
            "LONG1": self._long,
            **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), self._text),
            **dict.fromkeys(
                ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
                lambda data: push(ByteBuffer(data, len(data))),
            ),
            "EMPTY_LIST": lambda _: push([]),
            "EMPTY_TUPLE": lambda _: push(()),
            "EMPTY_DICT": lambda _: self._empty_dict(),
            "TUPLE": lambda _: push(tuple(self._pop_mark())),
            "TUPLE1": lambda _: push((self._pop(),)),
            "TUPLE2": lambda _: push(self._pop_several(2)),
            "TUPLE3": lambda _: push(self._pop_several(3)),
            "APPEND": lambda _: self._extend([self._pop()]),
            "APPENDS": lambda _: self._extend(self._pop_mark()),
            "SETITEM": lambda _: self._set_items(self._pop_several(2)),
            "SETITEMS": lambda _: self._set_items(self._pop_mark()),
            "GLOBAL": lambda names: self._global(*names.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._global(*self._pop_several(2)),
            "REDUCE": lambda _: self._reduce(),
            "BUILD": lambda _: self._build(),
            **dict.fromkeys(("BINPUT", "LONG_BINPUT"), self._remember),
            "MEMOIZE": lambda _: self._remember(len(self.memo)),
            **dict.fromkeys(("BINGET", "LONG_BINGET"), self._recall),
        }

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _pop(self) -> Any:
        if not self.stack:
            raise UnsupportedPickle("is damaged: it takes more from its stack than it put there")
        return self.stack.pop()

    def _pop_several(self, count: int) -> tuple[Any, ...]:
        """The last `count` values, in the order in which they were pushed."""
        return tuple(reversed([self._pop() for _ in range(count)]))

    def _mark(self) -> None:
        if len(self.marks) >= _MAX_DEPTH:
            raise UnsupportedPickle("is nested deeper than any released file")
        self.marks.append(self.stack)
        self.stack = []

    def _pop_mark(self) -> list[Any]:
        if not self.marks:
            raise UnsupportedPickle("is damaged: a mark is missing")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise UnsupportedPickle(f"is damaged: it adds to a {kind.__name__} that is not there")
        return self.stack[-1]

    def _text(self, text: str) -> None:
        size = self.source.last_count
        if size > _MIN_BUFFER_BYTES:
            self.stack.append(ByteBuffer(text, size))
        elif not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise UnsupportedPickle("is damaged: it has text that is not UTF-8")
        else:
            self.stack.append(text)

    def _long(self, value: int) -> None:
        if not -(2**63) <= value < 2**63:
            raise UnsupportedPickle("has a whole number of more than 64 bits")
        self.stack.append(value)

    def _empty_dict(self) -> None:
        self.stack.append({})
        self.root = self.stack[-1] if self.root is None else self.root

    def _extend(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def _set_items(self, items: list[Any] | tuple[Any, ...]) -> None:
        if len(items) % 2:
            raise UnsupportedPickle("is damaged: a key without a value")
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise UnsupportedPickle("has a key that is neither text nor a whole number")
            if self.streaming and target is self.root:
                if value is not _EMITTED:
                    raise UnsupportedPickle(
                        f"has no array of numbers for {str(key)[:40]!r}, or the array of another key"
                    )
            elif key in target:
                raise UnsupportedPickle(f"has the key {str(key)[:40]!r} twice")
            else:
                target[key] = value

    def _global(self, module: Any, name: Any) -> None:
        are_names = isinstance(module, str) and isinstance(name, str)
        kind = pickled_numpy.ADMITTED.get((module, name)) if are_names else None
        if kind is None:
            imported = f"{module}.{name}"[:120] if are_names else "an unreadable name"
            raise UnsupportedPickle(
                f"was refused: it asks for {imported}, which a file of plain data never needs and which may be "
                "meant to run code on your machine. Nothing of it was run"
            )
        self.stack.append(Symbol(kind))

    def _reduce(self) -> None:
        symbol, arguments = self._pop_several(2)
        if not isinstance(symbol, Symbol) or type(arguments) is not tuple:
            raise UnsupportedPickle("is damaged: it calls something that is no name")
        result = pickled_numpy.call(symbol, arguments)
        if isinstance(result, ByteBuffer):  # bytes made from text; the memory of a long text was released
            released = arguments[0].size if arguments and isinstance(arguments[0], ByteBuffer) else 0
            self.source.hold(result.size - released)
        self.stack.append(result)

    def _build(self) -> None:
        state = self._pop()
        if not self.stack:
            raise UnsupportedPickle("is damaged: it sets the state of an object that is not there")
        pickled_numpy.build(self.stack[-1], state)

    def _remember(self, index: int) -> None:
        if not self.stack:
            raise UnsupportedPickle("is damaged: it stores an object that is not there")
        self.memo[index] = self.stack[-1]

    def _recall(self, index: int) -> None:
        value = self.memo.get(index, MISSING)
        if value is MISSING:
            raise UnsupportedPickle("is damaged: it refers to an object that it never made")
        self.stack.append(value)
