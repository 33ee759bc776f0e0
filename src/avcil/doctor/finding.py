"""What a check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One thing that was looked at."""

    status: Status
    what: str
    figure: str
    """What was found, with its figures."""
    advice: str = ""
    """What to do about it; empty where nothing is to be done."""
    core: bool = True
    """Whether avcil needs it for clips, features, training and asking; else it is an extra."""

    @property
    def fails(self) -> bool:
        """Whether avcil does not work because of it."""
        return self.core and self.status != "ok"

    def line(self, width: int) -> str:
        """Status, name in `width` columns, figure, advice.

        >>> CheckResult(status="missing", what="ray", figure="not installed", advice="install it").line(6)
        'missing  ray     not installed  -> install it'
        """
        advice = f"  -> {self.advice}" if self.advice else ""
        return f"{self.status:<7}  {self.what:<{width}}  {self.figure}{advice}"

    def as_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


def not_installed(what: str, consequence: str, extra: str) -> CheckResult:
    """A package of an extra that is not there, and what cannot be done without it."""
    return CheckResult(
        status="missing",
        what=what,
        figure=f"not installed: {consequence}",
        advice=f"if you want it: pip install 'avcil[{extra}]'",
        core=False,
    )
