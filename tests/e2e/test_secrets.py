"""Canary secrets through the command line: a study uses them, and none of its files and outputs contains them."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from autotune_nb.cli.main import cli as command_line
from autotune_nb.secrets import scrubbing
from autotune_nb.task.task import Task
from tests.e2e.conftest import CLI
from tests.stubs import World, contents_below

pytestmark = pytest.mark.e2e
KEY = "canary-3b1f" + "-90d7ac"


# The canaries below reach a stub engine and a stub benchmark and no file; this one is checked by the real ones.
@pytest.mark.slow
def test_a_referenced_key_reaches_the_engine_and_the_benchmark_but_no_file(
    environment: dict[str, str], real_task: Callable[..., Path], tmp_path: Path
) -> None:
    engine = {"kind": "llama_cpp", "args": {"ctx_size": 2048, "threads": 1, "api_key": "${ENGINE_KEY}"}}
    workload: dict[str, Any] = {"scenarios": ["D(16,8)"], "seconds_per_level": 90, "requests_per_level": 4}
    task = real_task(
        engine=engine,
        workload=workload,
        benchmark={"api_key": "${ENGINE_KEY}"},
        budget={"trials": 1, "baseline": False},
    )
    study = tmp_path / "study"
    argv = [*CLI, "run", task, "--study", study, "--json"]
    unset = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert unset.returncode == 2
    assert "engine.args.api_key: the environment variable ENGINE_KEY is not set" in unset.stderr
    assert not study.exists()
    env = {**environment, "ENGINE_KEY": KEY, "MODEL_API_KEY": f"other-{KEY}"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (trial,) = json.loads(done.stdout.splitlines()[-1])["trials"]
    # Requests without it are refused, and a refused request fails the trial.
    assert trial["measurements"][0]["num_failed_requests"] == 0
    assert '--api-key "${ENGINE_KEY}"' in trial["command"]
    assert KEY not in done.stdout + done.stderr
    assert [file for file, content in contents_below(study).items() if KEY.encode() in content] == []


#: In the environment, the task's env, the engine's arguments, the benchmark's key and a URL.
CANARIES = {
    "WANDB_API_KEY": "canary-wandb-51e0c9",
    "HF_TOKEN": "canary-hub-7d02+/b4'x",
    "ENGINE_KEY": "canary-engine-90a1f3",
    "MODEL_API_KEY": "canary-model-c44e17",
    "DATABASE_URL": "postgresql://me:canary-url-2b8d60@host/db",
}
#: The engine prints its environment; the benchmark writes its environment, a request header and the engine's command
#: line to files.
SAYS = [f"env:{name}" for name in CANARIES]
LEAK = (
    'env > "$base/genai_bench.log"; tr "\\0" " " < /proc/$(tail -n 1 "{pids}")/cmdline > "$base/cmdline.bin"; '
    'printf \'{{"headers": "Basic %s", "key": "%s"}}\' $(printf "me:$MODEL_API_KEY" | base64) "$MODEL_API_KEY" '
    '> "$out/experiment_metadata.json"; echo "said $HF_TOKEN" >&2'
)


def forms(value: str) -> list[bytes]:
    """Return the forms of a canary: as it is, in JSON, and the common part of its base64 at any offset."""
    coded = [base64.b64encode(b"x" * shift + value.encode())[4:-4] for shift in range(3)]
    return [value.encode(), json.dumps(value)[1:-1].encode(), *coded]


def found_in(content: str | bytes) -> list[str]:
    data = content.encode() if isinstance(content, str) else content
    canaries = CANARIES | {"DATABASE_URL": "canary-url-2b8d60"}
    return [name for name, value in canaries.items() if any(form in data for form in forms(value))]


def canary_task(world: World, *words: str, **changes: Any) -> Path:
    leak = LEAK.format(pids=world.stub.script.parent / "pids")
    task = world.task("key:MODEL_API_KEY", *SAYS, *words, before=leak, name="canaries", **changes)
    engine = {
        **task.engine.model_dump(),
        "env": {"TOKEN_OF_HUB": "${HF_TOKEN}"},
        "raw_args": ["--api-key", "${ENGINE_KEY}", "--db=${DATABASE_URL}"],
    }
    benchmark = {**task.benchmark.model_dump(), "api_key": "${MODEL_API_KEY}"}
    file = world.folder.parent / "task.yaml"
    Task.parse({**task.model_dump(), "engine": engine, "benchmark": benchmark}).save(file)
    return file


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the command line with the canaries in its environment, checks its output for them and returns it."""
    for name in ("_told", "_short", "_named"):
        monkeypatch.setattr(scrubbing, name, set())
    monkeypatch.setattr(scrubbing, "_known", None)
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str | Path, code: int = 0) -> str:
        done = CliRunner().invoke(command_line, [str(argument) for argument in arguments])
        assert done.exit_code == code, done.output
        assert found_in(done.output) == []
        assert found_in(repr(done.exception)) == []
        return done.output

    return run


