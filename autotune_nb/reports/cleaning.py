"""A notebook without secrets: every text in it cleaned, and a list of what was removed and what could not be read."""

from __future__ import annotations

import base64
import functools
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from autotune_nb.secrets.detectors import KEYWORD, find_secrets, is_literal
from autotune_nb.secrets.known_values import is_distinct
from autotune_nb.secrets.literals import named_in_lines, named_in_shell
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.scrubbing import Known, known

_KNOWN, _HOME = "environment variable's value", "home folder"
_WIDGET = re.compile(r"application/vnd\.jupyter\.widget-(?:view|state)\+json")
_PICTURE = re.compile(r"image/(?:png|jpeg|gif|webp|bmp)|font/.*")
_TEXT = re.compile(
    r"text/.*|image/svg\+xml|application/(?:javascript|ecmascript|json|xml|x-latex|yaml|x-yaml|.*\+(?:json|xml))"
    r"|application/vnd\.(?:vega|vegalite|plotly|bokeh).*"
)
_ANSI = re.compile(r"\x1b\[[0-9;:?]*[A-Za-z]")
_LABEL = r"\[redacted: [^\[\]]*\]"
_DATA_URI = re.compile(r"data:([\w.+/-]+)(?:;[\w.=+-]+)*;base64,([A-Za-z0-9+/_-]*)")
_PART = r"[^/\\\s\"'`<>:;,()\[\]{}|&$*?!#%=]+"
_HOMES = rf"(?:/[\w.-]+){{0,2}}/(?:home\d*|[Uu]sers)/{_PART}|/root(?![\w.-])|[A-Za-z]:[\\/]+[Uu]sers[\\/]+{_PART}"


def _home_folders() -> re.Pattern[str]:
    own = os.environ.get("HOME", "").rstrip("/\\")
    homes = _HOMES if len(own) <= 4 else rf"{re.escape(own)}(?![\w-]|\.\w)|{_HOMES}"
    return re.compile(rf"(?:(?<![\w.~/-])|(?<=file://))(?:{homes})")


