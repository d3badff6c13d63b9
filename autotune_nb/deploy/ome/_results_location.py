"""Whether the place for benchmarks' files is there: a claim, or a bucket as it is reached from here."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable

from autotune_nb.cluster.client import Cluster
from autotune_nb.cluster.kinds import CLAIM, name_of
from autotune_nb.deploy.ome.check_result import Answer
from autotune_nb.errors import ClusterError, did_you_mean
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.task.task import Task

#: A bucket's storage answers in that time, or is taken for out of reach.
ANSWER_S = 20.0
#: How the executors that put no files there keep them.
_ELSEWHERE = {
    "job": "brings its files back through its pod's log",
    "direct": "keeps its files in the study's folder",
}


async def results_answers(cluster: Cluster, task: Task, executor: str) -> AsyncIterator[Answer]:
    """What is to be said of benchmark.results; nothing where none are named and none needed. Raises ClusterError."""
    results = task.benchmark.results
    if results is None:
        if executor == "benchmark_job":
            yield Answer(False, "a BenchmarkJob needs a place for its files", "--results pvc://CLAIM/FOLDER")
        return
    if not results.startswith("pvc://"):
        yield Answer(True, _unused(results, executor)) if executor in _ELSEWHERE else await _bucket(results)
        return
    if executor == "direct" and task.benchmark.results_size is None:
        yield Answer(True, _unused(results, executor))
        return
    yield await _claim(cluster, task, results.removeprefix("pvc://").split("/")[0])


def _unused(results: str, executor: str) -> str:
    return f"{results} is not used: executor {executor} {_ELSEWHERE[executor]}"


async def _claim(cluster: Cluster, task: Task, claim: str) -> Answer:
    found = await cluster.get(CLAIM, claim)
    if found is not None:
        phase = (found.get("status") or {}).get("phase", "Pending")
        lost = phase == "Lost"
        return Answer(not lost, f"claim {claim} ({phase})", "its volume is gone: name another claim" if lost else "")
    if task.benchmark.results_size is not None:
        return Answer(True, f"claim {claim} of {task.benchmark.results_size} will be made")
    known: list[str] = []
    with contextlib.suppress(ClusterError):
        known = [name_of(one) for one in (await cluster.list(CLAIM))[0]]
    hint = f"autotune-nb manifests claim --namespace {cluster.namespace} --name {claim} | kubectl apply -f -"
    return Answer(False, f"there is no claim {claim!r}{did_you_mean(claim, known)}", hint)


async def _bucket(uri: str) -> Answer:
    """Whether a bucket can be listed from here, as it has to be for results to come back."""
    bucket = "/".join(uri.split("/")[:3])
    try:
        await _within(lambda: _list(uri), ANSWER_S)
    except ImportError as error:
        return Answer(False, f"{uri} cannot be read from here: {error}", "install the package it names")
    except TimeoutError:
        hint = "see whether this machine reaches its endpoint"
        return Answer(False, f"{uri} cannot be read from here: no answer within {ANSWER_S:g} s", hint)
    except FileNotFoundError:
        return Answer(False, f"there is no bucket {bucket}", "make it, or name another in benchmark.results")
    except Exception as error:  # noqa: BLE001 - each kind of storage raises its own
        told = scrub(" ".join(f"{type(error).__name__}: {error}".split()))
        hint = "results are read back by this process: give it credentials that may list and read the bucket"
        return Answer(False, f"{uri} cannot be read from here: {told}", hint)
    return Answer(
        True, f"results go to {uri}, which can be read from here; the benchmark's pod has to be able to write it"
    )


def _list(uri: str) -> None:
    import fsspec

    # What is listed now must not stand for what is there after a trial.
    storage, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, skip_instance_cache=True)
    try:
        storage.ls(path, detail=False)
    except FileNotFoundError:
        bucket = path.split("/")[0]
        if path == bucket:
            raise
        # Nothing has that prefix yet. Who may list only prefixes has been answered, so the bucket is there.
        with contextlib.suppress(PermissionError):
            storage.ls(bucket, detail=False)


async def _within(call: Callable[[], None], seconds: float) -> None:
    """Wait for a call that blocks. Raises TimeoutError; its thread goes on then, and keeps no process from ending."""
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
        except Exception as raised:  # noqa: BLE001 - whatever it was, it is raised where it is waited for
            error = raised
        # Nobody may be waiting any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=work, name="autotune-nb-bucket", daemon=True).start()
    await asyncio.wait_for(done, seconds)
