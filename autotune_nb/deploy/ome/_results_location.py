"""Checks that the places for files exist: for results a claim or a bucket, for the engine's caches a claim."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CLAIM, name_of
from autotune_nb.deploy.ome.check_result import CheckResult
from autotune_nb.errors import ClusterError, did_you_mean
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.task.task import Task

#: The time limit for a bucket's storage to respond.
BUCKET_TIMEOUT_S = 20.0
#: How the executors that do not use the location store their files.
_WITHOUT_LOCATION = {
    "job": "reads its files from its pod's log",
    "direct": "stores its files in the study's folder",
}


async def results_checks(cluster: Cluster, task: Task, executor: str) -> AsyncIterator[CheckResult]:
    """Check benchmark.results; yields nothing if it is neither given nor needed. Raises ClusterError."""
    results = task.benchmark.results
    if results is None:
        if executor == "benchmark_job":
            yield CheckResult(False, "a BenchmarkJob needs a location for its results", "--results pvc://CLAIM/FOLDER")
        return
    if not results.startswith("pvc://"):
        yield CheckResult(True, _unused(results, executor)) if executor in _WITHOUT_LOCATION else await _bucket(results)
        return
    if executor == "direct" and task.benchmark.results_size is None:
        yield CheckResult(True, _unused(results, executor))
        return
    yield await _claim(cluster, results.removeprefix("pvc://").split("/")[0], size=task.benchmark.results_size)


async def caches_checks(cluster: Cluster, task: Task) -> AsyncIterator[CheckResult]:
    """Check the claim of deploy.caches; yields nothing if the task names none. Raises ClusterError."""
    if isinstance(task.deploy.caches, str):
        yield await _claim(cluster, task.deploy.caches.removeprefix("pvc://").split("/")[0], size=None)


def _unused(results: str, executor: str) -> str:
    return f"{results} is not used: executor {executor} {_WITHOUT_LOCATION[executor]}"


async def _claim(cluster: Cluster, claim: str, *, size: str | None) -> CheckResult:
    found = await cluster.get(CLAIM, claim)
    if found is not None:
        phase = (found.get("status") or {}).get("phase", "Pending")
        lost = phase == "Lost"
        return CheckResult(
            not lost, f"claim {claim} ({phase})", "its volume is gone: give another claim" if lost else ""
        )
    if size is not None:
        return CheckResult(True, f"claim {claim} of {size} will be created")
    known: list[str] = []
    with contextlib.suppress(ClusterError):
        known = [name_of(one) for one in (await cluster.list(CLAIM))[0]]
    hint = f"autotune-nb manifests claim --namespace {cluster.namespace} --name {claim} | kubectl apply -f -"
    return CheckResult(False, f"there is no claim {claim!r}{did_you_mean(claim, known)}", hint)


async def _bucket(uri: str) -> CheckResult:
    """Check that this process can list a bucket, since it reads the results from there."""
    bucket = "/".join(uri.split("/")[:3])
    try:
        await _within(lambda: _list(uri), BUCKET_TIMEOUT_S)
    except ImportError as error:
        return CheckResult(False, f"{uri} cannot be read from here: {error}", "install the package it names")
    except TimeoutError:
        hint = "check that this machine reaches its endpoint"
        return CheckResult(False, f"{uri} cannot be read from here: no response within {BUCKET_TIMEOUT_S:g} s", hint)
    except FileNotFoundError:
        return CheckResult(False, f"there is no bucket {bucket}", "create it, or give another in benchmark.results")
    except Exception as error:  # noqa: BLE001 - each storage raises errors of its own
        message = scrub(" ".join(f"{type(error).__name__}: {error}".split()))
        hint = "results are read back by this process: give it credentials that may list and read the bucket"
        return CheckResult(False, f"{uri} cannot be read from here: {message}", hint)
    return CheckResult(
        True, f"results go to {uri}, which can be read from here; the benchmark's pod must be able to write there"
    )


def _list(uri: str) -> None:
    import fsspec

    # Without caches: a listing must not be reused after a trial.
    storage, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, skip_instance_cache=True)
    try:
        storage.ls(path, detail=False)
    except FileNotFoundError:
        bucket = path.split("/")[0]
        if path == bucket:
            raise
        # Nothing has that prefix yet. An account that may list only prefixes had a response, so the bucket exists.
        with contextlib.suppress(PermissionError):
            storage.ls(bucket, detail=False)


async def _within(call: Callable[[], None], seconds: float) -> None:
    """Wait for a blocking call. Raises TimeoutError; the call then continues in a daemon thread."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        error: BaseException | None = None
        try:
            call()
        except Exception as raised:  # noqa: BLE001 - raised again in the waiting task
            error = raised
        # The event loop may be closed after a timeout.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=work, name="autotune-nb-bucket", daemon=True).start()
    await asyncio.wait_for(done, seconds)
