"""One pass through a notebook: each cell, output and note cleaned as what it is, or named as what cannot be."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from autotune_nb.secrets.redaction import Redactor

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_PICTURE = re.compile(r"image/(?:png|jpeg|gif|webp|bmp)")
_JSON = re.compile(r"application/(?:json|.*\+json)|application/vnd\.(?:vega|vegalite|plotly|bokeh).*")
_TEXT = re.compile(r"text/.*|image/svg\+xml|application/(?:javascript|ecmascript|xml|x-latex|yaml|x-yaml|.*\+xml)")


def is_picture(mime: str) -> bool:
    """Whether a mime type is a picture's, which is kept and not looked at."""
    return _PICTURE.fullmatch(mime) is not None


@dataclass
class Cleaning:
    """One pass through a notebook; what it took out and what it could not."""

    redactor: Redactor
    removed: Counter[tuple[str, str]] = field(default_factory=Counter)
    widgets: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    #: What could not be cleaned, and where.
    stuck: list[str] = field(default_factory=list)

    def notebook(self, nb: dict[str, Any]) -> dict[str, Any]:
        """The notebook, its texts in one piece each, without secrets and widgets."""
        metadata = dict(nb["metadata"])
        if "widgets" in metadata:
            del metadata["widgets"]
            self.widgets.append("the notebook's widget state")
        first = Cleaning(self.redactor)
        first._cells(nb)
        first._data(metadata, "")
        # What one cell tells to be a secret another may print without a word on what it is.
        self.redactor.learn()
        cells = self._cells(nb)
        rest = {key: value for key, value in nb.items() if key not in ("cells", "metadata")}
        return {**rest, "metadata": self._data(metadata, "the notebook's metadata"), "cells": cells}

    def _cells(self, nb: dict[str, Any]) -> list[dict[str, Any]]:
        return [self._cell(cell, f"cell {number}") for number, cell in enumerate(nb["cells"], 1)]

    def _cell(self, cell: dict[str, Any], name: str) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        for key, value in cell.items():
            if key == "source":
                clean[key] = self._text(value, f"{name}'s source")
            elif key == "outputs":
                kept = [self._output(output, f"{name}'s output") for output in _merged(value)]
                clean[key] = [output for output in kept if output is not None]
            elif key == "attachments":
                place = f"{name}'s attachment"
                clean[key] = {self._text(file, place): self._bundle(data, place) for file, data in value.items()}
            elif key == "metadata":
                clean[key] = self._data(value, f"{name}'s metadata")
            else:
                clean[key] = value
        return clean

    def _output(self, output: dict[str, Any], place: str) -> dict[str, Any] | None:
        """The output without secrets and views of widgets; None where nothing else was in it."""
        clean = dict(output)
        if output["output_type"] == "stream":
            clean["text"] = self._text(output["text"], place)
        elif output["output_type"] == "error":
            clean["ename"], clean["evalue"] = self._text(output["ename"], place), self._text(output["evalue"], place)
            clean["traceback"] = self._traceback(output["traceback"], place)
        else:
            clean["data"] = self._bundle(output["data"], place)
            clean["metadata"] = self._data(output["metadata"], place)
            if not clean["data"] and output["data"]:
                return None
        return clean

    def _traceback(self, lines: list[str], place: str) -> list[str]:
        clean = [self._text(line, place) for line in lines]
        # A secret that goes on in the next item is seen in one piece only.
        whole = "\n".join(clean)
        joined = self._text(whole, place)
        if joined != whole:
            return [joined]
        glued = "".join(clean)
        joined = self._text(glued, place)
        return [joined] if joined != glued else clean

    def _bundle(self, data: dict[str, Any], place: str) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        for mime, value in data.items():
            if mime in (_WIDGET_VIEW, _WIDGET_STATE):
                self.widgets.append(place)
            elif _JSON.fullmatch(mime):
                clean[mime] = self._data(value, place)
            elif not isinstance(value, str):
                self._stick(f"{place}: {mime} that is no text")
            elif _PICTURE.fullmatch(mime):
                clean[mime] = self._picture(value, mime, place)
            elif _TEXT.fullmatch(mime):
                clean[mime] = self._text(value, place)
            else:
                self._stick(f"{place}: {mime} cannot be looked into")
        return clean

    def _picture(self, value: str, mime: str, place: str) -> str:
        # As a data: URI it is looked at as one in a page: what notes in it say, not what it shows.
        uri = f"data:{mime};base64,"
        payload = re.sub(r"\s", "", value)
        if not re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", payload):
            self._stick(f"{place}: {mime} that is no base64")
        else:
            self._text(uri + payload, place)
            self.pictures.append(place)
        return value

    def _text(self, text: str, place: str) -> str:
        told = self.redactor.redact(text)
        self._count(told.found, told.unclean, place)
        return told.text

    def _data(self, data: Any, place: str) -> Any:
        told = self.redactor.redact_data(data)
        self._count(told.found, told.unclean, place)
        return told.data

    def _count(self, found: tuple[tuple[str, int], ...], unclean: tuple[str, ...], place: str) -> None:
        for kind, count in found:
            self.removed[kind, place] += count
        for what in unclean:
            self._stick(f"{place}: {what}")

    def _stick(self, what: str) -> None:
        if what not in self.stuck:
            self.stuck.append(what)


def _merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of one stream put together: a secret may go on in the next one."""
    merged: list[dict[str, Any]] = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output["output_type"] == last.get("output_type") == "stream" and output["name"] == last["name"]:
            merged[-1] = {**last, "text": last["text"] + output["text"]}
        else:
            merged.append(output)
    return merged
