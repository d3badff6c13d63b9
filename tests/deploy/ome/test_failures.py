"""Failures of trials in a cluster: detected within five seconds, with reason, log and hint."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from autotune_nb.cluster.kinds import POD
from autotune_nb.cluster.watch import Watches
from autotune_nb.deploy import DeployRequest
from autotune_nb.deploy.ome.deployer import OmeDeployer
from autotune_nb.errors import Failure
from tests.deploy.ome.ome_namespace import OmeNamespace, failure_of, prepared, run
from tests.kubernetes import host
from tests.kubernetes.fixtures import EXTERNAL
from tests.stubs import until_async

Json = dict[str, Any]
_MODELS = "/apis/ome.io/v1beta1/clusterbasemodels"
#: Warnings that every healthy start-up has.
_USUAL = ("UpdateFailed", "InternalError")


@dataclass(frozen=True)
class Row:
    """A row of OME's reference: how to bring it about, and what has to be told."""

    name: str
    kind: str
    reason: str
    hint: str = ""
    words: tuple[str, ...] = ()
    changes: Json = field(default_factory=dict)
    #: Changes the InferenceService after its template was checked.
    spoil: Callable[[Json], object] = lambda _body: None
    line: str = ""
    #: Whether it shows in a pod or an event; otherwise creating it is refused.
    shows: bool = True


def _without_engine(body: Json) -> None:
    del body["spec"]["engine"]


def _without_name(body: Json) -> None:
    del body["spec"]["engine"]["runner"]["name"]


def _without_runtime(body: Json) -> None:
    del body["spec"]["runtime"]


def _missing_claim(body: Json) -> None:
    volume = {"name": "weights", "persistentVolumeClaim": {"claimName": "nowhere"}}
    body["spec"]["engine"]["volumes"] = [volume]


_OTHER = "is the other format's"
TABLE = [
    Row(
        "out of memory",
        "out_of_memory",
        "OOMKilled",
        "raise memory in deploy.resources",
        words=("--say", "error: loading shard 1", "--eat-mb", "600"),
        changes={"deploy": {"resources": {"memory": "300Mi"}}},
        line="error: loading shard 1",
    ),
    Row(
        "crash", "crash", "exit code 1", words=("--say", "boom: bad shape", "--exit-code", "1"), line="boom: bad shape"
    ),
    Row(
        "image",
        "infrastructure",
        "docker.io/missing/engine:1",
        "check the image's name in the runtime",
        changes={"deploy": {"runtime": "no-image"}},
    ),
    Row(
        "unknown runtime",
        "configuration",
        "OME rejects it: .*nowhere",
        "check that the runtime exists",
        changes={"deploy": {"runtime": "nowhere"}},
    ),
    Row(
        "unknown model",
        "configuration",
        "nobody",
        "check that the model and its runtime exist",
        changes={"model": "nobody"},
        shows=False,
    ),
    Row(
        "no runtime fits",
        "configuration",
        "no .*runtime",
        "check that the model and its runtime exist",
        changes={"model": _OTHER},
        spoil=_without_runtime,
        shows=False,
    ),
    Row(
        "the runtime does not fit the model",
        "configuration",
        "OME rejects it: ",
        "supports the model",
        changes={"model": _OTHER},
    ),
    Row(
        "no engine",
        "configuration",
        "OME cannot deploy it: ",
        "give spec.engine in the template",
        spoil=_without_engine,
    ),
    Row(
        "no node has the model",
        "infrastructure",
        "node affinity/selector",
        "check that the model is ready on a node",
        changes={"model": "absent"},
    ),
    Row("missing claim", "infrastructure", "no node fits: .*nowhere", "claims", spoil=_missing_claim),
]


@pytest.fixture
def other_model(ome: OmeNamespace) -> Iterator[str]:
    """A model of a format that no runtime knows."""
    (tiny, *_) = host.models("/nowhere")
    name = f"other-{ome.namespace}"
    spec = {**tiny["spec"], "modelFormat": {"name": "safetensors", "version": "1"}, "modelArchitecture": "OtherModel"}
    ome.cluster.create({**tiny, "metadata": {"name": name}, "spec": spec})
    # Its webhook knows what its controller has seen.
    ome.cluster.until(lambda: EXTERNAL or ome.cluster.get(f"{_MODELS}/{name}").get("status"))
    yield name
    ome.cluster.delete(f"{_MODELS}/{name}")


