"""What an extraction did, for a person and for a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avcil.features.failures import Failure, reasons
from avcil.utils.progress import duration


@dataclass(frozen=True, kw_only=True)
class ExtractReport:
    """What an extraction did."""

    out: Path
    listed: int
    """Clips in the clip list."""
    stored: int
    """Those of them that the store holds now."""
    new: int
    """Those that this call stored."""
    failed: tuple[Failure, ...]
    """Those that could not be stored, in the order of their ids."""
    not_tried: int
    """Failed clips that failed in an earlier call and were not tried again."""
    remade: int
    """Clips made anew because their shard was lost or cut short."""
    remarks: tuple[tuple[str, str], ...]
    """Clips that this call stored although something is wrong with their file (it ends early): id, what."""
    seconds: float
    changed: int = 0
    """Clips whose file had changed since they were stored; they were taken out and tried again."""
    others: int = 0
    """Clips that the store holds beside those listed."""
    unlisted: int = 0
    """Those of them that the store does not show, so that training does not use them."""
    notes: tuple[str, ...] = ()
    """What is odd about the clip list."""

    def text(self) -> str:
        """The report for a person."""
        rate = f" in {duration(self.seconds)}, {self.new / self.seconds:.3g} a second" if self.new else ""
        lines = [f"stored in {self.out}: {self.stored} of {self.listed} clips ({self.new} now{rate})"]
        if self.remade:
            lines.append(f"lost or cut short on the disk and made anew: {self.remade}")
        if self.changed:
            lines.append(
                f"their file changed since they were stored, so they were read again: {self.changed}"
            )
        if self.unlisted:
            lines.append(
                f"stored, but not in this list: {self.unlisted}; training does not use them (--add uses them)"
            )
        elif self.others:
            lines.append(f"in use beside the clips of this list: {self.others}")
        if self.failed:
            lines.append(f"could not be stored: {len(self.failed)}; {self.out / 'failures.csv'} lists them")
            lines += reasons([(failure.clip_id, failure.reason) for failure in self.failed])
        if self.not_tried:
            lines.append(f"failed before and not tried again: {self.not_tried}; --retry-failed tries them")
        if self.remarks:
            lines.append(f"stored, with something wrong with the file: {len(self.remarks)}")
            lines += reasons(self.remarks)
        return "\n".join([*lines, *self.notes])
