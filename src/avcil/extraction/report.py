"""The result of an extraction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avcil.features.failures import Failure, reason_lines
from avcil.utils.progress import duration


@dataclass(frozen=True, kw_only=True)
class ExtractReport:
    """Numbers of clips, failures and remarks of an extraction."""

    out: Path
    listed: int
    """Clips in the clip list."""
    stored: int
    """Listed clips that are stored."""
    new: int
    """Clips that this call stored."""
    failed: tuple[Failure, ...]
    """Clips that could not be stored, sorted by id."""
    incomplete: int
    """Clips that this call did not store because they lack a modality, and that `missing="keep"` would store."""
    not_tried: int
    """Clips that failed in an earlier call and were not retried."""
    reencoded: int
    """Clips encoded again because their shard was lost or truncated."""
    remarks: tuple[tuple[str, str], ...]
    """Id and problem of clips that were stored although their file has a problem."""
    seconds: float
    changed: int = 0
    """Clips that were encoded again because their file had changed."""
    not_listed: int = 0
    """Stored clips that are not listed."""
    unlisted: int = 0
    """Those of them that are hidden, so that training does not use them."""
    notes: tuple[str, ...] = ()
    """Notes about the clip list."""

    def text(self) -> str:
        """The report as text."""
        rate = f" in {duration(self.seconds)}, {self.new / self.seconds:.3g} per second" if self.new else ""
        lines = [f"stored in {self.out}: {self.stored} of {self.listed} clips ({self.new} now{rate})"]
        if self.reencoded:
            lines.append(f"encoded again, since their shard was lost or truncated: {self.reencoded}")
        if self.changed:
            lines.append(f"encoded again, since their file changed: {self.changed}")
        if self.unlisted:
            lines.append(
                f"stored, but not in this list: {self.unlisted}; training does not use them (--add uses them)"
            )
        elif self.not_listed:
            lines.append(f"in use in addition to this list: {self.not_listed}")
        if self.failed:
            lines.append(f"could not be stored: {len(self.failed)}; {self.out / 'failures.csv'} lists them")
            lines += reason_lines([(failure.clip_id, failure.reason) for failure in self.failed])
        if self.incomplete:
            lines.append(
                f"To learn from the {self.incomplete} clips that lack audio or frames as well, extract into another "
                "folder with --missing keep"
            )
        if self.not_tried:
            lines.append(f"failed earlier and not retried: {self.not_tried}; --retry-failed retries them")
        if self.remarks:
            lines.append(f"stored, with a problem of the file: {len(self.remarks)}")
            lines += reason_lines(self.remarks)
        return "\n".join([*lines, *self.notes])
