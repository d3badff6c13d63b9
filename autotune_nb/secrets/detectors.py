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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autotune_nb.secrets.known_values import SCHEME, URL_PASSWORD
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
#: Words in capitals have the form of this one.
_ARTIFACTORY = "Artifactory Credentials"
#: Tokens of this field that no plugin of detect-secrets 1.5 finds.
_MORE = (
    ("Hugging Face Token", re.compile(r"\b(?:hf|api_org)_(?=[A-Za-z0-9]*[A-Z0-9])[A-Za-z0-9]{20,}")),
    ("NVIDIA Key", re.compile(r"\bnvapi-[A-Za-z0-9_-]{20,}")),
    ("Google Key", re.compile(r"(?<![\w-])AIza[A-Za-z0-9_-]{35}")),
    ("GitHub Token", re.compile(r"github_pat_[A-Za-z0-9_]{22,}")),
    ("API Key", re.compile(r"\bsk-(?:ant|or|proj|svcacct)-[A-Za-z0-9_-]{20,}")),
    ("Docker Token", re.compile(r"\bdckr_pat_[A-Za-z0-9_-]{20,}")),
    ("Weights & Biases Key", re.compile(r"\bwandb login (?:--[\w-]+ +)*([0-9a-f]{40}\w*)")),
)
_KEY_NAME = r"[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}"
#: Up to its end; where that is missing, up to the next key or the end of the text.
_PRIVATE_KEY = re.compile(
    rf"-{{4,5}} ?BEGIN {_KEY_NAME}(?=.{{0,200}}?[A-Za-z0-9+/=]{{24}}).*?"
    rf"(?:-{{4,5}} ?END {_KEY_NAME}|(?=-{{4,5}} ?BEGIN )|\Z)",
    re.DOTALL,
)
#: No expression is tried over more than this at once, so that the time grows with the text's length.
_WINDOW, _OVERLAP = 8000, 3000
_KEYWORD_BEFORE, _KEYWORD_AFTER = 100, 400
#: Tokens have become longer than some expressions allow.
_REST = r"(?:(?<=[\w.-])[\w-]+)?"
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


def _tokens(text: str) -> Iterator[Finding]:
    # No token has fewer characters.
    for start in range(0, max(1, len(text) - _OVERLAP) if len(text) > 12 else 0, _WINDOW - _OVERLAP):
        for kind, pattern in _patterns():
            for match in pattern.finditer(text, start, start + _WINDOW):
                # A group after some text is the secret; one at the start is a token's prefix.
                group = 1 if pattern.groups and match.start(1) > match.start() else 0
                value = match[group].strip(' \t\r\n"').lstrip("=:")
                start_of_value = match.start(group) + match[group].index(value)
                is_word = kind == _ARTIFACTORY and not re.search(r"\d", value)
                if not is_word and (kind != _JWT or _plugins()[_JWT].is_formally_valid(value)):
                    yield Finding(start_of_value, start_of_value + len(value), kind)


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
        # Every pattern has a quote, and is slow without one.
        for pattern, group in patterns.items() if re.search("[\"'`]", text[start:end]) else ():
            for match in pattern.finditer(text, start, end):
                name = re.findall(r"[\w-]+", text[max(0, match.start() - 60) : match.start(group)])[-1:]
                before = match.start() < match.start(group) - 1
                if is_literal(match[group]) and (not before or (name and says_secret(name[0]))):
                    yield Finding(*match.span(group), KEYWORD)


@functools.cache
def _plugins() -> dict[str, Any]:
    # On first need: it imports every plugin.
    plugins: dict[str, Any] = _import("detect_secrets.core.plugins.util").get_mapping_from_secret_type_to_class()
    return plugins


@functools.cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    own = ((kind, one) for kind, plugin in _plugins().items() if kind not in _NOT_USED for one in plugin.denylist)
    return (*((kind, re.compile(f"(?:{one.pattern}){_REST}", one.flags)) for kind, one in own), *_MORE)


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
