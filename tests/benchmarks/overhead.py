"""The wall time of a study, divided by that of a shell loop that does the same.

The loop starts the same servers, runs the genai-bench command lines that the study recorded, and stops the servers.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from autotune_nb.bench._fork_client import find_genai_bench
from autotune_nb.engines.random_model import write_random_model
from autotune_nb.task.sections import RandomWeights
from tests.benchmarks.figure import Figure

GOAL = 0.60


def overhead() -> list[Figure]:
    """Return ``overhead_ratio`` for six configurations with two load levels each."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        work = Path(name)
        model, _ = write_random_model(RandomWeights(layers=4, hidden_size=256, feed_forward_size=512), work / "model")
        study_s, results = _study(work, model)
        loop_s = _loop(work, results)
    note = f"a study of six configurations took {study_s:.1f} s, the shell loop {loop_s:.1f} s"
    return [Figure("overhead_ratio", study_s / loop_s, GOAL, note)]


def _study(work: Path, model: Path) -> tuple[float, dict[str, Any]]:
    task = {
        "name": "overhead",
        "model": {"id_or_path": str(model), "served_name": "m"},
        "engine": {"kind": "llama_cpp", "args": {"ctx_size": 4096}},
        "parameters": {"threads": [1, 2], "parallel": [1, 2, 4]},
        # Whole minutes, so that an unmodified genai-bench accepts the same command lines.
        "workload": {
            "scenarios": ["D(32,16)"],
            "concurrency": [1, 2],
            "seconds_per_level": 60,
            "requests_per_level": 40,
        },
        "objective": "maximize output_tokens_per_s",
        "strategy": "grid",
        "budget": {"baseline": False},
    }
    file, study = work / "task.json", work / "study"
    file.write_text(json.dumps(task))
    began = time.monotonic()
    command = [sys.executable, "-m", "autotune_nb.cli.main", "run", str(file), "--study", str(study), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=_environment())
    took_s = time.monotonic() - began
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert [trial["state"] for trial in results["trials"]] == ["complete"] * 6
    return took_s, results


def _loop(work: Path, results: dict[str, Any]) -> float:
    genai_bench = find_genai_bench("genai-bench")
    lines = ["set -e"]
    for trial in results["trials"]:
        kept = work / "study" / "artifacts" / f"trial-{trial['number']:04d}" / "genai-bench.argv.json"
        folder = work / "loop" / str(trial["number"])
        argv = [part.replace(str(kept.parent), str(folder)) for part in json.loads(kept.read_text())]
        url = argv[argv.index("--api-base") + 1]
        lines += [
            f"mkdir -p {shlex.quote(str(folder))}",
            f"{trial['command']} > {shlex.quote(str(folder / 'engine.log'))} 2>&1 &",
            "pid=$!",
            f"until {shlex.quote(sys.executable)} -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1])' "
            f"{url}/health 2> /dev/null; do sleep 0.2; done",
            f"{shlex.join([genai_bench, *argv])} > {shlex.quote(str(folder / 'out.log'))} 2>&1",
            "kill $pid",
            "wait $pid || true",
        ]
    script = work / "loop.sh"
    script.write_text("\n".join(lines) + "\n")
    began = time.monotonic()
    subprocess.run(["bash", str(script)], check=True, env=_environment())
    took_s = time.monotonic() - began
    for trial in results["trials"]:
        assert len(list((work / "loop" / str(trial["number"])).glob("genai-bench/*_time_*.json"))) == 2
    return took_s


def _environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "ENABLE_UI": "false"}
