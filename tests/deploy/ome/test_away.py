"""An unreachable cluster or rejected credentials during a run: the run waits, and no trial fails for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune_nb import events
from autotune_nb.cluster.kinds import POD
from autotune_nb.deploy.ome import _teardown as teardown
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import DeployError, FailureKind, SetupError, SurroundingsError
from autotune_nb.runner import engine_metrics
from autotune_nb.runner.assembly import assemble
from autotune_nb.runner.runner import Runner
from autotune_nb.trial.trial import TrialState
from tests.deploy.ome.ome_namespace import OmeNamespace, failure_of, in_and_out, prepared, run
from tests.kubernetes.proxy import FaultProxy
from tests.stubs import FakeBench, open_study, until, until_async


@pytest.fixture
def impatient(ome: OmeNamespace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Credentials that are waited for shortly; what is called with a token lets the kubeconfig have it."""
    monkeypatch.setattr("autotune_nb.cluster._credential_renewal._PAUSE_S", 0.1)
    monkeypatch.setattr("autotune_nb.cluster.client.Cluster.renewal_s", 0.3)
    monkeypatch.setattr("autotune_nb.cluster.watch.Watches.patience_s", 0.3)
    monkeypatch.setattr("autotune_nb.cluster.session._POLL_S", 0.1)
    proxy.token = ("first", ome.cluster.token)

    def log_in(token: str) -> None:
        proxy.kubeconfig(ome.kubeconfig, token=token, namespace=ome.namespace)

    log_in("first")
    return log_in


def test_credentials_that_are_renewed_while_trials_run_cost_none_of_them(
    ome: OmeNamespace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.cluster._credential_renewal._PAUSE_S", 0.2)
    proxy.token = ("first", ome.cluster.token)
    proxy.kubeconfig(ome.kubeconfig, token="first", namespace=ome.namespace)

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            deployer._session.notify = ome.notices.append
            async with deployer.deploy(ome.request()) as deployment:
                died = asyncio.ensure_future(deployment.died())
                proxy.token = ("second", ome.cluster.token)
                await asyncio.to_thread(proxy.cut)
                waiting = asyncio.ensure_future(in_and_out(deployer, ome.request(trial=1)))
                await until_async(lambda: ome.told("rejects the credentials", "log in again"))
                proxy.kubeconfig(ome.kubeconfig, token="second", namespace=ome.namespace)
                await waiting
                assert not died.done()
                ome.kill(deployment)
                with pytest.raises(DeployError, match="exit code"):
                    await died
        assert [bool(ome.told(*words)) for words in (("rejects the",), ("accepts the",))] == [True, True]
        assert len(ome.notices) == 2
        assert not ome.left()

    run(scenario)


def test_credentials_that_come_too_late_cost_the_trial_that_waits_and_what_it_left_goes_then(
    ome: OmeNamespace, proxy: FaultProxy, impatient: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teardown, "_RETRY_S", 0.2)

    async def scenario() -> None:
        async with prepared(ome.deployer("--hang")) as deployer:
            waiting = asyncio.ensure_future(failure_of(deployer, ome.request()))
            await until_async(lambda: deployer._session.watches.of_trial(POD, 0))
            proxy.token = ("second", ome.cluster.token)
            await asyncio.to_thread(proxy.cut)
            failure = await waiting
            assert (failure.kind, failure.phase) == (FailureKind.INFRASTRUCTURE, "deploy")
            assert "Unauthorized" in failure.message
            assert "log in again" in failure.hint
            assert ome.told("could not be taken down", ome.name(), "Unauthorized")
            impatient("second")
            await until_async(lambda: ome.told("is gone now", ome.name()))
            assert not ome.left()

    run(scenario)


def test_a_trial_begins_once_the_cluster_accepts_the_credentials_again_and_what_it_left_is_gone(
    ome: OmeNamespace, proxy: FaultProxy, impatient: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teardown, "_RETRY_S", 0.5)

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            with pytest.raises(DeployError, match="could not be taken down"):
                async with deployer.deploy(ome.request()):
                    proxy.token = ("second", ome.cluster.token)
                    await asyncio.to_thread(proxy.cut)
            # A response to a request from before may have arrived last.
            await until_async(lambda: deployer._session.cluster.connection_error is not None)
            again = asyncio.ensure_future(in_and_out(deployer, ome.request()))
            await until_async(lambda: ome.told("waiting up to 3600 s for the cluster", "Unauthorized"))
            impatient("second")
            await again
            assert ome.told("the cluster responds again")
            assert not ome.told("which existed")
            assert ome.phases == ["stop", "wait", "deploy", "stop"]
            assert not ome.left()

    run(scenario)


def test_a_cluster_that_stays_away_ends_the_run_and_spends_no_trial(ome: OmeNamespace, proxy: FaultProxy) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer(deadlines={"surroundings_s": 0.5})) as deployer:
            deployer._session.cluster.patience_s = 0.2
            with proxy.down():
                await failure_of(deployer, ome.request())
                with pytest.raises(SetupError, match="trial 1 was not started: the cluster did not respond") as caught:
                    await in_and_out(deployer, ome.request(trial=1))
                assert "start the study again" in str(caught.value)
                assert ome.told("waiting up to 0.5 s for the cluster: ")
            await in_and_out(deployer, ome.request(trial=1))
            assert not ome.left()

    run(scenario)


