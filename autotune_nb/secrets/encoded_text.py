"""What is encoded within a text: base64, in one piece or wrapped, data: URIs, keys in their armour."""

from __future__ import annotations

import base64
import binascii
import re

DATA_URI = re.compile(
    r"data:(?P<mime>[\w.+-]+/[\w.+-]+)(?P<rest>(?:;[\w.=+-]+)*?);base64,(?P<payload>[A-Za-z0-9+/=_-]*)"
)
BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{20,}={0,2}")
#: Wrapped, as base64 and folded YAML write it: whole lines, the last one shorter; in a repr their ends are written out.
END = r"[ \t]*(?:\r?\n|(?:\\r)?\\n)[ \t]*"
BASE64_LINES = re.compile(
    rf"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{{20,}}{END})+[A-Za-z0-9+/_-]+={{0,2}}(?={END}|[ \t]*[\"'<]|\s*$)"
)
PICTURES = re.compile(r"image/(?:png|jpeg|gif|webp|avif|x-icon|bmp)|font/.*|application/(?:x-)?font.*")
TEXTS = re.compile(r"text/.*|.*[/+](?:xml|json|yaml|javascript|ecmascript)")
#: A key whose end is missing: nobody knows where it stops, so it cannot be taken out.
OPEN_KEY = re.compile(
    r"-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}[^A-Za-z0-9+/=]*.{0,200}?[A-Za-z0-9+/=]{24}"
    r"|PuTTY-User-Key-File-\d:.{0,400}?Private-Lines",
    re.DOTALL,
)


def from_base64(text: str) -> bytes | None:
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    if len(plain) % 4 == 1:
        return None
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
