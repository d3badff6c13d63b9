"""What is a secret and what is none, however it is written."""

from __future__ import annotations

import base64
import html
import json
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.secrets.plain import plain_secrets
from autotune_nb.secrets.redaction import Redactor, redact, redact_data
from tests.stubs import require_linear

ROOT = Path(__file__).parent.parent.parent
# Put together here, so that no scanner takes this file for a leak.
GITHUB = "ghp_" + "a1B2" * 9
HUGGING_FACE = "hf_" + "aB3d" * 8
AWS = "AKIA" + "Q3EXAMPL" * 2
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIEpAIB1x" * 12 + "\n-----END RSA " + "PRIVATE KEY-----"
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"HS256"}', b'{"sub":"me"}', b"x" * 30)
)

VALUE = "an&odd value/9%7x"
REDACTOR = Redactor({"HF_TOKEN": VALUE, "HOME": "/srv/people/ada", "MAX_TOKENS": "4096000000", "SSH_KEY": "/etc/a.key"})

CANARIES = {
    "GitHub token": GITHUB,
    "Hugging Face token": HUGGING_FACE,
    "AWS key": AWS,
    "GitLab token": "glpat-" + "a1B2" * 5,
    "Slack token": "xox" + "b-1234567890-1234567890-" + "aB3d" * 6,
    "Stripe key": "sk_li" + "ve_" + "aB3d" * 7,
    "OpenAI or like key": "sk-" + "proj-" + "aB3d_" * 8,
    "NVIDIA key": "nvapi-" + "aB3d-" * 8,
    "Google key": "AIza" + "aB3d5" * 7,
    "JSON web token": JWT,
    "private key": KEY,
}
INSIDE = [
    ("https://me:{}@host/db", "pa55word1", "password in a URL"),
    ("postgresql://u:{}@h/x", "p@ssw0rdX9", "password in a URL"),
    ("postgresql://u:{}@h/x?a=b", "ab/SECRET", "password in a URL"),
    ("redis://:{}@host", "s3cretPw77", "password in a URL"),
    ("https://{}@host/x", "aB3dE5fG7hJ9kL1mN3", "token in a URL"),
    ('{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}', "YWRhOmh1bnRlcjIyMjI=", "password or key"),
    ("machine h login ada password {}", "correcthorse", "password or key"),
    ("machine h\n  login ada\n  password {}\n", "correcthorse", "password or key"),
    ("login ada\npassword {}\n", "hunter2222", "password or key"),
    ("curl -s -u ada:{} https://host/x", "correcthorse", "password in a command line"),
    ("<td>api_key</td> <td><code>{}</code></td>", "correcthorse", "password or key"),
    ("wget --user bob:{}", "hunter2222", "password in a command line"),
    ("['--user', 'bob:{}']", "hunter2222", "password in a command line"),
    ("<tr><th>password</th><td>{}</td></tr>", "correcthorse", "password or key"),
    ('<input type="text" name="password" value="{}">', "correcthorse", "password or key"),
    ("<input value={} name=api_key>", "correcthorse", "password or key"),
    ('pw="{}"', "correcthorse", "password or key"),
    ("export GITHUB_PAT={}", "hunter2222", "password or key"),
    ("SESSION_COOKIE='{}'", "hunter2222", "password or key"),
    ("https://b.s3.example/x?X-Amz-Signature={}&X-Amz-Date=2026", "abcdef0123", "signature in a URL"),
    ("https://b.example/x?a=b&X-Goog-Signature={}", "abcdef0123", "signature in a URL"),
    ("https://a.blob.example/x?sv=2024&sig={}", "aB3%2Fd%3D", "signature in a URL"),
    ("http://127.0.0.1:8888/lab?token={}", "0123456789abcdef", "signature in a URL"),
    ("Authorization: Bearer {}", "abcd-efgh-ijkl", "authorization header"),
    ("{{'Authorization': 'Basic {}'}}", "bWU6eW91Cg==", "authorization header"),
    ("x-api-key: {}", "aB3dEf6h", "key in a header"),
    ("server --api-key {} --port 80", "aB3dEf6h", "key in a command line"),
    ("['--api-key', '{}']", "aB3dEf6h", "key in a command line"),
    ('password = "{}"', "hunter2222", "password or key"),
    ("    password: {}", "hunter2222", "password or key"),
    ("os.environ['HF_TOKEN'] = '{}'", "abcdefgh", "password or key"),
    ("export WANDB_API_KEY={}", "0123456789abcdef0123456789abcdef01234567", "password or key"),
    ("- name: HF_TOKEN\n  value: {}", "abcdefgh", "password or key"),
    ("    client-key-data: {}", "TFMwdExTMUNSVWRKVGlC", "kubeconfig content"),
    ('{{"certificate-authority-data": "{}"}}', "TFMwdExTMUNSVWRKVGlC", "kubeconfig content"),
    ("https://objectstorage.x.example/p/{}/n/ns/b/bucket/o/file", "aB3d" * 8, "signature in a URL"),
    ("https://x.oss.example/o?OSSAccessKeyId={}&Expires=1", "LTAI5tCanary1234", "signature in a URL"),
    ("https://x.oss.example/o?x-oss-date=1&x-oss-signature={}", "abcdef0123", "signature in a URL"),
    ("https://x.oss.example/o?x-oss-credential={}&x=1", "LTAI5t%2F2026%2Foss", "signature in a URL"),
    ("https://b.cos.example/o?q-sign-algorithm=sha1&q-signature={}", "abcdef0123", "signature in a URL"),
    ("https://b.cos.example/o?q-sign-algorithm=sha1&q-ak={}", "AKIDcanary123", "signature in a URL"),
    ("https://d.cdn.example/x?Policy={}&a=b", "eyJTdGF0ZW1lbnQiOlt7_~", "signature in a URL"),
    ("https://d.cdn.example/x?a=b&Key-Pair-Id={}", "K2JCJMDEHXQW5F", "signature in a URL"),
    ("TC3-HMAC-SHA256 SignedHeaders=host, Signature={}", "0123abcd" * 8, "signature in a URL"),
    ("ENGINE_KEY={}", "canary-0f3a9c", "password or key"),
    ("export DB_PASS='{}'", "canary-0f3a9c", "password or key"),
    ("AUTH_HEADER: {}", "canary-0f3a9c", "password or key"),
    ("SECRET_KEY_BASE={}", "canary-0f3a9c", "password or key"),
    ("server --api-key {}", "correcthorsebattery", "key in a command line"),
    ("server --api-key {} --port 80", "correcthorsebattery", "key in a command line"),
    ("server --password '{}' 80", "correcthorsebattery", "key in a command line"),
    ("env:\n  HF_TOKEN: {}\n  A: b", "correcthorsebattery", "password or key"),
    ("docker run -e HF_TOKEN={} image", "correcthorsebattery", "password or key"),
    ("{{'token': '{}'}}", "abcd1234efgh5678ijkl", "token"),
    ("    id-token: {}", "abcd1234efgh5678ijkl", "kubeconfig content"),
]


