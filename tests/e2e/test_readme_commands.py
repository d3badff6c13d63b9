"""Runs every command line of the README, unchanged and in its order."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from autotune_nb.batches import running
from autotune_nb.cli.main import cli
from autotune_nb.resources import shared_folder
from autotune_nb.watching.metrics import close_servers
from tests.batches.test_batches import Executor
from tests.e2e.test_cluster import Place, place
from tests.stubs import World
from tests.watching.test_watching import hook

__all__ = ["place"]

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
LINES = [line for kind, text in BLOCKS if not kind for line in text.splitlines() if line.startswith("autotune-nb ")]
#: Commands that need a cluster have a test of their own.
IN_A_CLUSTER = re.compile(r"^autotune-nb (check|cleanup|manifests (?!grafana))\b|--deploy ome")
KINDS = {"command", "env", "compose", "isvc", "hpa", "keda", "canary", "yaml", "csv", "parquet"}


def arguments(line: str) -> list[str]:
    """Return the arguments of a command line, without comments, pipes and redirections."""
    words = shlex.split(line, comments=True)
    return words[1 : next((at for at, word in enumerate(words) if word in ("|", ">")), None)]


def invoke(line: str) -> Result:
    return CliRunner().invoke(cli, arguments(line))


@pytest.fixture
def here(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a task.yaml whose trials end at once."""
    folder = tmp_path / "here"
    folder.mkdir()
    task = world.task(trials=2, budget={"baseline": True})
    (folder / "task.yaml").write_text(yaml.safe_dump(task.model_dump(mode="json")))
    shutil.copytree(shared_folder("notebooks"), folder / "notebooks")
    batch = {"base": "../task.yaml", "axes": {"seconds_per_level": {"short": {"workload": {"seconds_per_level": 5}}}}}
    (folder / "notebooks" / "batch.yaml").write_text(yaml.safe_dump(batch))
    # tests/batches has a slow test with the executed notebooks.
    monkeypatch.setattr(running, "_papermill", Executor())
    (folder / "end.sh").write_text("#!/bin/sh\ncat > ended.json\n")
    (folder / "end.sh").chmod(0o755)
    monkeypatch.chdir(folder)
    with hook() as (url, _):
        monkeypatch.setenv("CHAT_HOOK", url)
        yield folder
    close_servers()


def test_local_commands_run_in_order(here: Path) -> None:
    lines = [line for line in LINES if not IN_A_CLUSTER.search(line) and arguments(line) != ["demo"]]
    kinds = set()
    for line in lines:
        words = arguments(line)
        result = invoke(line)
        if words[:1] == ["export"] and {"isvc", "compose", "canary", "hpa", "keda"} & {*words}:
            # A study that ran locally has no InferenceService and no container, and the stub no metrics.
            assert result.exit_code == 2, line
            assert "deploy" in result.stderr or "the metrics of engine command are unknown" in result.stderr, line
        elif words[0] == "retune":
            assert result.exit_code == 2, line
            assert "--executable" in result.stderr, line
        elif words[0] == "lab":
            # tests/cli/test_lab_command.py compares strategies; this study has too few configurations for that.
            assert "a comparison needs at least two" in result.output or "levels.csv" in result.output, line
        else:
            assert result.exit_code == 0, (line, result.output)
        if "-o" in words:
            assert Path(words[words.index("-o") + 1]).is_file() == (result.exit_code == 0), line
        kinds |= {words[words.index("--as") + 1]} if "--as" in words else set()
    assert {arguments(line)[0] for line in lines} >= {"run", "show", "report", "share", "export", "import", "notebook"}
    assert kinds == KINDS


def test_cluster_commands_run_in_a_cluster(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(place.kubeconfig))
    assert place.task(deploy={"runtime": "llama-cpp", "gpus_per_trial": 1, "kind": "ome"}) == tmp_path / "task.yaml"
    lines = [line for line in LINES if IN_A_CLUSTER.search(line)]
    for line in lines:
        # test_cluster.py has a whole run with the same options.
        words = line.replace("tune ", f"{place.namespace} ").replace(" runs/qwen3 ", " runs/here ")
        if arguments(line)[0] == "run":
            words = words.partition("#")[0] + " --dry-run"
        if arguments(line)[0] == "cleanup":
            words = f"autotune-nb cleanup --all --namespace {place.namespace} --yes"
        result = invoke(words)
        assert result.exit_code == 0, (line, result.output)
        if arguments(line)[0] == "manifests":
            assert [one["kind"] for one in yaml.safe_load_all(result.stdout)], line
    assert {arguments(line)[0] for line in lines} == {"check", "cleanup", "manifests", "run"}


def test_every_command_is_in_the_readme() -> None:
    shown = {arguments(line)[0] for line in LINES} | set(re.findall(r"^\| `autotune-nb (\w+)", README, re.MULTILINE))
    assert set(cli.commands) <= shown
    for name in cli.commands:
        assert re.search(rf"^\| `autotune-nb {name}\b", README, re.MULTILINE), name
