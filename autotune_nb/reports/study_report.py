"""The report of a study, for notebooks, HTML files and terminals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from autotune_nb.engines.registry import engine_of_study
from autotune_nb.errors import Failure
from autotune_nb.reports._asked import asked_text
from autotune_nb.reports._environment import environment_of
from autotune_nb.reports._reproduce import reproduce_code
from autotune_nb.reports.charts import HistoryChart, ImportanceChart, LatencyChart
from autotune_nb.reports.configuration_page import TABLE_MIME, plain_table_html, table_message
from autotune_nb.reports.dependence_chart import DependenceChart
from autotune_nb.reports.drawing import Chart
from autotune_nb.reports.front_chart import FrontChart, front_points
from autotune_nb.reports.plots import history, latency_throughput
from autotune_nb.resources import shared_folder
from autotune_nb.results.alternatives import Alternative, alternatives
from autotune_nb.results.comparison import Comparison, compare
from autotune_nb.results.configurations import ConfigurationTable, configuration_table
from autotune_nb.results.exporting import gpus_of_trial
from autotune_nb.results.front import front_frame
from autotune_nb.results.parameter_effects import Effect, parameter_effects
from autotune_nb.study.steering import Edit
from autotune_nb.task.budget import Confirm
from autotune_nb.task.external_results import is_imported
from autotune_nb.task.file import task_yaml
from autotune_nb.task.restriction import value_text as parameter_text
from autotune_nb.task.task import Task
from autotune_nb.trial.configuration import configurations
from autotune_nb.trial.cost import cost_of
from autotune_nb.trial.formatting import counts_text, duration_text, numbers_text, value_text
from autotune_nb.trial.score import Objective
from autotune_nb.trial.start_caches import caches_text
from autotune_nb.trial.trial import Trial
from autotune_nb.verdict import Outcome, Verdict, study_verdict

if TYPE_CHECKING:
    import jinja2
    import pandas as pd


@cache
def _template() -> jinja2.Template:
    """Return the report's template, which takes longer to compile than to render."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shared_folder("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