@pytest.mark.parametrize(("kind", "secret"), CANARIES.items(), ids=CANARIES)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "see {} there",
        "'{}'",
        "a\n{}\nb",
        "{{'a': '{}'}}",
        "密钥 {} 🔑 مفتاح {} end",
        "<td>{}</td><td>12</td>",
    ],
)
def test_a_secret_goes_and_all_else_stays(kind: str, secret: str, around: str) -> None:
    told = REDACTOR.redact(around.format(*[secret] * 2))
    assert told.text == around.format(*[f"[redacted: {kind}]"] * 2)
    assert [name for name, _ in told.found] == [kind]
    assert told.unclean == ()


@pytest.mark.parametrize(("around", "secret", "kind"), INSIDE)
def test_what_stands_in_a_telling_place_goes(around: str, secret: str, kind: str) -> None:
    assert REDACTOR.redact(around.format(secret)).text == around.format(f"[redacted: {kind}]")


@pytest.mark.parametrize(
    "written",
    [
        html.escape(VALUE),
        html.escape(html.escape(VALUE)),
        quote(VALUE, safe=""),
        quote(quote(VALUE, safe=""), safe=""),
        json.dumps(json.dumps(VALUE)),
        "".join(f"\\u{ord(letter):04x}" for letter in VALUE),
        f"{html.escape(VALUE[:5])}<span class='x'>{html.escape(VALUE[5:])}</span>",
        f"{VALUE[:7]}\x1b[0m\x1b[1;31m{VALUE[7:]}\x1b[0m",
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(b"user:" + VALUE.encode() + b"!").decode(),
        base64.b64encode(b"a longer text around it " + VALUE.encode()).decode(),
    ],
)
def test_the_environments_secrets_go_however_they_are_written(written: str) -> None:
    told = REDACTOR.redact(f"before {written} after")
    assert [kind for kind, _ in told.found] == ["environment variable's value"]
    assert VALUE[:5] not in told.text and VALUE[8:] not in told.text
    assert told.text.startswith("before ") and told.text.endswith(" after")


