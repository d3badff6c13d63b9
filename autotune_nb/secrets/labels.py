"""Secrets behind a label: "password: …", "the password is …", "pw = …", without quotes, in prose, settings and logs.

A word without digits may be a variable in code and anything in prose; it is a secret only where nothing follows it and
no dictionary's word would stand there. The word "token" is a tokenizer's nearly everywhere: it takes a telling word
before it, or a value that looks like a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from autotune_nb.secrets.hints import named_at
from autotune_nb.secrets.names import says_secret, tells_token
from autotune_nb.secrets.rules import Finding
from autotune_nb.secrets.values import (
    KEYWORD,
    NOTHING,
    has_digits,
    is_filled_in,
    is_mixed,
    is_written_out,
    looks_like_a_key,
    names_a_key,
)

_HEAD = re.compile(
    r"""(?:pass(?:word|wd|phrase|code|wort)|kennwort|contrase[ñn]a|mot\ de\ passe|пароль|密码|密碼|パスワード
    |(?:api|access|secret|auth|engine|signing|encryption|account|private|master)[ _-]?key|secret|credential
    |(?<![A-Za-z])(?:pw|pwd|pass)(?![a-z])|(?<=[_a-z])(?:pw|pwd|pass|PW|PWD|PASS)(?![A-Za-z])
    |(?:(?:api|access|auth|bearer|hf|hub|hugging\ face|github|gitlab|personal|refresh|session|my|login|bot|slack|vault)
    [ ])?token(?![iIsS])|cookie)""",
    re.VERBOSE | re.IGNORECASE,
)
_NAME, _NAME_AFTER = re.compile(r"[\w.-]*"), re.compile(r"[\w-]*")
_MARK = r"[\"'`*_\])]{0,3}"
_ABOUT = r"(?:[ \t]+(?:for|of|on|to|in|at|from)[ \t]+[\w@.-]{1,30}(?:[ \t][\w@.-]{1,30}){0,2}?)?"
_SIGN = re.compile(
    rf"{_MARK}{_ABOUT}{_MARK}[^\S\n]{{0,4}}(?P<sign>:=|=>|={{1,2}}|->|[:\uff1a\uff1d\u2192\u2013\u2014])[*_]{{0,2}}[^\S\n]{{0,4}}"
    # A block of YAML begins in the next line.
    r"(?:[|>][+-]?[ \t]*\r?\n[ \t]+)?[*_]{0,2}"
)
_VERB = re.compile(
    rf"{_MARK}{_ABOUT}{_MARK}(?P<sign>(?:[^\S\n]+(?:is|was|ist|est|es|equals))(?:[ ]now|[ ]still)?|['\u2019]s):?"
    r"\s+[*_]{0,2}"
)
_USER = re.compile(r"(?i)\b(?:user(?:name)?|login|account)\b\W{1,3}[\w@.-]+\W{1,4}(?:and\W{1,2})?(?:with\W)?\Z")
_BLANK = re.compile(r"(?P<sign>[ \t]+)[*_]{0,2}")
_QUOTED = re.compile(
    r"([\"'`\u201c\u2018\u201e\u00ab])([^\"'`\u201c\u201d\u2018\u2019\u00ab\u00bb\n]{2,100})[\"'`\u201d\u2019\u201c\u00bb]"
)
_BARE = re.compile(r"[^\s\"'`<>\[\]{}\\|()\u201c\u201d]{4,200}")
#: Another setting in the same line.
_NEXT = re.compile(r"[,;&](?=[\w.-]*[=:])")
_ENDS = re.compile(r"[.,;!?]\s|\s+(?:and|but|or|\()|\s+[\w.-]+[=:]|[.,;:!?*_]*+\s*(?:\Z|\n|[\"'`<|)\]}]|#|--)")
_TYPE = re.compile(
    r"(?:[A-Z]\w*(?:Str|Type|Field|Ref|Reference|Path|Config|Settings|Secret|Credentials?|Token|Key|Provider)|[a-z]+(?:_[a-z]+)+|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)"
)
#: What a secret may be said to be in a sentence, and what stands behind an = in code.
_ORDINARY = re.compile(
    r"""(?:wrong|right|correct|valid|invalid|unknown|known|set|used|new|old|same|different|unique|weak|strong|short
    |long|safe|secure|unsafe|public|private|plain|plaintext|hashed|random|numeric|here|there|above|below|gone
    |fine|good|mine|yours|theirs|never|always|only|also|what|your|their|that|this|stored|written|given|taken
    |kept|read|sent|shown|printed|asked|checked|expected|case-sensitive|mandatory|necessary|sufficient|available
    |unavailable|absent|present|blank|deprecated|removed|expired|changed|mounted|not|just|already|more|less|much
    |very|too|simply|about|being|going|stale|visible|supported|unsupported|ignored|accepted|rejected|denied
    |encrypted|decrypted|encoded|protected|compromised|leaked|exposed|like|mode|result|results|response|settings
    |config|default|data|line|argument|input|output|variable|parameter|self|other|file|args|kwargs|options|param
    |params|field|fields|name|names|type|types|str|int|bool|float|dict|list|tuple|bytes|any|auto|disabled
    |enabled|false|true|yes|prompt|stdin|environ|environment
    )\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_SUFFIXES = re.compile(r"(?:ed|ing|able|ible|ful|less|ous|ally|ly)\Z")
