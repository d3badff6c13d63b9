"""Whether a name says that it names a secret: one answer for tasks, notebooks and the environment."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
#: A name's words in lower case, joined by _. By its last word:
_SECRET = re.compile(
    r".*(?:password|passwd|passphrase|secret|apikey|accesskey|authkey|privatekey|authtoken|dbpass|keypass|pwd)s?"
    r"|(?:.*_)?(?:pass|pw|passcode|credential|cred|auth|authorization|bearer|cookie)s?"
    r"|(?:.*_)?(?:api|access|secret|private|priv|auth|admin|engine|account|master|service|signing|storage|encryption"
    r"|db|database|client|shared|hf|model)_keys?"
    r"|(?:.*_)?(?:token|(?:api|auth|access|hf)_tokens|(?:github|gitlab|git|azure|devops)_pat)"
)
#: A tokenizer's tokens, and numbers of tokens.
_NO_TOKEN = re.compile(
    r"(?:.*_)?(?:max|min|num|stop|eos|bos|pad|unk|mask|sep|cls|start|end|special|id|no|new|per|image|implicit|disable)"
    r"_token"
)
#: May follow the last word: OPENAI_API_KEY_PROD, AUTH_HEADER.
_SUFFIX = re.compile(r"(?:_(?:v|id|value|prod|dev|staging|main|backup|old|primary|secondary|base))+$|(?<=auth)_header$")
#: In the environment a name that only may be a secret's is enough, since its value is checked too.
_LIKELY = re.compile(r"TOKEN(?!S|IZ)|KEY(?!BOARD|RING|MAP)|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)


def says_secret(name: str) -> bool:
    """Return whether a name says secret: by its last word, unless the word before it denies it."""
    words = _SUFFIX.sub("", "_".join(_WORDS.findall(name)).lower())
    return _SECRET.fullmatch(words) is not None and _NO_TOKEN.fullmatch(words) is None


def may_say_secret(variable: str) -> bool:
    """Return whether an environment variable of this name may hold a secret."""
    return says_secret(variable) or _LIKELY.search(variable) is not None
