"""A run that is watched in every way: metrics, logs, spans, and a command and a webhook at its end."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

import autotune_nb as at
from autotune_nb import events
from autotune_nb.cli.main import cli
from autotune_nb.deploy.ports import free_port
from autotune_nb.errors import Failure, FailureKind, SetupError, TaskError
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.watching import on_end
from autotune_nb.watching.event_log import EventLog, json_logs
from autotune_nb.watching.metrics import close_servers
from autotune_nb.watching.spans import Spans
from tests.stubs import World, in_loop

SECRET = "hook-4711-canary-value"


@contextmanager
def hook(status: int = 200) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Yield the URL of a server, and the path and the JSON of each of its requests."""
    requests: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, json.loads(body)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()


@pytest.fixture(autouse=True)
def no_servers_left() -> Iterator[None]:
    yield
    close_servers()


def run_task(task: Task, folder: Path, *arguments: object) -> Result:
    file = folder / "task.json"
    file.write_text(task.model_dump_json())
    return CliRunner().invoke(cli, ["run", str(file), "--study", str(folder / "study"), *map(str, arguments)])


def metrics(port: int) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and its labels' values besides the study."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {(one.name, *(v for k, v in sorted(one.labels.items()) if k != "study")): one.value for one in samples}


def test_a_run_reports_itself_to_all_who_follow_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as (url, requests):
        monkeypatch.setenv("CHAT_HOOK", f"{url}/{SECRET}")
        port, written = free_port("127.0.0.1"), tmp_path / "written.json"
        command = f'cat > "{written}"; test "$AUTOTUNE_NB_STATE" = finished'
        task = world.task(trials=2, budget={"usd": 5.0}, price={"usd_per_hour": 1.0})
        watched = ["--metrics-port", port, "--log-json", "--on-end", command, "--webhook", "${CHAT_HOOK}"]
        result = run_task(task, tmp_path, *watched, "--json")
    assert result.exit_code == 0, result.output
    results = json.loads(result.stdout.splitlines()[-1])

    lines = [json.loads(line) for line in result.stderr.splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds.count("trial_started") == kinds.count("trial_ended") == 2
    assert kinds.count("level_measured") == 4
    assert {(line["study"], line.get("phase")) for line in lines if line["kind"] == "level_measured"} == {
        ("study", "benchmark")
    }
    ended = [line for line in lines if line["kind"] == "trial_ended"]
    assert [(line["trial"], line["state"], line["level"]) for line in ended] == [
        (0, "complete", "info"),
        (1, "complete", "info"),
    ]
    assert not [line for line in lines if "on_end" in line["message"]]

    (path, sent), kept = requests[0], json.loads(written.read_text())
    assert path == f"/{SECRET}"
    assert sent == kept
    assert (sent["study"], sent["state"], sent["trials"]) == ("study", "finished", {"complete": 2})
    assert sent["best"] == results["best"]
    assert sent["verdict"] in sent["text"]
    assert SECRET not in result.output + json.dumps(sent)
    assert not [
        file for file in (tmp_path / "study").rglob("*") if file.is_file() and SECRET in file.read_text("latin1")
    ]

    found = metrics(port)
    assert found["autotune_nb_trials", "complete"] == 2
    assert found["autotune_nb_run_state", "finished"] == 1
    assert found["autotune_nb_run_state", "running"] == 0
    assert found["autotune_nb_best_value", "output_tokens_per_s"] == 100.0
    assert found["autotune_nb_held_gpus",] == 0
    assert found["autotune_nb_budget_left_trials",] == 0
    assert found["autotune_nb_budget_left_usd",] == pytest.approx(5.0 - results["cost"]["usd"])
    seconds = sum(trial["seconds"]["benchmark"] for trial in results["trials"])
    assert found["autotune_nb_phase_seconds_total", "benchmark"] == pytest.approx(seconds, abs=0.01)


def test_metrics_of_a_running_trial_and_of_two_studies_on_one_port(world: World, tmp_path: Path) -> None:
    port, gate = free_port("127.0.0.1"), tmp_path / "gate"
    task = world.task(trials=1, before=f'until [ -e "{gate}" ]; do sleep 0.02; done')
    run = at.tune(task, study=tmp_path / "one", metrics_port=port)
    seen = threading.Event()
    run.subscribe(lambda event: seen.set() if getattr(event, "phase", "") == "benchmark" else None)
    assert seen.wait(60) or run.running[0].phase == "benchmark"
    found = metrics(port)
    assert found["autotune_nb_run_state", "running"] == 1
    assert found["autotune_nb_trials", "running"] == 1
    assert found["autotune_nb_running_trial_phase_seconds", "benchmark", "0"] >= 0
    gate.touch()
    run.wait(60)
    at.tune(task, study=tmp_path / "again" / "one", metrics_port=port).wait(60)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    assert set(re.findall(r'autotune_nb_run_state\{state="finished",study="([\w/]+)"\} 1', text)) == {
        "one",
        "again/one",
    }


def test_a_port_that_is_taken_is_one_error_before_anything_starts(world: World, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_task(world.task(), tmp_path, "--metrics-port", port)
        with pytest.raises(SetupError, match=f"127.0.0.1:{port}: Address already in use; choose another port"):
            at.tune(world.task(), study=world.folder, metrics_port=port)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_the_dashboard_shows_what_is_served() -> None:
    result = CliRunner().invoke(cli, ["manifests", "grafana"])
    dashboard = json.loads(result.stdout)
    asked = {
        name
        for panel in dashboard["panels"]
        for one in panel["targets"]
        for name in re.findall(r"autotune_nb_\w+", one["expr"])
    }
    from autotune_nb.watching.metrics import _Families

    served = {one.name + "_total" * (one.type == "counter") for one in _Families().all}
    assert asked == served
    assert "autotune_nb_run_state" in dashboard["templating"]["list"][1]["definition"]


def ending(monkeypatch: pytest.MonkeyPatch, world: World, **section: str) -> list[str]:
    """Run a trial with this section and return the notices about it."""
    task = Task.parse({**world.task(trials=1).model_dump(), "on_end": section})
    run = at.tune(task, study=world.folder)
    assert run.wait(60).state == "finished"
    return [text for _, text in run.notices if "on_end" in text]


def test_what_cannot_be_delivered_is_a_notice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_end, "COMMAND_S", 0.2)
    with hook(status=500) as (url, requests):
        notices = ending(monkeypatch, world, webhook=f"{url}/x", command="sleep 600")
    assert len(requests) == 1
    assert notices == [
        "the webhook of on_end at 127.0.0.1 did not accept the result: HTTP 500",
        "the command of on_end was killed after 0.2 s",
    ]


def test_a_webhook_that_is_gone_and_a_command_that_fails_are_named() -> None:
    assert in_loop(on_end._post(f"http://127.0.0.1:{free_port('127.0.0.1')}/{SECRET}", "{}")) == (
        "the webhook of on_end at 127.0.0.1 was not reached: Connection refused"
    )
    command = "echo no such channel >&2; exit 3"
    assert in_loop(on_end._execute(command, "{}", {"state": "finished"})) == (
        "the command of on_end ended with code 3: no such channel"
    )


def test_a_run_that_fails_reports_its_end_too(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise SetupError("no cluster")

    monkeypatch.setattr("autotune_nb.run.assemble", broken)
    written = tmp_path / "end.json"
    task = Task.parse({**world.task(trials=1).model_dump(), "on_end": f'cat > "{written}"'})
    with pytest.raises(SetupError, match="no cluster"):
        at.tune(task, study=world.folder).wait(60)
    sent = json.loads(written.read_text())
    assert (sent["state"], sent["error"], sent["best"]) == ("failed", "no cluster", None)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"webhook": "chat.example.com/x"}, "expected a URL such as https://"),
        (
            {"webhook": "https://hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/" + "Zk3vQ9xT7mWb2LcR8sYd4HjN"},
            "a secret's own",
        ),
    ],
)
def test_a_webhook_is_a_url_and_no_written_out_secret(
    task_data: dict[str, Any], section: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        Task.parse({**task_data, "on_end": section})
    assert caught.value.field == "on_end.webhook"


FAILED = Trial(
    1,
    {"threads": 2},
    TrialState.FAILED,
    failure=Failure(FailureKind.OUT_OF_MEMORY, "deploy", f"no memory for {SECRET}"),
    seconds={"deploy": 2.0},
)


def test_a_failed_trial_is_a_warning_and_no_secret_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    from autotune_nb.secrets.scrubbing import know

    know([SECRET])
    log, lines = EventLog(Path("runs/mine")), list[str]()
    with json_logs(lines.append):
        log(events.TrialStarted(FAILED))
        log(events.PhaseStarted(1, "deploy"))
        log(events.TrialEnded(FAILED, is_best=False))
        logging.getLogger("autotune_nb.other").warning("it says %s", SECRET)
    log(events.Notice("not any more"))
    ended, other = (json.loads(line) for line in lines[2:])
    assert SECRET not in str(lines)
    assert (ended["level"], ended["phase"], ended["failure"]["kind"]) == ("warning", "deploy", "out_of_memory")
    assert (other["level"], other["logger"]) == ("warning", "autotune_nb.other")
    assert len(lines) == 4


def test_spans_of_trials_and_phases() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans, now = Spans(provider.get_tracer("test"), Path("runs/mine")), time.time()
    spans(events.TrialStarted(FAILED, at=now))
    spans(events.PhaseStarted(1, "deploy", at=now + 1))
    spans(events.PhaseStarted(1, "stop", at=now + 3))
    spans(events.TrialEnded(FAILED, is_best=False, at=now + 4))
    spans(events.TrialStarted(Trial(2, {}), at=now + 4))
    in_loop(spans.close(None))
    found = {span.name: span for span in exporter.get_finished_spans()}
    assert set(found) == {"run", "trial 1", "deploy", "stop", "trial 2"}
    assert found["deploy"].parent.span_id == found["trial 1"].context.span_id
    assert found["trial 1"].parent.span_id == found["run"].context.span_id
    assert (found["deploy"].end_time - found["deploy"].start_time) / 1e9 == pytest.approx(2)
    assert not found["trial 1"].status.is_ok
    assert found["trial 1"].attributes["autotune_nb.param.threads"] == 2
