"""The result of one preflight check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: whether it passed, what was found, and what to try if it failed."""

    ok: bool
    text: str
    hint: str = ""

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "FAIL"
        return f"{mark}  {self.text}" + (f" (try: {self.hint})" if self.hint and not self.ok else "")
