"""Studies in the states that nobody designs a screen for, from simulated trials and without an engine.

A notebook's kernel imports this module too: ``show(box, name)`` puts the monitor of a state into the notebook's page.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat

from autotune_nb.errors import Failure, FailureKind, SetupError
from autotune_nb.reports.html_page import to_html
from autotune_nb.run import Run
from autotune_nb.runner.live import RunningTrial
from autotune_nb.runner.runner import RunState
from autotune_nb.study._edit import Edit, EditKind
from autotune_nb.study.steering import Steering
from autotune_nb.task.task import Task
from autotune_nb.trial.trial import Trial, TrialState
from autotune_nb.widgets.form import TaskForm
from tests.benchmarks.samples import DATA, Samples, sample_task
from tests.widgets.stub_handle import StubHandle

#: Two minutes ago, so that no time of day in a state is in the future.
_SINCE = time.time() - 120
_LOADING = "Loading safetensors checkpoint shards:  40% Completed | 2/5 [00:16<00:24,  8.1s/it]"
_LONG = "kv_cache_eviction_watermark_percentage_{}"
_OOM = ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB", "RuntimeError: Engine core failed")
_AWAY = Failure(
    FailureKind.INFRASTRUCTURE,
    "deploy",
    "the API server https://203.0.113.7:6443 does not respond: connection refused",
    hint="check that the cluster is up",
)


class StubRun(StubHandle, Run):
    """A run of this process whose values a test sets."""

    ended: Any = False
    end_reason: Any = ""
    elsewhere: Any = None
    has_workers: Any = False
    promise: Any = None

    def subscribe(self, _listener: Any) -> Callable[[], None]:
        return lambda: None

    def _command_of(self, trial: Trial) -> str | None:
        return " ".join(trial.command)

    def _manifest_of(self, trial: Trial) -> None:
        return None


class StubStudy(StubHandle):
    """A study that no process works on."""

    end_reason: Any = ""

    def _command_of(self, trial: Trial) -> str | None:
        return " ".join(trial.command)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="at-states-")) / "qwen3-8b"
    folder.mkdir()
    # The monitor says so if a study's folder is gone.
    (folder / "study.json").write_text("{}")
    return folder


def _task(trials: int = 30, **changes: Any) -> Task:
    return Task.parse({**DATA, "name": "qwen3-8b on H100", "budget": {"trials": trials}, **changes})


def _trials(task: Task, count: int, *, failing: bool = True) -> list[Trial]:
    """Return ended trials, of which the first is the engine's default."""
    samples = Samples(sample_task(max(count, 1)))
    samples.task = task
    found = []
    for number in range(count):
        begun = samples.begun(number)
        measured = samples.measurements(dict(begun.params))
        place = begun if failing or number % 11 != 5 else replace(begun, number=number + 1)
        ended = replace(samples.ended(place, measured), number=number)
        found.append(ended.with_(params={}, baseline=True) if number == 0 else ended)
    return found


def _running(number: int, phase: str, **changes: Any) -> RunningTrial:
    params = Samples(sample_task(1)).params()
    trial = Trial(number, params, reason="auto: expected to be 4 % better than the best so far")
    return RunningTrial(trial, _SINCE, phase, _SINCE, 3, **changes)


def _run(task: Task, history: list[Trial], *running: RunningTrial, **values: Any) -> StubRun:
    begun = [one.trial for one in running]
    elapsed = sum(trial.work_s for trial in history)
    return StubRun(
        task, _folder(), **{"history": (*history, *begun), "running": running, "elapsed_s": elapsed, **values}
    )


def _ended(task: Task, history: list[Trial], reason: str, **values: Any) -> StubStudy:
    elapsed = sum(trial.work_s for trial in history)
    found = {"history": tuple(history), "state": RunState.FINISHED, "elapsed_s": elapsed, "end_reason": reason}
    return StubStudy(task, _folder(), **{**found, **values})


