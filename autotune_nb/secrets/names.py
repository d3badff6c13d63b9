"""Whether a name says that what it names is a secret: one answer for tasks, for notebooks and for the environment."""

from __future__ import annotations

import re
from itertools import pairwise

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")
_ALWAYS = {"secret", "password", "passwd", "passphrase", "apikey", "accesskey", "credential", "authorization", "auth"}
_ALWAYS |= {"contraseña", "contrasena", "bearer", "cookie", "passcode", "passwort", "kennwort", "cred"}
#: What they are written together with, as in dbpassword.
_ENDINGS = (
    *("password", "passwd", "passphrase", "secret", "apikey", "accesskey", "authkey", "privatekey"),
    *("authtoken", "dbpass", "keypass", "pwd"),
)
#: Before "token" these tell it from a tokenizer's.
_SIGNS_IN = {
    *("api", "auth", "access", "refresh", "session", "bearer", "personal", "login", "secret", "service", "account"),
    *("user", "admin", "hf", "hub", "huggingface", "face", "github", "gitlab", "git", "slack", "wandb", "jupyter"),
    *(
        "registry",
        "docker",
        "npm",
        "pypi",
        "client",
        "csrf",
        "xsrf",
        "security",
        "deploy",
        "vault",
        "aws",
        "bot",
        "sas",
    ),
}
_KEYS = {"api", "access", "secret", "private", "priv", "auth", "admin", "engine", "account", "master", "service"}
_KEYS |= {"signing", "storage", "encryption", "db", "database", "client", "shared", "hf", "model"}
#: A tokenizer's tokens and numbers of tokens.
_NO_TOKENS = {
    *("max", "min", "num", "stop", "eos", "bos", "pad", "unk", "mask", "sep", "cls", "start", "end", "special", "id"),
    *("no", "new", "per", "image", "implicit", "disable"),
}
#: Before "pat" these speak of a pattern or a patch, and everything else of a personal access token.
_NO_PATS = {"", "file", "path", "glob", "re", "regex", "name", "include", "exclude", "ignore", "match", "url", "key"}
#: What may follow the word that tells.
_AFTER = {"v", "id", "value", "prod", "dev", "staging", "main", "backup", "old", "primary", "secondary"}
#: Wherever they stand these tell, unless the last word speaks of something about the secret.
_ANYWHERE = {"secret", "password", "passwd", "passphrase", "apikey", "accesskey"}
_PAIRS = {(kind, "key") for kind in ("api", "access", "secret", "private", "auth")}
_ABOUT = {
    *(
        "name",
        "ref",
        "reference",
        "file",
        "path",
        "dir",
        "kind",
        "type",
        "field",
        "url",
        "uri",
        "label",
        "var",
        "class",
    ),
    *("provider", "store", "manager", "header", "version", "hint", "len", "length", "policy", "rule", "rules", "count"),
    *("env", "mode", "format", "size", "ttl", "timeout", "enabled", "required", "prompt", "encoding"),
}
#: Of an environment's variables also those of which it is only likely: their values are looked at as well.
_LIKELY = re.compile(r"TOKEN(?!S|IZ)|KEY(?!BOARD|RING|MAP)|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)


def says_secret(name: str) -> bool:
    """Whether what is called so is a secret: its last word says so, and the ones before it do not say otherwise."""
    words = [word.lower() for word in _WORDS.findall(name)]
    while len(words) > 1 and (words[-1] in _AFTER or (words[-1] == "header" and words[-2] in _ALWAYS)):
        words.pop()
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    singular = last.removesuffix("s")
    if last == "pat":
        return before not in _NO_PATS
    if last in ("pass", "pwd", "pw") or singular in _ALWAYS or singular.endswith(_ENDINGS):
        return True
    if singular == "token":
        return before not in _NO_TOKENS and (last == "token" or before in ("api", "auth", "access", "hf"))
    if singular == "key":
        return before in _KEYS
    pairs = pairwise(words)
    told = any(word in _ANYWHERE for word in words) or any(pair in _PAIRS for pair in pairs)
    return told and last not in _ABOUT


def may_hold_secret(variable: str) -> bool:
    """Whether an environment's variable of this name may well hold a secret, so that its value is worth a look."""
    return says_secret(variable) or _LIKELY.search(variable) is not None


def tells_token(name: str) -> bool:
    """Whether a token's name says that one signs in with it: hf_token, and not draft_token."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return any(word in _SIGNS_IN for word in words[:-1])
