"""Names and values of users as texts of charts: Plotly draws some HTML, and cuts off what exceeds the chart."""

from __future__ import annotations

import html
import re
import textwrap

#: Control characters, surrogates, and characters that change the direction of the text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WIDTH, _LINES = 60, 12


def visible(text: object) -> str:
    """Return a text in which control characters, surrogates and direction marks are ``\\uXXXX``."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def chart_text(text: object) -> str:
    """Return a text that Plotly draws as it is: of the named entities it has those of ``&``, ``<`` and ``>`` only."""
    return html.escape(visible(text), quote=False)


def tooltip(text: str) -> str:
    """Return a long text in a few lines."""
    lines = textwrap.wrap(text, _WIDTH, break_on_hyphens=False)
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = ["…"]
    return "<br>".join(map(chart_text, lines))