def new() -> StubHandle:
    """No trial yet: the study was made, and nothing started."""
    return StubStudy(_task(), _folder(), state="new")


def starting() -> StubHandle:
    """The run was started, and no trial has."""
    return _run(_task(), [], state=RunState.STARTING)


def first() -> StubHandle:
    """The first trial is starting: the model is being loaded."""
    task = _task()
    folder = _folder()
    log = folder / "engine.log"
    log.write_text("INFO 11-30 08:00:01 starting to load the model\n" + _LOADING + "\n")
    begun = RunningTrial(Trial(0, {}, baseline=True), _SINCE, "deploy", _SINCE, 3, log)
    return StubRun(task, folder, history=(begun.trial,), running=(begun,), elapsed_s=21.0)


def _failed_trials(task: Task) -> list[Trial]:
    failure = Failure(
        FailureKind.OUT_OF_MEMORY,
        "deploy",
        "the engine ended with code 1 before it answered",
        _OOM,
        "lower gpu_memory_utilization or max_num_seqs",
    )
    return [
        trial.with_(state=TrialState.FAILED, measurements=(), score=None, failure=failure, seconds={"deploy": 41.0})
        for trial in _trials(task, 5)
    ]


def all_failed() -> StubHandle:
    """Every trial failed, and the run with them."""
    task = _task()
    failed = _failed_trials(task)
    reason = (
        f"5 trials in a row failed in the same way: {failed[-1].failure} | {_OOM[0]}; remove the cause and run it again"
    )
    return _ended(task, failed, f"{reason}, or raise budget.max_failures")


def broken() -> StubHandle:
    """The run ended with an error, which is not that of a trial."""
    task = _task()
    error = SetupError("trial 13 could not continue within 900 s (deadlines.surroundings_s): " + _AWAY.message)
    return _ended(task, _trials(task, 13), "", state=RunState.FAILED, error=error)


def failing() -> StubHandle:
    """Every trial so far failed, and the run goes on."""
    task = _task()
    return _run(task, _failed_trials(task), _running(5, "deploy"))


def one() -> StubHandle:
    """One trial is complete: the engine's default."""
    task = _task()
    return _run(task, _trials(task, 1), _running(1, "benchmark"))


def infeasible() -> StubHandle:
    """Every trial breaks a limit."""
    task = _task(limits=["ttft_p99_s <= 0.001", "tpot_mean_s <= 0.0001"])
    return _run(task, _trials(task, 8), _running(8, "benchmark"))


def raised() -> StubHandle:
    """The budget was spent, and then raised."""
    task = _task(5)
    edit = Edit(EditKind.BUDGET, budget={"trials": 12}, asked={"trials": 5})
    handle = _ended(task, _trials(task, 5), "the budget of 5 trials is spent")
    handle.steering = Steering(task, handle.steering.full_space, [edit])
    return handle


def lowered() -> StubHandle:
    """The budget was lowered below what was already tried."""
    task = _task(12)
    edit = Edit(EditKind.BUDGET, budget={"trials": 5}, asked={"trials": 12})
    handle = _ended(task, _trials(task, 6), "the budget of 5 trials is spent")
    handle.steering = Steering(task, handle.steering.full_space, [edit])
    return handle


def running() -> StubHandle:
    """The usual state: some trials ended, two run."""
    task = _task()
    trials = _trials(task, 13)
    half = _running(13, "benchmark")
    samples = Samples(sample_task(1))
    half = replace(half, trial=half.trial.with_(measurements=samples.measurements(dict(half.trial.params))[:1]))
    return _run(task, trials, half, _running(14, "deploy"))


def paused() -> StubHandle:
    """The run is paused, and no trial runs."""
    task = _task()
    return _run(task, _trials(task, 13), state=RunState.PAUSED)


def waiting() -> StubHandle:
    """A trial waits for its cluster."""
    task = _task()
    notice = f"trial 13 waits up to 900 s and is tried again: {_AWAY}"
    return _run(task, _trials(task, 13), _running(13, "wait"), notices=((_SINCE, notice),))


