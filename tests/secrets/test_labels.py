"""A secret behind a label in prose, and the many sentences and lines of code that only speak of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.secrets.redaction import Redactor

REDACTOR = Redactor({})
#: With digits anything behind a label is one; a password may be a word as well.
ANY = [
    "password: {}", "pw = {}", "Password = {}", "My password is {}.", "the password is: {}", "**password**: {}",
    "*Password:* {}", "`password`: `{}`", "- password: {}", "| password | {} |", "Passwort: {}", "password -> {}",
    "user: ada, password: {}", "Username: ada\nPassword: {}\n", "pass: {}", "password was {}", "password:{}",
    "password: >-\n  {}\n",
    "the root password is {} (do not share)", "the password for the database is {}", "password for ada: {}",
    "<b>Password:</b> {}", "<p>Password: <code>{}</code></p>", "password is `{}`", "# the password is {}",
    "print('password is {}')", "mot de passe : {}", "contraseña: {}", "host=h user=ada password={} dbname=x",
    "Server=h;Uid=ada;Pwd={};", "password\uff1a{}", "密码: {}", "password:\u00a0{}",
]  # fmt: skip
WITH_DIGITS = [
    "the api key is {}", "API key: {}", "client secret: {}", "the HF token is {}", "access token: {}",
    "my password's {}",
    "user ada / password {}", "Login with user ada and password **{}**",
    "credentials: ada / {}", "the secret is {}", "Config(user=ada, password={}, host=h)",
]  # fmt: skip


@pytest.mark.parametrize("secret", ["hunter2", "correcthorse", "s3cr3t-Va1ue9"])
@pytest.mark.parametrize("around", ANY)
def test_what_a_label_says_is_a_password_goes_and_the_rest_stays(around: str, secret: str) -> None:
    told = REDACTOR.redact(around.format(secret))
    assert told.text == around.format("[redacted: password or key]")
    assert told.found == (("password or key", 1),)


@pytest.mark.parametrize("secret", ["hunter2", "s3cr3t-Va1ue9"])
@pytest.mark.parametrize("around", WITH_DIGITS)
def test_a_key_is_told_by_its_digits(around: str, secret: str) -> None:
    assert REDACTOR.redact(around.format(secret)).text == around.format("[redacted: password or key]")


PROSE = """\
the token limit is 512
max_tokens is 64; tokens per second is 12
token is valid
a token is a word, or a part of one
the token is 4096 tokens long
output token throughput (tok/s): 1234.5
time per output token: 12.5 ms
eos_token: <|im_end|>
token: <|endoftext|>
"token": "World2"
token = 1234567
next_token = logits.argmax()
tokenizer: llama3x8b
the key is 'abc123def'
Additional arguments to pass to the tokenizer's `decode` method
the password is required
The password is wrong.
the password is stored hashed, and the secret is mounted as a volume
the password is sha256-hashed
The password is at least 8 characters
The API key is 32 characters long
the access token is expired
Password is not set; use --password
the password's length
password: str
secret: my-secret-name
api_key: Optional[str] = None
self.password = password
password = getpass("Password: ")
password = config.password
password = settings["db"]["password"]
pass: 12, fail: 3
pass = 0.98
pass@1: 0.82
pw = 1024
--token TOKEN  the token to use
  --password PASSWORD   The password of the database
auth=("user", None)
auth=(user, password)
requests.get(url, auth=(os.environ["U"], os.environ["P"]))
HTTPBasicAuth(user, password)
smtp.login(USER, PASSWORD)
password = password.encode("latin1")
may_pass = bool(x) or told != "Unschedulable"
- **A kind of secret**: in `secret_rules.py`
df = df.drop(columns=["password", "token"])
df.rename(columns={"pw": "password"})
curl -H "Content-Type: application/json" http://h
docker run -p 8080:8080 -e MODEL=llama image
ssh -p 2222 host; mkdir -p /srv/x
kubectl create secret generic x --from-literal=key=$KEY
password-stdin, secret sharing, key frames, passing tests
bypass = True
compass: north7
{"api_key": {"title": "Api Key", "type": "string", "description": "The key"}, "required": ["api_key"]}
""".splitlines()


@pytest.mark.parametrize("line", PROSE)
def test_what_only_speaks_of_a_secret_stays(line: str) -> None:
    assert REDACTOR.redact(line).text == line


def test_it_stays_in_one_text_too() -> None:
    text = "\n".join(PROSE)
    assert REDACTOR.redact(text).text == text


WORDS = st.sampled_from(
    [
        *("the", "a", "token", "tokens", "per", "second", "output", "is", "are", "limit", "of", "max_tokens", "rate"),
        *("throughput", "valid", "in", "each", "512", "64", "12.5", "password", "required", "wrong", "secret", "key"),
    ]
)


@given(st.lists(WORDS, max_size=30))
def test_sentences_about_tokens_and_secrets_stay(words: list[str]) -> None:
    text = " ".join(words)
    assert REDACTOR.redact(text).text == text


@given(
    st.sampled_from(["password", "Password", "db_password", "the root password", "passphrase", "pw"]),
    st.sampled_from([": ", " = ", "=", " is ", " was ", ":", " => "]),
    st.from_regex(r"[a-z]{3,8}[0-9]{2,4}[a-z]{3,6}", fullmatch=True),
    st.sampled_from(["", ".", "\n", " and so on", ", please", "</p>", " # mine"]),
)
def test_any_label_with_any_value_that_has_digits(name: str, sign: str, value: str, after: str) -> None:
    if not value.startswith(("http", "sha", "md5", "base", "aes", "rsa", "utf", "bcrypt", "oauth", "hs", "rs")):
        assert value not in REDACTOR.redact(f"see: {name}{sign}{value}{after}").text
