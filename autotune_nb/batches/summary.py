"""The summary of a batch: a row per study, as a table, as HTML and as a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_nb.batches.grid import Cell
from autotune_nb.history.study_table import studies_frame
from autotune_nb.study import StudyFolder

if TYPE_CHECKING:
    import pandas as pd

_OF_STUDY = ("trials", "figure", "best", "gain", "params", "verdict")


@dataclass(frozen=True)
class CellResult:
    """How a study of a batch ended: ``finished``, ``skipped`` since it had finished before, or ``failed``."""

    cell: Cell
    state: str
    error: str = ""
    notebook: Path | None = None


@dataclass(frozen=True)
class BatchResult:
    """The results of a batch, in the order of its grid."""

    folder: Path
    results: tuple[CellResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every study has finished."""
        return all(one.state in ("finished", "skipped") for one in self.results)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per study: its values of the axes, its state, its best and its verdict, and why it failed."""
        import pandas as pd

        rows = []
        for one in self.results:
            row = {"study": one.cell.name, **one.cell.labels, "state": one.state}
            if StudyFolder(one.cell.study).exists:
                read = studies_frame([one.cell.study]).iloc[0]
                row |= {name: read[name] for name in _OF_STUDY}
            rows.append({**row, "error": one.error or None, "notebook": str(one.notebook) if one.notebook else None})
        return pd.DataFrame(rows).set_index("study")

    def text(self) -> str:
        """Return a line per study."""
        lines = []
        for name, row in self.frame.iterrows():
            known = {key: value for key, value in row.items() if not (value is None or value != value)}
            best = f"{known['figure']} {known['best']:.6g}" if "best" in known else ""
            gain = f"{known['gain']:+.1%}" if "gain" in known else ""
            lines.append("  ".join(filter(None, (f"{name}:", row["state"], best, gain, known.get("error")))))
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(na_rep=""))

    def write(self) -> Path:
        """Write ``summary.html`` and ``summary.csv`` into the folder of the batch, and return the page."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.frame.to_csv(self.folder / "summary.csv")
        page = self.folder / "summary.html"
        page.write_text(f'<!DOCTYPE html>\n<meta charset="utf-8">\n{self._repr_html_()}\n', encoding="utf-8")
        return page