def test_a_proxy_that_finds_no_server_is_a_cluster_that_stays_away(ome: OmeNamespace, proxy: FaultProxy) -> None:
    async def scenario() -> None:
        async with prepared(ome.deployer(deadlines={"surroundings_s": 0.5})) as deployer:
            deployer._session.cluster.patience_s = 0.2
            methods = ("GET", "POST", "DELETE", "WATCH")
            away = [proxy.add(one, ".*", status=503, message="upstream unavailable", times=10**9) for one in methods]
            await asyncio.to_thread(proxy.cut)
            await failure_of(deployer, ome.request())
            with pytest.raises(SetupError, match=r"trial 1 was not started: .*upstream unavailable"):
                await in_and_out(deployer, ome.request(trial=1))
            for fault in away:
                fault.times = 0
            await in_and_out(deployer, ome.request(trial=1))
            assert not ome.left()

    run(scenario)


def test_a_webhook_that_lets_no_pod_be_created_fails_no_trial(
    ome: OmeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune_nb.deploy.ome._diagnosis._SILENT_S", 0.5)

    async def scenario() -> None:
        async with prepared(ome.deployer()) as deployer:
            with ome.cluster.dead_webhook(ome.namespace, "", "pods") as webhook:
                with pytest.raises(SurroundingsError, match=f'failed calling webhook "{webhook}"') as caught:
                    await in_and_out(deployer, ome.request())
                assert "webhook" in caught.value.failure.hint
            await in_and_out(deployer, ome.request())

    run(scenario)


def test_a_trial_that_waits_for_gpus_which_nobody_can_free_ends_the_run_too(
    ome: OmeNamespace, proxy: FaultProxy, impatient: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teardown, "_RETRY_S", 0.5)
    monkeypatch.setattr("autotune_nb.deploy.ome.deployer._CHECK_S", 0.2)

    async def scenario() -> None:
        deployer = ome.deployer(deploy={"gpus": 1, "gpus_per_trial": 1}, deadlines={"surroundings_s": 1})
        async with prepared(deployer):
            with pytest.raises(DeployError, match="could not be taken down"):
                async with deployer.deploy(ome.request()):
                    waiting = asyncio.ensure_future(in_and_out(deployer, ome.request(trial=1)))
                    await until_async(lambda: "queue" in ome.phases)
                    proxy.token = ("second", ome.cluster.token)
                    await asyncio.to_thread(proxy.cut)
            with pytest.raises(SetupError, match="trial 1 was not started"):
                await waiting
            assert deployer._budget.held == 1
            impatient("second")
            await until_async(lambda: deployer._budget.held == 0)
            await in_and_out(deployer, ome.request(trial=1))
            assert deployer._budget.held == 0
            assert not ome.left()

    run(scenario)


def test_what_may_not_be_deleted_is_not_adopted_by_the_next_attempt(
    ome: OmeNamespace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teardown, "_RETRY_S", 0.5)
    refused = proxy.add("DELETE", "/inferenceservices/", status=403, message="no deleting", times=10**9)

    async def scenario() -> None:
        async with prepared(ome.deployer(deadlines={"pending_s": 1})) as deployer:
            for _ in range(2):
                with pytest.raises(DeployError, match=r"could not be taken down .*no deleting"):
                    await in_and_out(deployer, ome.request())
            assert not ome.told("which existed")
            proxy.faults.remove(refused)
            await in_and_out(deployer, ome.request())
            assert not ome.left()

    run(scenario)


# The trials of such a run are above, and that it ends and continues in tests/runner/test_trial_work.py.
@pytest.mark.slow
def test_a_run_whose_credentials_run_out_for_good_keeps_what_it_has_and_goes_on_when_it_is_started_again(
    ome: OmeNamespace,
    proxy: FaultProxy,
    impatient: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Its benchmark has ended before the watches are refused, also where no metrics can be read any more.
    monkeypatch.setattr(engine_metrics, "_WITHIN_S", 0.05)
    bench, begun, go_on = FakeBench(tmp_path / "fake"), tmp_path / "begun", tmp_path / "go-on"
    second = f"case \"$out\" in */trial-0001/*) touch '{begun}'; while [ ! -e '{go_on}' ]; do sleep 0.1; done;; esac"
    task = ome.task(
        benchmark={"executable": bench.write(bench.both_levels(), before=second), "executor": "direct"},
        budget={"baseline": False, "trials": 3},
        deadlines={"surroundings_s": 1},
        strategy="random",
    )
    notices: list[str] = []

    def runner() -> Runner:
        bus = events.EventBus()
        bus.subscribe(lambda event: notices.append(event.text) if isinstance(event, events.Notice) else None)
        study, engine = open_study(task, tmp_path / "study"), engine_for(task)
        parts = assemble(task, engine, study_label=ome.study, folder=study.folder.path, notify=notices.append)
        return Runner(study, *parts, bus)

    async def scenario() -> None:
        first = runner()
        running = asyncio.ensure_future(first.run())
        await asyncio.to_thread(until, begun.exists)
        proxy.token = ("second", ome.cluster.token)
        await asyncio.to_thread(proxy.cut)
        go_on.touch()
        with pytest.raises(SetupError, match=r"trial 2 was not started: .*Unauthorized.*continues with trial 2"):
            await running
        assert [trial.state for trial in first.trials] == [*[TrialState.COMPLETE] * 2, TrialState.INTERRUPTED]
        assert any("could not be taken down" in notice for notice in notices)
        impatient("second")
        again = runner()
        await again.run()
        assert [trial.state for trial in again.trials] == [TrialState.COMPLETE] * 3
        assert not ome.left()

    run(scenario)
