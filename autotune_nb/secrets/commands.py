"""Rules for command lines: which program takes a secret behind which flag, and which in what place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.rules import Rule
from autotune_nb.secrets.values import NOTHING, is_filled_in, is_secret_value

KIND = "password in a command line"
#: A word of a shell, in quotes or not.
_WORD = (
    r"[\"']?(?P<secret>(?<=\")[^\"\n]{1,200}(?=\")|(?<=')[^'\n]{1,200}(?=')|(?<![\"'])[^\s\"'|&;<>()\\`]{1,200}"
    r"(?![\w(]))"
)
#: Programs, and the flag behind which each takes a secret; others have other uses for the same letter.
_FLAGS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (r"(?:docker|podman|nerdctl|skopeo|crane|oras|buildah|helm|az|argocd)\s[^\n|;&]{0,80}?login", r"-p\s*", ("login",)),
    (r"sshpass", r"-p\s*", ("sshpass",)),
    (r"(?:mysql|mysqldump|mysqladmin|mariadb)", r"-p(?=\S)", ("mysql", "mariadb")),
    (r"(?:redis|valkey)-cli", r"(?:-a|--pass)\s+", ("-cli",)),
    (r"(?:zip|unzip)", r"-P\s*", ("zip",)),
    (r"7z[azr]?", r"-p(?=\S)", ("7z",)),
    (r"ssh-keygen", r"-[NP]\s+", ("keygen",)),
    (r"ldap(?:search|add|modify|passwd|whoami|delete)", r"-w\s+", ("ldap",)),
    (r"openssl", r"(?:-k|-K|-passin|-passout|-pass)\s+(?:pass:)?", ("openssl",)),
    (r"mongo(?:sh|dump|restore)?", r"-p\s+", ("mongo",)),
    (r"curl", r"--(?:oauth2-bearer|pass|proxy-pass)[ =]+", ("curl",)),
    (r"gh\s+secret\s+set", r"(?:-b|--body)[ =]+", ("secret set",)),
)
#: Right after these, or in the place that they lead to, stands a secret.
_PLACES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"-H\s*[\"']Authorization:\s*+(?!(?i:bearer|basic|token)\b)(?P<secret>[^\"'\n]{4,300})", ("authorization",)),
    (rf"\bwandb\s+login\s+(?:--\S+\s+)*(?!-){_WORD}", ("wandb",)),
    (rf"\bngrok\s+(?:authtoken|config\s+add-authtoken)\s+{_WORD}", ("ngrok",)),
    (rf"(?m)^[ \t]*(?:requirepass|masterauth)[ \t]+{_WORD}", ("requirepass", "masterauth")),
    (rf"\bvault\s+login\s+(?:-\S+\s+)*(?![-\s]|token$){_WORD}", ("vault",)),
    (rf"\bhtpasswd\s+-\w*b\w*\s+\S+\s+\S+\s+{_WORD}", ("htpasswd",)),
    (rf"(?i)\bidentified\s+by\s+(?=['\"]){_WORD}", ("identified",)),
    (rf"\bwith-token\s*<<<\s*{_WORD}", ("with-token",)),
    (
        rf"\b(?:echo|printf)\s+(?:-\w+\s+)*{_WORD}[\"']?\s*\|\s*(?:sudo\s[^|\n]{{0,80}}?-S\b"
        r"|[^|\n]{1,200}?(?:-stdin|--with-token|\blogin)\b)",
        ("|",),
    ),
    # What a Secret is made of goes, whatever it is called.
    (r"--from-literal[= ]+[\"']?[\w.-]+=[\"']?(?P<secret>[^\s\"'$][^\s\"']{0,200})", ("--from-literal",)),
)
#: A name beside the value: only where the name says so.
_NAMED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (rf"(?m)(?:^|\s|!)(?:%env|%set_env|ENV|ARG|setx)\s+(?P<name>[\w.]+)[ \t=]+{_WORD}", ("env", "arg", "setx")),
    (rf"\bconfigure\s+set\s+(?:\S+\.)?(?P<name>[\w-]+)\s+{_WORD}", ("configure set",)),
    (rf"\b(?:git|npm|pip|yarn|poetry)\s+config\s+(?:--?\w+\s+|set\s+)*(?P<name>[\w./:-]+)\s+{_WORD}", (" config",)),
    # docker run -e NAME=…, env NAME=…, helm --set a.b=…
    (
        rf"(?:\s(?:-e|--env|--set(?:-string)?|--build-arg)[ =]+[\"']?|,)(?P<name>[\w.-]+)={_WORD}",
        ("-e", "--set", "--build"),
    ),
    # An item of a list is a flag, the next one its value.
    (
        r"(?m)^[ \t]*-[ \t]+[\"']?--?(?P<name>[\w-]+)[\"']?[ \t]*\r?\n"
        r"[ \t]*-[ \t]+[\"']?(?P<secret>[^\s\"'-][^\s\"']{3,})",
        ("- -",),
    ),
    (rf"(?<![\w-])--(?P<name>[\w-]+)={_WORD}", ("--",)),
)


def _filled(_: re.Match[str], value: str) -> bool:
    return is_filled_in(value) and value.lower() not in NOTHING and not value.startswith("-")


def _named(match: re.Match[str], value: str) -> bool:
    return says_secret(match["name"]) and is_secret_value(value, match["name"])


def _flagged(_: re.Match[str], value: str) -> bool:
    return _filled(_, value) and value not in ("login",) and not re.fullmatch(r"\d{1,5}(?::\d+)?", value)


def command_rules() -> Iterator[Rule]:
    """The rules, each with its secret in a group of that name."""
    for program, flag, hints in _FLAGS:
        # Within one command, its flags before this one.
        pattern = re.compile(rf"\b(?:{program})\b[^\n|;]{{0,200}}?(?<=\s){flag}{_WORD}")
        yield Rule(KIND, pattern, hints, pattern.groupindex["secret"], keep=_flagged)
    for expression, hints in _PLACES:
        pattern = re.compile(expression)
        yield Rule(KIND, pattern, hints, pattern.groupindex["secret"], keep=_filled)
    for expression, hints in _NAMED:
        pattern = re.compile(expression)
        yield Rule(KIND, pattern, hints, pattern.groupindex["secret"], keep=_named)
