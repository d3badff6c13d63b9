"""Secrets among the literals of code, JSON and reprs: told by the name before, the call around, the column above."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autotune_nb.secrets._literal_text import Group, Text, literals
from autotune_nb.secrets.hints import may_be_named
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.rules import Finding
from autotune_nb.secrets.values import KEYWORD, has_digits, is_filled_in, is_secret_value

#: A user and a password: ``auth=("ada", "…")``, ``HTTPBasicAuth("ada", "…")``, ``smtp.login("ada", "…")``.
_PAIR = re.compile(r"(?i)(?:.*[_.-])?(?:auth|creds?|credentials)")
_PAIR_CALL = re.compile(r"(?:.*\.)?\w*(?:Auth|AuthProvider|Credentials?)|(?:.*[._])?log_?in|(?i:basic_?auth)")
#: One secret alone: ``SecretStr("…")`` always, ``login("…")`` where it looks like one.
_WRAPPED = re.compile(r"(?:.*\.)?(?:Secret(?:Str|Bytes)|AzureKeyCredential|TokenAuth|BearerAuth)")
_GIVEN = re.compile(r"(?:.*[._])?(?:log_?in|set_access_token|set_token|set_api_key)")
#: ``setenv("HF_TOKEN", "…")``, ``os.getenv("HF_TOKEN", "…")``.
_SETS = re.compile(r"(?:.*\.)?(?:setenv|putenv|setdefault|getenv|get|pop|set_key|set_secret|set_password|setitem)")
#: Calls through which a value goes as it is; of any other, what it is given is no secret.
_THROUGH = re.compile(
    r"(?:.*\.)?(?:Secret(?:Str|Bytes)?|str|bytes|dict|list|tuple|set|quote(?:_plus)?|b64encode|Series|array|"
    r"Categorical|DataFrame|Index)?"
)
#: Of a secret these say something about it: where it is, of what type it is, who may use it.
_ABOUT = {
    *("name", "type", "kind", "key", "namespace", "user", "username", "login", "email", "host", "url", "method"),
    *("scheme", "schema", "provider", "mode", "algorithm", "title", "description", "default", "format", "pattern"),
    *("examples", "example", "enum", "const", "anyOf", "allOf", "oneOf", "items", "help", "label", "dtype", "version"),
    *(
        "id",
        "path",
        "file",
        "env",
        "field",
        "role",
        "scope",
        "scopes",
        "realm",
        "ref",
        "$ref",
        "in",
        "required",
        "tags",
    ),
}
_MANIFEST = ("data", "stringData", "string_data", "binaryData")


def literal_secrets(text: str) -> Iterator[Finding]:
    """Where they stand."""
    if not may_be_named(text) or not any(quote in text for quote in "\"'`\u201c\u2018"):
        return
    for group in literals(text):
        yield from _within(group, None)


def _within(group: Group, name: str | None) -> Iterator[Finding]:
    """What of a group is secret; ``name`` is what says so of all that is in it."""
    columns, manifest, beside = _columns(group), _is_manifest(group), group.at("name", "key")
    if (placed := _placed(group)) is not None:
        yield Finding(placed.start, placed.end, KEYWORD)
    for item in group.items:
        key, value = item.key, item.value
        inside = name if key is None else _of_key(key, name)
        if key == "value" and isinstance(beside, Text) and says_secret(beside.value):
            inside = beside.value
        if key == "key" and _GIVEN.fullmatch(group.name):
            inside = "api_key"
        if manifest and key in _MANIFEST:
            yield from _all(value)
        elif isinstance(value, Text):
            if inside is not None and is_secret_value(value.value, inside):
                yield Finding(value.start, value.end, KEYWORD)
        elif columns and (key == "data" or (key is None and item.slot == 0)):
            yield from _rows(value, columns)
        elif key is not None and _PAIR.fullmatch(key) and _is_pair(value):
            # Of a pair the first is the user's name.
            second = _argument(value, 1)
            if second is not None and is_filled_in(second.value):
                yield Finding(second.start, second.end, KEYWORD)
        else:
            yield from _within(value, inside if _THROUGH.fullmatch(value.name) else None)


def _of_key(key: str, name: str | None) -> str | None:
    """What says that the value of a key is a secret."""
    # Of an attribute the last name is what it is.
    if says_secret(key.rpartition(".")[2]):
        return key.rpartition(".")[2]
    return None if key in _ABOUT else name


def _is_pair(group: Group) -> bool:
    return group.bracket in ("(", "[") and not group.name and _argument(group, 2) is None and group.slot >= 1


def _placed(group: Group) -> Text | None:
    """The string that is secret by its place in a call or a pair."""
    if group.bracket != "(":
        return None
    first, second, called = _argument(group, 0), _argument(group, 1), group.name
    if called and second is not None:
        if _PAIR_CALL.fullmatch(called) and is_filled_in(second.value):
            return second
        named = first is not None and _SETS.fullmatch(called) and is_secret_value(second.value, first.value)
        return second if named else None
    if called and first is not None:
        if _WRAPPED.fullmatch(called):
            return first if is_filled_in(first.value) else None
        given = group.slot == 0 and _GIVEN.fullmatch(called)
        return first if given and has_digits(first.value) and is_secret_value(first.value, "api_key") else None
    if first is not None and second is not None and group.slot == 1 and not says_secret(second.value):
        # An item of a mapping; a tuple of columns' names is none.
        return second if has_digits(second.value) and is_secret_value(second.value, first.value) else None
    return None


def _argument(group: Group, slot: int) -> Text | None:
    """A string that is given by its place alone."""
    found = [item.value for item in group.items if item.slot == slot]
    named = any(item.key is not None for item in group.items if item.slot == slot)
    return found[0] if len(found) == 1 and isinstance(found[0], Text) and not named else None


def _is_manifest(group: Group) -> bool:
    """Whether it is a Secret of Kubernetes."""
    kind = group.at("kind")
    if isinstance(kind, Text):
        return kind.value == "Secret"
    return group.name.endswith("V1Secret") or not group.keys.isdisjoint(("stringData", "string_data"))


def _all(value: Text | Group) -> Iterator[Finding]:
    if isinstance(value, Group):
        for item in value.items:
            yield from _all(item.value)
    elif value.value.strip():
        yield Finding(value.start, value.end, KEYWORD)


def _columns(group: Group) -> dict[int, str]:
    """The secret columns of a frame whose names stand apart from its rows, as pandas writes ``orient="split"``."""
    names = group.at("columns")
    if not isinstance(names, Group):
        return {}
    found: dict[int, str] = {}
    for item in names.items:
        # With several levels of names any of them may say it.
        levels = [item.value] if isinstance(item.value, Text) else item.value.texts()
        told = next((level.value for level in levels if says_secret(level.value)), None)
        if told is not None:
            found[item.slot] = told
    return found


def _rows(group: Group, columns: dict[int, str]) -> Iterator[Finding]:
    """Of each row what stands in these columns; rows may be wrapped, as in ``np.array([…])``."""
    for item in group.items:
        if isinstance(item.value, Group):
            yield from _rows(item.value, columns)
        elif item.slot in columns and is_secret_value(item.value.value, columns[item.slot]):
            yield Finding(item.value.start, item.value.end, KEYWORD)
