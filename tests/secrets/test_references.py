"""A task names secrets; one that stands there itself is refused, and never repeated."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.secrets.references import command_text, environment_words, resolved, secret_of, variables_in
from autotune_nb.secrets.scrubbing import know
from autotune_nb.task.file import parse_task, problems, save_task
from autotune_nb.task.secret_names import referred
from autotune_nb.task.sections import EngineSpec
from autotune_nb.task.task import Task

CANARY = "canary" + "0f3a9c7b1d5e"
HUB = "hf_" + "aB3dE5" * 6
KNOWN = "a-value-of-the-environment-7c"


def with_(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *inner, last = path.split(".")
    found = data
    for key in inner:
        if isinstance(found.get(key), str):
            found[key] = {"kind" if key == "engine" else "id_or_path": found[key]}
        found = found.setdefault(key, {})
    found[last] = value
    return data


PLAIN = [
    ("engine.env", {"HF_TOKEN": CANARY}),
    ("engine.args", {"api_key": CANARY}),
    ("engine.args", {"hf_token": 12345678}),
    ("engine.raw_args", ["--api-key", CANARY]),
    ("engine.raw_args", [f"--api-key={CANARY}"]),
    ("engine.command", f"server --port {{port}} --api-key {CANARY}"),
    ("benchmark.api_key", CANARY),
    ("benchmark.pod", {"env": [{"name": "HF_TOKEN", "value": CANARY}]}),
    ("parameters.api_key", {"values": [CANARY, "EMPTY"]}),
    ("workload.request_params", {"password": CANARY}),
    ("description", f"runs with {HUB}"),
    ("engine.env", {"HTTPS_PROXY": f"http://user:{CANARY}@proxy:3128"}),
    ("engine.env", {"STORAGE": f"AccountName=x;AccountKey={'aB3d' * 22}=="}),
    ("engine.env", f"HF_TOKEN={CANARY}"),
    ("engine.args", {"config": json.dumps({"password": CANARY})}),
    ("engine.raw_args", [f"Authorization: Bearer {CANARY}"]),
    # Beside a reference too.
    ("engine.env", {"HF_TOKEN": f"${{A}}{CANARY}"}),
    ("engine.raw_args", [f"--api-key=${{A}}{CANARY}"]),
    ("engine.env", {"DATABASE": f"postgresql://u:${{PW}}{CANARY}@host/db"}),
    ("benchmark.api_key", f"Bearer ${{A}} {CANARY}"),
    ("engine.env", {"DB_URL": f"postgresql://u:p@{CANARY}@h/x"}),
    ("engine.env", {"DB_URL": f"redis://:ab/{CANARY}@host"}),
]


@pytest.mark.parametrize(("path", "value"), PLAIN, ids=[f"{path}-{i}" for i, (path, _) in enumerate(PLAIN)])
def test_a_secrets_own_value_is_refused_and_not_repeated(task_data: dict[str, Any], path: str, value: Any) -> None:
    data = with_(task_data, path, value)
    with pytest.raises(TaskError) as error:
        parse_task(data)
    assert error.value.field.startswith(path)
    assert "${VARIABLE}" in str(error.value)
    told = [str(error.value), *(str(one) for one in problems(data))]
    assert not any(CANARY in text or HUB in text or "12345678" in text for text in told)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("engine.env", {"HF_TOKEN": "${HF_TOKEN}", "HF_HUB_TOKEN": "secret://tune/hf.token", "LD_PRELOAD": "/x/y.so"}),
        ("engine.env", {"GOOGLE_APPLICATION_CREDENTIALS": "/etc/key.json", "TOKENIZERS_PARALLELISM": "false"}),
        ("engine.args", {"api_key": "EMPTY", "ctx_size": 2048, "ssl_key_file": "/etc/x.pem"}),
        ("engine.env", {"DATABASE_URL": "postgresql://u:${PW}@host/db", "AUTH_HEADER": "Bearer ${TOKEN}"}),
        ("engine.env", {"DB_PASSWORD": "postgresql://user:${PW}@host:5432/database", "BASIC_AUTH": "${USER}:${PW}"}),
        ("engine.args", {"api_key": ["${A}", "${B}"], "password": '["${A}", "${B}"]', "token": "v1-${A}"}),
        ("engine.raw_args", ["--api-key", "${KEY}", "--api-key=${KEY}", "--verbose", "--chat-template", "chatml-long"]),
        ("workload.request_params", {"stop_token": "<|endoftext|>", "max_tokens": 123456, "min_tokens": 4096000}),
        ("description", "compare --api-key handling and --token streaming behind password protected pages"),
        ("engine.env", {"GOOGLE_APPLICATION_CREDENTIALS": "creds/sa.json", "SSL_PRIVATE_KEY": "../certs/server.key"}),
        ("engine.command", 'server --port {port} --model sk-something-long-model-name --api-key "${KEY}"'),
        ("model.id_or_path", "hf_internal_testing/tiny-random-LlamaForCausalLM"),
    ],
)
def test_names_and_what_only_sounds_like_a_secret_are_taken(
    task_data: dict[str, Any], tmp_path: Path, path: str, value: Any
) -> None:
    if path == "engine.command":
        task_data["engine"] = {"kind": "command"}
    task = parse_task(with_(task_data, path, value))
    for file in (tmp_path / "t.yaml", tmp_path / "t.json"):
        assert Task.load(save_task(task, file)) == task
    assert parse_task(json.loads(task.model_dump_json())) == task


def told_of(data: dict[str, Any]) -> list[str]:
    """What every way to make a task says of wrong data."""
    told = [str(one) for one in problems(data)]
    for make in (parse_task, lambda given: Task(**given), Task.model_validate):
        with pytest.raises((TaskError, ValidationError)) as error:
            make(data)
        told += [str(error.value), "".join(traceback.format_exception(error.value))]
    return told


def changed(**changes: Any) -> dict[str, Any]:
    return {"engine": {"kind": "llama_cpp", **changes}}


@pytest.mark.parametrize(
    "change",
    [
        changed(env={"HF_TOKEN": [CANARY]}),
        changed(raw_args=f"--api-key {CANARY}"),
        changed(kind="command", command=f"{{port}} {{x}} --api-key={CANARY}"),
        changed(**{HUB: 1}),
        {"benchmark": {"api_key": [CANARY]}},
        {HUB: 1},
        {"parameters": {"x": {"type": HUB}}},
        {"task_name": HUB, "base_runtime": 5},
        {"name": 5, **changed(env={"HF_TOKEN": CANARY})},
        # A value that the environment holds, wherever it is.
        changed(env=KNOWN),
        {"benchmark": [KNOWN]},
        {KNOWN: 1},
        {"strategy": f"tpe-{KNOWN}"},
    ],
    ids=str,
)
def test_no_error_repeats_a_secret(
    task_data: dict[str, Any], change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", KNOWN)
    know()
    told = told_of({**task_data, **change})
    assert [text for text in told if CANARY in text or HUB in text or KNOWN in text] == []


def test_an_error_still_shows_what_is_no_secret(task_data: dict[str, Any]) -> None:
    for change, shown in (
        ({"engine": "vlm"}, "'vlm'; did you mean 'vllm'"),
        ({"objective": "maximize output_token_per_s"}, "'output_token_per_s'"),
        ({"rules": ["ctx_size_v2 > tensor_parallel_size"]}, "'ctx_size_v2"),
        ({"parameters": {"speculative_ngram_v2": {"low": 5, "high": 2}}}, "parameters.speculative_ngram_v2: low 5"),
        (changed(env={"A": 1, "B": "string", "C": "engine"}), "engine.env.A: input should be a valid string, not 1"),
        ({"budget": {"trials": "manyfold"}}, "not 'manyfold'"),
        ({"workload": {**task_data["workload"], "max_failed_request": 1}}, "workload.max_failed_request: unknown"),
    ):
        with pytest.raises(TaskError, match=re.escape(shown)):
            parse_task({**task_data, **change})


@pytest.mark.parametrize("text", ["a: *{}", "a: !{} x", "a: &{0} 1\nb: &{0} 2", "a: !!int {}", "a: !!bool {}", "- {}"])
def test_no_error_about_a_file_repeats_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yaml").write_text(text.format(CANARY))
    with pytest.raises(TaskError) as error:
        Task.load(tmp_path / "t.yaml")
    assert CANARY not in str(error.value)


def test_however_a_task_is_made_it_holds_no_secret(task_data: dict[str, Any]) -> None:
    data = {**task_data, **changed(env={"HF_TOKEN": CANARY})}
    engine = EngineSpec.model_validate(data["engine"])
    for make in (
        lambda: Task(**data),
        lambda: Task.model_validate(data),
        lambda: Task.model_validate_json(json.dumps(data)),
        lambda: Task(**{**data, "engine": engine}),
        lambda: referred(Task(**task_data).model_copy(update={"engine": engine})),
    ):
        with pytest.raises((ValidationError, TaskError), match="a secret's own value") as error:
            make()
        assert CANARY not in str(error.value) + repr(error.value)


def test_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", CANARY)
    assert variables_in(["${A}", {"x": "b${B}"}, "$ENGINE_KEY", "${}", 5, None]) == ["A", "B"]
    assert secret_of("secret://tune-keys/hf") == ("tune-keys", "hf")
    assert [secret_of(value) for value in ("secret://x", "secret:///y", "x", 5)] == [None] * 4
    inside = ['["${ENGINE_KEY}", "b"]', "--h=Bearer ${ENGINE_KEY}", "pre${ENGINE_KEY}"]
    assert [resolved(word, field="x") for word in inside] == [
        f'["{CANARY}", "b"]',
        f"--h=Bearer {CANARY}",
        f"pre{CANARY}",
    ]
    monkeypatch.delenv("ENGINE_KEY")
    with pytest.raises(SetupError, match=r"engine\.env\.X: the environment variable ENGINE_KEY is not set; export it"):
        resolved("${ENGINE_KEY}", field="engine.env.X")
    with pytest.raises(SetupError, match="the Secret a is in a cluster"):
        resolved("secret://a/b", field="x")


def test_a_pasted_command_line_fills_the_variable_in() -> None:
    words = ["printf", "%s|", "it's", "${KEY}", "--api-key=${KEY}", "a b", "$KEY", '["${KEY}", `x`, $KEY]']
    text = command_text(words)
    told = subprocess.run(
        ["sh", "-c", text], env={"KEY": "x y", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert told.stdout == 'it\'s|x y|--api-key=x y|a b|$KEY|["x y", `x`, $KEY]|'
    assert shlex.split(text) == words


def test_what_an_engine_refuses_is_not_repeated_where_it_is_a_secret(make_task: Callable[..., Task]) -> None:
    for args in ({"ctx_size": HUB}, {HUB: 1}):
        with pytest.raises(TaskError, match=r"\*\*\*|a secret's own value") as error:
            engine_for(make_task(engine={"kind": "llama_cpp", "args": args}))
        assert HUB not in str(error.value)


def test_a_pasted_line_sets_its_variables_in_an_empty_environment() -> None:
    env = {"MODE": 'it\'s a "test"', "EMPTY": "", "URL": "http://${KEY}@x/$HOME", "HF_TOKEN": "secret://keys/hf"}
    names = ", ".join(map(repr, env))
    program = f"import os; print([os.environ.get(name) for name in ({names})])"
    line = command_text([*environment_words(env), sys.executable, "-c", program])
    own = {"KEY": "value", "HF_TOKEN": "exported"}
    shell = subprocess.run(["/bin/sh", "-c", line], env=own, capture_output=True, text=True, check=True)
    assert shell.stdout.strip() == repr(['it\'s a "test"', "", "http://value@x/$HOME", "exported"])
    assert "value@" not in line
    assert environment_words({}) == []
