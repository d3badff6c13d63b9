"""Soft limits: the section, and what it needs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from autotune_nb.errors import TaskError

SLO = {"figure": "e2e_latency", "limits": {"ttft_mean_s <= 1": 2}}


def test_the_score_of_a_level_is_one_of_its_figures(make_task: Any) -> None:
    task = make_task(objective="minimize slo_score", slo=SLO)
    assert task.slo.figures({"e2e_latency_mean_s": 3.0, "ttft_mean_s": 1.0}, "minimize") == {"slo_score": 3.0}
    assert task.slo.figures({"e2e_latency_mean_s": 3.0, "ttft_mean_s": 1.2}, "minimize")["slo_score"] > 9.0
    assert task.slo.figures({"ttft_mean_s": 1.2}, "minimize") == {}
    assert make_task().slo.figures({"ttft_mean_s": 1.2}, "minimize") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slo": SLO}, "slo.limits: soft limits need the objective minimize or maximize slo_score"),
        ({"objective": "minimize slo_score"}, "objective: slo_score needs soft limits, such as slo: {figure: e2e_lat"),
        ({"slo": {"figure": "ttft"}}, "slo: give figure, which the penalties make worse, and limits"),
        ({"slo": {**SLO, "figure": "slo_score"}}, "slo: slo_score is computed from other figures"),
        ({"slo": {**SLO, "limits": {"ttft 5": 1}}}, "slo.limits: 'ttft 5' is not a limit; write FIGURE <= NUMBER"),
        (
            {"slo": {**SLO, "limits": ["ttft <= 5", "tpot <= 1"]}},
            'slo.limits: expected the weight of each limit, not a list; write {"ttft <= 5": 1, "tpot <= 1": 1}',
        ),
        ({"slo": {**SLO, "limits": "ttft <= 5"}}, "slo.limits: expected the weight of each limit, not a text; write"),
        ({"slo": {**SLO, "limits": {"ttft <= 5": 0}}}, "slo.limits.ttft <= 5: input should be greater than 0"),
    ],
)
def test_soft_limits_that_cannot_be_scored_are_refused(make_task: Any, changes: Any, message: str) -> None:
    with pytest.raises(TaskError, match=f"^{re.escape(message)}"):
        make_task(**changes)
