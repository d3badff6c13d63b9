"""The state of a trial's InferenceService, from the objects of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune_nb.deploy.ome._diagnosis import ServiceState, TrialSnapshot, lost_state, service_state
from autotune_nb.deploy.ome._pods import restarts_of
from autotune_nb.deploy.ome._readiness import ControllerActivity, Patience
from autotune_nb.errors import FailureKind
from autotune_nb.task.sections import Deadlines
from tests.stubs import in_loop, until_async

Object = dict[str, Any]
NAME = "at-chat-t0007-a1b2c3d4"
READY = {"type": "Ready", "status": "True"}
SCHEDULED = {"type": "PodScheduled", "status": "True"}


def thing(name: str, uid: str, owner: str | None = None, **more: Any) -> Object:
    metadata: Object = {"name": name, "uid": uid}
    if owner is not None:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"metadata": metadata, **more}


def service(*conditions: Object, uid: str = "isvc") -> Object:
    return thing(NAME, uid, status={"conditions": list(conditions)})


def container(name: str = "ome-container", restarts: int = 0, **states: Any) -> Object:
    return {"name": name, "restartCount": restarts, **states}


def pod(*conditions: Object, uid: str = "pod", born: str = "2026-05-01T10:00:00Z", **status: Any) -> Object:
    found = thing(f"{NAME}-engine-{uid}", uid, "rs", status={"phase": "Pending", "conditions": list(conditions)})
    found["metadata"]["creationTimestamp"] = born
    found["status"] |= status
    return found


def seen(*pods: Object, events: dict[str, list[Object]] | None = None, **more: Any) -> TrialSnapshot:
    said = events or {}
    given: dict[str, Any] = {
        "service": service(),
        "deployments": [thing(f"{NAME}-engine", "deployment", "isvc")],
        "replica_sets": [thing(f"{NAME}-engine-1", "rs", "deployment")],
        **more,
    }
    return TrialSnapshot(NAME, "isvc", pods=pods, events=lambda uid: said.get(uid, []), **given)


def event(reason: str, message: str = "") -> Object:
    return {"reason": reason, "message": message}


def nothing_made(*events: Object) -> TrialSnapshot:
    return seen(deployments=[], replica_sets=[], events={"isvc": list(events)})


def waiting(reason: str, message: str = "", **more: Any) -> Object:
    return container(state={"waiting": {"reason": reason, "message": message}}, **more)


def ended(code: int, reason: str = "Error") -> Object:
    return {"terminated": {"exitCode": code, "reason": reason}}


def running_pod(**more: Any) -> Object:
    one = container(state={"running": {}}, **more)
    return pod(SCHEDULED, READY, phase="Running", containerStatuses=[one])


def unscheduled(message: str) -> Object:
    return pod({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message})


def starting(*containers: Object, **status: Any) -> Object:
    return pod(SCHEDULED, containerStatuses=list(containers), **status)


# One standing a row of the reference's table


INSUFFICIENT = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
QUOTA = 'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2'
REPLICA_FAILURE = {"type": "ReplicaFailure", "status": "True"}


@pytest.mark.parametrize(
    ("what", "state", "telling"),
    [
        (nothing_made(), "silent", "controller"),
        (nothing_made(event("UpdateFailed", "modified"), event("InternalError", "no Service")), "silent", "controller"),
        (nothing_made(event("Odd", "never heard")), "silent", "Odd: never heard"),
        (nothing_made(event("RuntimeValidationError", "no such runtime")), "refused", "no such runtime"),
        (nothing_made(event("DeploymentModeError", "no engine")), "mode", "no engine"),
        (seen(services=[thing(NAME, "svc", "somebody")]), "foreign", f"service {NAME}"),
        (seen(running_pod(), services=[thing(f"{NAME}-engine", "svc")]), "foreign", f"service {NAME}-engine"),
        (seen(), "no-pod", "no pod yet"),
        (
            seen(deployments=[thing("d", "d", "isvc", status={"conditions": [REPLICA_FAILURE | {"message": QUOTA}]})]),
            "quota",
            "exceeded quota",
        ),
        (seen(events={"rs": [event("FailedCreate", QUOTA)]}), "quota", "exceeded quota"),
        (seen(events={"rs": [event("FailedCreate", "violates PodSecurity")]}), "pod-refused", "violates PodSecurity"),
        (seen(events={"rs": [event("FailedCreate", "failed calling webhook")]}), "away", "failed calling webhook"),
        (seen(unscheduled(INSUFFICIENT)), "no-room", "Insufficient nvidia.com/gpu"),
        (
            seen(unscheduled("0/1 nodes: didn't match"), events={"pod": [event("TriggeredScaleUp", "1->2")]}),
            "no-room",
            "didn't match",
        ),
        (seen(unscheduled("0/1 nodes: didn't match Pod's node affinity/selector")), "unschedulable", "node selectors"),
        (seen(unscheduled('persistentvolumeclaim "weights" not found')), "unschedulable", "weights"),
        (seen(starting(waiting("ErrImagePull", "sglang:v9: not found"))), "image", "sglang:v9"),
        (seen(starting(waiting("ErrImagePull", "i/o timeout"))), "image", "i/o timeout"),
        (seen(starting(waiting("ImagePullBackOff", 'Back-off pulling image "sglang:v9"'))), "image", "sglang:v9"),
        (seen(starting(waiting("InvalidImageName", "so bad"))), "image", "so bad"),
        (seen(starting(waiting("CreateContainerConfigError", 'secret "hf" not found'))), "container", 'secret "hf"'),
        (seen(starting(container(state=ended(2)))), "crashed", "exit code 2"),
        (seen(starting(container(state=ended(137, "OOMKilled")))), "crashed", "OOMKilled"),
        (seen(starting(waiting("CrashLoopBackOff", lastState=ended(1)))), "crashed", "exit code 1"),
        (seen(starting(container(state={"running": {}}, lastState=ended(1)))), "crashed", "exit code 1"),
        (seen(starting(initContainerStatuses=[container("fetch", state=ended(3))])), "crashed", "fetch"),
        (seen(starting(initContainerStatuses=[container("fetch", state=ended(0))])), "starting", ""),
        (
            seen(pod(phase="Failed", reason="Evicted", message="The node was low")),
            "evicted",
            "Evicted: The node was low",
        ),
        (seen(running_pod()), "status", "does not report"),
        (
            seen(pod(SCHEDULED, phase="Running", containerStatuses=[container(state={"running": {}})])),
            "starting",
            "",
        ),
        (seen(running_pod(), service=service(READY)), "ready", ""),
        (seen(running_pod(), service=service(READY, uid="another")), "deleted", "deleted by another client"),
        (seen(running_pod(), service=None), "deleted", "deleted by another client"),
        (seen(running_pod(), pod(SCHEDULED, uid="second"), service=service(READY)), "several", "2 pods"),
    ],
)
def test_every_state_is_told_apart(what: TrialSnapshot, state: str, telling: str) -> None:
    standing = service_state(what)
    assert standing.state == state
    assert telling in f"{standing.text} {standing.hint}"


def test_a_terminating_service_is_not_ready_whatever_its_status_says() -> None:
    stale = service(READY)
    stale["metadata"]["deletionTimestamp"] = "2026-05-01T10:00:00Z"
    assert service_state(seen(running_pod(), service=stale)).state == "deleted"


def test_a_pod_that_is_not_ready_makes_a_ready_status_a_stale_one() -> None:
    crashed = starting(waiting("CrashLoopBackOff", lastState=ended(1)))
    assert service_state(seen(crashed, service=service(READY))).state == "crashed"


def test_a_pod_on_its_way_out_is_not_looked_at() -> None:
    old = starting(container(state=ended(1)))
    old["metadata"]["deletionTimestamp"] = "2026-05-01T10:00:00Z"
    assert service_state(seen(old)).state == "replaced"
    assert service_state(seen(old, running_pod(), service=service(READY))).ready


# What follows from it


def verdicts(what: TrialSnapshot, *at_s: float, **deadlines: float) -> list[str]:
    """What is said at each of these seconds: a notice, FAILED with its message, or nothing."""
    patience, standing, found = Patience(Deadlines(**deadlines), 0.0), service_state(what), []
    for now in at_s:
        verdict = patience.decide(standing, now)
        found.append(f"FAILED {verdict.failed.message}" if verdict.failed else verdict.notice)
    return found


@pytest.mark.parametrize(
    "what",
    [
        nothing_made(event("DeploymentModeError", "no engine")),
        seen(services=[thing(NAME, "svc", "somebody")]),
        seen(unscheduled("0/1 nodes: didn't match Pod's node affinity/selector")),
        seen(starting(waiting("ImagePullBackOff"))),
        seen(starting(container(state=ended(2)))),
        seen(pod(phase="Failed", reason="Evicted")),
    ],
)
def test_what_does_not_heal_fails_at_once(what: TrialSnapshot) -> None:
    (said,) = verdicts(what, 0.01)
    assert said.startswith("FAILED")


def test_a_refusal_that_may_heal_is_told_at_once_and_fails_within_five_seconds() -> None:
    refused = nothing_made(event("RuntimeValidationError", "model format name is required"))
    first, later, last = verdicts(refused, 0.01, 2.0, 4.5)
    assert "model format name is required" in first
    assert not later
    assert last.startswith("FAILED")
    assert service_state(refused).kind is FailureKind.CONFIGURATION


def test_silence_is_told_after_four_seconds_and_fails_after_thirty() -> None:
    quiet, told, again, failed = verdicts(nothing_made(), 0.0, 4.5, 20.0, 30.5)
    assert not quiet
    assert "controller" in told
    assert not again
    assert failed.startswith("FAILED")


def test_silence_is_said_of_all_trials_it_befalls_in_one_line() -> None:
    said: list[str] = []

    async def scenario() -> None:
        controller = ControllerActivity()
        for trial in range(40):
            controller.notify_together("silent", trial, f"nothing of {trial}", said.append)
        controller.notify_together("slow", 7, "not made yet", said.append)
        await until_async(lambda: len(said) == 2)
        # Nobody is left out for having come later.
        controller.notify_together("silent", 41, "nothing of 41", said.append)
        await until_async(lambda: len(said) == 3)

    in_loop(scenario())
    assert said[0] == f"trial 0: nothing of 0 (also trials {', '.join(map(str, range(1, 40)))})"
    assert said[1:] == ["trial 7: not made yet", "trial 41: nothing of 41"]


def test_waiting_for_room_is_told_at_once_and_has_a_deadline_of_its_own() -> None:
    full = seen(unscheduled(INSUFFICIENT))
    said = verdicts(full, 0.01, 50.0, 99.0, 100.5, ready_s=5, pending_s=100)
    assert "Insufficient" in said[0]
    assert said[1:3] == ["", ""]
    assert said[3].startswith("FAILED")
    assert "pending_s" in said[3]
    assert service_state(full).kind is FailureKind.INFRASTRUCTURE


def test_the_time_spent_waiting_for_room_is_not_the_engines() -> None:
    patience = Patience(Deadlines(ready_s=10, pending_s=100), 0.0)
    assert patience.decide(service_state(seen(unscheduled(INSUFFICIENT))), 0.0).failed is None
    loading = service_state(seen(starting(container(state={"running": {}}))))
    assert patience.decide(loading, 60.0).failed is None
    assert patience.decide(loading, 69.0).failed is None
    late = patience.decide(loading, 70.5).failed
    assert late is not None
    assert late.timed_out
    assert "10 s" in late.message


def test_a_silent_status_beside_a_ready_pod_does_not_hold_its_gpus_for_ever() -> None:
    quiet, told, failed = verdicts(seen(running_pod()), 0.0, 4.5, 30.5)
    assert not quiet
    assert "controller" in told
    assert failed.startswith("FAILED")


# While it is measured


def ready_then(change: Callable[[], TrialSnapshot]) -> ServiceState | None:
    return lost_state(change(), "pod", 0)


def test_an_engine_that_is_as_it_was_is_not_lost() -> None:
    assert lost_state(seen(running_pod(), service=service(READY)), "pod", 0) is None
    assert lost_state(seen(running_pod(), service=service()), "pod", 0) is None
    # It had been restarted before it was Ready.
    again = running_pod(restarts=1, lastState=ended(1))
    assert lost_state(seen(again, service=service(READY)), "pod", restarts_of(again)) is None


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (seen(running_pod(restarts=1, lastState=ended(1)), service=service(READY)), "crashed"),
        (seen(starting(container(state=ended(137, "OOMKilled"))), service=service(READY)), "crashed"),
        (seen(service=service(READY)), "pod-gone"),
        (seen(running_pod() | {"status": {"phase": "Failed", "reason": "Evicted"}}, service=service(READY)), "evicted"),
        (seen(running_pod(), service=None), "deleted"),
        (seen(running_pod(), service=service(READY, uid="another")), "deleted"),
        (seen(running_pod(), pod(SCHEDULED, uid="second"), service=service(READY)), "several"),
    ],
)
def test_whatever_became_of_an_engine_is_seen(what: TrialSnapshot, state: str) -> None:
    standing = lost_state(what, "pod", 0)
    assert standing is not None
    assert standing.state == state


def test_a_kill_for_memory_is_told_as_such() -> None:
    standing = lost_state(seen(starting(container(state=ended(137, "OOMKilled"))), service=service(READY)), "pod", 0)
    assert standing is not None
    assert standing.crash is not None
    assert standing.crash.out_of_memory


def blocked_service(**info: Any) -> Object:
    found = service({"type": "Ready", "status": "False"})
    found["status"]["modelStatus"] = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": info}
    return found


def test_the_failure_that_omes_status_has_is_reported_where_nothing_else_is_the_reason() -> None:
    failed = blocked_service(reason="ModelLoadFailed", message="model m is In_Transit on all nodes", exitCode=1)
    alone = service_state(seen(service=failed, deployments=[], replica_sets=[]))
    told = (
        "OME reports that the model failed to load: ModelLoadFailed: model m is In_Transit on all nodes (exit code 1)"
    )
    assert (alone.state, alone.text) == ("model", told)
    beside = service_state(seen(pod(SCHEDULED), service=failed))
    assert (beside.state, beside.text) == ("starting", told)
    assert beside.patience_s is None
    # A later success leaves the old failure in the status.
    failed["status"]["modelStatus"]["transitionStatus"] = "UpToDate"
    assert service_state(seen(pod(SCHEDULED), service=failed)).text == ""
    assert service_state(seen(service=service(), deployments=[], replica_sets=[])).state == "silent"


def test_a_container_that_fails_to_start_is_not_reported_as_a_model_that_failed_to_load() -> None:
    failed = blocked_service(
        reason="ContainerStartupFailed", message="ome-container is in CrashLoopBackOff", exitCode=1
    )
    for state in (
        service_state(seen(pod(SCHEDULED), service=failed)),
        service_state(seen(service=failed, deployments=[], replica_sets=[])),
    ):
        assert state.text == (
            "OME reports that the engine's container fails to start: ContainerStartupFailed: "
            "ome-container is in CrashLoopBackOff (exit code 1)"
        )
        assert "log" in state.hint


@pytest.mark.parametrize("reason", ["FailedMount", "FailedAttachVolume"])
def test_a_volume_that_only_an_event_reports_is_reported_while_its_pod_waits(reason: str) -> None:
    events = {"pod": [event(reason, 'MountVolume.SetUp failed for volume "model": /models/x is not a directory')]}
    state = service_state(seen(pod(SCHEDULED, containerStatuses=[waiting("ContainerCreating")]), events=events))
    assert state.state == "volumes"
    assert "/models/x is not a directory" in state.text
    # The kubelet tries again, so it may pass until the deadline.
    assert state.patience_s is None
    running = pod(SCHEDULED, containerStatuses=[container(state={"running": {}})])
    assert service_state(seen(running, events=events)).state == "starting"
