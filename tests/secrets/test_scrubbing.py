"""A secret that this process knows is found nowhere, whatever an engine prints and genai-bench writes."""

from __future__ import annotations

import base64
import html
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import autotune_nb as at
from autotune_nb import events
from autotune_nb.errors import RunError
from autotune_nb.secrets import files, scrubbing
from autotune_nb.secrets.files import scrub_files
from autotune_nb.secrets.scrubbing import know, scrub, scrub_error
from autotune_nb.task.secret_names import know_secrets
from autotune_nb.task.task import Task
from tests.stubs import World, contents_below, open_study, package_env, until

CANARIES = {
    name: f"{kind}-canary-{number}7f2e9a\"'\\x"
    for number, (name, kind) in enumerate({"HF_TOKEN": "hub", "ENGINE_KEY": "engine", "MODEL_API_KEY": "model"}.items())
} | {"AWS_SECRET_ACCESS_KEY": "aws+canary/55d1c0ffee", "GITHUB_TOKEN": "git-canary-0badcafe"}


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    return CANARIES


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is known as long as the process lives; other tests have no such values."""
    for name in ("_told", "_short", "_named"):
        monkeypatch.setattr(scrubbing, name, set())
    monkeypatch.setattr(scrubbing, "_in_cluster", False)
    monkeypatch.setattr(scrubbing, "_known", None)


def found_in(text: str | bytes) -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    forms = {name: (value.encode(), json.dumps(value)[1:-1].encode()) for name, value in CANARIES.items()}
    return [name for name, values in forms.items() if any(value in content for value in values)]


def test_what_is_known_goes_and_everything_else_stays(canaries: dict[str, str], tmp_path: Path) -> None:
    know(["a-value-of-a-task"])
    assert scrub(f"x {canaries['HF_TOKEN']} y a-value-of-a-task z") == "x *** y *** z"
    assert scrub(json.dumps(canaries["ENGINE_KEY"])) == '"***"'
    assert scrub("HF_TOKEN is not set, /root/key, true") == "HF_TOKEN is not set, /root/key, true"
    assert str(scrub_error(RunError(f"no {canaries['GITHUB_TOKEN']}"))) == "no ***"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.bin").write_bytes(b"\xff\x00" + canaries["GITHUB_TOKEN"].encode() + b"\xfe")
    clean = tmp_path / "clean.txt"
    clean.write_text("nothing here")
    before = clean.stat().st_mtime_ns
    scrub_files(tmp_path)
    assert (tmp_path / "sub" / "b.bin").read_bytes() == b"\xff\x00***\xfe"
    assert clean.stat().st_mtime_ns == before


def test_what_stands_for_other_things_too_breaks_no_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE", "1")
    monkeypatch.setenv("TOKEN_TTL", "20000000")
    monkeypatch.setenv("MODEL_KEY", "stub-model-7b")
    task = world.task(trials=1, strategy={"sampler": "random", "seed": 20000000}, model="stub-model-7b")
    engine = {**task.engine.model_dump(), "env": {"MODE": "${MODE}"}}
    task = Task.parse({**task.model_dump(), "engine": engine})
    first = at.tune(task, study=world.folder).wait()
    assert at.open(world.folder).task == task
    assert first.history[0].state is at.TrialState.COMPLETE
    # The same task goes on in the same folder.
    assert len(at.tune(at.with_overrides(task, trials=2), study=world.folder).wait().history) == 2
    json.loads((world.folder / "results.json").read_text())


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASS", "wholly-odd-words-7", "wholly-odd-words-7"),
        ("DATABASE_URL", "postgresql://me:wholly%2Dodd-7@host/db", "wholly%2Dodd-7"),
        ("DATABASE_URL", "postgresql://me:wholly%2Dodd-7@host/db", "wholly-odd-7"),
        ("DATABASE_URL", "postgresql://me:hunter2@host/db", ":hunter2@"),
        ("DATABASE_URL", "postgresql://me:wholly-odd-7@host/db?mail=me@here", "wholly-odd-7"),
        ("AUTH_HEADER", "Authorization: Bearer wholly-odd-7", "wholly-odd-7"),
        ("APIKEYS", "wholly-odd-7", "wholly-odd-7"),
    ],
)
def test_the_environments_secrets_are_known(
    name: str, value: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    know()
    for written in (secret, html.escape(secret), quote(secret, safe=""), json.dumps(secret)):
        assert secret not in scrub(f"before {written} after")
    for text in ("me", "user:", "a longer user's name:"):
        coded = base64.b64encode(f"{text}{secret}".encode()).decode()
        told = scrub(f"Authorization: Basic {coded}")
        assert "***" in told and coded[-12:] not in told
    assert scrub("postgresql host/db user me PASS, COMPASS=north") == "postgresql host/db user me PASS, COMPASS=north"


def test_an_error_is_scrubbed_with_all_that_it_carries(canaries: dict[str, str]) -> None:
    know()
    secret = canaries["GITHUB_TOKEN"]
    failure = at.Failure(at.FailureKind.CRASH, "deploy", f"m {secret}", (f"l {secret}",), f"h {secret}")
    try:
        try:
            try:
                raise OSError(2, f"no {secret}", f"/x/{secret}")
            except OSError as error:
                raise KeyError({"a": [secret.encode()]}) from error
        except KeyError:
            raise at.DeployError(failure)  # noqa: B904
    except at.DeployError as error:
        error.add_note(f"note {secret}")
        group = ExceptionGroup("several", [error, at.TaskError(f"t {secret}", field=secret)])
    told = scrub_error(group)
    one, two = told.exceptions
    assert isinstance(one, at.DeployError) and isinstance(two, at.TaskError)
    assert one.failure == at.Failure(at.FailureKind.CRASH, "deploy", "m ***", ("l ***",), "h ***")
    assert (two.message, two.field) == ("t ***", "***")
    text = "".join(traceback.format_exception(told))
    assert "no ***: '/x/***'" in text and "note ***" in text
    assert found_in(text + repr(vars(one)) + repr(one.__context__.__cause__)) == []  # type: ignore[union-attr]


def test_what_is_kept_of_a_trial_is_scrubbed_once_and_for_all(world: World, canaries: dict[str, str]) -> None:
    secret = canaries["GITHUB_TOKEN"]
    study = open_study(world.task(), world.folder)
    trial = study.ask()
    assert trial is not None
    failure = at.Failure(at.FailureKind.CRASH, "deploy", secret, (secret,), f"try {secret}")
    command, fingerprint = ("serve", f"--key={secret}", "${KEY}"), {"args": [secret], "gpus": 1, secret: "x"}
    ended = trial.with_(state=at.TrialState.FAILED, failure=failure, command=command, fingerprint=fingerprint)
    kept = study.tell(ended)
    assert kept.command == ("serve", "--key=***", "${KEY}")
    assert kept.fingerprint == {"args": ["***"], "gpus": 1, "***": "x"}
    assert kept.failure is not None and kept.failure.hint == "try ***"
    study.close()
    assert not any(found_in(content) for content in contents_below(world.folder).values())


def test_a_short_secret_goes_from_texts_and_breaks_no_data(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "8192")
    said = 'echo "key 8192, 81920 18192 8192.5" > "$base/genai_bench.log"; '
    said += 'printf \'{"cmd": "run --api-key 8192 x", "tokens": 8192}\' > "$out/experiment_metadata.json"'
    task = world.task("key:ENGINE_KEY", "env:ENGINE_KEY", before=said, trials=1, description="of 8192 tokens")
    benchmark = {**task.benchmark.model_dump(), "api_key": "${ENGINE_KEY}"}
    task = Task.parse({**task.model_dump(), "benchmark": benchmark})
    run = at.tune(task, study=world.folder).wait()
    assert run.history[0].state is at.TrialState.COMPLETE
    files = {file.name: content.decode(errors="replace") for file, content in contents_below(world.folder).items()}
    assert files["genai_bench.log"] == "key ***, 81920 18192 8192.5\n"
    assert json.loads(files["experiment_metadata.json"]) == {"cmd": "run --api-key *** x", "tokens": 8192}
    assert "ENGINE_KEY=***" in files["engine.log"]
    assert at.open(world.folder).task == task
    monkeypatch.setenv("ENGINE_KEY", "819")
    with pytest.raises(at.SetupError, match=r"benchmark.api_key: the value of ENGINE_KEY has 3 characters, too few"):
        at.tune(task, study=world.folder)


def test_a_large_file_is_scrubbed_in_pieces(
    canaries: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BLOCK_BYTES", 64)
    secret = canaries["AWS_SECRET_ACCESS_KEY"]
    know(short=["four"])
    coded = base64.b64encode(f"me:{secret}".encode()).decode()
    for number in range(140):
        content = f"{'x' * number} {secret} y \n{secret}{secret} four {coded}\n" + "four\r\n" * 30
        (tmp_path / f"{number}.log").write_bytes(content.encode() + b"\xff")
        (tmp_path / f"{number}.bin").write_bytes(content.encode() + b"\xff")
    assert scrub_files(tmp_path) == []
    for number in range(140):
        clean = f"{'x' * number} *** y \n****** four ***\n" + "four\r\n" * 30
        assert (tmp_path / f"{number}.bin").read_bytes().replace(b"bW***", b"***") == clean.encode() + b"\xff"
        told = (tmp_path / f"{number}.log").read_bytes().replace(b"bW***", b"***")
        assert told == clean.replace("four", "***").encode() + b"\xff"
    assert {file.suffix for file in tmp_path.iterdir()} == {".log", ".bin"}


def test_a_file_that_cannot_be_searched_is_said(
    world: World, canaries: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    replacing = files._replacing

    def full(file: Path) -> Any:
        if file.name == "genai_bench.log":
            raise OSError(28, "No space left on device")
        return replacing(file)

    monkeypatch.setattr(files, "_replacing", full)
    run = at.tune(leaking(world, trials=1), study=world.folder)
    run.subscribe(lambda event: heard.append(event.text) if isinstance(event, events.Notice) else None)
    run.wait()
    told = [line for line in heard + [text for _, text in run.notices] if "not searched" in line]
    assert "genai_bench.log was not searched for secrets: No space left on device" in told[0]


def test_in_a_cluster_the_values_of_a_pods_secrets_are_found_by_name_and_by_detectors(
    make_task: Callable[..., Task],
) -> None:
    env = {"VLLM_API_KEY": "secret://tune-keys/engine", "MODE": "fast"}
    engine = {"kind": "vllm", "env": env, "args": {"api_key": "${VLLM_API_KEY}"}}
    deploy = {"kind": "ome", "namespace": "x", "runtime": "y"}
    know_secrets(make_task(engine=engine, deploy=deploy, parameters={"max_num_seqs": [8]}, model="m"))
    hub = "hf_" + "aB3d" * 8
    for text, clean in (
        ("VLLM_API_KEY=only-the-pod", "VLLM_API_KEY=***"),
        ("env: {'VLLM_API_KEY': 'only-the-pod', 'MODE': 'fast'}", "env: {'VLLM_API_KEY': '***', 'MODE': 'fast'}"),
        ("vllm serve --api-key only-the-pod --port 80", "vllm serve --api-key *** --port 80"),
        ("['--api-key', 'only-the-pod']", "['--api-key', '***']"),
        ("Namespace(api_key=['only-the-pod'], port=80)", "Namespace(api_key=['***'], port=80)"),
        ("api_key='only-the-pod'", "api_key='***'"),
        ("--api-key $(VLLM_API_KEY) api_key=None", "--api-key $(VLLM_API_KEY) api_key=None"),
        (f"token {hub} of /var/cache", "token *** of /var/cache"),
        ("200 tokens/s, sha256:" + "0f" * 32, "200 tokens/s, sha256:" + "0f" * 32),
    ):
        assert scrub(text) == clean


LEAK = (
    'mkdir -p "$out"; env > "$base/genai_bench.log"; echo "--api-key $MODEL_API_KEY" >> "$base/genai_bench.log"; '
    'printf \'{"cmd": "genai-bench --api-key %s"}\' "$MODEL_API_KEY" > "$out/experiment_metadata.json"; '
    'echo "said $MODEL_API_KEY"'
)


def leaking(world: World, *words: str, **changes: Any) -> Task:
    """An engine that wants the key and prints its environment and arguments, and a benchmark that writes it down."""
    said = ("env:HF_TOKEN", "env:ENGINE_KEY", "env:AWS_SECRET_ACCESS_KEY")
    task = world.task("key:ENGINE_KEY", *said, *words, before=LEAK, **changes)
    engine = {
        **task.engine.model_dump(),
        "env": {"HF_TOKEN": "${HF_TOKEN}", "OTHER": "${ENGINE_KEY}"},
        "raw_args": ["--api-key", "${ENGINE_KEY}"],
    }
    benchmark = {**task.benchmark.model_dump(), "api_key": "${ENGINE_KEY}"}
    return Task.parse({**task.model_dump(), "engine": engine, "benchmark": benchmark})


def test_what_a_run_reports_while_it_goes_on_shows_none(
    world: World, canaries: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[events.Event] = []
    run = at.tune(leaking(world, trials=1), study=world.folder)
    run.subscribe(heard.append)
    run.wait()
    told = [repr(heard), run.report().text(), repr(run), caplog.text, json.dumps(run.results())]
    assert [found_in(text) for text in [*told, str(run._repr_mimebundle_()), run.trials.to_csv()]] == [[]] * 7


def test_what_a_killed_process_left_is_cleaned_by_the_next_start(world: World, canaries: dict[str, str]) -> None:
    task = leaking(world, trials=1)
    code = "import sys, autotune_nb as at; at.tune(sys.argv[1], study=sys.argv[2]).wait()"
    file = world.folder.parent / "task.json"
    file.write_text(leaking(world, trials=1).model_dump_json())
    slow = f"{LEAK}; touch {world.folder.parent / 'leaked'}; sleep 60"
    world.bench.write(world.bench.both_levels(), before=slow)
    child = subprocess.Popen([sys.executable, "-c", code, file, world.folder], env=package_env())
    try:
        until((world.folder.parent / "leaked").exists)
    finally:
        child.kill()
        child.wait()
    assert any(found_in(content) for content in contents_below(world.folder).values())
    world.bench.write(world.bench.both_levels(), before=LEAK)
    at.tune(task, study=world.folder).wait()
    assert {file: found for file, content in contents_below(world.folder).items() if (found := found_in(content))} == {}
