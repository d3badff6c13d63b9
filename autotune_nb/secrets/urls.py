"""The secrets in URLs: passwords, whatever characters stand in them, and tokens in the place of a user's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

_USER = r"://[^\s/:@\"'<>?#\[\]]{0,200}"
#: Up to the last @: nobody must have encoded the @ and / of a password. What starts like a port is one.
URL_PASSWORD = re.compile(rf"{_USER}:(?!\d{{1,5}}[/?#,])((?:(?!://)[^\s\"'<>]){{1,300}})@")
#: As the standard reads it: an @ in what comes after the host is none of the password's.
_STRICT = re.compile(rf"{_USER}:([^\s\"'<>/?#]{{1,300}})@")
URL_TOKEN = re.compile(r"://([A-Za-z0-9_.~%+-]{16,200})(?=(?::[^\s/\"'<>]{0,200})?@)")


def url_secrets(text: str) -> Iterator[str]:
    """What may be secret in the URLs of a text, as it stands and decoded, in every way to read it."""
    for password in (*URL_PASSWORD.findall(text), *_STRICT.findall(text)):
        yield from (password, unquote(password))
        # With what is around it where it is too short to tell by itself.
        yield f":{password}@"
    for token in filter(is_token, URL_TOKEN.findall(text)):
        yield from (token, unquote(token))


def is_token(user: str) -> bool:
    """Whether a user's name is a token: no name of a person or an account has its length and its digits."""
    return any(letter.isdigit() for letter in user) and "." not in user and not re.match(r"[$%]", user)