def test_a_tables_column_of_secrets_goes_and_the_others_stay() -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {"host": ["a1b2c3", "long-name-7"], "api_key": ["cAnary0f3a", "x9-other-77"], "size": [7, 12345]}
    )
    named = frame.rename_axis("row")
    for written in (
        named.to_html(),
        named.to_string(),
        frame.to_html(),
        frame.to_string(),
        frame.to_string(index=False),
        frame.to_html(index=False),
    ):
        told = REDACTOR.redact(written)
        clean = written
        for secret in frame["api_key"]:
            clean = clean.replace(secret, "[redacted: password or key]")
        assert told.text == clean
    plain = pd.DataFrame({"token_budget": ["x1y2z3w4"], "output_tokens": [12], "token": ["None"], "key": ["a1b2c3"]})
    for written in (plain.to_html(), plain.to_string()):
        assert REDACTOR.redact(written).text == written


def wrapped(content: bytes, width: int, before: str = "") -> str:
    coded = base64.b64encode(content).decode()
    return ("\n" + before).join(coded[at : at + width] for at in range(0, len(coded), width))


CONFIG = (
    "apiVersion: v1\nkind: Config\nclusters: []\nusers:\n- name: ada\n  user:\n    token: " + "abcd1234efgh" * 3 + "\n"
)


@pytest.mark.parametrize(
    "content", [KEY + "\n", CONFIG, "x" * 50 + VALUE + "x" * 50, KEY[:200]], ids=["key", "config", "value", "torn"]
)
@pytest.mark.parametrize(
    "around", ["client-key-data: >-\n      {}\nusers: []", "$ base64 file\n{}\ndone here", "{}", "x='{}'"]
)
def test_base64_over_several_lines_is_looked_at_as_one(content: str, around: str) -> None:
    for width in (64, 76):
        lines = wrapped(content.encode(), width, "      " if "data" in around else "")
        for written in (lines, lines.replace("\n", "\\n")):
            told = REDACTOR.redact(around.format(written))
            assert told.text.count("[redacted: ") == 1, told.text
            assert not any(line.strip() in told.text for line in lines.splitlines())
            assert told.text.startswith(around.partition("{}")[0]) or "data" in around
            assert told.text.endswith(around.partition("{}")[2])


def test_folded_certificates_go_whole_and_other_lines_of_base64_stay() -> None:
    lines = wrapped(b"-----BEGIN CERTIFICATE-----" + b"MIIB" * 60, 64, "      ")
    told = REDACTOR.redact(f"client-certificate-data: >-\n      {lines}\n    name: x")
    assert told.text == "client-certificate-data: >-\n      [redacted: kubeconfig content]\n    name: x"
    plain = wrapped(bytes(range(256)) * 4, 76) + "\n" + wrapped(b"nothing to see here, move on " * 20, 64)
    assert REDACTOR.redact(plain).text == plain


