"""The summary of a batch: a row per study, as a table, as HTML and as a file."""

from __future__ import annotations

import html
import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autotune_nb.batches.grid import Cell
from autotune_nb.history.study_table import studies_frame
from autotune_nb.study import StudyFolder
from autotune_nb.trial.trial import configuration_text

if TYPE_CHECKING:
    import pandas as pd

_STYLE = (
    "body{font-family:system-ui,sans-serif;font-size:14px;margin:1.5em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:4px 8px;text-align:left;vertical-align:top}"
)
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
        return self._table()

    def _table(self, *, linked: bool = False) -> str:
        """Return the table as HTML; ``linked`` is for a page in the folder of the batch."""
        frame = self.frame.map(lambda value: "" if value is None or value != value else html.escape(_shown(value)))
        if linked:
            links = {one.cell.name: self._link(one.notebook) for one in self.results if one.notebook is not None}
            frame["notebook"] = [links.get(str(name), "") for name in frame.index]
        return str(frame.rename(index=_escaped, columns=_escaped).to_html(escape=False))

    def _link(self, notebook: Path) -> str:
        """Return a link to the page of an executed notebook, or to the notebook, relative to the batch's folder."""
        page = notebook.with_suffix(".html")
        target = page if page.exists() else notebook
        relative = os.path.relpath(target, self.folder)
        return f'<a href="{html.escape(urllib.parse.quote(relative))}">{html.escape(target.name)}</a>'

    def write(self) -> Path:
        """Write ``summary.html`` and ``summary.csv`` into the folder of the batch, and return the page."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.frame.to_csv(self.folder / "summary.csv")
        page = self.folder / "summary.html"
        title = f"<title>{html.escape(self.folder.name)}</title>"
        head = f'<!DOCTYPE html>\n<meta charset="utf-8">\n{title}\n<style>{_STYLE}</style>\n'
        page.write_text(f"{head}{self._table(linked=True)}\n", encoding="utf-8")
        return page


def _escaped(name: object) -> str:
    return html.escape(str(name))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return configuration_text(value) if isinstance(value, dict) else str(value)