def _spoilt(deployer: OmeDeployer, spoil: Callable[[Json], object]) -> OmeDeployer:
    render = deployer._service_manifest

    def body(request: DeployRequest) -> Json:
        made = render(request)
        spoil(made)
        return made

    deployer._service_manifest = body  # type: ignore[method-assign]
    return deployer


def _shows(watches: Watches) -> bool:
    """Whether a pod or an event tells that something is wrong."""
    for pod in watches.objects(POD).values():
        status = pod.get("status") or {}
        for one in status.get("containerStatuses") or ():
            waiting = (one.get("state") or {}).get("waiting") or {}
            ended = [state for key in ("state", "lastState") if (state := (one.get(key) or {}).get("terminated"))]
            if ended or "Image" in waiting.get("reason", ""):
                return True
        if any(c["type"] == "PodScheduled" and c["status"] == "False" for c in status.get("conditions") or ()):
            return True
    events = [event for said in watches._events.values() for event in said.values()]
    return any(event["reason"] not in _USUAL for event in events)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_is_wrong_is_told_soon_after_it_shows(ome: OmeNamespace, row: Row, request: pytest.FixtureRequest) -> None:
    changes = dict(row.changes)
    if changes.get("model") == _OTHER:
        changes["model"] = request.getfixturevalue("other_model")
    told_at: list[float] = []

    def phase(name: str) -> None:
        if name == "stop":
            told_at.append(time.monotonic())

    async def shown(watches: Watches) -> float:
        await watches.until(lambda: _shows(watches) or None)
        return time.monotonic()

    async def scenario() -> Failure:
        async with prepared(_spoilt(ome.deployer(*row.words, **changes), row.spoil)) as deployer:
            began = time.monotonic()
            showing = asyncio.ensure_future(shown(deployer._session.watches))
            failure = await failure_of(deployer, replace(ome.request(), on_phase=phase))
            assert showing.done() is row.shows
            began = showing.result() if row.shows else began
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            # About five seconds; the shortest deadline is 20 s.
            assert told_at[0] - began < 15
            return failure

    failure = run(scenario)
    assert (failure.kind, failure.phase) == (row.kind, "deploy")
    assert re.search(row.reason, failure.message)
    assert row.hint in failure.hint
    assert row.line in failure.log_lines or not row.line


def test_a_value_that_ome_would_take_for_a_template_is_refused_before_anything_is_made(ome: OmeNamespace) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer("{{ bad")) as deployer:
            failure = await failure_of(deployer, ome.request())
            assert (failure.kind, failure.phase) == ("configuration", "deploy")
            assert "{{" in failure.message
            assert deployer._session.cluster.requests["POST", "inferenceservices.ome.io"] == 0

    run(scenario)


def test_silence_names_every_trial_it_befalls_before_its_deadline_in_few_lines(ome: OmeNamespace) -> None:
    """A runner without a name: no Deployment, no event, no status."""

    async def scenario() -> None:
        async with prepared(_spoilt(ome.deployer(deadlines={"ready_s": 6}), _without_name)) as deployer:
            failing = [asyncio.ensure_future(failure_of(deployer, ome.request(trial))) for trial in range(8)]
            await until_async(lambda: len(ome.cluster.services(ome.namespace)) == len(failing))
            await until_async(lambda: {"0", "7"} <= set(re.findall(r"\d+", " ".join(map(_head, ome.notices)))))
            failures = await asyncio.gather(*failing)
        assert {failure.kind for failure in failures} == {"infrastructure"}
        assert all("OME has created nothing for inferenceservice" in failure.message for failure in failures)
        assert all("a runner without a name" in failure.hint for failure in failures)

    run(scenario)
    assert len(ome.notices) <= 3
    assert sorted(re.findall(r"\d+", " ".join(map(_head, ome.notices)))) == list("01234567")
    assert ome.told("OME has created nothing for", "controller")


def _head(notice: str) -> str:
    """The trials that a notice names."""
    first = re.match(r"trial \d+", notice)
    others = re.search(r"\(also trials ([\d, ]+)\)", notice)
    return f"{first[0] if first else ''} {others[1] if others else ''}"
