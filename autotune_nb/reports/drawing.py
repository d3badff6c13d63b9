"""The base class of charts: colours, markers, Plotly's figure in a notebook, and SVG drawn without a browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import threading
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from autotune_nb.reports.chart_text import chart_text, visible
from autotune_nb.reports.plots import Role

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, which colour-blind readers can distinguish; in grey, the markers and widths differ.
COLOURS: dict[Role, str] = {
    "best": "#D55E00",
    "default": "#0072B2",
    "other": "#999999",
    "infeasible": "#CC79A7",
}
FRONT, RUNNING, SHARE = "#009E73", "#E69F00", "#0072B2"
#: Held while an image is drawn: the settings of matplotlib and of warnings are those of all threads.
_drawing = threading.Lock()
#: The marker of each role, by its name in Plotly and in matplotlib.
MARKERS: dict[Role, tuple[str, str]] = {
    "best": ("star", "*"),
    "default": ("square", "s"),
    "other": ("circle", "o"),
    "infeasible": ("x", "x"),
}
LABELS: dict[Role, str] = {
    "best": "best",
    "default": "engine's default",
    "other": "other trials",
    "infeasible": "breaks a limit",
}


@dataclass(frozen=True)
class Chart(ABC):
    """A chart that a notebook displays; ``figure()`` is Plotly's figure, ``svg()`` an image, ``frame()`` the data."""

    width_in: ClassVar[float] = 8.0
    height_in: ClassVar[float] = 4.2

    @property
    @abstractmethod
    def title(self) -> str:
        """The title, which states what the chart shows."""

    @abstractmethod
    def frame(self) -> pd.DataFrame:
        """Return the data, one row per marker."""

    @abstractmethod
    def figure(self) -> go.Figure:
        """Return Plotly's figure."""

    @abstractmethod
    def _draw_in(self, figure: Figure) -> None:
        """Draw the whole image, with the title."""

    def matplotlib_figure(self) -> Figure:
        """Return matplotlib's figure, for paper; it belongs to no window, and ``savefig`` writes it."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.width_in, self.height_in), layout="constrained")
        self._draw_in(figure)
        return figure

    def svg(self) -> str:
        """Return the chart as SVG, drawn without a browser."""
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        figure = self.matplotlib_figure()
        FigureCanvasSVG(figure)
        out = io.StringIO()
        settings = mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "autotune_nb"})
        with _drawing, settings, warnings.catch_warnings():
            # Letters that matplotlib's font lacks are drawn in the reader's fonts.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            # Letters are text instead of outlines: a tenth of the size.
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        # XML has no control characters.
        return _compact(visible(out.getvalue()))

    def image_html(self) -> str:
        """Return the SVG as an ``<img>`` that needs no scripts and no network."""
        data = base64.b64encode(self.svg().encode()).decode()
        alt = html.escape(self.title)
        return f'<img alt="{alt}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'

    def _figure(self, *traces: Any, x: str, y: str) -> go.Figure:
        import plotly.graph_objects as go

        figure = go.Figure(list(traces))
        figure.update_layout(
            title={"text": chart_text(self.title), "font": {"size": 16}},
            xaxis_title=x,
            # Without a distance, the title may cover the numbers.
            yaxis_title={"text": y, "standoff": 12},
            template="none",
            height=420,
            margin_t=60,
            hovermode="closest",
        )
        # Instead of Plotly's template, which adds seven kilobytes to every saved chart.
        figure.update_xaxes(gridcolor="#e5e5e5", zerolinecolor="#cccccc", automargin=True)
        figure.update_yaxes(gridcolor="#e5e5e5", zerolinecolor="#cccccc", automargin=True)
        return figure

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "application/vnd.plotly.v1+json": json.loads(self.figure().to_json()),
            "text/html": self.image_html(),
            "text/plain": f"<{type(self).__name__}: {self.title}>",
        }


class SingleChart(Chart):
    """A chart with one pair of axes."""

    @abstractmethod
    def _draw(self, axes: Axes) -> None:
        """Draw the data, with the labels of the axes."""

    def _draw_in(self, figure: Figure) -> None:
        axes = figure.add_subplot()
        self._draw(axes)
        axes.set_title(self.title, loc="left", fontsize=11, parse_math=False, wrap=True)
        axes.grid(alpha=0.3)


#: A style that occurs more often becomes a class.
_FEW = 3
#: A group of markers, each with its style.
_MARKERS_WITH_STYLE = re.compile(r'(<g[^>]*)>\n((?:<use [^>]*? style="([^"]*)"/>\n)+)</g>')


def _styled_once(found: re.Match[str]) -> str:
    group, marks, style = found.groups()
    plain = marks.replace(f' style="{style}"', "")
    return found[0] if "style=" in plain else f'{group} style="{style}">\n{plain}</g>'


def _compact(svg: str) -> str:
    """Return the same image in a third of the size: coordinates to a tenth of a point, and repeated styles merged."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    # One generic font instead of a list of fonts for every text.
    svg = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = _MARKERS_WITH_STYLE.sub(_styled_once, svg)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    # The id of a marker is repeated wherever it is drawn, hundreds of times.
    for number, name in enumerate(dict.fromkeys(re.findall(r'<path id="(m[0-9a-f]{10})"', svg))):
        svg = svg.replace(f'id="{name}"', f'id="m{number}"').replace(f'"#{name}"', f'"#m{number}"')
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), svg)
    svg = re.sub(r' d="[^"]*"', lambda found: found[0].replace("\n", ""), svg)
    # Browsers have not needed the prefix for years; it is repeated for every marker.
    return _with_classes(svg).replace("xlink:href=", "href=")


def _with_classes(svg: str) -> str:
    """Return the same image with a class for each style that is repeated, such as that of the grid's lines."""
    styles = Counter(re.findall(r' style="([^"]*)"', svg))
    repeated = [style for style, count in styles.items() if count > _FEW]
    rules = ""
    for number, style in enumerate(repeated):
        svg = svg.replace(f' style="{style}"', f' class="s{number}"')
        rules += f".s{number}{{{style}}}"
    return svg.replace("</style>", f"{rules}</style>", 1)
