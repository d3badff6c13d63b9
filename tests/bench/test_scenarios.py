"""The scenarios that genai-bench has, and those that are added to it, in the real one's own classes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

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