def finished() -> StubHandle:
    """The budget is spent."""
    task = _task()
    return _ended(task, _trials(task, 30), "the budget of 30 trials is spent")


def thousand() -> StubHandle:
    """A thousand trials."""
    task = _task(1000)
    return _ended(task, _trials(task, 1000), "the budget of 1000 trials is spent")


def _more_parameters(names: list[str]) -> StubHandle:
    """Return a study whose trials have these further parameters."""
    dice = random.Random(5)
    parameters = {**DATA["parameters"], **{name: [1, 2, 4, 8] for name in names}}
    task = _task(engine={"kind": "command", "command": ["serve", "{port}"]}, parameters=parameters)
    trials = [
        trial.with_(params={**trial.params, **{name: dice.choice([1, 2, 4, 8]) for name in names}})
        if not trial.baseline
        else trial
        for trial in _trials(task, 13)
    ]
    began = _running(13, "benchmark")
    params = {**trials[-1].params, **began.trial.params}
    return _run(task, trials, replace(began, trial=began.trial.with_(params=params)))


def twenty() -> StubHandle:
    """Twenty parameters."""
    return _more_parameters([f"flag_{chr(97 + n)}" for n in range(12)])


def long_names() -> StubHandle:
    """Names of 40 characters."""
    return _more_parameters([_LONG.format(letter) for letter in "abcd"])


STATES: Mapping[str, Callable[[], StubHandle]] = {
    make.__name__: make
    for make in (
        new,
        starting,
        first,
        one,
        running,
        failing,
        all_failed,
        broken,
        infeasible,
        raised,
        lowered,
        paused,
        waiting,
        finished,
        thousand,
        twenty,
        long_names,
    )
}


def show(box: Any, name: str) -> Any:
    """Show the monitor of a state in a box of the notebook, instead of the previous one; return its view."""
    from autotune_nb.widgets._study_view import StudyView

    view = StudyView(STATES[name]())
    view.box.add_class(f"at-state-{name}")
    view.drawn.wait(60)
    box.children = (view.box,)
    return view


def _empty_form() -> Any:
    return TaskForm("vllm")


def _filled_form() -> Any:
    return TaskForm("quickstart")


def _wrong_form() -> Any:
    """A form with errors in several fields, and every section unfolded."""
    form = TaskForm("vllm")
    for button in _widgets(form.box, "at-form-fold"):
        button.click()
    for name, text in (("workload-scenarios", "D(16;8)"), ("budget-trials", "0"), ("engine-args", "no_such_flag: 1")):
        (field,) = _widgets(form.box, f"at-field-{name}")
        field.value = text
    return form


def _widgets(box: Any, name: str) -> list[Any]:
    """Return the widgets in a box that have a CSS class."""
    inside = [found for child in getattr(box, "children", ()) for found in _widgets(child, name)]
    return [box, *inside] if name in getattr(box, "_dom_classes", ()) else inside


def _wide_form() -> Any:
    """A form with twenty parameters, of which some have names of 40 characters."""
    return TaskForm(long_names().task)


FORMS: Mapping[str, Callable[[], Any]] = {
    "empty": _empty_form,
    "filled": _filled_form,
    "wrong": _wrong_form,
    "wide": _wide_form,
}


def write_report(name: str, folder: Path) -> Path:
    """Write the page of the report of a state and return its file."""
    bundles: list[dict[str, Any]] = []
    with mock.patch("IPython.display.publish_display_data", bundles.append):
        STATES[name]().report()._ipython_display_()
    outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in bundles]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("report", outputs=outputs)])
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return to_html(folder / f"{name}.ipynb")


def show_form(box: Any, name: str) -> Any:
    """Show a form in a box of the notebook, instead of what was there; return it once its errors are shown."""
    form = FORMS[name]()
    form.box.add_class(f"at-state-{name}")
    form._wait_idle(60)
    box.children = (form.box,)
    return form