#: What is made of a secret: how it is coded, in which version.
_CODED = re.compile(
    r"(?i)(?:base64|b64|sha-?\d|md5|utf-?8|bcrypt|argon2|pbkdf2|oauth|x\.?509|http|ipv\d|v\d|aes|rsa|hs256|rs256|ed25519|k8s|kubernetes|s3:)"
)
_LONGEST_HEAD = 16


class _Label(NamedTuple):
    name: str
    #: A password, which may be a word; of keys and tokens none is.
    word: bool
    token: bool


def labelled_secrets(text: str) -> Iterator[Finding]:
    """Where they stand."""
    done = 0
    for at in named_at(text):
        head = _HEAD.search(text, max(done, at - _LONGEST_HEAD), at + _LONGEST_HEAD)
        if head is not None and head.end() <= at:
            head = _HEAD.search(text, head.end(), at + _LONGEST_HEAD)
        if head is None or head.end() <= at:
            continue
        # From its end, since a search from the front would begin at every letter.
        before = _NAME.match(text[max(0, head.start() - 60) : head.start()][::-1])
        after = _NAME_AFTER.match(text, head.end(), head.end() + 60)
        assert before is not None and after is not None
        name = re.sub(r"\s", "_", before[0][::-1] + head[0] + after[0])
        label = _label(name, head[0].lower())
        if label is None:
            continue
        found = _value(text, after.end(), label, head.start() - before.end())
        if found is not None:
            yield Finding(*found, KEYWORD)
            done = found[1]


def _label(name: str, head: str) -> _Label | None:
    if not says_secret(name) and not re.match(r"mot|пароль|密|パス", head):
        return None
    token = head.endswith("token") and not tells_token(name) and not head.startswith(("hugging", "my"))
    word = not head.endswith(("token", "key", "secret", "credential", "cookie"))
    return _Label(name, word, token)


def _value(text: str, at: int, label: _Label, start: int) -> tuple[int, int] | None:
    sign = _SIGN.match(text, at, at + 200) or _VERB.match(text, at, at + 200)
    if sign is None:
        # "user ada, password hunter2"
        if not label.word or _USER.search(text, max(0, start - 60), start) is None:
            return None
        sign = _BLANK.match(text, at)
        if sign is None:
            return None
    said = not re.fullmatch(r"\W+", sign["sign"]) or not sign["sign"].strip()
    # In prose this is nearly always the verb.
    if label.name.lower() == "pass" and (said or re.match(r"\W*\w", text[at : sign.start("sign")])):
        return None
    quoted = _QUOTED.match(text, sign.end(), sign.end() + 210)
    if quoted is not None:
        value = quoted[2]
        if said or sign["sign"] not in ("=", ":", ":=", "==", "=>"):
            good = (
                is_filled_in(value)
                and is_written_out(value)
                and value.lower() not in NOTHING
                and not _ORDINARY.match(value)
            )
            return quoted.span(2) if good and _fits(value, label) and not _TYPE.fullmatch(value) else None
        return None
    bare = _BARE.match(text, sign.end(), sign.end() + 210)
    if bare is None:
        return None
    value = _NEXT.split(bare[0])[0].rstrip(".,;:!?*_")
    end = bare.start() + len(value)
    following = text[end : end + 200]
    if following[:1] in ("(", "[") or not _is_one(value, label, sign["sign"], following, said):
        return None
    return bare.start(), end


def _fits(value: str, label: _Label) -> bool:
    if label.token:
        return len(value) >= 10 and is_mixed(value)
    if names_a_key(label.name):
        return looks_like_a_key(value)
    return label.word or (has_digits(value) and not _CODED.match(value))


def _is_one(value: str, label: _Label, sign: str, following: str, said: bool) -> bool:
    """Whether a bare word is a secret, and no word of a sentence and no name of code."""
    lowered = value.lower()
    if not is_written_out(value) or lowered in NOTHING or _ORDINARY.match(value) or _CODED.match(value):
        return False
    if "://" in value or value.startswith(("-", "@", "*", ":", "=")):
        return False
    ends = _ENDS.match(following) is not None
    if value.isdigit():
        return label.word and len(value) >= 4 and ends and not label.name.lower().endswith("pw")
    if not sign.strip() and not has_digits(value):
        return False
    if has_digits(value):
        return (
            _fits(value, label) and (not said or ends) and not re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", value)
        )
    if not label.word or not ends or re.fullmatch(r"[\W\d_]+", value) or sign[0] in "'\u2019":
        return False
    if _TYPE.fullmatch(value) or (says_secret(value) and not value.islower()):
        return False
    if (says_secret(value) and sign != ":") or "/" in value:
        return False
    if said:
        return len(value) >= 6 and _SUFFIXES.search(lowered) is None and re.match(r"\s*\w", following) is None
    # In code a name follows an =, and an argument goes on with a comma or ends with a bracket.
    if re.match(r"[,)]", following) or (sign not in ("=", ":") and len(value) < 8):
        return False
    return len(value) >= (4 if sign == "=" and not following[:1].isspace() else 6)
