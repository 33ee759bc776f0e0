"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of one check."""

    status: Status
    name: str
    """What was checked."""
    detail: str
    """Result of the check, with numbers."""
    advice: str = ""
    """What to do about it; empty if there is nothing to do."""
    required: bool = True
    """Whether avcil cannot extract, train and predict without it; otherwise it is optional."""

    @property
    def fails(self) -> bool:
        """Whether avcil does not work because of it."""
        return self.required and self.status != "ok"

    def line(self, width: int) -> str:
        """Status, name in `width` columns, finding, advice.

        >>> CheckResult(status="missing", name="ray", detail="not installed", advice="install it").line(6)
        'missing  ray     not installed  -> install it'
        """
        advice = f"  -> {self.advice}" if self.advice else ""
        return f"{self.status:<7}  {self.name:<{width}}  {self.detail}{advice}"


def pass_or_fail(name: str, passed: bool, detail: str, *, advice: str, required: bool = True) -> CheckResult:
    """A result that is "ok" if `passed`, else "broken" with advice."""
    status: Status = "ok" if passed else "broken"
    return CheckResult(
        status=status, name=name, detail=detail, advice="" if passed else advice, required=required
    )
