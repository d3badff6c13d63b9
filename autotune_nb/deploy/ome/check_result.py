"""One answer to the question whether a task will run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One line: whether it is well, what was found, and what to do where it is not."""

    ok: bool
    text: str
    hint: str = ""

    def __str__(self) -> str:
        mark = "ok  " if self.ok else "FAIL"
        return f"{mark}  {self.text}" + (f" (try: {self.hint})" if self.hint and not self.ok else "")
