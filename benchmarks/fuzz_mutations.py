"""Mutations of the files in a folder: bytes, JSON values, tensors, types of files.

Each is drawn from a `random.Random`, so a mutant is known by its seed. `mutate` returns what it did, and whether the
checksums were taken out, so that only checks of the content itself are left.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEP = "@deep"
"""A placeholder for nesting that Python's JSON writer cannot write."""
ODD: list[Callable[[random.Random], Any]] = [
    lambda draw: draw.choice(
        [None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 2**31, 2**53, 2**63, 10**30, 10**400]
    ),
    lambda draw: draw.choice([float("nan"), float("inf"), -float("inf")]),
    lambda draw: draw.choice(
        ["", " ", "x" * 100_000, "../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "NaN", "1"]
    ),
    lambda draw: draw.choice(
        [[], {}, [[]], [None], {"": ""}, [0] * 1000, ["a", "a"], "audio", "visual", "float32"]
    ),
    lambda draw: draw.choice([nested(70), DEEP]),
]
SPARSE = 3 << 30


def nested(depth: int) -> Any:
    """A list in a list, and so on."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def mutate(folder: Path, draw: random.Random) -> tuple[str, bool]:
    """Change one file of the folder; returns the change, and whether checksums were removed."""
    folders = sorted(path for path in folder.rglob("*") if path.is_dir())
    if folders and draw.random() < 0.05:
        return folder_elsewhere(draw.choice(folders)), False
    file = draw.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    name = str(file.relative_to(folder))
    bare = draw.random() < 0.5
    if bare:
        remove_checksums(folder)
    actions = {".json": json_value, ".jsonl": json_line, ".safetensors": safetensors}
    action = actions.get(file.suffix, flip)
    done = draw.choice([action, action, action, flip, flip, cut, kind_of_file])(file, draw)
    return f"{name}: {done}", bare


ELSEWHERE = "elsewhere"
"""A folder beside the mutant's folder, in which no file may change."""


def folder_elsewhere(folder: Path) -> str:
    """Replace a folder by a link to its new place, with uncommitted files that have names of a writer."""
    top = next(parent for parent in folder.parents if parent.name.startswith("mutant-"))
    target = top / ELSEWHERE
    folder.rename(target)
    for name in (
        "0123456789ab-00000.safetensors",
        ".0123456789ab.lock",
        "progress-0-1.safetensors",
        "notes.txt",
    ):
        (target / name).write_text("not to be touched")
    folder.symlink_to(target)
    return f"{folder.name} became a link to a folder elsewhere"


def listing(mutant: Path) -> list[tuple[str, int]]:
    """Names and sizes of the files in the folder elsewhere."""
    result = sorted((mutant.parent / ELSEWHERE).rglob("*"))
    return [(str(path), path.lstat().st_size) for path in result]


def remove_checksums(folder: Path) -> None:
    """Remove the checksums from a model's config.json and a store's index."""
    for path in folder.rglob("config.json"):
        value = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in value.items() if not k.startswith("checksum")}))
    for path in folder.rglob("index.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line.pop("checksum", None)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def flip(file: Path, draw: random.Random) -> str:
    """Change, insert or remove bytes; in a large file mostly in the header at its beginning."""
    data = bytearray(file.read_bytes())
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        end = len(data) if draw.random() < 0.5 else min(len(data), 600)
        at = draw.randrange(end) if end else 0
        way = draw.randrange(3)
        if way == 0 and data:
            data[at] ^= 1 << draw.randrange(8)
        elif way == 1:
            data[at:at] = draw.randbytes(draw.choice([1, 4]))
        else:
            del data[at : at + draw.choice([1, 4, 64])]
    file.write_bytes(data)
    return "bytes changed"


def cut(file: Path, draw: random.Random) -> str:
    """Truncate or extend the file, or empty it."""
    size = file.stat().st_size
    new = draw.choice([0, draw.randrange(size + 1), size + draw.randrange(1, 100), SPARSE])
    os.truncate(file, new)
    return f"{size} bytes made {new}"


def kind_of_file(file: Path, draw: random.Random) -> str:
    """Replace the file by another type of file."""
    content = file.read_bytes()
    file.unlink()
    kinds: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "a folder": file.mkdir,
        "a pipe": lambda: os.mkfifo(file),
        "a link to /dev/zero": lambda: file.symlink_to("/dev/zero"),
        "a link to itself": lambda: file.symlink_to(file.name),
        "a link to a folder": lambda: file.symlink_to("."),
        "a link to nothing": lambda: file.symlink_to("gone"),
        "a pickle": lambda: file.write_bytes(pickle.dumps({"a": Path("/")})),
        "the content twice": lambda: file.write_bytes(content * 2),
    }
    name = draw.choice(sorted(kinds))
    kinds[name]()
    return f"became {name}"


