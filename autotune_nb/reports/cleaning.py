"""A notebook without secrets: every text in it cleaned, and a list of what was removed and what could not be read."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from autotune_nb.secrets.detectors import KEYWORD, Finding, find_secrets, has_open_key, is_literal
from autotune_nb.secrets.known_values import MIN_LENGTH
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.scrubbing import Known, known

_KNOWN, _SHOWN, _HOME = "environment variable's value", "secret shown in another place", "home folder"
_WIDGET = re.compile(r"application/vnd\.jupyter\.widget-(?:view|state)\+json")
_PICTURE = re.compile(r"image/(?:png|jpeg|gif|webp|bmp)")
_JSON = re.compile(r"application/(?:json|.*\+json)|application/vnd\.(?:vega|vegalite|plotly|bokeh).*")
_TEXT = re.compile(r"text/.*|image/svg\+xml|application/(?:javascript|ecmascript|xml|x-latex|yaml|x-yaml|.*\+xml)")
_DATA_URI = re.compile(r"data:([\w.+/-]+)(?:;[\w.=+-]+)*;base64,([A-Za-z0-9+/=_-]*)")
_READABLE = re.compile(rb"[\x20-\x7e\t\r\n]{8,}")
_PART = r"[^/\\\s\"'`<>:;,()\[\]{}|&$*?!#%=]+"
_HOMES = (
    rf"(?:/[\w.-]+){{0,2}}/(?:home\d*|[Uu]sers)/{_PART}|/root(?![\w-]|\.\w)|[A-Za-z]:(?:\\+|/)[Uu]sers(?:\\+|/){_PART}"
)


class Redactor:
    """Replaces secrets in texts by labels; what one text shows to be a secret goes from the others too."""

    def __init__(self) -> None:
        own = os.environ.get("HOME", "").rstrip("/\\")
        homes = _HOMES if len(own) <= 4 else rf"{re.escape(own)}(?![\w-]|\.\w)|{_HOMES}"
        self._home = re.compile(rf"(?<![\w.~/-])(?:{homes})")
        self._findings: dict[str, list[Finding]] = {}
        self._learned = Known.of(())
        #: What was found so far.
        self.found: set[str] = set()

    def learn(self) -> None:
        """Replace what was found so far everywhere from now on, where it is no other word."""
        self._learned = Known.of(value for value in self.found if len(value) >= 12 or re.search(r"\d", value))

    def redact(self, text: str) -> tuple[str, Counter[str]]:
        """Return the text without secrets, and the number of each kind that was removed."""
        removed: Counter[str] = Counter()
        if len(text) < MIN_LENGTH - 1:
            return text, removed
        clean, removed[_KNOWN] = known().replaced(text, f"[redacted: {_KNOWN}]")
        findings = self._findings.get(clean)
        if findings is None:
            findings = self._findings[clean] = find_secrets(clean)
        for one in reversed(findings):
            removed[one.kind] += 1
            self.found.add(clean[one.start : one.end])
            clean = f"{clean[: one.start]}[redacted: {one.kind}]{clean[one.end :]}"
        clean, removed[_SHOWN] = self._learned.replaced(clean, f"[redacted: {_SHOWN}]")
        clean, removed[_HOME] = self._home.subn("~", clean)
        return clean, +removed


@dataclass
class Cleaning:
    """One pass through a notebook: what it removed, and what it could not clean."""

    redactor: Redactor
    removed: Counter[tuple[str, str]] = field(default_factory=Counter)
    widgets: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    #: What could not be cleaned, and where.
    stuck: list[str] = field(default_factory=list)

    def notebook(self, nb: dict[str, Any]) -> dict[str, Any]:
        """Return the notebook without secrets and widgets; its texts have to be in one piece each."""
        metadata = dict(nb["metadata"])
        if metadata.pop("widgets", None) is not None:
            self.widgets.append("the notebook's widget state")
        cells = [self._cell(cell, f"cell {number}") for number, cell in enumerate(nb["cells"], 1)]
        return {**nb, "metadata": self._data(metadata, "the notebook's metadata"), "cells": cells}

    def _cell(self, cell: dict[str, Any], name: str) -> dict[str, Any]:
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
        for key in ("text", "ename", "evalue"):
            if key in output:
                clean[key] = self._text(output[key], place)
        if "traceback" in output:
            whole = "\n".join(output["traceback"])
            text = self._text(whole, place)
            clean["traceback"] = output["traceback"] if text == whole else [text]
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
            elif _JSON.fullmatch(mime):
                clean[mime] = self._data(value, place)
            elif isinstance(value, str) and _TEXT.fullmatch(mime):
                clean[mime] = self._text(value, place)
            elif isinstance(value, str) and _PICTURE.fullmatch(mime):
                clean[mime] = value
                self._search(mime, re.sub(r"\s", "", value), place)
                self.pictures.append(place)
            else:
                self._stick(f"{place}: {mime} cannot be read")
        return clean

    def _search(self, mime: str, payload: str, place: str) -> None:
        """Search what is encoded, which is kept as it is or not at all."""
        if not (_PICTURE.fullmatch(mime) or _TEXT.fullmatch(mime) or mime.startswith("font/")):
            self._stick(f"{place}: {mime} cannot be read")
            return
        try:
            content = base64.b64decode(payload + "=" * (-len(payload) % 4), "-_" if "_" in payload else None, True)
        except (binascii.Error, ValueError):
            self._stick(f"{place}: {mime} that is no base64")
            return
        for run in _READABLE.findall(content):
            if kinds := self.redactor.redact(run.decode("ascii"))[1]:
                self._stick(f"{place}: {mime} with a secret in it ({next(iter(kinds))})")

    def _text(self, text: str, place: str) -> str:
        for mime, payload in _DATA_URI.findall(text):
            self._search(mime, payload, place)
        clean, removed = self.redactor.redact(text)
        for kind, number in removed.items():
            self.removed[kind, place] += number
        if has_open_key(clean):
            self._stick(f"{place}: a private key whose end is missing")
        return clean

    def _data(self, data: Any, place: str, named: bool = False) -> Any:
        """Clean a JSON value: its texts, its keys, and what is under a key that says secret."""
        if isinstance(data, dict):
            # As Kubernetes writes a variable.
            named = named or ("value" in data and says_secret(str(data.get("name"))))
            items = ((str(key), value) for key, value in data.items())
            return {self._text(k, place): self._data(value, place, named or says_secret(k)) for k, value in items}
        if isinstance(data, list):
            return [self._data(value, place, named) for value in data]
        if not isinstance(data, str):
            return data
        if not named or not is_literal(data):
            return self._text(data, place)
        self.redactor.found.add(data)
        self.removed[KEYWORD, place] += 1
        return f"[redacted: {KEYWORD}]"

    def _stick(self, what: str) -> None:
        if what not in self.stuck:
            self.stuck.append(what)


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