@dataclass
class Cleaning:
    """One pass through a notebook: what it removed, and what it could not clean.

    ``values`` were found by a pass before: they are removed wherever they are, whatever is beside them.
    """

    values: frozenset[str] = frozenset()
    #: The values that this pass found.
    found: set[str] = field(default_factory=set)
    removed: Counter[tuple[str, str]] = field(default_factory=Counter)
    widgets: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    #: What could not be cleaned, and where.
    stuck: list[str] = field(default_factory=list)
    home: re.Pattern[str] = field(default_factory=_home_folders)

    def notebook(self, nb: dict[str, Any]) -> dict[str, Any]:
        """Return the notebook without secrets and widgets; its texts have to be in one piece each."""
        metadata = dict(nb["metadata"])
        if metadata.pop("widgets", None) is not None:
            self.widgets.append("the notebook's widget state")
        cells = [self._cell(cell, f"cell {number}") for number, cell in enumerate(nb["cells"], 1)]
        return {**nb, "metadata": self._data(metadata, "the notebook's metadata"), "cells": cells}

    def _cell(self, cell: dict[str, Any], name: str) -> dict[str, Any]:
        self.found.update(named_in_shell(cell["source"]))
        clean = {**cell, "source": self._text(cell["source"], f"{name}'s source")}
        clean["metadata"] = self._data(cell["metadata"], f"{name}'s metadata")
        if "outputs" in cell:
            outputs = [self._output(output, f"{name}'s output") for output in _merged(cell["outputs"])]
            clean["outputs"] = [output for output in outputs if output is not None]
        if "attachments" in cell:
            place = f"{name}'s attachment"
            files = cell["attachments"].items()
            clean["attachments"] = {self._text(file, place): self._bundle(data, place) for file, data in files}
        return clean

    def _output(self, output: dict[str, Any], place: str) -> dict[str, Any] | None:
        """Return the output without secrets and widgets; None where nothing else was in it."""
        clean = dict(output)
        for key in ("text", "ename", "evalue", "traceback"):
            if key in output:
                clean[key] = self._data(output[key], place)
        if "data" in output:
            clean["data"] = self._bundle(output["data"], place)
            clean["metadata"] = self._data(output["metadata"], place)
            return clean if clean["data"] or not output["data"] else None
        return clean

    def _bundle(self, data: dict[str, Any], place: str) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        for mime, value in data.items():
            if _WIDGET.fullmatch(mime):
                self.widgets.append(place)
            elif _TEXT.fullmatch(mime):
                clean[mime] = self._data(value, place)
            elif _PICTURE.fullmatch(mime):
                clean[mime] = value
                self.pictures.append(place)
            else:
                self.stuck.append(f"{place}: {mime} cannot be read")
        return clean

    def _encoded(self, mime: str, payload: str, place: str) -> None:
        """Search a file within a text, which is kept as it is or not at all."""
        if _PICTURE.fullmatch(mime):
            self.pictures.append(place)
        elif not _TEXT.fullmatch(mime):
            self.stuck.append(f"{place}: {mime} cannot be read")
        else:
            content = base64.b64decode(payload + "A" * (-len(payload) % 4), "-_").decode(errors="replace")
            for kind in self._redacted(content)[1]:
                self.stuck.append(f"{place}: {mime} with a secret in it ({kind})")

    def _text(self, text: str, place: str) -> str:
        for mime, payload in _DATA_URI.findall(text):
            self._encoded(mime, payload, place)
        clean, removed = self._redacted(text)
        for kind, number in removed.items():
            self.removed[kind, place] += number
        return clean

    def _redacted(self, text: str) -> tuple[str, Counter[str]]:
        """Return the text without secrets and home folders, and the number of each kind that was removed."""
        removed: Counter[str] = Counter()
        plain = _ANSI.sub("", text)
        self.found.update(named_in_lines(plain))
        clean, removed[_KNOWN] = known().replaced(plain, f"[redacted: {_KNOWN}]")
        for one in reversed(find_secrets(clean)):
            removed[one.kind] += 1
            self.found.add(clean[one.start : one.end])
            clean = f"{clean[: one.start]}[redacted: {one.kind}]{clean[one.end :]}"
        forms, elsewhere = self._elsewhere
        if any(form in clean for form in forms):
            labels = len(re.findall(_LABEL, clean))
            clean, number = elsewhere.subn(lambda found: found[1] or f"[redacted: {KEYWORD}]", clean)
            removed[KEYWORD] += number - labels
        clean, removed[_HOME] = self.home.subn("~", clean)
        # Colours are kept where nothing was removed between them.
        return (clean, removed) if (removed := +removed) else (text, removed)

    @functools.cached_property
    def _elsewhere(self) -> tuple[frozenset[str], re.Pattern[str]]:
        """What is in a text with one of ``values``, and a pattern of these; its group is what was removed already."""
        short = {value for value in self.values if value.isalpha() or not is_distinct(value)}
        these = Known.of(self.values - short, short, (), detect=False)
        return these.forms | short, re.compile(f"({_LABEL})|{these.pattern.pattern}|{these.words.pattern}")

    def _data(self, data: Any, place: str, named: bool = False) -> Any:
        """Clean a JSON value: its texts, its keys, and what is under a key that says secret."""
        if isinstance(data, dict):
            return {self._text(k, place): self._data(one, place, named or says_secret(k)) for k, one in data.items()}
        if isinstance(data, list):
            return [self._data(value, place, named) for value in data]
        if not isinstance(data, str):
            return data
        if not named or not is_literal(data):
            return self._text(data, place)
        self.removed[KEYWORD, place] += 1
        self.found.add(data)
        return f"[redacted: {KEYWORD}]"


def _merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put pieces of one stream together: a secret may begin in one and end in the next."""
    merged: list[dict[str, Any]] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output["output_type"] == last.get("output_type") == "stream" and output["name"] == last["name"]:
            merged[-1] = {**last, "text": last["text"] + output["text"]}
        else:
            merged.append(output)
    return merged
