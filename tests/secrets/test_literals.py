"""Secrets in code, JSON and reprs, told by the name before them, the call around them, the column above them."""

from __future__ import annotations

import base64
import json
import pprint

import pytest

from autotune_nb.secrets.redaction import Redactor, redact_data

REDACTOR = Redactor({})
GONE = "[redacted: password or key]"
CODE = [
    "requests.get(url, auth=('ada', '{}'))",
    'httpx.Client(auth=("ada", "{}"))',
    "requests.get(\n    url,\n    auth=(\n        'ada',\n        '{}',\n    ),\n)",
    "session.auth = ('ada', '{}')",
    "requests.get(url, auth=(USER, '{}'))",
    "Elasticsearch(url, basic_auth=['ada', '{}'])",
    "aiohttp.BasicAuth('ada', '{}')",
    "HTTPBasicAuth(user, '{}')",
    "httpx.DigestAuth(username='ada', password='{}')",
    "psycopg.connect(host='h', user='ada', password='{}')",
    "smtp.login('ada', '{}')",
    "SecretStr('{}')",
    "password: str = '{}'",
    "password = r'{}'",
    'password = """{}"""',
    "password = ('{}')",
    "(password := '{}')",
    "user, password = 'ada', '{}'",
    "os.environ['DB_PASSWORD'] = '{}'",
    "monkeypatch.setenv('DB_PASSWORD', '{}')",
    "os.getenv('DB_PASSWORD', '{}')",
    "wandb.login(key='{}')",
    "client.V1Secret(metadata=m, string_data={{'anything': '{}'}})",
    "df = pd.DataFrame([['ada', '{}']], columns=['user', 'password'])",
    "environ({{'HF_TOKEN': '{}', 'PATH': '/usr/bin'}})",
    "[{{'value': '{}', 'name': 'HF_TOKEN'}}]",
    '{{"key": "password", "value": "{}"}}',
    "<span>auth</span><span>=</span>(<span>&#39;ada&#39;</span>, <span>&#39;{}&#39;</span>)",
    "\x1b[32mauth\x1b[39m=(\x1b[33m'ada'\x1b[39m, \x1b[33m'{}'\x1b[39m)",
]


#: What is set in an environment may be a sentence.
IN_THEIR_PLACES = [
    (code, secret)
    for code in CODE
    for secret in ("hunter2", "correcthorse", "two words")
    if not ("setenv" in code and " " in secret)
]


@pytest.mark.parametrize(("code", "secret"), IN_THEIR_PLACES)
def test_a_string_in_a_secrets_place_goes_and_the_rest_stays(code: str, secret: str) -> None:
    told = REDACTOR.redact(code.format(secret))
    assert secret not in told.text
    assert told.text.replace("[redacted: token]", GONE) == code.format(GONE)


@pytest.mark.parametrize("secret", ["pw", "x", "hunter2"])
def test_of_a_user_and_a_password_even_two_letters_are_one(secret: str) -> None:
    assert REDACTOR.redact(f"get(u, auth=('ada', '{secret}'))").text == f"get(u, auth=('ada', '{GONE}'))"


SECRET = {"apiVersion": "v1", "data": {"any.thing": "aHVudGVyMg=="}, "kind": "Secret", "metadata": {"name": "keys"}}


@pytest.mark.parametrize("write", [json.dumps, repr, pprint.pformat, lambda data: json.dumps(json.dumps(data))])
def test_all_of_a_secrets_data_goes_and_a_config_maps_stays(write: object) -> None:
    assert callable(write)
    told = REDACTOR.redact(write(SECRET)).text
    assert "aHVudGVyMg" not in told and "keys" in told and "any.thing" in told
    plain = write({**SECRET, "kind": "ConfigMap"})
    assert REDACTOR.redact(plain).text == plain


def test_a_manifest_in_yaml() -> None:
    values = '  anything: aHVudGVyMg==\n  quoted: "hunter2"\n  block: |\n    user=ada\n    hunter2\n'
    for field in ("data", "stringData"):
        for text in (
            f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: keys\n{field}:\n{values}type: Opaque\n",
            f"apiVersion: v1\n{field}:\n{values}kind: Secret\nmetadata:\n  name: keys\n",
        ):
            told = REDACTOR.redact(text).text
            assert not any(secret in told for secret in ("hunter2", "aHVudGVyMg", "user=ada"))
            assert "name: keys" in told and "anything:" in told and told.count("\n") == text.count("\n")
            plain = text.replace("Secret", "ConfigMap").replace("hunter2", "plain")
            assert REDACTOR.redact(plain).text == plain
    first = "env:\n- value: hunter2\n  name: DB_PASSWORD\n- value: hunter2\n  name: SIZE\n"
    assert REDACTOR.redact(first).text == first.replace("hunter2", GONE, 1)


def test_json_in_json_in_json_and_what_nobody_sees() -> None:
    nested: object = {"password": "hunter2"}
    for _ in range(4):
        nested = json.dumps(nested)
    for text in (
        nested,
        "pass\u200bword: hunter2",
        "password: hun\u00adter2",
        "pw = \u201chunter2\u201d",
        "\uff50\uff41\uff53\uff53word: hunter2",
    ):
        told = REDACTOR.redact(str(text)).text
        assert GONE in told and "ter2" not in told
    for form in ("&#{};", "&#{}", "&#{:08d};", "&#x{:x};"):
        written = "password: " + "".join(form.format(ord(letter)) for letter in "hunter2")
        assert REDACTOR.redact(written).text.rstrip(";") == f"password: {GONE}"
    wide = base64.b64encode("password: hunter2".encode("utf-16-le")).decode()
    assert wide not in REDACTOR.redact(wide).text


def test_a_service_account_and_a_registrys_login() -> None:
    login = base64.b64encode(b"ada:hunter2").decode()
    config = json.dumps({"auths": {"ghcr.io": {"auth": login}}})
    assert login not in REDACTOR.redact(config).text
    assert "hunter2" not in REDACTOR.redact(f"<password>hunter2</password> {config}").text
    account = {"type": "service_account", "private_key_id": "0123456789abcdef" * 2, "client_email": "a@b"}
    assert redact_data(account).data == {**account, "private_key_id": GONE}


def test_a_tokenizers_tokens_stay_and_what_one_signs_in_with_goes() -> None:
    data = {"token": "World2", "draft_token": "abc123", "hf_token": "abc123", "max_tokens": "512"}
    assert redact_data(data).data == {**data, "hf_token": "[redacted: token]"}