def json_value(file: Path, draw: random.Random) -> str:
    """Change one value of a JSON document."""
    value, done = changed(json.loads(file.read_text()), draw)
    file.write_text(written(value, draw))
    return done


def json_line(file: Path, draw: random.Random) -> str:
    """Change one value of one line, or exchange, repeat or remove lines."""
    lines = file.read_text().splitlines()
    at = draw.randrange(len(lines))
    way = draw.randrange(6)
    if way == 0:
        lines[at:at] = [lines[draw.randrange(len(lines))]]
        done = "a line repeated"
    elif way == 1:
        del lines[at]
        done = "a line removed"
    else:
        value, done = changed(json.loads(lines[at]), draw)
        lines[at] = written(value, draw)
    file.write_text("".join(line + "\n" for line in lines))
    return f"line {at}: {done}"


def written(value: Any, draw: random.Random) -> str:
    """JSON text, possibly with a repeated key or a byte order mark."""
    text = json.dumps(value).replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000)
    if text.startswith("{") and draw.random() < 0.05:
        text = '{"version": 9, "version": 9, ' + text[1:]
    return "\ufeff" + text if draw.random() < 0.03 else text


def changed(value: Any, draw: random.Random) -> tuple[Any, str]:
    """The document with one value replaced, exchanged or removed, and the place of the change."""
    places = list(all_places(value))
    if not places or draw.random() < 0.03:
        return draw.choice(ODD)(draw), "all of it replaced"
    holder, key, where = draw.choice(places)
    way = draw.randrange(8)
    if way == 0:
        del holder[key]
        return value, f"{where} removed"
    if way == 1:
        other, other_key, other_where = draw.choice(places)
        if other_key in (other if isinstance(other, dict) else range(len(other))):
            holder[key], other[other_key] = other[other_key], holder[key]
        return repaired(value), f"{where} exchanged with {other_where}"
    if way == 2 and isinstance(holder[key], int | float):
        holder[key] = draw.choice([holder[key] + 1, holder[key] * 1000, -holder[key], str(holder[key])])
        return value, f"{where} made {holder[key]!r:.30}"
    holder[key] = draw.choice(ODD)(draw)
    return value, f"{where} made {holder[key]!r:.30}"


def repaired(value: Any) -> Any:
    """A value without the reference cycles that an exchange can create."""
    try:
        json.dumps(value)
    except (ValueError, RecursionError):
        return None
    return value


def all_places(value: Any, where: str = "") -> Any:
    """(container, key, path) of every value below."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key, f"{where}.{key}"[:80]
            yield from all_places(value[key], f"{where}.{key}")


def safetensors(file: Path, draw: random.Random) -> str:
    """Change a tensor or the header."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    way = draw.randrange(5)
    if way == 0 and body:  # every number becomes NaN or infinity, for any dtype
        at = draw.randrange(len(body)) // 8 * 8
        body[at : at + 8] = draw.choice([b"\xff" * 8, bytes.fromhex("000080ff0000807f"), b"\x7f" * 8])
        done = "numbers changed"
    elif way == 1:
        header |= {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(20_000)}
        done = "20000 empty tensors"
    elif way == 2:
        name = draw.choice(sorted(header))
        begin, end = header[name]["data_offsets"]
        header[name]["data_offsets"] = draw.choice(
            [[0, end - begin], [begin, begin], [begin, end + 8], [end, begin]]
        )
        done = f"{name} lies elsewhere"
    elif way == 3:
        name = draw.choice(sorted(header))
        shape = header[name]["shape"]
        header[name]["shape"] = draw.choice(
            [[*shape, 1], shape[::-1], [1, *shape], [0, 2**40], [2**32, 2**32], []]
        )
        done = f"{name} of another shape"
    else:
        header, done = changed(header, draw)
    text = written(header, draw).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return done


def remove(folder: Path) -> None:
    """Take a mutant away."""
    shutil.rmtree(folder, ignore_errors=True)