def test_codes_and_tags_within_a_secret_stay() -> None:
    told = REDACTOR.redact(
        f"<b>{GITHUB[:9]}</b><i>{GITHUB[9:]}</i> \x1b[31m{HUGGING_FACE[:9]}\x1b[0m{HUGGING_FACE[9:]}"
    )
    assert told.text == "<b>[redacted: GitHub token]</b><i></i> \x1b[31m[redacted: Hugging Face token]\x1b[0m"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/ada/models/x.gguf", "~/models/x.gguf"),
        ("/Users/ada", "~"),
        ("/root/.cache and /root.", "~/.cache and ~."),
        ("C:\\Users\\Ada Love\\x", "~\\x"),
        ("'C:\\\\Users\\\\ada\\\\x'", "'~\\\\x'"),
        ("file:///home/ada/x", "file://~/x"),
        ("%2Fhome%2Fada%2Fx", "~%2Fx"),
        ("/srv/people/ada/runs", "~/runs"),
        ("/export/home/ada/x", "~/x"),
        ("/mnt/home/ada", "~"),
        ("/mnt/data/home/ada/x", "~/x"),
        ("/home2/ada/x", "~/x"),
        ("/gpfs/users/ada/x", "~/x"),
        ("C:\\Users\\ada", "~"),
        ("/mnt/c/Users/ada/x", "~/x"),
    ],
)
def test_home_folders_become_a_tilde_and_the_rest_of_the_path_stays(text: str, clean: str) -> None:
    told = REDACTOR.redact(text)
    assert told.text == clean
    assert told.found[0][0] == "home folder"


PLAIN = [
    "HF_TOKEN: required; HF_TOKEN: is what a gated model needs\nHF_TOKEN = load_token",
    "f(API_KEY=my_api_key, KEY=read_key(), API_KEY=read_key())",
    "compare --api-key handling and --token streaming; GET /users/login, /p/short/n/, ?policy=default&sign=$SIGN",
    "MAX_TOKENS=4096abc CACHE_KEY=sha256of TOKENIZER=llama3x PASSWORD_POLICY=strict9 MONKEY=banana7",
    "/rootfs /homepage /data/home/x https://example.org/home/x /home/ /srv/people/adam root/x",
    "sha256:" + "0123456789abcdef" * 4,
    "git 6cc637cdeadbeef0123456789abcdef012345678",
    "seed = 8675309123456789",
    "a9f1c2d3-0000-4111-8222-123456789abc",
    ".venv/bin/python -m server --model runs/quickstart/model/model.gguf --alias random-llama --port 8080",
    "vllm serve meta-llama/Llama-3.1-8B-Instruct --api-key $API_KEY --tokenizer meta-llama/Llama --max-num-seqs 256",
    "output_tokens_per_s = 171.8 tokens/s, max_tokens=4096, num_tokens: 123456789, tokenizer=hf-internal-testing/llama",
    "password=None; api_key = os.environ['OPENAI_API_KEY']; token = get_token(); secret_name = 'my-secret-name-1'",
    'api_key_env = "OPENAI_API_KEY"; {"secretName": "model-access-1"}; password_file: /etc/x1',
    "postgresql://me:***@host/db?password=***",
    "http://127.0.0.1:8000/v1/@scope/x ssh://git@host:22/x https://jane.doe.of.house1@host http://$HOST:$PORT/x@y",
    "docker://host:5000/image@sha256:" + "0123456789abcdef" * 4,
    "rsync -u host:dir1/x2 y; docker run -u 1000:1000 --user appuser:appgroup x; password protection;",
    "login with password protection, cookie: no",
    'auth="oauth", FILE_PAT="x1y2z3w4", "pattern": "abc1defg2", LD_LIBRARY_PATH=lib64x1 <th>password</th><td>None</td>',
    "def f():\n    return token\n    return load4xy\n    password\n    camelCase7\n\nthe  token\nor8  this9",
    "scikit sk-learn-contrib-something risk-assessment-of-many-things-2026",
    "basic authentication, bearer tokens in headers, a token: something-of-the-kind",
    "begins with -----BEGIN " + "PRIVATE KEY-----, as such files do",
    "data:image/png;base64," + base64.b64encode(bytes(range(256))).decode(),
    "100%25 &amp; \\n <b>bold</b> 🎉 שלום مرحبا 你好 <script>alert(1)</script>",
]


