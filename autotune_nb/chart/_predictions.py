"""The chart of the expected gain: what the model of ``auto`` predicts from the trials until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotune_nb.chart._source import ChartedStudy, Source
from autotune_nb.engines.registry import engine_for
from autotune_nb.errors import StudyError
from autotune_nb.reports.drawing import Chart
from autotune_nb.reports.expected_gain_chart import ExpectedGainChart, GainPoint
from autotune_nb.runner.proposals import Proposals

#: The models are fitted anew for each point.
_MOST_POINTS = 40


def expected_gain(source: Source, *, objective: str | Sequence[str] | None = None, limits: Sequence[str] = ()) -> Chart:
    """Draw what another trial was expected to gain after each trial, by the model of the strategy ``auto``.

    It is computed from the trials up to each one, in about a tenth of a second a point.
    """
    study = ChartedStudy.of(source, objective, limits)
    if study.goal.others:
        raise StudyError(
            f"the study has several objectives, {', '.join(study.goal.figures)}, and the expected gain is that of one; "
            "of a table, give one as objective"
        )
    points = tuple(_points(study))
    if not points:
        ended = sum(1 for trial in study.trials if trial.state.finished)
        raise StudyError(
            f"nothing is predicted of {ended} trials: a model needs five that ended, two of them complete, and a "
            "configuration that is not tried yet"
        )
    return ExpectedGainChart(points, study.goal.figure)


def _points(study: ChartedStudy) -> Iterator[GainPoint]:
    searched = [one for one in study.trials if one.state.finished and one.confirmation is None]
    proposals = Proposals(study.task, engine_for(study.task), strategy="auto")
    step = -(-len(searched) // _MOST_POINTS) or 1
    # With the last one, whichever the step is.
    for count in range(len(searched), 0, -step)[::-1]:
        promise = proposals.promise(study.space, searched[:count])
        if promise is not None:
            yield GainPoint(searched[count - 1].number, promise.gain, promise.seconds)