@dataclass(frozen=True)
class Report:
    """The report of a study: verdict, comparison, command line, charts, trials, task and environment.

    A notebook displays it in parts, with interactive charts; ``to_html()`` returns it as HTML without scripts,
    ``text()`` for a terminal. Without ``task`` it omits the task and the code to reproduce it. ``storage`` is the URL
    of the study's storage without a password, or None for its folder.
    """

    trials: tuple[Trial, ...]
    best: Trial | None
    objective: Objective
    command: str | None
    edits: tuple[Edit, ...] = ()
    task: Task | None = None
    importances: Mapping[str, float] = field(default_factory=dict)
    name: str = ""
    state: str = ""
    elapsed_s: float = 0.0
    end_reason: str = ""
    manifest: str | None = field(default=None, repr=False)
    storage: str | None = None
    dependence: DependenceChart | None = None
    confirm: Confirm | None = None
    #: Notes and tags by trial.
    notes: Mapping[int, str] = field(default_factory=dict)
    tags: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The best configuration compared with the engine's default, in a sentence or two."""
        return self._verdict.text

    @cached_property
    def _verdict(self) -> Verdict:
        return study_verdict(self.trials, self.objective, self.confirm)

    @property
    def alternatives(self) -> list[Alternative]:
        """The configurations that rank behind the best one, with what they have for it."""
        ties = self._verdict.ties if self._verdict.confirmed else ()
        return alternatives(self.trials, self.objective, self._gpus, self.best, ties)

    @property
    def _gpus(self) -> Callable[[Trial], int] | None:
        """Returns the number of GPUs of a trial; None if it is unknown."""
        if self.task is None:
            return None
        gpus = gpus_of_trial(self.task)
        # Of imported trials alone it may be unknown.
        known = not is_imported(self.task) or all(gpus(one) is not None for one in self.trials)
        return (lambda one: gpus(one) or 0) if known else None

    @property
    def _compared(self) -> Trial | None:
        """The trial beside the default: the best, or, if that is the default, the one that the verdict is about."""
        leader = self._verdict.leader
        if self.best is None or not self.best.baseline or leader is None:
            return self.best
        return next((trial for trial in self.trials if trial.number == leader), self.best)

    def chart(self) -> LatencyChart:
        """Return the chart of latency against throughput, with a curve per trial and the Pareto front."""
        return self._latency

    @cached_property
    def _latency(self) -> LatencyChart:
        return LatencyChart(tuple(latency_throughput(self.trials, self.best, self.objective.limits)))

    def charts(self) -> tuple[Chart, ...]:
        """Return every chart that has data: curves, the front of several objectives, the history, importances, partial
        dependence."""
        return (*self._result_charts, *self._parameter_charts())

    def _parameter_charts(self) -> tuple[Chart, ...]:
        shares = (ImportanceChart(self.importances),) if self.importances else ()
        dependence = (self.dependence,) if self.dependence is not None and self.dependence.dependences else ()
        return (*shares, *dependence)

    @cached_property
    def _result_charts(self) -> tuple[Chart, ...]:
        if not any(trial.measurements for trial in self.trials):
            return ()
        over = self.state == "finished"
        course = HistoryChart(history(self.trials, self.objective), self.objective.direction, over)
        # Recorded measurements may lack the figures of the curves.
        curves = (chart,) if (chart := self.chart()).curves else ()
        front = front_points(self.trials, self.objective) if self.objective.others else ()
        fronts = (FrontChart(front, self.objective.figures),) if front else ()
        return (*fronts, *curves, *((course,) if len(course.history.numbers) > 1 else ()))

    def configurations(self) -> ConfigurationTable:
        """Return the table with one row per configuration: figures, limits, parameters, failures."""
        return self._configurations

    @cached_property
    def _configurations(self) -> ConfigurationTable:
        engine = engine_of_study(self.task) if self.task is not None else None
        parameters = list(self.task.parameters) if self.task is not None else ()
        table = configuration_table(
            self.trials, self.objective, self.confirm, engine, parameters, self.tags, self.notes
        )
        # The report lists failures itself, and names the level if there is one.
        hidden = {"failure", *(["level"] if self._common_level else [])}
        columns = (replace(one, shown=one.shown and one.key not in hidden) for one in table.columns)
        return replace(table, columns=tuple(columns))

    @cached_property
    def _common_level(self) -> str:
        """The level at which all figures of the table were read; empty if there are several."""
        levels = {str(trial.score.level) for trial in self.trials if trial.score is not None and trial.score.level}
        return levels.pop() if len(levels) == 1 else ""

    @property
    def steered(self) -> tuple[Edit, ...]:
        """The edits of users."""
        return tuple(edit for edit in self.edits if edit.origin is None)

    def text(self) -> str:
        """Return the report for a terminal."""
        steered = [f"steered {edit.when}: {edit.text}" for edit in self.steered]
        return "\n".join(filter(None, [self.verdict, *steered, self.command]))

    def to_html(self) -> str:
        """Return the whole report as HTML that needs no scripts and no network."""
        results, parameters = (
            [one.image_html() for one in own] for own in (self._result_charts, self._parameter_charts())
        )
        return "\n".join([self._answer, *results, self._parameters, *parameters, self._table, self._details])

    def summary_html(self) -> str:
        """Return verdict, curves and trials as HTML that needs no scripts and no network."""
        chart = self.chart()
        return self._render("summary", image=chart.image_html() if chart.curves else "")

    @cached_property
    def _answer(self) -> str:
        return self._render("answer")

    @cached_property
    def _parameters(self) -> str:
        # Without a score, all that is known of a parameter is in the failures.
        return self._render("parameters") if any(trial.state.scored for trial in self.trials) else ""

    @cached_property
    def _table(self) -> str:
        return self._render("table") if self.trials else ""

    @cached_property
    def _details(self) -> str:
        return self._render("details")

    def _render(self, part: str, **more: Any) -> str:
        text = _template().render(part=part, report=self, **self._context(part), **more).strip()
        # A failure may quote the name of a file that is not UTF-8.
        return text.encode("utf-8", "replace").decode("utf-8")

    def _context(self, part: str) -> dict[str, Any]:
        """Return what the template reads in this part; what it reads in one part only is computed for that alone."""
        imported = self.task is not None and is_imported(self.task)
        count, last = len(self.trials), part == "details"
        return {
            "comparison": self._comparison() if part == "answer" else None,
            "asked": asked_text(self.task) if part in ("answer", "summary") else "",
            "of_search": self._value_in_search() if part == "answer" else "",
            "confirming": sum(1 for trial in self.trials if trial.confirmation is not None),
            "alternatives": self.alternatives if part == "answer" and self.best is not None else (),
            "effects": self._effects() if part == "parameters" else (),
            "front": self._front_table(part),
            "num_trials": f"{count:,} trial{'s' * (count != 1)}",
            "counts": counts_text(self.trials),
            "took": duration_text(self.elapsed_s),
            "cost": "" if self.task is None else str(cost_of(self.trials, self.task.price)),
            "failures": _failures(self.trials) if last else (),
            "phases": _PHASES,
            "repeats": part == "table" and len({trial.configuration_key for trial in self.trials}) < count,
            "table": lambda: plain_table_html(self.configurations()),
            "level": self._common_level,
            "environment": environment_of(self.trials) if last else None,
            "caches": caches_text(self.trials) if last else "",
            "task_text": task_yaml(self.task) if last and self.task is not None else "",
            "imported": imported,
            "best_params": [(k, parameter_text(v)) for k, v in self.best.params.items()]
            if imported and self.best
            else [],
            "code": reproduce_code(self.task, self.name, self.edits, self.storage) if last and not imported else "",
        }

    def _comparison(self) -> Comparison | None:
        undecided = self._verdict.outcome is Outcome.UNDECIDED
        return compare(self.trials, self._compared, self.objective, self._gpus, undecided=undecided)

    def _value_in_search(self) -> str:
        """The best configuration's value in the search, which its alternatives are compared with."""
        searched = configurations([trial for trial in self.trials if not trial.in_round])
        found = searched.get(self.best.configuration_key) if self.best is not None else None
        return value_text(found.value, self.objective.figure) if found is not None and found.complete else ""

    def _effects(self) -> list[Effect]:
        return parameter_effects(self.trials, self.best, self.objective, self.importances)

    def _front_table(self, part: str) -> str:
        if part != "answer" or not self.objective.others or self.best is None:
            return ""
        frame = front_frame(self.trials, self.objective)
        for name in self.objective.figures:
            frame[name] = frame[name].map(lambda value, name=name: value_text(value, name))
        return _html(frame.assign(knee=frame["knee"].map({True: "knee", False: ""})))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/html": self.to_html(), "text/plain": _one_line(self.verdict)}
        for chart in self.charts()[:1]:
            bundle["application/vnd.plotly.v1+json"] = json.loads(chart.figure().to_json())
        return bundle

    def _ipython_display_(self) -> None:
        # In parts: a front end shows one format of an output, and with Plotly's it would omit the tables.
        from IPython.display import publish_display_data as show

        show({"text/html": self._answer, "text/plain": _one_line(self.verdict)})
        for chart in self._result_charts:
            show(chart._repr_mimebundle_())
        if self._parameters:
            show({"text/html": self._parameters, "text/plain": "What each parameter did"})
        if self.trials:
            for chart in self._parameter_charts():
                show(chart._repr_mimebundle_())
            table = self.configurations()
            # The HTML page of the notebook sorts and filters it.
            rows = {TABLE_MIME: table_message(table)}
            show({"text/html": self._table, "text/plain": f"{len(table.rows)} configurations", **rows})
        text = f"{self.name}: {counts_text(self.trials)}"
        show({"text/html": self._details, "text/plain": _one_line(text)})


