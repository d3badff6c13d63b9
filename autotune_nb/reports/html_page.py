"""A notebook as an HTML page: pictures and plain tables, and of a report also its charts and table as interactive ones.

Everything is in the page, so that it works offline. The page runs its own scripts only, whatever is in the notebook.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from autotune_nb.reports.configuration_page import TABLE_MIME, script_json, table_script
from autotune_nb.resources import shared_folder

_PLOTLY_MIME = "application/vnd.plotly.v1+json"


def to_html(notebook: Path, *, show_code: bool = True) -> Path:
    """Write a notebook as an HTML page beside it that needs no network. Raises SetupError.

    Without a report in it, the page has no scripts.
    """
    import jinja2
    import nbformat
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic", exclude_input=not show_code, exclude_input_prompt=True, exclude_output_prompt=True
    )
    nb = nbformat.read(notebook, as_version=4)
    # A page shows no widgets, and nbconvert fails on a state that is incomplete.
    nb.metadata.pop("widgets", None)
    scripts = _with_data(nb)
    body, _ = exporter.from_notebook_node(nb)
    page = (shared_folder("templates") / "page.html.j2").read_text(encoding="utf-8")
    hashes = [f"'sha256-{_digest(text)}'" for _, text in scripts]
    text = jinja2.Environment(autoescape=True).from_string(page)
    target = notebook.with_suffix(".html")
    target.write_text(
        text.render(title=notebook.stem, body=body, scripts=scripts, hashes=" ".join(hashes)), encoding="utf-8"
    )
    return target


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _with_data(nb: Any) -> list[tuple[str, str]]:
    """Put the data of a report's charts and table beside what is shown of them without scripts.

    Returns the type and the text of the page's scripts; none without a report.
    """
    bundles = [one.data for cell in nb.cells for one in cell.get("outputs", ()) if "data" in one]
    if not any(TABLE_MIME in data for data in bundles):
        return []
    charts = False
    for data in bundles:
        for mime, name in ((_PLOTLY_MIME, "at-chart"), (TABLE_MIME, "at-configurations")):
            if mime in data and "text/html" in data:
                charts = charts or mime == _PLOTLY_MIME
                script = f'<script type="application/json">{script_json(data[mime])}</script>'
                data["text/html"] = f'<div class="{name}">{data["text/html"]}{script}</div>'
    own = (files("autotune_nb") / "reports" / "page.js").read_text(encoding="utf-8")
    module = ("module", f"{table_script()}\n{own}")
    return [("text/javascript", _plotly_script()), module] if charts else [module]


def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    # Browsers normalize line ends, which would change the script's hash.
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")
