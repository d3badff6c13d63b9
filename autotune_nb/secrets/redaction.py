"""Secrets taken out of text and of JSON values, whatever they are wrapped in.

A text is looked at as it stands and as it reads (``text_layers``): without ANSI codes and tags, with HTML's entities,
percent codes and backslashes decoded; and what is base64 in it is decoded. What is found is replaced where it stands,
so that tags, codes and everything else remain. What a secret looks like is in ``library``.
"""

from __future__ import annotations

import base64
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune_nb.secrets.columns import secret_cells, secret_columns
from autotune_nb.secrets.encoded_text import BASE64, BASE64_LINES, DATA_URI, END, OPEN_KEY, PICTURES, TEXTS, from_base64
from autotune_nb.secrets.labels import labelled_secrets
from autotune_nb.secrets.library import rules
from autotune_nb.secrets.literals import literal_secrets
from autotune_nb.secrets.manifests import manifest_secrets
from autotune_nb.secrets.rules import ENVIRONMENT, HOME, PRIVATE_KEY, Finding, merged, without
from autotune_nb.secrets.text_layers import layers
from autotune_nb.secrets.values import (
    base64_cores,
    is_secret_value,
    is_telling,
    is_written_out,
    secret_key,
    secret_values,
)

_LABEL = re.compile(r"\[redacted: [A-Za-z][A-Za-z' ]{1,50}(?: \(base64\))?\]")
_ROUNDS = 40
_DEPTH = 4
#: Words and figures too short for any rule, as the points of charts are named; Artifactory's keys are the shortest.
_SHORT = re.compile(r"(?!.*(?:A[KP]|(?i:pass|pw|secret|key|token|kennwort|пароль|密)))[\w .,()+*]{0,18}")
_NO_HOMES = ("/", "/tmp", "/nonexistent", "/var/empty", "/home", "/Users")


@dataclass(frozen=True)
class Redacted:
    """A text without its secrets, how many of which kind were taken out, and what could not be."""

    text: str
    found: tuple[tuple[str, int], ...] = ()
    unclean: tuple[str, ...] = ()


@dataclass(frozen=True)
class RedactedData:
    """The same for a JSON value."""

    data: Any
    found: tuple[tuple[str, int], ...] = ()
    unclean: tuple[str, ...] = ()


def redact(text: str) -> Redacted:
    """A text without secrets, as this process's environment knows them."""
    return Redactor().redact(text)


def redact_data(data: Any) -> RedactedData:
    """A JSON value without secrets in its strings, its keys, and under keys that name a secret."""
    return Redactor().redact_data(data)