def everything_below(folder: Path) -> dict[str, list[str]]:
    return {str(file): found for file, content in contents_below(folder).items() if (found := found_in(content))}


def test_no_file_or_output_of_a_study_contains_a_canary(
    world: World, call: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task, out = canary_task(world), tmp_path / "out"
    study = world.folder
    source = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"
    call("notebook", source, "-o", out / "run.ipynb", "-p", "task", task, "-p", "study", study)
    assert '"completed"' not in call("run", task, "--study", study, "--trials", "3")
    results = json.loads(call("show", study, "--json"))
    assert [trial["state"] for trial in results["trials"]] == ["complete"] * 3
    call("report", study, "-o", out / "report.ipynb", "--html")
    call("share", out / "run.ipynb", "-o", out / "shared.ipynb", "--html")
    assert '--api-key "${ENGINE_KEY}" --db="${DATABASE_URL}"' in call("export", study, "--as", "command")
    for form in ("env", "yaml", "csv"):
        call("export", study, "--as", form, "-o", out / f"study.{form}")
    # The canaries were used: the engine printed them, and the benchmark sent its key.
    files = {file.name: content for file, content in contents_below(study / "artifacts" / "trial-0002").items()}
    assert files["engine.log"].count(b"***") == len(CANARIES)
    assert b"--api-key ***" in files["cmdline.bin"]
    assert json.loads(files["experiment_metadata.json"]) == {"headers": "Basic ***", "key": "***"}
    assert {file.name for file in out.iterdir()} >= {"run.ipynb", "report.html", "shared.html", "study.csv"}
    assert everything_below(study) == everything_below(out) == {}
    assert found_in("".join(capfd.readouterr())) == []


def test_a_failed_run_in_another_storage_contains_no_canary(
    world: World, call: Callable[..., str], tmp_path: Path
) -> None:
    kept = tmp_path / "elsewhere" / "trials.db"
    kept.parent.mkdir()
    task = canary_task(world, "exit:3", trials=1)
    output = call("run", task, "--study", world.folder, "--storage", f"sqlite:///{kept}", "--json", code=1)
    assert "***" in output
    call("show", world.folder, code=1)
    assert b"***" in kept.read_bytes()
    assert everything_below(world.folder) == everything_below(kept.parent) == {}


@pytest.mark.parametrize("place", ["env: {HF_TOKEN: %s}", "env: %s", "args: {api_key: %s}", "%s: 1", "env: *%s"])
def test_a_task_with_a_literal_canary_is_rejected_without_printing_it(
    world: World, call: Callable[..., str], place: str
) -> None:
    file = world.task().save(world.folder.parent / "task.yaml")
    file.write_text(file.read_text().replace("engine:\n", f"engine:\n  {place}\n" % CANARIES["ENGINE_KEY"], 1))
    assert "error: " in call("run", file, "--study", world.folder, code=2)
    assert not world.folder.exists()
