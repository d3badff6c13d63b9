"""What ``at.compare`` returns: the comparison of two studies as text, table, chart, HTML and JSON."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune_nb.history.comparability import ComparableStudy, property_values
from autotune_nb.history.comparison import (
    REGRESSIONS,
    ConfigurationChange,
    Outcome,
    StudyComparison,
    to_dict,
)
from autotune_nb.history.regression import Regression, find_regression, parse_threshold
from autotune_nb.reports.comparison_chart import ChangeRow, ComparisonChart
from autotune_nb.trial.formatting import counts_text, value_text
from autotune_nb.trial.trial import configuration_text

if TYPE_CHECKING:
    import pandas as pd

#: The most configurations that the text lists.
_MAX_LISTED = 10


class ComparisonReport(StudyComparison):
    """The comparison of two studies. A notebook displays its text and its chart; ``frame()`` is the table."""

    def regression(self, threshold: str | float) -> Regression:
        """Return whether the second study is worse than the first by ``threshold``, such as ``5%`` or 0.05, or more.

        Raises TaskError for an invalid threshold.
        """
        return find_regression(self, parse_threshold(threshold))

    def frame(self) -> pd.DataFrame:
        """Return one row per configuration of either study, those in both first.

        The columns are the numbers of its first trials (``trial_a``, ``trial_b``), the means of its starts, how many
        starts they have, the change of the figure with its interval as shares, the outcome, why, whether every limit is
        kept, whether it is the engine's default, and a column per parameter (``param:NAME`` if NAME is another column).
        """
        import pandas as pd

        own = [
            *("trial_a", "trial_b", f"{self.figure}_a", f"{self.figure}_b", "starts_a", "starts_b"),
            *("change", "low", "high", "outcome", "why", "feasible_a", "feasible_b", "baseline"),
        ]
        names = dict.fromkeys(name for one in self.configurations for name in one.params)
        column = {name: f"param:{name}" if name in own else name for name in names}
        rows = []
        for one in self.configurations:
            low, high = one.interval or (None, None)
            row: dict[str, Any] = dict(
                zip(
                    own,
                    (
                        *(one.before.number, one.after.number, one.before.value, one.after.value),
                        *(len(one.before.values), len(one.after.values), one.change, low, high),
                        *(str(one.outcome), one.why or None),
                        *(side.feasible if side.values else None for side in (one.before, one.after)),
                        one.baseline,
                    ),
                    strict=True,
                )
            )
            rows.append(row | {column[name]: one.params.get(name) for name in names})
        frame = pd.DataFrame(rows, columns=[*own, *column.values()])
        frame = frame.astype({"trial_a": "Int64", "trial_b": "Int64"})
        frame = frame.astype({"feasible_a": "boolean", "feasible_b": "boolean"})
        return frame.astype(dict.fromkeys((f"{self.figure}_a", f"{self.figure}_b", "change", "low", "high"), float))

    def chart(self) -> ComparisonChart:
        """Return the chart: the change of each configuration in both studies, with its interval."""
        first = [one for one in (self.default, *self.best) if one is not None]
        ranked = [*first, *(one for one in self.configurations if all(one is not other for other in first))]
        rows = {id(one): _chart_row(one) for one in ranked if one.change is not None}
        return ComparisonChart(self.names, self.figure, tuple(rows.values()), self._headline)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as the JSON object that ``autotune-nb compare --json`` prints."""
        overall = self.overall
        return {
            "studies": list(self.names),
            "figure": self.figure,
            "changes": [{"name": one.name, "before": one.before, "after": one.after} for one in self.changes],
            "not_comparable": list(self.not_comparable),
            "cautions": list(self.cautions),
            "overall": None
            if overall is None
            else {
                "change": math.expm1(overall.estimate),
                "interval": [math.expm1(overall.low), math.expm1(overall.high)],
            },
            "counts": {str(outcome): count for outcome, count in self.counts().items()},
            "best": [None if one is None else one.before.number for one in self.best[:1]]
            + [None if one is None else one.after.number for one in self.best[1:]],
            "configurations": [to_dict(one) for one in self.configurations],
        }

    @property
    def _headline(self) -> str:
        if self.not_comparable:
            return f"Not comparable: {'; '.join(self.not_comparable)}"
        shared = sum(1 for one in self.configurations if one.change is not None)
        text = f"{self.figure} of {shared} configuration{'s' * (shared != 1)} in both studies"
        overall = self.overall
        if overall is None:
            return text
        change, low, high = (_percent(math.expm1(x)) for x in (overall.estimate, overall.low, overall.high))
        return f"{text}: {change} % on average (95 %: {low} to {high} %)"

    def text(self) -> str:
        """Return the comparison for a terminal."""
        lines = [f"{name}: {_study_text(one)}" for name, one in zip(self.names, self.studies, strict=True)]
        if self.changes:
            lines.append(f"different: {'; '.join(map(str, self.changes))}")
        lines += ["", self._headline]
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts().items())
        lines.append(f"configurations: {counts}")
        lines += [f"note: {text}" for text in (*self.cautions, self._noise_text)]
        before, after = self.best
        named = {"the engine's default": self.default, f"best of {self.names[0]}": before}
        if after is not before:
            named[f"best of {self.names[1]}"] = after
        lines += ["", *(self._line(name, one) for name, one in named.items() if one is not None)]
        shown = set(map(id, named.values()))
        moved = (*REGRESSIONS, Outcome.BETTER, Outcome.WORKS, Outcome.KEEPS_LIMITS)
        for outcome in moved:
            found = [one for one in self.configurations if one.outcome is outcome and id(one) not in shown]
            found.sort(key=lambda one: -abs(one.change or 0.0))
            lines += [self._line(str(outcome), one) for one in found[:_MAX_LISTED]]
            if len(found) > _MAX_LISTED:
                lines.append(f"{outcome}: {len(found) - _MAX_LISTED:,} more; see frame(), or --json")
        return "\n".join(lines)

    @property
    def _noise_text(self) -> str:
        deviation = self.noise.deviation
        if self.not_comparable:
            return "values are shown, but no change of them is"
        if deviation is None:
            return "no configuration was started twice, so the noise is unknown and nothing is better or worse"
        return (
            f"starts of one configuration differ by {100 * deviation:.2g} %; the intervals hold together, and say "
            "nothing about what else changed between the two studies"
        )

    def _line(self, name: str, one: ConfigurationChange) -> str:
        trials = f"trials {one.before.number} and {one.after.number}"
        if None in (one.before.number, one.after.number):
            number = one.after.number if one.before.number is None else one.before.number
            trials = f"trial {number}"
        values = [side.value for side in (one.before, one.after)]
        shown = ", then ".join("-" if value is None else value_text(value, self.figure) for value in values)
        text = f"{name}: {shown}"
        if one.change is not None and not self.not_comparable:
            text += f", {_percent(one.change)} %"
            if one.interval is not None:
                text += f" (95 %: {' to '.join(_percent(end) for end in one.interval)} %)"
        text += f", {one.outcome}" if name != one.outcome else ""
        params = configuration_text({} if one.baseline else one.params)
        why = f"; {one.why}" if one.why and not self.not_comparable else ""
        return f"{text}; {trials}{why}" if one.baseline else f"{text}; {trials}: {params}{why}"

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>{self.chart().image_html()}"


def _chart_row(one: ConfigurationChange) -> ChangeRow:
    assert one.change is not None
    label = configuration_text({} if one.baseline else one.params)
    return ChangeRow(label, one.change, one.interval, str(one.outcome))


def _study_text(study: ComparableStudy) -> str:
    trials = study.history
    version = ", ".join(property_values(trials, "engine_version"))
    gpus = "; ".join(property_values(trials, "gpus"))
    parts: Sequence[str] = (
        " ".join(filter(None, (study.task.engine.kind, version))),
        study.task.model.id_or_path or "random weights",
        gpus,
        counts_text(trials),
        study.task.deploy.replayed,
    )
    return ", ".join(filter(None, parts))


def _percent(share: float) -> str:
    return f"{100 * share:+.2g}" if abs(share) < 1 else f"{100 * share:+.0f}"