@pytest.mark.parametrize(
    "text",
    [
        'model_key = "Qwen/Qwen3-8B"',
        "model_key=Qwen/Qwen3-8B",
        '{"model_key": "Qwen/Qwen3-8B"}',
        "engine_key: llama.cpp",
        'OpenAI(base_url="x", api_key="not-needed")',
        'OpenAI(base_url="x", api_key="sk-no-key-required")',
        'api_key="ollama"',
        '"api_key": "secret://tune-keys/api"',
        'p.add_argument("--password", required=True)',
        'p.add_argument("--api-key", default=None, metavar="KEY")',
        '@click.option("--token", envvar="HF_TOKEN")',
        "| secret | namespace |\n|---|---|\n",
    ],
)
def test_names_stand_ins_and_options_are_no_secrets(text: str) -> None:
    assert REDACTOR.redact(text).text == text


def test_a_token_of_letters_alone_is_one() -> None:
    assert REDACTOR.redact(f"the key {'hf_' + 'abcdeFghij' * 3 + 'abcd'} works").found == (("Hugging Face token", 1),)


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert REDACTOR.redact(text).text == text


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "notebooks", "autotune_nb/engines"])
def test_what_this_repository_says_stays(file: str) -> None:
    path = ROOT / file
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.suffix in (".py", ".ipynb", ".yaml")]
    assert files
    for each in files:
        text = each.read_text(encoding="utf-8")
        assert Redactor({}).redact(text).text == text, each


def test_a_private_key_without_its_end_is_named_and_left_to_the_caller() -> None:
    for text in (KEY[:90], KEY[:90].replace("\n", "\\n"), KEY[:90].replace("\n", "\x1b[0m\n")):
        assert REDACTOR.redact(text).unclean == ("a private key whose end is missing",)


def test_a_page_in_a_data_uri_is_cleaned_and_encoded_again() -> None:
    def uri(text: str) -> str:
        return f'<img src="data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"/>'

    assert REDACTOR.redact(uri(f"<svg>{GITHUB} ü</svg>")).text == uri("<svg>[redacted: GitHub token] ü</svg>")
    assert REDACTOR.redact(uri("<svg> ü </svg>")).text == uri("<svg> ü </svg>")
    assert REDACTOR.redact("data:application/pdf;base64,JVBERi0x").unclean != ()
    note = base64.b64encode(b"\x89PNG\0\0Title\0" + GITHUB.encode() + b"\0\xff").decode()
    assert "GitHub token" in REDACTOR.redact(f"data:image/png;base64,{note}").unclean[0]


