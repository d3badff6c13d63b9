"""A secret that this process knows is found nowhere, whatever an engine prints and genai-bench writes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotune_nb as at
from autotune_nb import events, scrubbing
from autotune_nb.errors import RunError
from autotune_nb.scrubbing import know, scrub, scrub_error, scrub_files
from autotune_nb.task import Task
from tests.stubs import World, package_env, text_below, until

CANARIES = {
    name: f"{kind}-canary-{number}7f2e9a\"'\\x"
    for number, (name, kind) in enumerate({"HF_TOKEN": "hub", "ENGINE_KEY": "engine", "MODEL_API_KEY": "model"}.items())
} | {"AWS_SECRET_ACCESS_KEY": "aws+canary/55d1c0ffee", "GITHUB_TOKEN": "git-canary-0badcafe"}


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    yield CANARIES
    # Of this process, as long as it lives; other tests have no such values.
    monkeypatch.setattr(scrubbing, "_told", set())
    monkeypatch.setattr(scrubbing, "_pattern", None)


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
    binary = b"\xff\x00" + canaries["GITHUB_TOKEN"].encode() + b"\xfe"
    (tmp_path / "sub" / "b.bin").write_bytes(binary)
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
    try:
        first = at.tune(task, study=world.folder).wait()
        assert at.open(world.folder).task == task
        assert first.history[0].state is at.TrialState.COMPLETE
        # The same task goes on in the same folder.
        assert len(at.tune(at.with_overrides(task, trials=2), study=world.folder).wait().history) == 2
        json.loads((world.folder / "results.json").read_text())
    finally:
        monkeypatch.setattr(scrubbing, "_told", set())
        monkeypatch.setattr(scrubbing, "_pattern", None)


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


def test_a_whole_study_leaves_none_anywhere(
    world: World, canaries: dict[str, str], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[events.Event] = []
    run = at.tune(leaking(world), study=world.folder)
    run.subscribe(heard.append)
    run.wait()
    # With the key the probe was answered, so it was sent: the engine refuses every other request.
    assert [str(t.state) for t in run.history] == ["complete", "complete"]
    assert run.best is not None
    assert '--api-key "${ENGINE_KEY}"' in run.best.command
    logs = [file for file in text_below(world.folder) if file.name in ("engine.log", "genai_bench.log")]
    assert len(logs) == 4
    assert all(b"***" in content for file, content in text_below(world.folder).items() if file in logs)
    told = [repr(heard), run.report().text(), run.report().to_html(), repr(run), caplog.text, *capfd.readouterr()]
    told += [json.dumps(run.results()), str(run._repr_mimebundle_()), run.trials.to_csv(), run.levels.to_csv()]
    assert [found_in(text) for text in told] == [[]] * len(told)
    assert {file: found for file, content in text_below(world.folder).items() if (found := found_in(content))} == {}


def test_a_failure_that_prints_it_is_told_without_it(
    world: World, canaries: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    run = at.tune(leaking(world, "exit:3", trials=1), study=world.folder)
    with pytest.raises(at.RunError) as error:
        run.wait()
    (trial,) = run.history
    assert trial.failure is not None
    assert any("***" in line for line in trial.failure.log_lines)
    told = [str(error.value), str(trial.failure), run.report().to_html(), *capfd.readouterr()]
    assert [found_in(text) for text in told] == [[]] * len(told)
    assert not any(found_in(content) for content in text_below(world.folder).values())


def test_what_a_killed_process_left_is_cleaned_by_the_next_start(world: World, canaries: dict[str, str]) -> None:
    task = leaking(world, trials=1)
    code = "import sys, autotune_nb as at; at.tune(sys.argv[1], study=sys.argv[2]).wait()"
    file = world.folder.parent / "task.json"
    file.write_text(leaking(world, trials=1).model_dump_json())
    slow = f"{LEAK}; touch {world.folder.parent / 'leaked'}; sleep 60"
    world.bench.write(world.bench.both(), before=slow)
    child = subprocess.Popen([sys.executable, "-c", code, file, world.folder], env=package_env())
    try:
        until((world.folder.parent / "leaked").exists, within_s=30)
    finally:
        child.kill()
        child.wait()
    assert any(found_in(content) for content in text_below(world.folder).values())
    world.bench.write(world.bench.both(), before=LEAK)
    at.tune(task, study=world.folder).wait()
    assert {file: found for file, content in text_below(world.folder).items() if (found := found_in(content))} == {}


def test_a_variable_that_is_not_set_is_said_before_anything_is_started(
    world: World, make_task: Callable[..., Task]
) -> None:
    task = make_task(engine={"kind": "llama_cpp", "env": {"HF_TOKEN": "${NOT_THERE}"}})
    with pytest.raises(at.SetupError, match="NOT_THERE is not set"):
        at.tune(task, study=world.folder)
    assert not world.folder.exists()
    assert "NOT_THERE is not set" in str(at.check(task))
