"""Credentials: plugins that give none are one error in their own words; proxies are chosen as kubectl does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import POD
from autotune_nb.errors import ClusterError
from tests.stubs import in_loop

VERSION = "client.authentication.k8s.io/v1beta1"
TOKEN = f'{{"apiVersion": "{VERSION}", "kind": "ExecCredential", "status": {{"token": "of-the-plugin"}}}}'


def kubeconfig_with(folder: Path, server: str = "https://127.0.0.1:9", **plugin: Any) -> str:
    file = folder / "kubeconfig"
    user = {"exec": {"apiVersion": VERSION, **plugin}} if plugin else {"token": "t"}
    data = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": user}],
    }
    file.write_text(yaml.safe_dump(data))
    return str(file)


def python(code: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-I", "-S", "-c", code]}


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        (
            {"command": "aws-not-here", "installHint": "install aws-cli"},
            r"'aws-not-here'.*No such file.*install aws-cli",
        ),
        (
            python("import sys; sys.exit('the session has expired, run sso login')"),
            "exit code 1: the session has expired",
        ),
        (python("input()"), "exit code 1.*EOFError"),
        (python("print('Password:')"), "no ExecCredential"),
        (python(f"print('{TOKEN.replace('token', 'other')}')"), "neither a token nor a client certificate"),
        (python(f"print('{TOKEN.replace('v1beta1', 'v1')}')"), "apiVersion"),
    ],
)
def test_a_plugin_without_credentials_is_an_error_in_its_own_words(
    tmp_path: Path, plugin: dict[str, Any], told: str
) -> None:
    with pytest.raises(ClusterError, match=told):
        in_loop(Cluster.connect(kubeconfig=kubeconfig_with(tmp_path, **plugin), notify=lambda _text: None))


def test_the_messages_of_a_plugin_are_passed_on_and_its_token_is_used(tmp_path: Path) -> None:
    code = f"import sys; sys.stderr.write('open https://login to log in\\n'); print('{TOKEN}')"
    told: list[str] = []

    async def header() -> str:
        cluster = await Cluster.connect(kubeconfig=kubeconfig_with(tmp_path, **python(code)), notify=told.append)
        _, _, headers, _, _ = await cluster._api.param_serialize("GET", "/", auth_settings=["BearerToken"])
        await cluster.close()
        return str(headers["authorization"])

    assert in_loop(header()) == "Bearer of-the-plugin"
    assert told == [f"{sys.executable}: open https://login to log in"]


def test_a_plugin_that_waits_for_ever_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune_nb.cluster._credential_plugin._PLUGIN_S", 0.5)
    plugin = python("import sys, time; sys.stderr.write('waiting for you\\n'); sys.stderr.flush(); time.sleep(600)")
    with pytest.raises(ClusterError, match="did not end within"):
        in_loop(Cluster.connect(kubeconfig=kubeconfig_with(tmp_path, **plugin), notify=lambda _text: None))


@pytest.mark.parametrize(
    ("server", "no_proxy", "proxied"),
    [
        ("https://10.1.2.3:6443", "", True),
        ("https://10.1.2.3:6443", "10.0.0.0/8", False),
        ("https://11.1.2.3:6443", "10.0.0.0/8", True),
        ("https://10.1.2.3:6443", "10.1.2.3:6443", False),
        ("https://10.1.2.3:6443", "10.1.2.3:443", True),
        ("https://[fd00::1]:6443", "fd00::/8", False),
        ("https://api.example.org", "example.org", False),
        ("https://api.example.org", ".example.org", False),
        ("https://example.org", ".example.org", True),
        ("https://badexample.org", "example.org", True),
        ("https://api.example.org", "a.b, *", False),
        ("https://127.0.0.1:6443", "", False),
    ],
)
def test_no_proxy_is_read_as_kubectl_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, no_proxy: str, proxied: bool
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)

    async def proxy() -> str | None:
        cluster = await Cluster.connect(kubeconfig=kubeconfig_with(tmp_path, server))
        await cluster.close()
        found: str | None = cluster._api.configuration.proxy
        return found

    assert in_loop(proxy()) == ("http://me:pass@proxy.example:3128" if proxied else None)


def test_an_error_names_the_proxy_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass@127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def scenario() -> None:
        cluster = await Cluster.connect(kubeconfig=kubeconfig_with(tmp_path, "https://10.1.2.3:6443"))
        cluster.patience_s = 0.0
        try:
            await cluster.list(POD)
        finally:
            await cluster.close()

    with pytest.raises(ClusterError, match=r"10\.1\.2\.3:6443 \(through the proxy http://127\.0\.0\.1:9\)") as caught:
        in_loop(scenario())
    assert "pass" not in str(caught.value)