class Redactor:
    """Takes secrets out; keeps what the environment tells, so that many texts are cleaned by the same measure."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, homes: bool = True) -> None:
        self._homes = homes
        environment = os.environ if environment is None else environment
        values = secret_values(environment)
        forms = {form for value in values for form in (value, value.strip())}
        self._values = sorted(forms, key=lambda value: (-len(value), value))
        self._encoded = tuple(sorted({core for value in values for core in base64_cores(value)}))
        self._forms = (*self._values, *self._encoded)
        home = environment.get("HOME", "").rstrip("/\\")
        self._home = None
        if homes and len(home) > 3 and home not in _NO_HOMES:
            self._home = re.compile(rf"(?<![\w.~-]){re.escape(home)}(?![\w-]|\.\w)")
        self._known: dict[str, Redacted] = {}
        #: What was found, and of what kind it is.
        self._found: dict[str, str] = {}
        self._learned: re.Pattern[str] | None = None

    def redact(self, text: str) -> Redacted:
        """The text without secrets; the same text again where it has none."""
        if len(text) < 5 or (_SHORT.fullmatch(text) and not self._is_known(text)):
            return Redacted(text)
        if text not in self._known:
            counts: Counter[str] = Counter()
            unclean: list[str] = []
            clean = self._redact(text, counts, unclean, _DEPTH)
            self._known[text] = Redacted(clean, tuple(sorted(counts.items())), tuple(dict.fromkeys(unclean)))
        return self._known[text]

    def _is_known(self, text: str) -> bool:
        return any(form in text for form in self._forms) or bool(self._learned and self._learned.search(text))

    def learn(self) -> None:
        """From now on what was found so far is found wherever it stands, without the place that told it."""
        certain = [value for value in self._found if is_telling(value)]
        if certain:
            longest_first = sorted(certain, key=lambda value: (-len(value), value))
            self._learned = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, longest_first))})(?![A-Za-z0-9])")
            pattern = self._learned
            self._known = {text: told for text, told in self._known.items() if not pattern.search(text)}

    def redact_data(self, data: Any) -> RedactedData:
        """The value without secrets: in strings and keys, and all of what a key that names a secret holds."""
        counts: Counter[str] = Counter()
        unclean: list[str] = []
        clean = self._walk(data, None, counts, unclean)
        return RedactedData(clean, tuple(sorted(counts.items())), tuple(dict.fromkeys(unclean)))

    def in_bytes(self, content: bytes) -> tuple[str, ...]:
        """The kinds of secrets that stand readable in what is no text, such as a picture's notes."""
        kinds: set[str] = set()
        for run in re.findall(rb"[\x20-\x7e\t\r\n]{12,}", content):
            kinds.update(kind for kind, _ in self.redact(run.decode("ascii")).found)
        return tuple(sorted(kinds.union(self.values_in(content))))

    def values_in(self, content: bytes) -> tuple[str, ...]:
        """Whether the environment's secrets stand in a file, as they are or in base64."""
        return (ENVIRONMENT,) if any(form.encode(errors="replace") in content for form in self._forms) else ()

    def _redact(self, text: str, counts: Counter[str], unclean: list[str], depth: int) -> str:
        parts, last = [], 0
        for uri in DATA_URI.finditer(text):
            parts += [
                self._plain(text[last : uri.start()], counts, unclean, depth),
                self._uri(uri, counts, unclean, depth),
            ]
            last = uri.end()
        return "".join([*parts, self._plain(text[last:], counts, unclean, depth)])

    def _uri(self, uri: re.Match[str], counts: Counter[str], unclean: list[str], depth: int) -> str:
        """A data: URI with what it holds cleaned; a picture is left as it is."""
        mime, payload = uri["mime"].lower(), uri["payload"]
        content = from_base64(payload)
        if content is None or (not PICTURES.fullmatch(mime) and not TEXTS.fullmatch(mime)) or depth == 0:
            unclean.append(f"a data: URI of {mime} that cannot be looked into")
            return uri.group()
        if PICTURES.fullmatch(mime):
            unclean += [f"a picture with a secret in it ({kind})" for kind in self.in_bytes(content)]
            return uri.group()
        try:
            inner = content.decode()
        except UnicodeDecodeError:
            unclean.append(f"a data: URI of {mime} that is no text")
            return uri.group()
        clean = self._redact(inner, counts, unclean, depth - 1)
        if clean == inner:
            return uri.group()
        return f"data:{uri['mime']}{uri['rest']};base64,{base64.b64encode(clean.encode()).decode()}"

    def _plain(self, text: str, counts: Counter[str], unclean: list[str], depth: int) -> str:
        # Before anything else: what goes out of one line would tear the others apart.
        text = BASE64_LINES.sub(lambda run: self._base64_lines(run.group(), counts), text) if depth else text
        for _ in range(_ROUNDS):
            again = self._round(text, counts)
            if again is None:
                break
            text = again
        else:
            unclean.append("a text in which ever more secrets are found")
        marked = "PRIVATE KEY" in text or "PuTTY" in text
        if marked and any(OPEN_KEY.search(layer.text) for layer in layers(text)):
            unclean.append("a private key whose end is missing")
        return BASE64.sub(lambda run: self._base64(run.group(), counts, unclean, depth), text) if depth else text

    def _round(self, text: str, counts: Counter[str]) -> str | None:
        """The text without what its first telling layer shows; None where none shows anything."""
        for layer in layers(text):
            edits = []
            for finding in self._find(layer.text):
                pieces = layer.pieces(finding.start, finding.end)
                label = "~" if finding.kind == HOME else f"[redacted: {finding.kind}]"
                edits += [(start, end, "" if at else label) for at, (start, end) in enumerate(pieces)]
                counts[finding.kind] += 1
                if finding.kind != HOME:
                    self._found.setdefault(layer.text[finding.start : finding.end], finding.kind)
            if edits:
                done, last = [], 0
                for start, end, label in sorted(edits):
                    # Two findings may share one escape; it goes with the first.
                    if start >= last:
                        done += [text[last:start], label]
                        last = end
                return "".join([*done, text[last:]])
        return None

    def _find(self, text: str) -> list[Finding]:
        """What is secret in it, without what is redacted already."""
        lowered = text.lower()
        found: list[Finding] = []
        for rule in rules():
            if rule.kind == HOME and not self._homes:
                continue
            # Spelled out: charts are tens of thousands of short texts, and nearly all end here.
            for hint in rule.hints:
                if hint in lowered:
                    found += rule.find(text)
                    break
        found += secret_cells(text)
        found += literal_secrets(text)
        found += labelled_secrets(text)
        found += manifest_secrets(text)
        for value in self._values:
            if value in text:
                found += [Finding(at.start(), at.end(), ENVIRONMENT) for at in re.finditer(re.escape(value), text)]
        for core in self._encoded:
            if core in text:
                around = re.compile(rf"[A-Za-z0-9+/_-]*{re.escape(core)}[A-Za-z0-9+/_=-]*")
                found += [Finding(at.start(), at.end(), ENVIRONMENT) for at in around.finditer(text)]
        if self._learned is not None:
            found += [Finding(*at.span(), self._found[at[0]]) for at in self._learned.finditer(text)]
        if self._home is not None:
            found += [Finding(at.start(), at.end(), HOME) for at in self._home.finditer(text)]
        if not found:
            return []
        labels = [label.span() for label in _LABEL.finditer(text)] if "[redacted: " in text else []
        return [part for one in merged(found) for part in without(one, labels, text)]

    def _base64(self, run: str, counts: Counter[str], unclean: list[str], depth: int) -> str:
        """What is base64 of a text with secrets goes as a whole."""
        content = from_base64(run)
        try:
            # Of UTF-16 every second byte is none of a letter.
            inner = "" if content is None else content.decode().replace("\x00", "")
        except UnicodeDecodeError:
            return run
        within: Counter[str] = Counter()
        stuck: list[str] = []
        self._redact(inner, within, stuck, depth - 1)
        unclean += stuck
        if not within:
            return run
        counts.update(within)
        kind = next((kind for kind in within if kind != HOME), HOME)
        return f"[redacted: {kind} (base64)]"

    def _base64_lines(self, run: str, counts: Counter[str]) -> str:
        """Lines of base64 of something with secrets in it go as a whole, whatever word stands above or below them."""
        one = re.sub(END, "", run).rstrip("=")
        for shift in range(4):
            part = one[shift:]
            content = from_base64(part[: len(part) // 4 * 4 + (len(part) % 4 if len(part) % 4 > 1 else 0)]) or b""
            open_key = OPEN_KEY.search(content.decode("ascii", "replace"))
            if kinds := [kind for kind in self.in_bytes(content) if kind != HOME] + [PRIVATE_KEY] * bool(open_key):
                counts[kinds[0]] += 1
                return f"[redacted: {kinds[0]} (base64)]"
        return run

    def _walk(self, data: Any, key: str | None, counts: Counter[str], unclean: list[str]) -> Any:
        if isinstance(data, str):
            return self._string(data, key, counts, unclean)
        if isinstance(data, list):
            return [self._walk(item, key, counts, unclean) for item in data]
        if not isinstance(data, dict):
            return data
        # A container's env, and a Secret of Kubernetes: the key beside it tells what a value is.
        named = data.get("name", data.get("key")) if "value" in data else None
        columns = secret_columns(data)
        clean: dict[Any, Any] = {}
        for name, value in data.items():
            told = self._string(name, None, counts, unclean) if isinstance(name, str) else name
            while told in clean:
                told = f"{told} again"
            context = name if isinstance(name, str) and secret_key(name) else key
            if name == "value" and isinstance(named, str):
                context = named
            if name in ("data", "stringData", "string_data") and data.get("kind") == "Secret":
                context = "secret"
            if columns and name == "data":
                clean[told] = [
                    [self._walk(cell, columns.get(at, context), counts, unclean) for at, cell in enumerate(row)]
                    for row in value
                ]
            else:
                clean[told] = self._walk(value, context, counts, unclean)
        return clean

    def _string(self, text: str, key: str | None, counts: Counter[str], unclean: list[str]) -> str:
        told = self.redact(text)
        counts.update(dict(told.found))
        unclean += told.unclean
        kind = secret_key(key) if key else None
        if kind is None or _LABEL.search(told.text) or not is_written_out(text):
            return told.text
        if kind[1] and not is_secret_value(text, key or ""):
            return told.text
        counts[kind[0]] += 1
        self._found.setdefault(text, kind[0])
        return f"[redacted: {kind[0]}]"
