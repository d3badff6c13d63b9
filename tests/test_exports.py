"""The public names of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

import autotune_nb


@pytest.mark.parametrize("name", autotune_nb.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    value = getattr(autotune_nb, name)
    assert getattr(value, "__name__", name).rpartition(".")[2] == name


def test_dir_is_what_is_exported() -> None:
    # A star import leaves Python's own open alone.
    assert sorted(dir(autotune_nb)) == sorted([*autotune_nb.__all__, "open"])
    assert len(set(autotune_nb.__all__)) == len(autotune_nb.__all__)


def test_every_error_a_user_may_catch_is_exported() -> None:
    from autotune_nb import errors

    raised = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.AutotuneError)}
    assert raised <= set(autotune_nb.__all__)


def test_the_types_of_what_a_run_hands_out_are_exported() -> None:
    assert {
        "Task",
        "Run",
        "Best",
        "Trial",
        "TrialState",
        "Score",
        "Measurement",
        "Level",
        "Failure",
        "FailureKind",
    } <= set(autotune_nb.__all__)
    assert {"tune", "open", "Edit", "OpenedStudy"} <= set(dir(autotune_nb))


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'autotune_nb' has no attribute 'tun'"):
        autotune_nb.tun  # noqa: B018
    with pytest.raises(AttributeError):
        autotune_nb.import_task  # noqa: B018


def test_a_subpackage_hides_no_exported_name() -> None:
    code = "import autotune_nb.reports.plots, autotune_nb as at; from autotune_nb import report"
    code += "; print(at.report is report)"
    code += "; print(type(report).__name__)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.split() == ["True", "function"]


def test_importing_the_package_loads_none_of_its_modules() -> None:
    code = "import sys, autotune_nb; print(*(m for m in sys.modules if m.startswith('autotune_nb.')))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == ""


def test_a_star_import_brings_exactly_the_exported_names() -> None:
    names: dict[str, object] = {}
    exec("from autotune_nb import *", names)
    assert set(names) - {"__builtins__"} == set(autotune_nb.__all__)
