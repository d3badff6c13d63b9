"""The GPUs that a task asks for, among those in CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import pytest

from autotune_nb.deploy._gpus import chosen_gpus, largest, unused_text
from autotune_nb.errors import SetupError
from autotune_nb.task.parameters import Choice, Int


@pytest.mark.parametrize(
    ("gpus", "visible", "chosen"),
    [
        (2, None, ["0", "1"]),
        ([5, "GPU-a"], None, ["5", "GPU-a"]),
        (2, "2,3,7", ["2", "3"]),
        ([7, 2], " 2, 3, 7", ["7", "2"]),
        (1, "MIG-GPU-5c/3/0", ["MIG-GPU-5c/3/0"]),
        # Either may be an abbreviation.
        (["GPU-89ab-cdef"], "GPU-89ab", ["GPU-89ab"]),
        (["GPU-89ab"], "GPU-12,GPU-89ab-cdef", ["GPU-89ab-cdef"]),
        # CUDA ignores what follows.
        (1, "4,-1,5", ["4"]),
        (0, "", []),
    ],
)
def test_gpus_are_chosen_among_the_visible_ones(
    gpus: int | list[int | str], visible: str | None, chosen: list[str]
) -> None:
    assert chosen_gpus(gpus, {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == chosen


@pytest.mark.parametrize(
    ("gpus", "visible", "problem"),
    [
        (2, "3", "2 GPUs are requested, but 1 visible"),
        (1, "", "1 GPU is requested, but 0 visible"),
        (2, "4,-1,5", "2 GPUs are requested, but 1 visible"),
        ([0, 2, 1], "2,3", "GPU 0, 1 are not visible"),
        ([0], "GPU-a", "GPU 0 is not visible"),
        (["GPU-b"], "GPU-a", "GPU GPU-b is not visible"),
    ],
)
def test_what_is_not_visible_is_refused(gpus: int | list[int | str], visible: str, problem: str) -> None:
    with pytest.raises(SetupError) as caught:
        chosen_gpus(gpus, {"CUDA_VISIBLE_DEVICES": visible})
    assert str(caught.value).startswith(f"deploy.gpus: {problem}: CUDA_VISIBLE_DEVICES is {visible!r}; ")


def test_gpus_that_no_trial_uses_are_named() -> None:
    assert unused_text(2, 1, 1).startswith(
        "only 1 of the 2 GPUs in deploy.gpus are used, since a trial needs 1 and one"
    )
    assert "deploy.gpus_per_trial: 2 or a larger deploy.parallel" in unused_text(2, 1, 1)
    assert "gpus_per_trial" not in unused_text(3, 2, 1)
    assert unused_text(4, 2, 2) == unused_text(0, 1, 0) == ""
    assert largest(Choice(values=[None, 1, 4])) == 4
    assert largest(Int(low=1, high=8)) == 8
