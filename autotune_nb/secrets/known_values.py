"""The secret values that this process can read: variables of its environment and the passwords in their URLs."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from autotune_nb.secrets.names import may_say_secret

#: Shorter values are found in any text by chance.
MIN_LENGTH = 8
_USER = r"://[^\s/:@\"'<>?#\[\]]{0,200}"
#: Up to the last @, since not everybody encodes the @ and / of a password; a port is none.
URL_PASSWORD = re.compile(rf"{_USER}:(?!\d{{1,5}}[/?#,])((?:(?!://)[^\s\"'<>]){{1,300}})@")
#: As RFC 3986 reads it: an @ in the path or the query does not end the password.
_STRICT_PASSWORD = re.compile(rf"{_USER}:([^\s\"'<>/?#]{{1,300}})@")
SCHEME = re.compile(r"^(?:[\w-]+: *)?(?:Bearer|Basic|Token|Api-?Key|Digest) +", re.IGNORECASE)


def secret_values(environment: Mapping[str, str]) -> set[str]:
    """Return the values of variables whose names may say secret, and the passwords in the URLs of all of them."""
    found: set[str] = set()
    for name, value in environment.items():
        if may_say_secret(name):
            found |= {value, SCHEME.sub("", value.strip())}
        for password in (*URL_PASSWORD.findall(value), *_STRICT_PASSWORD.findall(value)):
            # With its separators too, which make a short password distinct.
            found |= {password, unquote(password), f":{password}@"}
    return {value for value in found if _may_be_secret(value.strip())}


def is_distinct(value: str) -> bool:
    """Return whether a value can be replaced everywhere: neither a number nor short."""
    return len(value.strip()) >= MIN_LENGTH and not re.fullmatch(r"[-+.\deE]*", value.strip())


def written_forms(value: str) -> Iterator[str]:
    """Yield a value, and each of its lines, as text, HTML, a URL, JSON and a repr write it."""
    for part in {value, *filter(is_distinct, value.splitlines())}:
        yield from (part, part.strip(), html.escape(part), quote(part, safe="", errors="replace"))
        yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], repr(part)[1:-1])


def base64_cores(value: str) -> Iterator[str]:
    """Yield the part of a value's base64 that is the same wherever in a longer text the value is."""
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + value.encode(errors="replace"))
        core = coded[(0, 2, 3)[shift] : len(coded) - (4 if coded.endswith(b"=") else 0)].decode()
        if len(core) >= MIN_LENGTH:
            yield from (core, core.translate(str.maketrans("+/", "-_")))


def _may_be_secret(value: str) -> bool:
    is_path = value.startswith(("/", "~", "./")) or (len(value) < 200 and Path(value).exists())
    # A word of one case is a setting, unless it is as long as a passphrase.
    is_word = value.isalpha() and (value.islower() or value.isupper()) and len(value) < 12
    return len(value) >= MIN_LENGTH and not is_path and not is_word
