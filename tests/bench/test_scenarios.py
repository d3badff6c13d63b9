"""The scenarios that genai-bench has, and those that are added to it, in the real one's own classes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.trial.measurement import Level
from tests.bench.test_genai_bench import Recorder, bench_for, real_bench_installed, request_in
from tests.stubs import in_loop

KEPT = [
    *("D(16,8)", "N(480,240)/(300,0)", "U(1,100)/(1,20)", "U(100,20)", "E(64)", "R(64,8)", "I(512,512)", "A(20)"),
    *("prefix(16)+D(8,4)", "prefix(16)+N(480,240)/(300,150)"),
]
MIX = "mix(3*D(6,5),1.5*prefix(8)+N(9,0)/(7,0),1*dataset)"
#: In a process of its own: importing genai_bench patches gevent into the whole process. A token is a character.
CODE = """
import json, random, sys
from autotune_nb.bench._scenarios import add_scenarios
from genai_bench.sampling.text import TextSampler
from genai_bench.scenarios.base import Scenario
import genai_bench.scenarios.multimodal

add_scenarios()

class Characters:
    def encode(self, text, add_special_tokens=False):
        return [ord(one) for one in text]
    def decode(self, tokens, skip_special_tokens=True):
        return "".join(map(chr, tokens))

rows = [f"line {i} of the text. " for i in range(50)]
sampler = TextSampler(Characters(), "m", "text", data=rows)

def draw(scenario, count, seed=1):
    random.seed(seed)
    parsed = Scenario.from_string(scenario)
    return [(one.prompt, one.max_tokens) for one in (sampler.sample(parsed) for _ in range(count))]

kept, mix = json.loads(sys.argv[1]), sys.argv[2]
print(json.dumps({
    "kept": [Scenario.from_string(one).to_string() for one in kept],
    "prefixed": draw("prefix(40)+D(30,5)", 3),
    "longer": draw("prefix(60)+D(30,5)", 2),
    "mixed": draw(mix, 400),
    "same": draw(mix, 400),
    "plain": draw("D(30,5)", 2),
    "rows": rows,
}))
"""


@pytest.mark.skipif(importlib.util.find_spec("genai_bench") is None, reason="needs genai-bench")
def test_genai_bench_reads_every_scenario_and_sends_what_it_says() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(KEPT), MIX], capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    # It writes every scenario as the task keeps it.
    assert found["kept"] == KEPT
    prompts = [prompt for prompt, tokens_out in found["prefixed"] if tokens_out == 5]
    # genai-bench puts a space where it cuts a text.
    assert all(70 <= len(prompt) <= 73 for prompt in prompts)
    assert len({prompt[:40] for prompt in prompts}) == 1
    assert len({prompt[40:] for prompt in prompts}) == len(prompts) == 3
    assert {len(prompt) // 10 for prompt, _ in found["longer"]} == {9}
    assert len({prompt[:60] for prompt, _ in found["longer"]}) == 1
    plain = [prompt for prompt, _ in found["plain"]]
    assert len({prompt[:8] for prompt in plain}) == 2 or plain[0] != plain[1]
    mixed = found["mixed"]
    assert mixed == found["same"]
    of_d, of_prefix, of_rows = ([one for one in mixed if one[1] == tokens] for tokens in (5, 7, None))
    assert len(of_d) + len(of_prefix) + len(of_rows) == 400
    assert 180 < len(of_d) < 256
    assert 80 < len(of_prefix) < 140
    assert 45 < len(of_rows) < 105
    assert {prompt for prompt, _ in of_rows} <= set(found["rows"])
    assert len({prompt[:8] for prompt, _ in of_prefix}) == 1


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.skipif(not real_bench_installed(), reason="genai-bench is not installed beside this Python")
def test_the_real_genai_bench_measures_levels_of_own_prompts_a_prefix_and_a_mix(
    make_task: Any, small_model: Path, tmp_path: Path
) -> None:
    rows = [f"own prompt {i}" for i in range(40)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps({"row": {"text": row}}) for row in rows))
    scenarios = ["dataset", "prefix(40)+D(8,3)", "mix(1*D(8,3),1*prefix(40)+N(9,1)/(3,0))"]
    workload = {
        "scenarios": scenarios,
        "dataset": {"path": str(tmp_path / "prompts.jsonl"), "column": "row.text"},
        "concurrency": [2],
        "seconds_per_level": 20,
        "requests_per_level": 12,
        "precision": None,
    }
    found = in_loop(_measured(make_task(workload=workload), small_model, tmp_path))
    assert [level.scenario for level, _ in found] == scenarios
    of_rows, prefixed, mixed = (prompts for _, prompts in found)
    assert set(of_rows) <= set(rows)
    assert len(set(of_rows)) > 3
    shared = prefixed[0][:60]
    assert all(prompt.startswith(shared) for prompt in prefixed)
    assert len(set(prefixed)) == len(prefixed)
    assert 0 < sum(prompt.startswith(shared) for prompt in mixed) < len(mixed)


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.skipif(not real_bench_installed(), reason="genai-bench is not installed beside this Python")
def test_the_real_genai_bench_sends_the_images_of_a_folder(make_task: Any, small_model: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "images"
    folder.mkdir()
    for name, color in (("a", "red"), ("b", "blue")):
        image.new("RGB", (32, 32), color).save(folder / f"{name}.png")
    (folder / "metadata.csv").write_text("file_name,question\na.png,the first\nb.png,the second\n")
    workload = {
        "task": "image-text-to-text",
        "scenarios": ["I(16,16)"],
        "dataset": {"path": str(folder), "image_column": "image", "prompt": "What is {question}?"},
        "concurrency": [1],
        "seconds_per_level": 20,
        "requests_per_level": 6,
        "precision": None,
    }
    task = make_task(workload=workload, objective="maximize requests_per_s")
    ((level, prompts),) = in_loop(_measured(task, small_model, tmp_path))
    assert level.scenario == "I(16,16)"
    texts = {part["text"] for prompt in prompts for part in prompt if part["type"] == "text"}
    assert texts == {"What is the first?", "What is the second?"}
    assert all("data:image/jpeg;base64," in json.dumps(prompt) for prompt in prompts)


async def _measured(task: Any, small_model: Path, folder: Path) -> list[tuple[Level, list[Any]]]:
    """Return the levels of a task as genai-bench measures them, each with its prompts."""
    recorder = Recorder()
    server = await recorder.start()
    tokenizer = str(small_model.parent / "tokenizer")
    benchmark = bench_for(task, folder=folder / "study")
    await benchmark.prepare(tokenizer)
    found, seen = [], 0
    try:
        # A process for each level, so that no prompt of the next one is sent before this one is read.
        order = iter(task.workload.levels)
        request = request_in(
            folder / "trial", url=recorder.url, tokenizer=tokenizer, next_level=lambda: next(order, None)
        )
        async with aclosing(benchmark.measure(request)) as levels:
            async for one in levels:
                assert one.problems == ()
                prompts = [json.loads(text)[-1]["content"] for text in recorder.prompts[seen:]]
                found.append((one.level, prompts))
                seen = len(recorder.prompts)
    finally:
        await benchmark.close()
        await server.cleanup()
    return found
