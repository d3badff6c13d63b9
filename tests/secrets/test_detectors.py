"""What a detector finds in a text, and what it leaves alone."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.secrets.detectors import REDACTED, find_secrets, redact
from autotune_nb.secrets.literals import literal_secrets
from autotune_nb.secrets.names import says_secret
from tests.stubs import require_linear

# Put together here, so that no scanner takes this file for a leak.
GITHUB = "ghp_" + "a1B2" * 9
HUGGING_FACE = "hf_" + "aB3d" * 8
AWS = "AKIA" + "Q3EXAMPL" * 2
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIEpAIB1x" * 12 + "\n-----END RSA " + "PRIVATE KEY-----"
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"HS256"}', b'{"sub":"me"}', b"x" * 30)
)


CANARIES = {
    "GitHub Token": GITHUB,
    "Hugging Face Token": HUGGING_FACE,
    "AWS Access Key": AWS,
    "GitLab Token": "glpat-" + "a1B2" * 5,
    "Slack Token": "xox" + "b-1234567890-1234567890-" + "aB3d" * 6,
    "Stripe Access Key": "sk_li" + "ve_" + "aB3d" * 7,
    "OpenAI Token": "sk-" + "aB3dE" * 4 + "T3Blbk" + "FJ" + "aB3dE" * 4,
    "NVIDIA Key": "nvapi-" + "aB3d-" * 8,
    "API Key": "sk-" + "ant-api03-" + "aB3d-" * 8,
    "Docker Token": "dckr_" + "pat_" + "aB3d" * 7,
    "Google Key": "AIza" + "aB3d5" * 7,
    "JSON Web Token": JWT,
    "Private Key": KEY,
}
INSIDE = [
    ("https://me:{}@host/db", "pa55word1"),
    ("postgresql://u:{}@h/x", "p@ssw0rdX9"),
    ('password = "{}"', "hunter2222"),
    ("connect(user='ada', password='{}')", "correct horse"),
    ('{{"db_password": "{}", "size": 5}}', "hunter2222"),
    ("if '{}' == my_password:", "hunter2222"),
    ("!wandb login --relogin {}", "0123456789abcdef" * 2 + "01234567"),
    ("aws_secret_access_key = '{}'", "aB3d" * 10),
]


@pytest.mark.parametrize(("kind", "secret"), CANARIES.items(), ids=CANARIES)
@pytest.mark.parametrize("around", ["{}", "'{}'", "密钥 {} 🔑\n{} end", "<td>{}</td><td>1</td>"])
def test_a_secret_goes_and_all_else_stays(kind: str, secret: str, around: str) -> None:
    text = around.format(*[secret] * 2)
    assert redact(text) == around.format(*[REDACTED] * 2)
    assert {one.kind for one in find_secrets(text)} == {kind}


@pytest.mark.parametrize(("around", "secret"), INSIDE)
def test_what_its_place_shows_to_be_a_secret_goes_and_the_place_stays(around: str, secret: str) -> None:
    assert redact(around.format(secret)) == around.format(REDACTED)


@pytest.mark.parametrize("size", [7_990, 16_000, 100_000])
def test_a_long_text_hides_none(size: int) -> None:
    for secret in (GITHUB, JWT, 'password="hunter2222"'):
        found = find_secrets("x " * (size // 2) + secret + " y" * 5_000)
        assert len(found) == 1 and found[0].end == size + len(secret) - secret.endswith('"')


@pytest.mark.parametrize(
    "text",
    [
        "HF_TOKEN: required; password: see the docs; f(API_KEY=my_api_key, KEY=read_key())",
        "MAX_TOKENS=4096abc CACHE_KEY=sha256of TOKENIZER=llama3x",
        "sha256:" + "0123456789abcdef" * 4 + " git 6cc637cdeadbeef0123456789abcdef012345678",
        "a9f1c2d3-0000-4111-8222-123456789abc seed = 8675309123456789 10.1.2.3 8.8.8.8",
        "vllm serve meta-llama/Llama-3.1-8B-Instruct --api-key $API_KEY --max-num-seqs 256",
        "api_key = os.environ['OPENAI_API_KEY']; token = get_token(); secret_name = 'my-secret-name-1'",
        'password="${PASSWORD}", api_key="EMPTY", client_secret="secret://tune-keys/api", secret_key="<your key>"',
        'model_key = "Qwen/Qwen3-8B"; api_key="sk-no-key-required"; password = "[redacted: Secret Keyword]"',
        "postgresql://me:***@host/db http://127.0.0.1:8000/v1/@scope/x http://$HOST:$PORT/x@y https://u:${PW}@h",
        "docker://host:5000/image@sha256:" + "0123456789abcdef" * 4,
        " APARTMENTS scikit sk-learn-contrib-something risk-assessment-of-many-things",
        "begins with -----BEGIN " + "PRIVATE KEY-----, as such files do",
        "data:image/png;base64," + base64.b64encode(bytes(range(256))).decode(),
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_a_private_key_without_an_end_goes_up_to_the_next_one_or_the_end_of_the_text() -> None:
    assert redact(f"a {KEY[:90]}") == f"a {REDACTED}"
    assert redact(f"a {KEY[:90]}{KEY} b {KEY[:90]}") == f"a {REDACTED * 2} b {REDACTED}"


@pytest.mark.parametrize(
    ("names", "secret"),
    [
        ("api_key DB_PASS GITHUB_PAT SESSION_COOKIE pw AUTH_HEADER hf-token secretKeyBase dbpassword", True),
        ("ENGINE_KEY HF_TOKEN_2 apiKey client_secret OPENAI_API_KEY_PROD AUTHORIZATION api-keys", True),
        ("max_tokens stop_token token_budget password_file secretName cache_key COMPASS file_pat path", False),
        ("author api_key_env tokenizer monkey key num_tokens SORT_KEY", False),
    ],
)
def test_a_name_says_whether_it_names_a_secret(names: str, secret: bool) -> None:
    for name in names.split():
        assert says_secret(name) is secret, name
        assert bool(list(literal_secrets({"engine": {"env": {name: "canary0f3a9c7b1d5e"}}}))) is secret, name


@given(st.lists(st.sampled_from([*CANARIES.values(), *(a.format(s) for a, s in INSIDE)]) | st.text(max_size=12)))
def test_redacting_twice_is_redacting_once(pieces: list[str]) -> None:
    once = redact("\n".join(pieces))
    assert redact(once) == once


@pytest.mark.parametrize(
    "text", ["A" * 30 + "\n", "http://a:b", "` password ", "password", "aws key ", "//x ", "A" * 9, "eyJ", 'key="']
)
def test_no_text_makes_it_slow(text: str) -> None:
    require_linear(lambda size: redact(text * (size // len(text))), 20_000)


def test_warnings_are_still_shown_after_the_plugins_were_imported() -> None:
    code = "import warnings; from autotune_nb.secrets.detectors import find_secrets; "
    code += "find_secrets('password = \"Tr0ub4dor\"'); warnings.warn('still shown')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "still shown" in done.stderr
