"""Small charts of a trial's metrics as SVG in HTML: no script, and some hundred bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune_nb.reports.metric_series import MetricSeries, latest_attempt, metric_series
from autotune_nb.study.folder import StudyFolder
from autotune_nb.trial.trial import Trial
from autotune_nb.widgets._panels import escaped

_WIDTH, _HEIGHT, _POINTS = 150, 32, 60


class Sparklines:
    """The small charts of one trial at a time; its files are read again once another level has ended."""

    def __init__(self) -> None:
        self._of: object = None
        self._html = ""

    def html(self, study: Path, trial: Trial) -> str:
        """Return the charts of a trial of the study in this folder; empty if it has no samples."""
        key = (study, trial.number, trial.state, len(trial.measurements))
        if key != self._of:
            latest = latest_attempt(StudyFolder(study).trial_folder(trial.number))
            self._of, self._html = key, sparklines_html(trial.number, metric_series(latest))
        return self._html


def sparklines_html(trial: int, series: Sequence[MetricSeries]) -> str:
    """Return a small chart per metric with its maximum; empty without any."""
    charts = "".join(map(_chart, series))
    heading = (
        f'<div class="at-dim">metrics of trial {trial}, over {series[0].seconds[-1]:,.0f} s:</div>' if series else ""
    )
    return f'{heading}<div class="at-sparks">{charts}</div>' if charts else ""


def live_html(series: MetricSeries) -> str:
    """Return the small chart of a metric that is being sampled, with its latest value."""
    top = max(*series.values, 1e-9)
    points = " ".join(f"{x:.0f},{y:.1f}" for x, y in _points(series, top))
    label = f"{_text(series.values[-1], series.unit)} now"
    return (
        f'<span class="at-live"><svg role="img" aria-label="{escaped(series.title)}, {label}" width="{_WIDTH}" '
        f'height="20" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none"><polyline points="{points}" '
        f'fill="none" stroke="currentColor" stroke-width="2"/></svg> {label}</span>'
    )


def _chart(series: MetricSeries) -> str:
    title = escaped(series.title)
    top = max(series.values) or 1.0
    points = " ".join(f"{x:.0f},{y:.1f}" for x, y in _points(series, top))
    label = f"{title}, at most {_text(top, series.unit)}"
    return (
        f'<span><svg role="img" aria-label="{label}" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.2"/></svg>'
        f"<br>{label}</span>"
    )


def _points(series: MetricSeries, top: float) -> list[tuple[float, float]]:
    """Return the points in pixels; of many samples the mean of each part, so that no peak is drawn that was not."""
    first, last = series.seconds[0], series.seconds[-1]
    parts: dict[int, list[float]] = {}
    for at, value in zip(series.seconds, series.values, strict=True):
        parts.setdefault(round((at - first) / max(last - first, 1e-9) * _POINTS), []).append(value)
    return [
        (part / _POINTS * _WIDTH, 1 + (_HEIGHT - 2) * (1 - sum(values) / len(values) / top))
        for part, values in sorted(parts.items())
    ]


def _text(value: float, unit: str) -> str:
    return f"{value:.0%}" if unit == "share" else f"{value:,.4g} {unit}".rstrip()
