"""The report of a lab: how long each strategy needs on recorded tables, as text, HTML, charts and DataFrames."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune_nb.reports.lab_chart import LabChart
from autotune_nb.search.lab import LabResult, StrategyResult, TableResult
from autotune_nb.trial.trial import configuration_text

if TYPE_CHECKING:
    import pandas as pd

#: The numbers of trials for which the text shows regrets.
_SHOWN_TRIALS = (5, 10, 15, 20, 30, 40, 60, 80)


@dataclass(frozen=True)
class LabReport:
    """The results of ``at.lab``. A notebook displays them as tables and charts; ``to_dict()`` is the JSON form."""

    result: LabResult

    def to_dict(self) -> dict[str, Any]:
        """Return the results as the JSON object that ``autotune-nb lab --json`` prints."""
        return self.result.to_dict()

    @property
    def time_ratio(self) -> dict[str, float | None]:
        """The simulated time of each strategy as a share of random search's, the median over the tables."""
        return self.result.time_ratio

    def frame(self) -> pd.DataFrame:
        """Return one row per table and strategy."""
        import pandas as pd

        rows = [
            {"table": table.table, "strategy": name, **_without(result.to_dict(), "regret")}
            for table in self.result.tables
            for name, result in table.strategies.items()
        ]
        return pd.DataFrame(rows)

    def chart(self, table: int = 0) -> LabChart:
        """Return the chart of one table, by its position: regret over simulated time."""
        one = self.result.tables[table]
        return LabChart(one.table, self.result.studies, {name: r.regret for name, r in one.strategies.items()})

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = [self._headline]
        for table in self.result.tables:
            lines += ["", *_table_lines(table)]
        if len(self.result.tables) > 1:
            lines += ["", "time as a share of random's, median over the tables:"]
            lines += [f"  {name:<10} {_number(ratio, '.3f')}" for name, ratio in self.time_ratio.items()]
        return "\n".join(lines)

    @property
    def _headline(self) -> str:
        studies = f"{self.result.studies} simulated studies of each strategy"
        noise = f", noise {100 * self.result.noise:g} %" if self.result.noise else ""
        return f"REPLAYED, nothing was measured: {studies}, {self.result.objective}{noise}"

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        charts = "".join(self.chart(i).image_html() for i in range(len(self.result.tables)))
        return f"<pre>{html.escape(self.text())}</pre>{charts}"


def _without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


def _table_lines(table: TableResult) -> list[str]:
    best = f"best {table.best:.4g}: {configuration_text(table.best_params)}"
    lines = [
        f"{table.table}: {table.num_configurations} configurations, {table.num_failed} fail, {table.num_good} are "
        "within 2 % of the best",
        f"  {best}",
        f"  {'to within 2 %':<14}{'trials':>8}{'hours':>9}{'÷ random':>10}{'failed':>8}  CPU a proposal",
    ]
    for name, one in table.strategies.items():
        hours = None if one.seconds is None else one.seconds / 3600
        cpu = "exact expectation" if name == "random" else f"{1000 * one.cpu_s:.1f} ms"
        lines.append(
            f"  {name:<14}{_number(one.trials, '.1f'):>8}{_number(hours, '.2f'):>9}{_number(one.time_ratio, '.3f'):>10}"
            f"{100 * one.failed_share:>6.0f} %  {cpu}"
        )
    longest = min(max((len(one.regret_by_trial) for one in table.strategies.values()), default=0), max(_SHOWN_TRIALS))
    counts = [n for n in _SHOWN_TRIALS if n <= longest] or [longest]
    lines.append(f"  {'after … trials':<14}{''.join(f'{n:>22}' for n in counts)}")
    for name, one in table.strategies.items():
        lines.append(f"  {name:<14}{''.join(f'{_after(one, n):>22}' for n in counts)}")
    lines.append("  (median distance to the best, its quartiles; the share of studies that were within 2 %)")
    return lines


def _after(result: StrategyResult, trials: int) -> str:
    """Return the regret after so many trials, and the share of studies that had found one of the best."""
    index = min(trials, len(result.regret_by_trial)) - 1
    _, low, middle, high = (100 * value for value in result.regret_by_trial[index])
    return f"{middle:.0f} ({low:.0f} to {high:.0f}); {100 * result.found_by_trial[index]:.0f} %"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
