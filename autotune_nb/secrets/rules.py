"""How a rule finds secrets, and the rules that detect-secrets lacks, each with its reason."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from autotune_nb.secrets.hints import quoted_near
from autotune_nb.secrets.names import says_secret
from autotune_nb.secrets.urls import URL_PASSWORD, URL_TOKEN, is_token
from autotune_nb.secrets.values import KEYWORD, NOTHING, is_written_out, looks_random

PRIVATE_KEY = "private key"
HOME = "home folder"
ENVIRONMENT = "environment variable's value"


@dataclass(frozen=True)
class Finding:
    """From where to where in a text something secret stands."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Rule:
    """One expression; worth a try only where one of the hints stands in the lowered text."""

    kind: str
    pattern: re.Pattern[str]
    hints: tuple[str, ...]
    group: int = 0
    #: What goes on after the match and belongs to it: a library's rule may stop at the length tokens once had.
    tail: re.Pattern[str] | None = None
    keep: Callable[[re.Match[str], str], bool] | None = None
    #: Whether it finds only what stands in quotes, in the line of a secret's name.
    quoted: bool = False

    def find(self, text: str) -> Iterator[Finding]:
        for part in quoted_near(text) if self.quoted else ((0, len(text)),):
            yield from self._find(text, *part)

    def _find(self, text: str, at: int, stop: int) -> Iterator[Finding]:
        for match in self.pattern.finditer(text, at, stop):
            start, end = match.span(self.group)
            if start < 0 or (self.keep is not None and not self.keep(match, match.group(self.group))):
                continue
            if self.tail is not None and (more := self.tail.match(text, end)):
                end = more.end()
            yield Finding(start, end, self.kind)


#: Names that speak of a secret and hold none: password_file, secretName, TOKEN_URL.
NOT_THE_SECRET = re.compile(
    r"(?:(?:^|[_-])(?i:name|ref|reference|env|file|path|kind|type|id|field|url|uri|label|var|class|provider|store|"
    r"manager|header|version|hint|len|length|policy|rules?|count)|(?<=[a-z])(?:Name|Ref|Env|File|Path|Type|Id|Url))$"
)


#: Names that may be a secret's; whether they are says ``says_secret``.
_VARIABLE = r"[A-Z0-9_]{0,60}?(?:TOKEN|SECRET|PASS|PWD|CREDENTIAL|KEY|AUTH|BEARER|PW|COOKIE|_PAT(?!H|T))[A-Z0-9_]{0,60}"
_VARIABLE_HINTS = ("token", "secret", "pass", "pwd", "credential", "key", "auth", "bearer", "pw", "cookie", "_pat")
_VALUE = r"[^\s\"'<>&;,()\[\]{}|\\]"


def _assigned(match: re.Match[str], value: str) -> bool:
    if not says_secret(match[1]) or not is_written_out(value):
        return False
    if match[3] or looks_random(value):
        return True
    # Without quotes, a bare word may be another variable, a call, or prose.
    after = match.string[match.end() :][:1]
    if says_secret(value) or after in ("(", "["):
        return False
    alone = match[2] == "=" or (match[2].startswith(":") and len(value) >= 8 and after in ("", "\n", "\r"))
    return alone and value.lower() not in NOTHING


def _typed(match: re.Match[str], value: str) -> bool:
    """A word after a flag is its value where nothing but another flag, or the end, comes after it."""
    if not is_written_out(value) or value.startswith("-"):
        return False
    ends = re.match(r"\s*(?:$|[\n\r\"'|&\\)\]]|--?[A-Za-z])", match.string[match.end() : match.end() + 200])
    return looks_random(value) or (ends is not None and value.lower() not in NOTHING)


def _with_digit(_: re.Match[str], value: str) -> bool:
    return any(letter.isdigit() for letter in value)


def _filled(_: re.Match[str], value: str) -> bool:
    return is_written_out(value)


def _of_letters(_: re.Match[str], value: str) -> bool:
    """No name of a function, which has words between underscores, and none of one case alone."""
    return value != value.lower() or any(letter.isdigit() for letter in value)


def _random(match: re.Match[str], value: str) -> bool:
    # A call, and what is looked up, is where the secret is.
    return is_written_out(value) and looks_random(value) and match.string[match.end() :][:1] not in ("(", "[")


