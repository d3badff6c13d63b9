"""What a secret looks like: detect-secrets' rules, with the few that it lacks (``rules``).

The expressions of detect-secrets' provider plugins and of its KeywordDetector are used, not its scanner: that one works
on files, line by line, through settings of the whole process, may ask the provider whether a token is valid, and yields
what a group caught (of a GitHub token ``ghp`` alone) where a redaction needs to know from where to where.

Not used: its high entropy plugins, which take git hashes, image digests, cell ids and the arrays of charts for secrets,
its IP addresses, which are no secrets, and its passwords in URLs, which may hold no @ (``urls``). Its private
key rule knows headers alone; here a key is all of its block.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable

from autotune_nb.secrets.commands import command_rules
from autotune_nb.secrets.places import place_rules
from autotune_nb.secrets.rules import HOME, NOT_THE_SECRET, PRIVATE_KEY, Rule, own_rules
from autotune_nb.secrets.values import KEYWORD, is_written_out, looks_random

_TAIL = re.compile(r"[A-Za-z0-9_-]+")
_JWT_TAIL = re.compile(r"[A-Za-z0-9_.+/=-]+")


def _alone(match: re.Match[str], _: str) -> bool:
    """Not in the middle of a longer word: for tokens whose look is not telling enough."""
    text, start, end = match.string, *match.span()
    return not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())


def _digits_alone(match: re.Match[str], value: str) -> bool:
    return _alone(match, value) and any(letter.isdigit() for letter in value)


#: detect-secrets' plugins: module, class, kind, hints, whether a group of the expression is the secret, more to check.
_PLUGINS: tuple[tuple[str, str, str, tuple[str, ...], bool, Callable[[re.Match[str], str], bool] | None], ...] = (
    ("github_token", "GitHubTokenDetector", "GitHub token", ("gh",), False, None),
    ("gitlab_token", "GitLabTokenDetector", "GitLab token", ("gl", "gr1348941"), False, None),
    ("slack", "SlackDetector", "Slack token", ("xox", "hooks.slack"), False, None),
    ("stripe", "StripeDetector", "Stripe key", ("k_live_",), False, None),
    ("openai", "OpenAIDetector", "OpenAI or like key", ("t3blbkfj",), False, None),
    ("aws", "AWSKeyDetector", "AWS key", ("akia", "asia", "abia", "acca", "a3t", "aws"), True, _alone),
    ("azure_storage_key", "AzureStorageKeyDetector", "Azure storage key", ("accountkey=",), False, None),
    ("jwt", "JwtTokenDetector", "JSON web token", ("eyj",), False, None),
    ("npm", "NpmDetector", "npm token", ("_authtoken",), True, None),
    ("pypi_token", "PypiTokenDetector", "PyPI token", ("pypi-",), False, None),
    ("sendgrid", "SendGridDetector", "SendGrid key", ("sg.",), False, None),
    ("discord", "DiscordBotTokenDetector", "Discord token", (".",), False, _digits_alone),
    ("telegram_token", "TelegramBotTokenDetector", "Telegram token", (":",), False, _digits_alone),
    ("twilio", "TwilioKeyDetector", "Twilio key", ("ac", "sk"), False, _digits_alone),
    ("mailchimp", "MailchimpDetector", "Mailchimp key", ("-us",), False, _digits_alone),
    ("square_oauth", "SquareOAuthDetector", "Square secret", ("sq0csp-",), False, None),
    # Its rules take " APARTMENTS " for a password: a digit is demanded.
    ("artifactory", "ArtifactoryDetector", "Artifactory key", ("akc", "ap"), False, _digits_alone),
    ("cloudant", "CloudantDetector", "Cloudant key", ("cl",), True, None),
    ("ibm_cloud_iam", "IbmCloudIamDetector", "IBM Cloud key", ("ibm", "iam", "cloud"), True, None),
    ("ibm_cos_hmac", "IbmCosHmacDetector", "IBM Cloud key", ("secret",), True, None),
    ("softlayer", "SoftlayerDetector", "SoftLayer key", ("softlayer", "sl"), True, None),
)


def _keyword_keep(match: re.Match[str], value: str) -> bool:
    """Whether the keyword's whole name is one of a secret, and the value one."""
    text, end = match.string, match.start()
    while end < len(text) and (text[end].isalnum() or text[end] in "_-"):
        end += 1
    return is_written_out(value) and not NOT_THE_SECRET.search(text[match.start() : end])


_CONFIG_LINE = (
    r"^[ \t]*(?:-[ \t]+|export[ \t]+)?[\w.-]{{0,60}}?(?:{names})[\w-]{{0,60}}"
    r"[ \t]*[:=][ \t]*([^\s\"'<>&,;]{{6,}})[ \t]*$"
)


@functools.cache
def rules() -> tuple[Rule, ...]:
    """All of them, the telling ones first."""
    keyword = importlib.import_module("detect_secrets.plugins.keyword")
    own = list(own_rules())
    found = [rule for rule in own if rule.kind == PRIVATE_KEY]
    for module, plugin, kind, hints, inner, keep in _PLUGINS:
        detector = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), plugin)
        tail = _JWT_TAIL if module == "jwt" else None if inner else _TAIL
        if module == "jwt":
            valid = detector.is_formally_valid

            def keep(match: re.Match[str], value: str, valid: Callable[[str], bool] = valid) -> bool:
                return valid(value)

        for pattern in detector.denylist:
            if module == "jwt":
                # Tried once a word: it reads on to the word's end each time.
                pattern = re.compile(r"(?<![A-Za-z0-9])" + pattern.pattern, pattern.flags)
            group = 1 if inner and pattern.groups else 0
            found.append(Rule(kind, pattern, hints, group, None if group else tail, keep))
    found += [rule for rule in own if rule.kind not in (PRIVATE_KEY, HOME)]
    words = (*(word for word in keyword.DENYLIST if "?" not in word), "key", "db_pass", "dbpass", "database_pass")
    for pattern, group in keyword.QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP.items():
        # Its [^\v] is meant to end at the line's end, which it does only where a line is all it is given.
        # Bounded, since every backtick would be tried against all the rest of a long line.
        bounded = pattern.pattern.replace(r"[^\v\'\"]*", r"[^\v\'\"]{0,400}")
        lines = re.compile(bounded.replace(r"[^\v", r"[^\v\n\r"), pattern.flags)
        # The one that looks back from a comparison would try every quote of a text that compares nothing.
        hints = ("==", "!=") if pattern is keyword.PRECEDED_BY_EQUAL_COMPARISON_SIGNS_QUOTES_REQUIRED_REGEX else words
        found.append(Rule(KEYWORD, lines, hints, group, keep=_keyword_keep, quoted=True))
    # Without quotes its expressions take prose; a line that is nothing but a setting is none.
    config = re.compile(_CONFIG_LINE.format(names="|".join(keyword.DENYLIST)), re.IGNORECASE | re.MULTILINE)
    found.append(Rule(KEYWORD, config, words, 1, keep=lambda match, value: _config_keep(match, value)))
    return (*found, *place_rules(), *command_rules(), *(rule for rule in own if rule.kind == HOME))


def _config_keep(match: re.Match[str], value: str) -> bool:
    name = re.split(r"[:=]", match.group(0), maxsplit=1)[0].strip()
    return (
        looks_random(value)
        and is_written_out(value)
        and not value.endswith(("[", "("))
        and not NOT_THE_SECRET.search(name)
    )