def test_json_goes_by_its_keys_too() -> None:
    data = {
        "api_key": "hunter22",
        "nested": [{"name": "HF_TOKEN", "value": "abcdefg1"}, {"name": "SIZE", "value": "abcdefg1"}],
        "user": {"token": "abcd1234efgh5678ijkl", "client-key-data": "TFMwdExTMUNS"},
        "logprobs": [{"token": " Hello"}],
        f"key {GITHUB}": 1,
        "kind": "Secret",
        "data": {"anything": "c2VjcmV0IHZhbHVl"},
        "none": [None, 1.5, True, "plain", []],
    }
    told = redact_data(data)
    assert told.data == {
        "api_key": "[redacted: password or key]",
        "nested": [{"name": "HF_TOKEN", "value": "[redacted: token]"}, {"name": "SIZE", "value": "abcdefg1"}],
        "user": {"token": "[redacted: token]", "client-key-data": "[redacted: kubeconfig content]"},
        "logprobs": [{"token": " Hello"}],
        "key [redacted: GitHub token]": 1,
        "kind": "Secret",
        "data": {"anything": "[redacted: password or key]"},
        "none": [None, 1.5, True, "plain", []],
    }
    assert redact_data(told.data).data == told.data
    assert redact_data(told.data).found == ()


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *(
            (name, True)
            for name in (
                "api_key",
                "DB_PASS",
                "GITHUB_PAT",
                "SESSION_COOKIE",
                "pw",
                "AUTH_HEADER",
                "hf-token",
                "secretKeyBase",
                "dbpassword",
            )
        ),
        *((name, True) for name in ("ENGINE_KEY", "HF_TOKEN_2", "apiKey", "client_secret", "OPENAI_API_KEY_PROD")),
        *((name, True) for name in ("contraseña", "AUTHORIZATION", "api-keys")),
        *((name, False) for name in ("max_tokens", "stop_token", "token_budget", "password_file", "secretName")),
        *(
            (name, False)
            for name in (
                "cache_key",
                "COMPASS",
                "file_pat",
                "path",
                "author",
                "api_key_env",
                "tokenizer",
                "monkey",
                "key",
            )
        ),
    ],
)
def test_the_tasks_check_and_share_have_one_notion_of_a_secrets_name(name: str, secret: bool) -> None:
    value = "canary0f3a9c7b1d5e"
    assert bool(list(plain_secrets({"engine": {"env": {name: value}}}))) is secret
    assert (redact_data({name: value}).data != {name: value}) is secret


PIECES = st.sampled_from(
    [
        *CANARIES.values(),
        VALUE,
        KEY[:80],
        *(around.format(secret) for around, secret, _ in INSIDE),
        *PLAIN,
        "\n",
        '"',
        "=",
    ]
)


@given(st.lists(PIECES | st.text(max_size=12), max_size=8))
def test_redacting_twice_is_redacting_once(pieces: list[str]) -> None:
    once = REDACTOR.redact("".join(pieces))
    assert Redactor({"HF_TOKEN": VALUE, "HOME": "/srv/people/ada"}).redact(once.text).text == once.text


@given(st.text(st.characters(exclude_characters="/\\:=-&%", exclude_categories=["Nd", "Cs"]), max_size=200))
def test_text_without_secrets_stays(text: str) -> None:
    assert REDACTOR.redact(text).text == text


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_token_is_found_in_whatever_text(before: str, after: str) -> None:
    assert GITHUB not in REDACTOR.redact(f"{before} {GITHUB} {after}").text


def test_this_processs_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "wholly-odd-words")
    assert redact("x wholly-odd-words y").text == "x [redacted: environment variable's value] y"


def test_a_short_secret_of_the_environment_goes_in_base64_too() -> None:
    short = Redactor({"A_PASSWORD": "s3cret_x9"})
    for written in ("s3cret_x9", base64.b64encode(b"s3cret_x9").decode()):
        assert short.redact(written).text == "[redacted: environment variable's value]"


def test_many_threads_at_once() -> None:
    told: list[str] = []
    threads = [threading.Thread(target=lambda: told.append(redact(f"a {GITHUB}").text)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["a [redacted: GitHub token]"] * 8


@pytest.mark.parametrize(
    "text",
    [
        "A" * 30 + "\n",
        "http://a:b",
        "<table>",
        "<table><tr><th>key</th>",
        "<td>a ",
        "<input name=a ",
        "curl -u a ",
        "machine a password ",
        "key  pw\n",
        "` password ",
        "aws key ",
        "//x ",
        "A" * 9,
        "token ",
        '"x" ',
        "&lt;<b>",
        "%41\\n",
        "key: a",
    ],
)
def test_no_text_makes_it_slow(text: str) -> None:
    require_linear(lambda size: REDACTOR.redact(text * (size // len(text))), 20_000)