#: The phases of a trial in words.
_PHASES = {"deploy": "at start", "probe": "in the warm-up", "benchmark": "under load"}
#: What is said of the trial of the engine's default.
_DEFAULT = " (the engine's default)"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _html(frame: pd.DataFrame) -> str:
    # Unknown is an empty cell, not None or <NA>.
    for name in [name for name, kind in frame.dtypes.items() if str(kind) in ("object", "Int64", "boolean")]:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    # The name of the index goes into the heading instead of a row of its own.
    frame = frame.rename_axis(index=None, columns="trial")
    table = frame.to_html(na_rep="", border=0, float_format=lambda value: f"{value:.4g}")
    # Without pandas' indentation, which is more than half of a table of hundreds of rows.
    return re.sub(r"\n\s*(?=<)", "", table)


def _failures(trials: Sequence[Trial]) -> list[tuple[str, Failure]]:
    """Return each failure once with the numbers of its trials, the most frequent first."""
    found: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in trials:
        if trial.failure is not None:
            failure = trial.failure
            found.setdefault((failure.kind, failure.phase, failure.message), []).append(trial)
    ranked = sorted(found.values(), key=lambda same: -len(same))
    return [
        (f"{numbers_text(same)}{_DEFAULT if same[0].baseline else ''}", same[0].failure)
        for same in ranked
        if same[0].failure is not None
    ]
