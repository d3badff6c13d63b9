"""Canaries through the command line: a study of real processes uses them, and nothing that it leaves shows them."""

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
from tests.stubs import World, text_below

pytestmark = pytest.mark.e2e
KEY = "canary-3b1f" + "-90d7ac"


def test_a_key_by_its_name_reaches_engine_and_benchmark_and_no_file(
    environment: dict[str, str], real_task: Callable[..., Path], tmp_path: Path
) -> None:
    engine = {"kind": "llama_cpp", "args": {"ctx_size": 2048, "api_key": "${ENGINE_KEY}"}}
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
    assert [file for file, content in text_below(study).items() if KEY.encode() in content] == []


#: Of the environment, of the task's env, of the engine's arguments, of the benchmark's key, of a URL.
CANARIES = {
    "WANDB_API_KEY": "canary-wandb-51e0c9",
    "HF_TOKEN": "canary-hub-7d02+/b4'x",
    "ENGINE_KEY": "canary-engine-90a1f3",
    "MODEL_API_KEY": "canary-model-c44e17",
    "DATABASE_URL": "postgresql://me:canary-url-2b8d60@host/db",
}
#: An engine that prints its environment, and a benchmark that writes down what it has, as curl would, and the engine's
#: command line.
SAYS = [f"env:{name}" for name in CANARIES]
LEAK = (
    'env > "$base/genai_bench.log"; tr "\\0" " " < /proc/$(tail -n 1 "{pids}")/cmdline > "$base/cmdline.bin"; '
    'printf \'{{"headers": "Basic %s", "key": "%s"}}\' $(printf "me:$MODEL_API_KEY" | base64) "$MODEL_API_KEY" '
    '> "$out/experiment_metadata.json"; echo "said $HF_TOKEN" >&2'
)


def forms(value: str) -> list[bytes]:
    """A canary as it stands, in JSON, and what its base64 has in common wherever it stands."""
    coded = [base64.b64encode(b"x" * shift + value.encode())[4:-4] for shift in range(3)]
    return [value.encode(), json.dumps(value)[1:-1].encode(), *coded]


def found_in(content: str | bytes) -> list[str]:
    data = content.encode() if isinstance(content, str) else content
    told = CANARIES | {"DATABASE_URL": "canary-url-2b8d60"}
    return [name for name, value in told.items() if any(form in data for form in forms(value))]


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
    """The command line with the canaries in its environment: all that it says, after a look for them."""
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
    return {str(file): found for file, content in text_below(folder).items() if (found := found_in(content))}


def test_no_surface_of_a_study_shows_a_canary(
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
    # They were there to be found: the engine printed them, and the benchmark sent the one that it was asked for.
    files = {file.name: content for file, content in text_below(study / "artifacts" / "trial-0002").items()}
    assert files["engine.log"].count(b"***") == len(CANARIES)
    assert b"--api-key ***" in files["cmdline.bin"]
    assert json.loads(files["experiment_metadata.json"]) == {"headers": "Basic ***", "key": "***"}
    assert {file.name for file in out.iterdir()} >= {"run.ipynb", "report.html", "shared.html", "study.csv"}
    assert everything_below(study) == everything_below(out) == {}
    assert found_in("".join(capfd.readouterr())) == []


def test_a_run_that_fails_shows_none_either_wherever_it_is_kept(
    world: World, call: Callable[..., str], tmp_path: Path
) -> None:
    kept = tmp_path / "elsewhere" / "trials.db"
    kept.parent.mkdir()
    task = canary_task(world, "exit:3", trials=1)
    told = call("run", task, "--study", world.folder, "--storage", f"sqlite:///{kept}", "--json", code=1)
    assert "***" in told
    call("show", world.folder, code=1)
    assert b"***" in kept.read_bytes()
    assert everything_below(world.folder) == everything_below(kept.parent) == {}


@pytest.mark.parametrize("place", ["env: {HF_TOKEN: %s}", "env: %s", "args: {api_key: %s}", "%s: 1", "env: *%s"])
def test_a_task_that_holds_one_is_refused_without_it(world: World, call: Callable[..., str], place: str) -> None:
    file = world.task().save(world.folder.parent / "task.yaml")
    file.write_text(file.read_text().replace("engine:\n", f"engine:\n  {place}\n" % CANARIES["ENGINE_KEY"], 1))
    assert "error: " in call("run", file, "--study", world.folder, code=2)
    assert not world.folder.exists()
