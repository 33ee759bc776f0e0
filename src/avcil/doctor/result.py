"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of one check."""

    status: Status
    what: str
    """What was checked."""
    figure: str
    """What was found, with numbers."""
    advice: str = ""
    """What to do about it; empty if there is nothing to do."""
    core: bool = True
    """Whether avcil cannot extract, train and predict without it; otherwise it is optional."""

    @property
    def fails(self) -> bool:
        """Whether avcil does not work because of it."""
        return self.core and self.status != "ok"

    def line(self, width: int) -> str:
        """Status, name in `width` columns, finding, advice.

        >>> CheckResult(status="missing", what="ray", figure="not installed", advice="install it").line(6)
        'missing  ray     not installed  -> install it'
        """
        advice = f"  -> {self.advice}" if self.advice else ""
        return f"{self.status:<7}  {self.what:<{width}}  {self.figure}{advice}"


def verdict(what: str, right: bool, figure: str, *, advice: str, core: bool = True) -> CheckResult:
    """A result that is "ok" if `right`, else "broken" with advice."""
    status: Status = "ok" if right else "broken"
    return CheckResult(status=status, what=what, figure=figure, advice="" if right else advice, core=core)
