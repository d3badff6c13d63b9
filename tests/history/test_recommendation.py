"""Starting points for a model and a GPU, from what studies have measured."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune_nb as at
from autotune_nb.errors import StudyError, TaskError
from autotune_nb.history.recommendation import RecommendationWarning
from tests.history.samples import FINGERPRINT, Sample, sample_task, start
from tests.history.test_studies import keep

H100 = {**FINGERPRINT, "gpus": ["NVIDIA H100, 81559 MiB, 570.86"]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    small, large = sample_task(model="acme/Tall-8B"), sample_task(model="acme/Tall-70B")
    keep(
        folder / "small",
        Sample(
            small,
            [
                start(small, 0, 100.0),
                start(small, 1, 150.0, seqs=2),
                start(small, 2, 180.0, seqs=4),
                # It breaks the limit.
                start(small, 3, 300.0, seqs=8, time=2.0),
            ],
        ),
    )
    keep(folder / "large", Sample(large, [start(large, 0, 10.0), start(large, 1, 30.0, seqs=1, fingerprint=H100)]))
    return folder


def test_the_best_of_the_nearest_studies_come_first_and_name_where_they_are_from(runs: Path) -> None:
    found = at.recommend(model="other/tall-8b", gpu="h200", studies=runs / "*")
    assert found["params"].tolist() == [{"max_num_seqs": 4}, {"max_num_seqs": 1}, {"max_num_seqs": 2}]
    assert found["study"].tolist() == [str(runs / "small"), str(runs / "large"), str(runs / "small")]
    assert found["why"].tolist()[0] == "the same model; the same GPU"
    assert found["why"].tolist()[1].startswith("a model of the same family, acme/Tall-70B; ")
    assert found["near"].tolist()[0] == 1.0
    assert found["near"].tolist()[1] < 0.5
    assert found["gain"].tolist() == pytest.approx([0.8, 2.0, 0.5])
    assert at.recommend(model="acme/Tall-70B", studies=runs / "*")["study"].iloc[0] == str(runs / "large")
    # As previous studies of a new one.
    task = sample_task(warm_start=list(found["study"].unique()))
    assert task.warm_start == [str(runs / "small"), str(runs / "large")]


def test_a_value_is_the_mean_of_the_starts_and_not_the_luckiest(tmp_path: Path) -> None:
    task = sample_task(model="acme/Tall-8B")
    values = {None: [100.0, 90.0, 110.0], 2: [150.0, 170.0], 4: [180.0, 120.0]}
    trials = [(seqs, value) for seqs, own in values.items() for value in own]
    keep(tmp_path / "a", Sample(task, [start(task, i, value, seqs=seqs) for i, (seqs, value) in enumerate(trials)]))
    found = at.recommend(studies=tmp_path / "*")
    assert found["params"].tolist() == [{"max_num_seqs": 2}, {"max_num_seqs": 4}]
    assert found["trial"].tolist() == [3, 5]
    assert found["value"].tolist() == pytest.approx([(150 * 170) ** 0.5, (180 * 120) ** 0.5])
    assert found["gain"].tolist() == pytest.approx([v / (100 * 90 * 110) ** (1 / 3) - 1 for v in found["value"]])


def test_a_model_of_the_same_size_is_nearer_than_one_of_ten_times_the_size(runs: Path) -> None:
    assert at.recommend(model="zeta/wide-7b", studies=runs / "*")["study"].iloc[0] == str(runs / "small")


def test_what_cannot_be_read_is_left_out_with_a_warning(runs: Path) -> None:
    (runs / "broken").mkdir()
    (runs / "broken" / "study.json").write_text("{")
    with pytest.warns(RecommendationWarning, match="broken is left out"):
        assert len(at.recommend(studies=runs / "*", n=1)) == 1
    with pytest.raises(StudyError, match="no study of sglang"), pytest.warns(RecommendationWarning):
        at.recommend(engine="sglang", studies=runs / "*")
    with pytest.raises(TaskError, match="from 1 on"):
        at.recommend(studies=runs / "*", n=0)
