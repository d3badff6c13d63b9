"""Prompts of a file: what is read of it, what is refused, and what genai-bench is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.bench import _dataset_rows, dataset
from autotune_nb.bench._mounted_dataset import mounted_dataset_arguments
from autotune_nb.bench.dataset import Prompts, dataset_arguments, dataset_line, read_prompts
from autotune_nb.bench.genai_bench import GenaiBench
from autotune_nb.cluster.executor_choice import benchmark_job_problem
from autotune_nb.errors import SetupError
from autotune_nb.task.dataset import Dataset
from autotune_nb.task.workload import Workload
from tests.bench.test_genai_bench import request_in
from tests.stubs import in_loop

CSV = "id,prompt\n1,hello\n2,\n3,wörld\n"
JSONL = '{"q": "x", "c": [{"v": "deep"}]}\n\n{"q": "y", "c": []}\n'


def read(folder: Path, name: str, content: str | bytes, seed: int = 0, **fields: Any) -> Prompts:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return read_prompts(Dataset(path=str(folder / name), **fields), seed)


@pytest.mark.parametrize(
    ("name", "content", "fields", "texts", "empty"),
    [
        ("a.csv", CSV, {"column": "prompt"}, ("hello", "wörld"), 1),
        ("a.csv", "\ufeff" + CSV, {"prompt": "{id}: {prompt}!"}, ("1: hello!", "2: !", "3: wörld!"), 0),
        ("a.csv", 'prompt\n"two\nlines"\n', {}, ("two\nlines",), 0),
        ("a.csv", "id,prompt\n1,NA\n2\n", {"column": "prompt"}, ("NA",), 1),
        ("a.jsonl", JSONL, {"column": "q"}, ("x", "y"), 1),
        ("a.jsonl", JSONL, {"column": "c.0.v"}, ("deep",), 2),
        ("a.jsonl", '"plain"\n{"only": 7}\n', {}, ("plain", "7"), 0),
        ("a.json", '["a", "", null, "b"]', {}, ("a", "b"), 2),
        ("a.txt", "one\r\n\n  \ntwo", {}, ("one", "two"), 2),
    ],
)
def test_the_prompts_of_each_kind_of_file(
    tmp_path: Path, name: str, content: str, fields: dict[str, str], texts: tuple[str, ...], empty: int
) -> None:
    found = read(tmp_path, name, content, **fields)
    assert (found.texts, found.num_empty) == (texts, empty)


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.csv", CSV, {"column": "promt"}, "workload.dataset.column: .* no column 'promt'; did you mean 'prompt'"),
        ("a.csv", CSV, {"prompt": "Say {text}"}, "workload.dataset.prompt: .* no column 'text'"),
        ("a.csv", CSV, {}, "workload.dataset.column: say which of the columns .* has the prompts: id, prompt"),
        ("a.csv", "prompt\n\n", {}, "workload.dataset.path: .*: it has no rows"),
        ("a.csv", "", {}, "it has no rows"),
        ("a.csv", b"prompt\ncaf\xe9\n", {}, "is not UTF-8: byte 0xe9 in row 1 or later; convert it, .* iconv"),
        ("a.txt", b"tea\ncaf\xe9\n", {}, "is not UTF-8: byte 0xe9 in line 2; convert it"),
        ("a.txt", "\n \n", {}, "none of its 2 rows has a prompt"),
        ("a.txt", "one\n", {"column": "prompt"}, "has no column 'prompt'"),
        ("a.jsonl", '{"q": 1}\n{"q": \n', {}, "line 2, is no JSON"),
        ("a.jsonl", JSONL, {"column": "c"}, "line 1: column 'c' is a list; expected is a text"),
        ("a.json", '{"a": 1}', {}, "has a dict; expected is a list of rows"),
    ],
)
def test_a_file_without_usable_prompts_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, fields: dict[str, str], message: str
) -> None:
    with pytest.raises(SetupError, match=message) as wrong:
        read(tmp_path, name, content, **fields)
    assert "\n" not in str(wrong.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name, message in (("no.csv", "there is no file"), (tmp_path.name + ".csv", "is a folder")):
        (tmp_path / f"{tmp_path.name}.csv").mkdir(exist_ok=True)
        with pytest.raises(SetupError, match=message):
            read_prompts(Dataset(path=str(tmp_path / name)), 0)


def test_many_prompts_are_sampled_by_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_MOST_PROMPTS", 50)
    content = "".join(f"prompt {i}\n" for i in range(1000))
    first, same, other = (read(tmp_path, "a.txt", content, seed) for seed in (1, 1, 2))
    assert first == same != other
    assert len(set(first.texts)) == 50
    # Of all of the file, not of its begin.
    assert sum(int(text.split()[1]) > 500 for text in first.texts) > 10
    assert str(first) == "50 prompts, chosen at random from 1,000 rows"


def test_of_a_large_file_only_a_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 64 * 256
    monkeypatch.setattr(_dataset_rows, "MOST_BYTES", most)
    monkeypatch.setattr(dataset, "MOST_BYTES", most)
    lines = [f"prompt number {i}" for i in range(20_000)]
    found = read(tmp_path, "a.txt", "\n".join(lines))
    assert found.num_rows < 1100
    # Whole lines, from its begin to its end.
    numbers = [lines.index(text) for text in found.texts]
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (0, 19_999)
    assert "of the file's" in str(found)
    with pytest.raises(SetupError, match="line of more than 256 bytes"):
        read(tmp_path, "a.jsonl", '"' + "x" * most * 2 + '"')
    with pytest.raises(SetupError, match="a JSON file is read whole; convert it to JSONL"):
        read(tmp_path, "a.json", json.dumps(lines))
    # A line in the middle of a CSV file may be part of a quoted value.
    rows = read(tmp_path, "a.csv", "n,prompt\n" + "\n".join(f"{i},{line}" for i, line in enumerate(lines)), column="n")
    assert rows.texts[:2] == ("0", "1")
    assert rows.num_rows < 3000


def test_genai_bench_is_given_the_prompts_as_a_file_in_the_artifacts(make_task: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    task = make_task(
        workload={"scenarios": ["dataset"], "dataset": {"path": str(tmp_path / "a.csv"), "column": "prompt"}},
        benchmark={"executable": "/bin/true"},
    )
    benchmark = GenaiBench(task, backend="vllm", engine=None, labels={}, folder=tmp_path / "study")
    in_loop(benchmark.prepare())
    argv = benchmark.argv(request_in(tmp_path / "trial"))
    file = tmp_path / "study" / "artifacts" / "dataset.json"
    assert argv[argv.index("--dataset-path") + 1] == str(file)
    assert json.loads(file.read_text()) == ["hello", "wörld"]
    assert len(in_loop(benchmark.fingerprint())["dataset_sha256"]) == 64


def test_a_folder_or_a_hubs_dataset_is_configured_for_genai_bench(tmp_path: Path) -> None:
    given = {"path": "org/images", "image_column": "image", "prompt": "What's {n}?", "config": {"split": "test"}}
    workload = Workload(task="image-text-to-text", scenarios=["dataset"], dataset=given)
    option, file = dataset_arguments(workload, tmp_path, 0)
    config = json.loads(Path(file).read_text())
    assert option == "--dataset-config"
    assert config["source"] == {"type": "huggingface", "path": "org/images", "huggingface_kwargs": {"split": "test"}}
    assert (config["image_column"], config["prompt_column"]) == ("image", None)
    assert eval(config["prompt_lambda"])({"n": "this"}) == "What's this?"


def test_the_check_of_a_task_says_what_the_dataset_has(make_task: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    given = {"path": str(tmp_path / "a.csv"), "column": "prompt"}
    line = dataset_line(Workload(scenarios=["dataset"], dataset=given), 0)
    assert "2 prompts; 1 empty row is left out; replies end where the model ends them" in line
    limited = Workload(scenarios=["dataset"], dataset=given, request_params={"max_tokens": 8})
    assert dataset_line(limited, 0).endswith("1 empty row is left out")
    with pytest.raises(SetupError, match="there is no folder"):
        dataset_line(Workload(scenarios=["dataset"], dataset={"path": "./nowhere", "column": "q"}), 0)
    (tmp_path / "a.xlsx").write_text(CSV)
    other = Workload(scenarios=["dataset"], dataset={"path": str(tmp_path / "a.xlsx"), "column": "prompt"})
    for read_it in (lambda: dataset_line(other, 0), lambda: dataset_arguments(other, tmp_path, 0)):
        with pytest.raises(SetupError, match=r"a file must end in \.csv, \.json, \.jsonl.*; convert it"):
            read_it()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"path": "/data/a.csv", "column": "q"}, ["--dataset-path", "/data/a.csv", "--dataset-prompt-column", "q"]),
        ({"path": "/data/a.txt"}, ["--dataset-path", "/data/a.txt"]),
        ({"path": "/other/a.txt"}, "does not have /other/a.txt; mount a volume that has it"),
        ({"path": "a.txt"}, "does not have a.txt"),
        ({"path": "/data/a.jsonl"}, "in a pod, genai-bench reads a text file"),
        ({"path": "/data/a.csv", "prompt": "Say {q}"}, "set benchmark.executor to direct"),
        ({"path": "org/prompts", "column": "q"}, "set benchmark.executor to direct"),
    ],
)
def test_in_a_pod_a_dataset_must_be_mounted(make_task: Any, given: dict[str, str], found: list[str] | str) -> None:
    pod = {
        "volumes": [{"name": "d", "hostPath": {"path": "/d"}}],
        "volumeMounts": [{"name": "d", "mountPath": "/data"}],
    }
    benchmark = {"pod": pod, "results": "pvc://claim/folder"}
    task = make_task(workload={"scenarios": ["D(8,8)"], "dataset": given}, benchmark=benchmark)
    assert benchmark_job_problem(task) == ("OME's BenchmarkJob is given no dataset", "workload.dataset.path")
    if isinstance(found, list):
        assert mounted_dataset_arguments(task) == found
        return
    with pytest.raises(SetupError, match=found):
        mounted_dataset_arguments(task)
