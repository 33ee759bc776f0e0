"""A part of a clip list, for several calls or machines that fill one store together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from avcil.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """The `number`-th of `count` parts, counted from 1.

    >>> Part.parse("2/3").of(["a", "b", "c", "d", "e"])
    ['b', 'e']
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Part:
        """What "I/N" says; None is the whole."""
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"a part of the clips is I/N with I from 1 to N, such as 2/4; not {text!r}")
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every `count`-th item, so that parts are of a size wherever long clips lie together."""
        return list(items[self.number - 1 :: self.count])
