"""The figures of a level that follow from its trial and its task, and the GPUs of a trial."""

from __future__ import annotations

from typing import Any

import pytest

from autotune_nb.deploy.base import Endpoint
from autotune_nb.runner.trial_figures import gpus_held, with_figures_of_trial
from autotune_nb.trial.measurement import Level, Measurement

RATES = {"output_tokens_per_s": 1000.0, "ttft_mean_s": 0.5}
MEASURED = Measurement(Level("D(16,8)", 8), 2.0, 10, 10, 0, RATES)


def test_a_penalty_may_be_on_a_figure_of_the_trial(make_task: Any) -> None:
    slo = {"figure": "usd_per_million_output_tokens", "limits": {"ttft_mean_s <= 1": 1}}
    task = make_task(objective="minimize slo_score", slo=slo, price={"usd_per_gpu_hour": 1.8})
    found = with_figures_of_trial(MEASURED, task, 2).figures
    assert found == {
        **RATES,
        "output_tokens_per_s_per_gpu": 500.0,
        "usd_per_million_output_tokens": pytest.approx(1.0),
        "slo_score": pytest.approx(1.0),
    }


def test_the_load_is_a_figure_where_it_is_an_objective(make_task: Any) -> None:
    task = make_task(objective="maximize max_concurrency", limits=["ttft_mean_s <= 1"])
    assert with_figures_of_trial(MEASURED, task, None).figures == {**RATES, "max_concurrency": 8.0}
    assert with_figures_of_trial(MEASURED, make_task(), 0) == MEASURED


@pytest.mark.parametrize(
    ("deploy", "fingerprint", "held", "gpus"),
    [
        ({"kind": "local"}, {"gpus": []}, None, 0),
        ({"kind": "local", "gpus": 0}, {"gpus": ["A100"]}, None, 0),
        ({"kind": "local"}, {"gpus": ["A100"]}, 0, 4),
        ({"kind": "local", "gpus_per_trial": 2}, {"gpus": ["A100"]}, None, 2),
        ({"kind": "local", "gpus": 8}, {"gpus": ["A100"]}, 4, 4),
        # What the pod has counts; before it is there, what it will need.
        ({"kind": "ome", "runtime": "rt"}, {}, 8, 8),
        ({"kind": "ome", "runtime": "rt"}, {}, None, 4),
        ({"kind": "replay", "table": "t.csv"}, {}, 0, None),
        ({"kind": "replay", "table": "t.csv"}, {}, 2, 2),
    ],
)
def test_the_gpus_that_a_trial_holds(
    make_task: Any, deploy: dict[str, Any], fingerprint: dict[str, Any], held: int | None, gpus: int | None
) -> None:
    task = make_task(engine={"kind": "vllm"}, parameters={"tensor_parallel_size": [1, 4]}, deploy=deploy)
    endpoint = None if held is None else Endpoint("http://x", "m", "t", (), gpu_count=held)
    assert gpus_held(task, {"tensor_parallel_size": 4}, fingerprint, endpoint) == gpus