def own_rules() -> Iterator[Rule]:
    """The rules that detect-secrets lacks."""
    # Tokens that those who serve models have; detect-secrets 1.5 knows OpenAI's alone, and those by an old mark.
    for kind, expression, hint in (
        ("Hugging Face token", r"\bhf_[A-Za-z0-9]{20,}", "hf_"),
        ("Hugging Face token", r"\bapi_org_[A-Za-z0-9]{20,}", "api_org_"),
        ("NVIDIA key", r"nvapi-[A-Za-z0-9_-]{20,}", "nvapi-"),
        ("OpenAI or like key", r"(?<![A-Za-z0-9_-])(?:sk|pk)-[A-Za-z0-9_-]{20,}", "k-"),
        ("Groq key", r"\bgsk_[A-Za-z0-9]{20,}", "gsk_"),
        ("GitHub token", r"github_pat_[A-Za-z0-9_]{22,}", "github_pat_"),
        ("npm token", r"\bnpm_[A-Za-z0-9]{36,}", "npm_"),
        ("Docker token", r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}", "dckr_"),
        ("Slack token", r"\bxapp-\d-[A-Za-z0-9-]{20,}", "xapp-"),
        ("Google key", r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}", "aiza"),
        ("Google key", r"(?<![A-Za-z0-9_-])ya29\.[A-Za-z0-9_-]{20,}", "ya29."),
    ):
        # Hugging Face's have letters alone, and so has one in some thousands of the others' no digit.
        letters = kind == "Hugging Face token"
        yield Rule(kind, re.compile(expression), (hint,), keep=_of_letters if letters else _with_digit)
    # What its private key rule finds the header of.
    yield Rule(
        PRIVATE_KEY,
        re.compile(
            r"-{4,5} ?BEGIN ([A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?) ?-{4,5}(?:(?!-{4,5} ?BEGIN ).)*?"
            r"-{4,5} ?END \1 ?-{4,5}",
            re.DOTALL,
        ),
        ("private key",),
    )
    yield Rule(PRIVATE_KEY, re.compile(r"PuTTY-User-Key-File-\d:.*?Private-MAC: *\w+", re.DOTALL), ("putty-user",))
    # A kubeconfig, as YAML, as JSON or as the repr of a dict.
    yield Rule(
        "kubeconfig content",
        re.compile(
            r"\b(?:client-key-data|client-certificate-data|certificate-authority-data|id-token|access-token|"
            r"refresh-token|client-secret)[\"']?\s*[:=]\s*[|>]?-?\s*[\"']?([A-Za-z0-9+/=_.-]{6,})"
        ),
        ("-data", "-token", "-secret"),
        group=1,
        # Folded YAML goes on below.
        tail=re.compile(r"(?:[ \t]*\r?\n[ \t]+[A-Za-z0-9+/]+={0,2}(?=[ \t]*(?:\r?\n|$)))+"),
        keep=_random,
    )
    # Headers.
    yield Rule(
        "authorization header",
        re.compile(
            r"\bauthorization[\"']?\s*[:=,]\s*[\"']?(?:bearer|basic|token)\s+([A-Za-z0-9._~+/=:-]{4,})", re.IGNORECASE
        ),
        ("authorization",),
        group=1,
        keep=_filled,
    )
    yield Rule(
        "bearer token",
        re.compile(r"\bbearer\s+([A-Za-z0-9._~+/=-]{12,})", re.IGNORECASE),
        ("bearer",),
        group=1,
        keep=_random,
    )
    yield Rule(
        "key in a header",
        re.compile(
            rf"\b(?:[\w-]*api-key|x-auth-token|private-token)[\"']?\s*[:=]\s*[\"']?({_VALUE}{{6,}})", re.IGNORECASE
        ),
        ("api-key", "x-auth-token", "private-token"),
        group=1,
        keep=_filled,
    )
    # Flags of a command line; in a list of words each is in quotes, and an option's own settings are not.
    yield Rule(
        "key in a command line",
        re.compile(
            rf"(?<![\w-])--?(?:[\w]+-)*(?:api-key|token|password|secret|secret-key)(?:(?:\s+|=)[\"']?|[\"'],\s*[\"'])"
            rf"({_VALUE}{{6,}})"
        ),
        ("-api-key", "-token", "-password", "-secret"),
        group=1,
        keep=_typed,
    )
    # URLs: detect-secrets' rule ends at the first @ and asks for a user.
    yield Rule("password in a URL", URL_PASSWORD, ("://",), group=1, keep=_filled)
    yield Rule("token in a URL", URL_TOKEN, ("://",), group=1, keep=lambda _, user: is_token(user))
    # Signed URLs: the URL stays, what signs it goes. A semicolon ends the &amp; of HTML.
    yield Rule(
        "signature in a URL",
        re.compile(
            r"[?&;](?:x-[a-z]+-(?:signature|credential|security-token)|q-(?:signature|ak)|sig|sign|signature|"
            r"[\w-]*token|api[_-]?key|password|secret|[a-z]*AccessKeyId|GoogleAccessId|Key-Pair-Id)=([^&\s\"'<>#\\]+)",
            re.IGNORECASE,
        ),
        ("=",),
        group=1,
        keep=lambda _, value: any(letter.isalnum() for letter in value) and value[0] not in "{$<",
    )
    for expression, hint in (
        # CloudFront's, which says for what it is signed; Oracle's, in the path; that of a signed request's header.
        (r"[?&;]Policy=([A-Za-z0-9_~-]{20,})", "policy="),
        (r"/p/([A-Za-z0-9_-]{16,})/n/", "/p/"),
        (r"\bSignature=([0-9a-f]{32,})", "signature="),
    ):
        yield Rule("signature in a URL", re.compile(expression), (hint,), group=1)
    # A user's token in a kubeconfig; after the URLs, whose parameters may be called so.
    yield Rule(
        "token",
        re.compile(r"(?<![A-Za-z0-9-])token[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9+/=_.~-]{16,})", re.IGNORECASE),
        ("token",),
        group=1,
        keep=_random,
    )
    # Variables of the environment by name: KeywordDetector knows no TOKEN.
    yield Rule(
        KEYWORD,
        re.compile(rf"(?<![A-Za-z0-9_])({_VARIABLE})[\"']?\]?(\s*[=:]\s*)([\"']?)({_VALUE}{{6,}})"),
        _VARIABLE_HINTS,
        group=4,
        keep=_assigned,
    )
    # The same in a container's env, a name and a value beside it.
    yield Rule(
        KEYWORD,
        re.compile(
            rf"name[\"']?\s*:\s*[\"']?({_VARIABLE})([\"']?),?\s*[\"']?value[\"']?\s*:\s*[\"']?"
            rf"({_VALUE}{{4,}})"
        ),
        ("value",),
        group=3,
        keep=lambda match, value: is_written_out(value) and says_secret(match.group(1)),
    )
    # Home folders, whoever's; /rootfs and /homepage are none.
    name = r"[^/\\\s\"'`<>:;,()\[\]{}|&$*?!#%=]+"
    before = r"(?<![\w.~-])"
    yield Rule(
        HOME,
        re.compile(
            # On shared disks, and Windows' as WSL and Cygwin have them.
            rf"{before}(?:/(?:home\d*|Users)|/(?:export|mnt|nfs|net|srv|var|gpfs|lustre|scratch|vol\d*|private|shared|afs)"
            rf"(?:/[\w.-]+)?/(?:home\d*|[Uu]sers)|(?:/mnt|/cygdrive)?/[a-z]/Users)/{name}|{before}/root(?![\w-]|\.\w)"
        ),
        ("/home", "/users", "/root"),
    )
    yield Rule(
        HOME,
        re.compile(
            rf"(?<![A-Za-z])[A-Za-z]:(?:\\+|/)Users(?:\\+|/)(?:[^\\/:*?\"<>|\r\n]{{1,60}}(?=[\\/])|{name})",
            re.IGNORECASE,
        ),
        (":\\users", ":\\\\users", ":/users"),
    )


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Those that overlap made one, of the kind of the rule that comes first."""
    union: list[tuple[int, int, int, str]] = []
    ranked = ((one.start, one.end, rank, one.kind) for rank, one in enumerate(findings) if one.end > one.start)
    for start, end, rank, kind in sorted(ranked):
        if union and start < union[-1][1]:
            last = union[-1]
            best = min((last[2], last[3]), (rank, kind))
            union[-1] = (last[0], max(last[1], end), *best)
        else:
            union.append((start, end, rank, kind))
    return [Finding(start, end, kind) for start, end, _, kind in union]


def without(finding: Finding, labels: list[tuple[int, int]], text: str) -> Iterator[Finding]:
    """The parts of a finding beside what is redacted already; scraps of punctuation are nothing."""
    first = bisect.bisect_right(labels, finding.start, key=lambda label: label[1])
    inside = labels[first : bisect.bisect_left(labels, finding.end, key=lambda label: label[0])]
    if not inside:
        yield finding
        return
    edges = [finding.start, *(edge for label in inside for edge in label), finding.end]
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if sum(letter.isalnum() for letter in text[start:end]) >= 4 and end > start:
            yield Finding(start, end, finding.kind)
