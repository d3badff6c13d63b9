"""Secrets that a text shows by their form: detect-secrets' plugins, used directly.

Their expressions are matched without detect-secrets' scanner, which reads files, has settings for the whole process,
may ask a provider whether a token is valid, and does not say where in a text a secret is.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from autotune_nb.secrets.known_values import SCHEME, URL_PASSWORD, URL_TOKEN
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.references import without_variables

REDACTED = "***"
KEYWORD = "Secret Keyword"
_URL = "Basic Auth Credentials"
_KEY = "Private Key"
_JWT = "JSON Web Token"
#: High entropy is in digests, ids and the data of charts; an IP address is no secret. A URL's password may hold an @,
#: and of a private key more than its header goes; KeywordDetector's expressions are of another form.
_NOT_USED = {"Base64 High Entropy String", "Hex High Entropy String", "Public IP (ipv4)", KEYWORD, _URL, _KEY}
#: Without a digit, or within a longer word, their form is found in plain text and in data.
_WEAK = {"AWS Access Key", "Artifactory Credentials", "Discord Bot Token", "Mailchimp Access Key", "Twilio API Key"}
_WEAK |= {"Telegram Bot Token"}
#: Tokens of this field that detect-secrets 1.5 has no plugin for.
_MORE = (
    ("Hugging Face Token", re.compile(r"\b(?:hf|api_org)_(?=[A-Za-z0-9]*[A-Z0-9])[A-Za-z0-9]{20,}")),
    ("NVIDIA Key", re.compile(r"\bnvapi-[A-Za-z0-9_-]{20,}")),
    ("OpenAI Token", re.compile(r"(?<![\w-])sk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}")),
    ("Google Key", re.compile(r"(?<![\w-])AIza[A-Za-z0-9_-]{35}")),
    ("GitHub Token", re.compile(r"github_pat_[A-Za-z0-9_]{22,}")),
)
_PRIVATE_KEY = re.compile(
    r"-{4,5} ?BEGIN ([A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?) ?-{4,5}(?:(?!-{4,5} ?BEGIN ).)*?-{4,5} ?END \1 ?-{4,5}",
    re.DOTALL,
)
_OPEN_KEY = re.compile(r"-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}.{0,200}?[A-Za-z0-9+/=]{24}", re.DOTALL)
#: No expression is tried over more than this at once, so that the time grows with the text's length.
_WINDOW, _OVERLAP = 8000, 2000
_KEYWORD_BEFORE, _KEYWORD_AFTER = 100, 400
_QUOTE = re.compile(r"[\"'`]")
_STAND_INS = {"empty", "none", "null", "dummy", "no-key", "nokey", "not-needed", "not-required", "changeme", "unused"}
_STAND_INS |= {"no-key-required", "sk-no-key-required", "ollama", "lm-studio", "default", "required", "optional"}
_STAND_INS |= {"", "true", "false"}
#: A reference, a template, a flag, a redaction, the name of a variable, a call; a path.
_NO_VALUE = re.compile(r"\$[A-Z_({]|[<{%~\[-]|secret://|\.{1,2}/|your[-_ ]|[A-Z]+(?:_[A-Z]+)+$|[\w.]+\(.*\)$")
_PATH = re.compile(
    r"(\.{0,2}/|~/)?[\w.-]+(/[\w.-]+)+|[\w-]+\.(pem|key|crt|cert|json|txt|p12|pfx|env|yaml)|(/|~/)[\w-]+\.\w+"
)
_BESIDE_REFERENCE = re.compile(r"[^\s\"'`,;:=&|()\[\]{}<>]{6,}")


@dataclass(frozen=True)
class Finding:
    """From where to where in a text a secret is, and which plugin found it."""

    start: int
    end: int
    kind: str


def is_literal(text: str) -> bool:
    """Return whether a value under a name that says secret is one: no reference, path, number of few digits or word
    such as ``EMPTY``."""
    value = SCHEME.sub("", text.strip())
    beside = without_variables(value)
    if beside != value:
        # Of a URL only the password may be secret, which has a detector of its own.
        return "://" not in value and _BESIDE_REFERENCE.search(beside) is not None
    return (
        len(value) >= 6
        and any(letter.isalnum() for letter in value)
        and not is_stand_in(value)
        and not (_NO_VALUE.match(value) or _PATH.fullmatch(value))
    )


def is_stand_in(value: str) -> bool:
    """Return whether a value is one that servers without a key are given, such as ``EMPTY``."""
    return value.lower() in _STAND_INS


def has_open_key(text: str) -> bool:
    """Return whether a private key begins in a text and does not end, so that it cannot be taken out."""
    return "PRIVATE KEY" in text and _OPEN_KEY.search(_PRIVATE_KEY.sub("", text)) is not None


def find_secrets(text: str) -> list[Finding]:
    """Return the secrets in a text in their order, overlapping ones as one."""
    found = [Finding(*match.span(), _KEY) for match in _PRIVATE_KEY.finditer(text)] if "PRIVATE KEY" in text else []
    found += [*_in_urls(text), *_tokens(text), *_keywords(text)]
    merged: list[Finding] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if merged and one.start < merged[-1].end:
            merged[-1] = Finding(merged[-1].start, max(one.end, merged[-1].end), merged[-1].kind)
        else:
            merged.append(one)
    return merged


def redact(text: str) -> str:
    """Return the text without the secrets that it shows."""
    for one in reversed(find_secrets(text)):
        text = text[: one.start] + REDACTED + text[one.end :]
    return text


def _in_urls(text: str) -> Iterator[Finding]:
    for match in URL_PASSWORD.finditer(text) if "://" in text else ():
        beside = without_variables(match[1])
        if sum(letter.isalnum() for letter in beside) >= 3 and not _NO_VALUE.match(beside):
            yield Finding(*match.span(1), _URL)
    yield from (Finding(*match.span(1), _URL) for match in URL_TOKEN.finditer(text))


def _tokens(text: str) -> Iterator[Finding]:
    # No token has fewer characters.
    for start in range(0, max(1, len(text) - _OVERLAP) if len(text) > 12 else 0, _WINDOW - _OVERLAP):
        for kind, pattern, is_valid in _patterns():
            for match in pattern.finditer(text, start, start + _WINDOW):
                # A group after some text is the secret; one at the start is a token's prefix.
                group = 1 if pattern.groups and match.start(1) > match.start() else 0
                value = match[group].lstrip(' \t\r\n"=:')
                first, end = match.end(group) - len(value), match.end(group)
                if kind in _WEAK:
                    end -= len(value) - len(value.rstrip(' \t\r\n"'))
                    around = (text[first - 1 : first] + text[end : end + 1]).strip()
                    if any(map(str.isalnum, around)) or not any(map(str.isdigit, value)):
                        continue
                elif not group:
                    # Tokens have become longer than some expressions allow.
                    more = "_-." if kind == _JWT else "_-"
                    while end < len(text) and (text[end].isalnum() or text[end] in more):
                        end += 1
                if is_valid is None or is_valid(text[first:end]):
                    yield Finding(first, end, kind)


def _keywords(text: str) -> Iterator[Finding]:
    """What KeywordDetector finds: a text in quotes behind a name that says secret, in the same line."""
    keyword, patterns = _keyword_patterns()
    done = 0
    for hit in keyword.finditer(text):
        if hit.start() < done:
            continue
        start = max(text.rfind("\n", 0, hit.start()) + 1, hit.start() - _KEYWORD_BEFORE)
        end = text.find("\n", hit.end(), hit.end() + _KEYWORD_AFTER)
        end = hit.end() + _KEYWORD_AFTER if end < 0 else end
        done = min(hit.start() + _KEYWORD_BEFORE, end)
        if _QUOTE.search(text, start, end) is None:
            continue
        for pattern, group in patterns.items():
            for match in pattern.finditer(text, start, end):
                name = re.findall(r"[\w-]+", text[max(0, match.start() - 60) : match.start(group)])[-1:]
                before = match.start() < match.start(group) - 1
                if is_literal(match[group]) and (not before or (name and says_secret(name[0]))):
                    yield Finding(*match.span(group), KEYWORD)


@functools.cache
def _patterns() -> tuple[tuple[str, re.Pattern[str], Callable[[str], bool] | None], ...]:
    # On first need: it imports every plugin.
    util = _import("detect_secrets.core.plugins.util")
    plugins: dict[str, Any] = util.get_mapping_from_secret_type_to_class()
    own = [(kind, pattern) for kind, one in plugins.items() if kind not in _NOT_USED for pattern in one.denylist]
    return tuple((kind, one, plugins[_JWT].is_formally_valid if kind == _JWT else None) for kind, one in (*own, *_MORE))


@functools.cache
def _keyword_patterns() -> tuple[re.Pattern[str], dict[re.Pattern[str], int]]:
    keyword = _import("detect_secrets.plugins.keyword")
    return re.compile("|".join(keyword.DENYLIST), re.IGNORECASE), keyword.QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP


def _import(module: str) -> Any:
    """Import a module of detect-secrets, which would send every warning of the process to the logs from then on."""
    before = warnings.showwarning
    imported = importlib.import_module(module)
    if warnings.showwarning is not before:
        logging.captureWarnings(False)
    return imported
