"""avcil encoders: list the encoders of avcil extract."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avcil.encoders.catalog import CatalogEntry


@dataclass(frozen=True, kw_only=True)
class Args:
    """List the encoders with license, size of the weights, shape of the features, speed on this machine, and
    intended use."""

    speed: bool = True
    """Measure how long each installed encoder takes for a clip of 3 s. --no-speed omits this."""
    json: bool = False
    """Print a JSON list with one object per encoder."""


def run(args: Args) -> None:
    """Print the list."""
    import json

    from avcil.encoders.catalog import catalog

    entries = catalog(speed=args.speed)
    if args.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=1))
        return
    print("\n".join(_lines(entries)))


def _lines(entries: list[CatalogEntry]) -> list[str]:
    from avcil.utils.text_table import text_table

    columns = ("encoder", "kind", "license", "weights", "features", "ms")
    header, *rows = text_table(map(_row, entries), columns, names=len(columns)).splitlines()
    lines = [header]
    for row, entry in zip(rows, entries, strict=True):
        lines += [f"{entry.name} (default)"] if entry.is_default else []
        lines += [row, f"    {entry.purpose}"]
        lines += [f"    {entry.status}"] if entry.status != "ready" else []
    return [
        *lines,
        "",
        "Features: T slices x S cells x D of a visual encoder, D of an audio encoder.",
        "ms: time to encode a decoded clip of 3 s on this machine, best of 3.",
        "Names joined by + are combined encoders. Defaults are used by avcil extract",
        "without --visual, --audio and --joint.",
    ]


def _row(entry: CatalogEntry) -> tuple[str, ...]:
    from avcil.utils.byte_sizes import format_bytes

    weights = "varies" if entry.weights_bytes is None else "none"
    if entry.weights_bytes:
        weights = format_bytes(entry.weights_bytes)
    shape = "varies" if entry.features is None else " x ".join(map(str, entry.features))
    speed = "-" if entry.milliseconds is None else f"{entry.milliseconds:.0f}"
    name = "" if entry.is_default else entry.name  # too long for the column
    return (name, entry.kind, entry.license, weights, shape, speed)
