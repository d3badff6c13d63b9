"""A task as its one-line repr, as a table in a notebook, and in tab completion."""

from __future__ import annotations

import re

from autotune_nb.task.task import Task


def test_a_task_is_one_line_and_a_table_with_what_it_tunes() -> None:
    task = Task.load("quickstart")
    line = "<Task 'quickstart': random weights on llama_cpp, 8 parameters, maximize output_tokens_per_s, 1 limit>"
    assert repr(task) == str(task) == line
    table = task._repr_html_()
    for text in ("D(64,24) at concurrency 1 and 4", "ttft_p90_s &lt;= 1.5", "5 trials", "f16, q8_0"):
        assert f">{text}</td>" in table
    assert "8 parameters, 2 rules" in table


def test_a_tasks_own_words_are_escaped() -> None:
    data = Task.load("quickstart").model_dump(mode="json") | {"name": "<i>x", "description": "<script>\n"}
    assert set(re.findall(r"<(\w+)", Task.parse(data)._repr_html_())) <= {
        *("div", "b", "table", "tr", "th", "td"),
        *("details", "summary"),
    }


def test_tab_completion_has_the_fields_and_methods_of_a_task_only() -> None:
    names = dir(Task.load("quickstart"))
    assert {"load", "save", "parameters", "budget", "space"} <= set(names)
    assert not [name for name in names if name.startswith(("_", "model_"))]
    assert "dict" not in names
