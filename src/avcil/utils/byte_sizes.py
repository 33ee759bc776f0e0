"""Parsing and formatting of byte counts."""

from __future__ import annotations

import re

from avcil.errors import InputError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_bytes(text: str) -> int:
    """Parse a size.

    >>> parse_bytes("1.5MB")
    1500000
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?B?)\s*", text.upper())
    if match is None or match[2] not in _UNITS or float(match[1]) * _UNITS[match[2]] < 1:
        raise InputError(f"{text!r} is not a size; give a number and B, KB, MB or GB, such as 200MB")
    return int(float(match[1]) * _UNITS[match[2]])


def format_bytes(count: float) -> str:
    """Format a number of bytes.

    >>> format_bytes(1_234_567_890), format_bytes(5_000)
    ('1.2 GB', '5.0 kB')
    """
    for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count:.0f} bytes"
