"""A part of a clip list, so that several machines can extract into one store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from avcil.errors import InputError

Item = TypeVar("Item")


@dataclass(frozen=True)
class ListPart:
    """The `number`-th of `count` parts, counted from 1.

    >>> ListPart.parse("2/3").of(["a", "b", "c", "d", "e"])
    ['b', 'e']
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> ListPart:
        """Parse "I/N"; None is the whole list."""
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"--part must be I/N with I from 1 to N, such as 2/4; not {text!r}")
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every `count`-th item, so that long clips next to each other are distributed."""
        return list(items[self.number - 1 :: self.count])
