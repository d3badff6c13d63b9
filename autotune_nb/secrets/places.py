"""Rules for places that tell a secret by what is around it: login files, flags with a user, tables, forms."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.rules import Rule
from autotune_nb.secrets.values import KEYWORD, is_filled_in, is_written_out, looks_random

_VALUE = r"[^\s\"'<>&;,()\[\]{}|\\]"
_AFTER_FLAG = rf"[\"']?[^\s:\"'<>]{{1,80}}:(?P<secret>{_VALUE}{{4,}})"
_USER = rf"(?<![\w-])--(?:proxy-)?user(?:\s+|=|[\"'],\s*){_AFTER_FLAG}"
_CURL_USER = rf"\bcurl\b[^\n]{{0,300}}?\s(?:--(?:proxy-)?user(?:\s+|=)|-[a-zA-Z]*[uU]\s*){_AFTER_FLAG}"
_BESIDE = (
    r"(?i)<(?:dt|text)\b[^<>]*>\s*(?P<name>[\w .-]{2,60}?):?\s*</(?:dt|text)>\s*"
    r"<(?:dd|text)\b[^<>]*>\s*(?:<\w+>\s*)?(?P<secret>[^<>\s][^<>]{3,200}?)\s*<"
)
_ELEMENT = (
    r"(?i)<(?P<name>[\w:.-]{0,40}(?:pass|pw|token|secret|key|credential)[\w:.-]{0,40})(?:\s[^<>]{0,200})?>\s*"
    r"(?P<secret>[^<>\s][^<>]{2,200}?)\s*</"
)
_NAME, _FILLED = r"\bname\s*=\s*[\"']?(?P<name>[\w.-]{2,60})", r"\bvalue\s*=\s*[\"']?(?P<secret>[^\"'<>\s]{4,})"


def _keep(match: re.Match[str], value: str) -> bool:
    return is_written_out(value) and not value.isdigit() and says_secret(match.groupdict().get("name") or "password")


def _random(match: re.Match[str], value: str) -> bool:
    return _keep(match, value) and looks_random(value) and any(letter.isdigit() for letter in value)


def _filled(_: re.Match[str], value: str) -> bool:
    return is_filled_in(value)


def _in_cell(match: re.Match[str], value: str) -> bool:
    # A tokenizer's table has words there.
    return _random(match, value) if match["name"].lower().endswith("token") else _keep(match, value)


def place_rules() -> Iterator[Rule]:
    """The rules, each with its secret in a group of that name."""
    for kind, expression, hints, keep in (
        # A .netrc, in one line or several; a line alone must look random, since prose has the word too.
        (
            KEYWORD,
            r"\b(?:machine\s+\S+|default)\s+(?:(?:login|account)\s+\S+\s+)*password\s+(?P<secret>\S{4,})",
            ("password",),
            _keep,
        ),
        (KEYWORD, r"(?m)^[ \t]*password[ \t]+(?P<secret>\S{6,})[ \t]*$", ("password",), _random),
        # Of curl any; others' may be a user and a group.
        ("password in a command line", _CURL_USER, ("curl",), _keep),
        ("password in a command line", _USER, ("user",), _random),
        # What stands beside its name in a page, and between tags that are called so.
        (KEYWORD, _BESIDE, ("<dt", "<text"), _in_cell),
        (KEYWORD, _ELEMENT, ("pass", "pw", "token", "secret", "key", "credential"), _in_cell),
        (
            KEYWORD,
            rf"(?i)<input\b[^<>]{{0,400}}?type\s*=\s*[\"']?password[^<>]{{0,400}}?{_FILLED}",
            ("<input",),
            _filled,
        ),
        (
            KEYWORD,
            rf"(?i)<input\b[^<>]{{0,400}}?{_FILLED}[^<>]{{0,400}}?type\s*=\s*[\"']?password",
            ("<input",),
            _filled,
        ),
        (KEYWORD, r"\bPassword\(value=[\"'](?P<secret>[^\"'\n]{1,200})", ("password(",), _filled),
        # A .pgpass; a log's places in files look nearly like it.
        (
            KEYWORD,
            r"(?m)^(?![^:\n]*\.(?:py|c|cc|cpp|h|rs|go|js|ts|java)\b)[\w.*-]+:(?:\*|\d{4,5}):[\w*-]+:[\w*.@-]+:"
            r"(?P<secret>[^\s:]{3,200})[ \t]*$",
            (":",),
            _filled,
        ),
        (KEYWORD, r"(?i)\bcredentials?:\s+[\w.@-]+\s*[/:]\s*(?P<secret>\S{4,100})", ("credential",), _keep),
        (
            KEYWORD,
            r"(?m)^[ \t]*[\w.]+,\s*(?P<name>[\w.]+)\s*=\s*[\"'][^\"'\n]*[\"'],\s*[\"'](?P<secret>[^\"'\n]{1,200})",
            ("pass", "pw", "token", "secret", "key"),
            _keep,
        ),
        (
            KEYWORD,
            r"(?i)\bcookie:\s*(?:\w+=[^;\s]*;\s*)*?\w*(?:sess|auth|token|sid)\w*=(?P<secret>[^;\s\"']{4,})",
            ("cookie",),
            _filled,
        ),
        (
            KEYWORD,
            r"(?i)\bsecret access key \[[^\]\n]*\]:\s*(?P<secret>\S{4,})",
            ("access key",),
            _filled,
        ),
        (KEYWORD, rf"(?i)<input\b[^<>]{{0,400}}?{_NAME}[^<>]{{0,400}}?{_FILLED}", ("<input",), _keep),
        (KEYWORD, rf"(?i)<input\b[^<>]{{0,400}}?{_FILLED}[^<>]{{0,400}}?{_NAME}", ("<input",), _keep),
    ):
        pattern = re.compile(expression)
        yield Rule(kind, pattern, hints, pattern.groupindex["secret"], keep=keep)
