"""When a value is a secret: by how it looks, by the name of what holds it, and which an environment holds."""

from __future__ import annotations

import base64
import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from autotune_nb.secrets.names import may_hold_secret, says_secret, tells_token
from autotune_nb.secrets.urls import url_secrets

KEYWORD = "password or key"
#: What servers that want some key are given, and what stands for one's own.
_STAND_INS = {
    *("not-needed", "not-required", "unused", "no-key", "no-key-required", "sk-no-key-required", "dummy", "changeme"),
    *("ollama", "lm-studio", "vllm", "sglang", "your-api-key", "your_api_key", "your-token", "your_token", "your-key"),
    *("your_password", "your-password", "your-hf-token", "none", "null", "true", "false", "empty", "default"),
}
#: What prose, a schema and a form say where a secret would stand.
NOTHING = {
    *("required", "optional", "missing", "needed", "redacted", "hidden", "secret", "password", "your-token"),
    *("your-password", "your-api-key", "your-key", "none", "null", "unset", "empty", "value", "token", "credentials"),
    *("string", "integer", "boolean", "bytes", "object", "number", "secretstr", "varchar", "keyword", "category"),
    *("username", "user", "username:", "api_key", "apikey", "passwd", "text", "optional[str]", "basic", "bearer"),
}


#: In capitals it is an environment's variable, which holds one.
_ENTRY = re.compile(r"(?:.*[a-z_-])?(?:model|db|database|storage|client|shared|engine|service|account)[_-]?[kK]eys?")


def looks_random(value: str) -> bool:
    """Letters and digits without a gap, as tokens have; words, names and paths have not."""
    return (
        not re.search(r"\s", value)
        and any(letter.isalpha() for letter in value)
        and (any(letter.isdigit() for letter in value) or (value != value.lower() and value != value.upper()))
    )


def is_written_out(value: str) -> bool:
    """Whether a value is a secret itself: no reference to one, no place for one, nothing switched off."""
    value = value.strip()
    return (
        len(value) >= 4
        and any(letter.isalnum() for letter in value)
        and value.lower() not in _STAND_INS
        # A variable's or a template's name, a path, a call: where the secret is, not what it is.
        and not re.match(r"(?:(?:Bearer|Basic|Token) +)?[$<{%~]|secret://|\.{0,2}/|os\.|env\b|getenv|f?['\"]?\{", value)
        and not re.fullmatch(r"_?[A-Z]+(?:_[A-Z]+)+|[\w.]+\(.*", value, re.DOTALL)
        and len(value.split()) <= 5
    )


def is_filled_in(value: str) -> bool:
    """Whether something stands there at all: in a secret's own place even two letters are one."""
    value = value.strip()
    return (
        any(letter.isalnum() for letter in value)
        and value.lower() not in ("none", "null", "true", "false")
        and not re.match(r"\$[\w{(]|[<{%~]", value)
    )


def is_telling(value: str) -> bool:
    """Whether a secret stands for nothing else, so that it is one wherever it stands: no word, no number, no name."""
    value = value.strip()
    if "[redacted" in value or "\n" in value or not 6 <= len(value) <= 4000:
        return False
    return (has_digits(value) and len(value) >= 6) or len(value) >= 10


def has_digits(value: str) -> bool:
    """Letters and digits together: words of a language, which may stand for themselves, have not both."""
    return any(letter.isalpha() for letter in value) and any(letter.isdigit() for letter in value)


def is_mixed(value: str) -> bool:
    """Letters and digits in turn, as keys have them and the names of versions and models have not."""
    pieces = re.findall(r"[A-Za-z0-9]{5,}", value)
    return any(sum(a.isdigit() != b.isdigit() for a, b in pairwise(piece)) >= 2 for piece in pieces)


@functools.lru_cache(maxsize=4096)
def secret_key(name: str) -> tuple[str, bool] | None:
    """The kind of what a key of this name holds, and whether its value must look random besides; None where plain."""
    if re.fullmatch(
        r"(?:client-key|client-certificate|certificate-authority)-data|(?:id|access|refresh)-token|client-secret", name
    ):
        return "kubeconfig content", False
    if not says_secret(name):
        return None
    if re.fullmatch(r"(?:.*[_-])?token", name, re.IGNORECASE):
        return "token", name != name.upper() and not tells_token(name)
    return KEYWORD, False


def is_secret_value(value: str, name: str) -> bool:
    """Whether what is written behind this name, or below it in a table, is a secret."""
    told = secret_key(name)
    if told is None or not is_written_out(value) or value.strip().lower() in NOTHING | {"nan"}:
        return False
    if re.sub(r"\W|_", "", value).lower() == re.sub(r"\W|_", "", name).lower():
        return False
    if told[1]:
        # A tokenizer has tokens as well.
        return looks_random(value) and ((len(value) >= 10 and is_mixed(value)) or len(value) >= 16)
    # What is used for signing in may be called so, too: auth="oauth".
    if re.search(r"(?i)(?:auth|pat|cookie|creds?|credentials?|authorization|bearer)$", name):
        return has_digits(value) and looks_random(value)
    return not names_a_key(name) or looks_like_a_key(value)


def names_a_key(name: str) -> bool:
    """Whether a name may as well be that of a column or of an entry: ``model_key``, ``db_key``."""
    return _ENTRY.fullmatch(name) is not None


def looks_like_a_key(value: str) -> bool:
    """A key of random letters and digits, and no name of a model or a file."""
    return is_mixed(value) and "/" not in value


def secret_values(environment: Mapping[str, str]) -> set[str]:
    """The secrets in an environment: what variables hold whose names say so, and the passwords in the URLs of any."""
    found: set[str] = set()
    for name, value in environment.items():
        if may_hold_secret(name):
            found |= {value, *_within_header(value)}
        if "://" in value:
            found.update(url_secrets(value))
    return {value for value in found if _may_be_secret(value)}


_HEADER = re.compile(r"(?:[\w-]+: *)?(?:Bearer|Basic|Token|ApiKey|Api-Key) +(\S+)", re.IGNORECASE)


def _within_header(value: str) -> Iterator[str]:
    """What a header's value says besides its scheme, and of Basic the password."""
    header = _HEADER.fullmatch(value.strip())
    if header is None:
        return
    yield header[1]
    with contextlib.suppress(ValueError):
        yield base64.b64decode(header[1] + "=" * (-len(header[1]) % 4), validate=True).decode().partition(":")[2]


def base64_cores(value: str) -> Iterator[str]:
    """What a value's base64 has in common wherever in a longer text the value stands."""
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + value.encode(errors="replace"))
        core = coded[(0, 2, 3)[shift] : len(coded) - (4 if coded.endswith(b"=") else 0)].decode()
        if len(core) >= 8:
            yield core
            yield core.translate(str.maketrans("+/", "-_"))


def _may_be_secret(value: str) -> bool:
    value = value.strip()
    return (
        len(value) >= 8
        and not value.startswith(("/", "~", "./"))
        and not (Path(value).exists() if len(value) < 200 else False)
        # A word of one case is no secret, unless it is as long as a passphrase.
        and not (value.isalpha() and (value.islower() or value.isupper()) and len(value) < 12)
    )
