"""What it costs to read an engine's metrics once a second, and whether it changes what is measured.

``python -m tests.benchmarks.scraping load URL`` keeps an engine busy until it is ended, and ``… serve FILE`` serves a
page; both are processes of their own, as the benchmark and the engine are in a study.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import aiohttp
import psutil

from autotune_nb.deploy.local import free_port
from autotune_nb.engines.random_model import write_random_model
from autotune_nb.runner.engine_metrics import EngineMetrics
from autotune_nb.task.sections import RandomWeights
from autotune_nb.trial.measurement import Level
from tests.benchmarks.figure import Figure
from tests.engines.test_metrics import page

#: Of a page of vLLM with two replicas: its histograms, each with so many buckets.
_HISTOGRAMS, _BUCKETS, _REPLICAS = 24, 40, 2
_SCRAPES = 100
_USERS, _PAIRS, _WINDOW_S = 4, 8, 4.0
#: The 97.5 % quantile of Student's distribution with seven degrees of freedom.
_T = 2.365
_COST_GOAL, _EFFECT_GOAL = 1.0, 1.0
_OWN = (sys.executable, "-m", "tests.benchmarks.scraping")
_EVERY = "autotune_nb.runner.engine_metrics._EVERY_S"


def scraping() -> list[Figure]:
    """Return the share of a core that reading takes, and by how much an engine's speed differs beyond noise."""
    with tempfile.TemporaryDirectory(prefix="at-bench-") as name:
        return [asyncio.run(_cost(Path(name))), asyncio.run(_effect(Path(name)))]


def large_page() -> str:
    """Return a page in the form of vLLM's, of about two thousand lines."""
    lines = [page("vllm").rstrip("\n")]
    for number in range(_HISTOGRAMS):
        name = f"vllm:request_phase_{number}_time_seconds"
        lines += [f"# HELP {name} Histogram of time spent in a phase of a request.", f"# TYPE {name} histogram"]
        for engine in range(_REPLICAS):
            labels = f'engine="{engine}",model_name="meta-llama/Llama-3.1-8B-Instruct"'
            lines += [f'{name}_bucket{{{labels},le="{0.001 * 1.3**at:.4g}"}} {at * 17}.0' for at in range(_BUCKETS)]
            lines += [f"{name}_count{{{labels}}} 680.0", f"{name}_sum{{{labels}}} 212.75"]
    return "\n".join(lines) + "\n"


async def _cost(folder: Path) -> Figure:
    text = large_page()
    file = folder / "page.txt"
    file.write_text(text)
    with _process([*_OWN, "serve", str(file)]) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        metrics = EngineMetrics(url, {}, folder)
        with mock.patch(_EVERY, 0.02):
            async with metrics.recording():
                # Then the parser is imported.
                began_s, began = time.process_time(), len(metrics._samples)
                while len(metrics._samples) - began < _SCRAPES:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
                used_s = (time.process_time() - began_s) / (len(metrics._samples) - began)
    note = f"{1000 * used_s:.1f} ms of CPU time for a page of {text.count(chr(10)):,} lines, {len(text) / 1000:.0f} KB"
    return Figure("scraping_cost", 100 * used_s, _COST_GOAL, note, "% of a core")


async def _effect(folder: Path) -> Figure:
    model, _ = write_random_model(RandomWeights(layers=2, hidden_size=64, feed_forward_size=128), folder / "model")
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    argv = ["--model", str(model), "--port", url.rpartition(":")[2], "--metrics", "--parallel", str(_USERS)]
    argv += ["--threads", "1", "--poll", "0"]
    with _process([sys.executable, "-m", "autotune_nb.engines.llama_server", *argv]) as engine:
        await _until_healthy(url)
        with _process([*_OWN, "load", url]):
            while not (await _window(url, engine.pid, folder, scraped=False))[0]:
                pass
            pairs = []
            for number in range(_PAIRS):
                # ABBA: a drift of the machine is in both.
                order = (True, False) if number % 2 else (False, True)
                pairs.append({scraped: await _window(url, engine.pid, folder, scraped=scraped) for scraped in order})
    per_cpu_s, per_s = (_Difference.of([math.log(one[True][at] / one[False][at]) for one in pairs]) for at in (1, 0))
    note = f"tokens per CPU second of the engine differ by {per_cpu_s}, tokens per second by {per_s}"
    return Figure("scraping_effect_beyond_noise", per_cpu_s.beyond_noise, _EFFECT_GOAL, note, "%")


@dataclass(frozen=True)
class _Difference:
    """A relative difference and its 95 % interval, in percent."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, logs: Sequence[float]) -> _Difference:
        mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
        return cls(*(100 * math.expm1(mean + sign * _T * error) for sign in (0, -1, 1)))

    @property
    def beyond_noise(self) -> float:
        return max(self.low, -self.high, 0.0)

    def __str__(self) -> str:
        return f"{self.mean:+.1f} % ({self.low:+.1f} to {self.high:+.1f} %)"


async def _window(url: str, pid: int, folder: Path, *, scraped: bool) -> tuple[float, float]:
    """Return the tokens per second, and per CPU second of the engine; the second does not depend on other work."""
    metrics, engine = EngineMetrics(url, {}, folder), psutil.Process(pid)
    with mock.patch(_EVERY, 1.0 if scraped else 3600.0):
        async with metrics.recording():
            began, cpu_s = time.monotonic(), sum(engine.cpu_times()[:2])
            await asyncio.sleep(_WINDOW_S)
            tokens = (await metrics.take(Level("D(64,16)", _USERS)))["engine_output_tokens"]
            return tokens / (time.monotonic() - began), tokens / (sum(engine.cpu_times()[:2]) - cpu_s)


async def _until_healthy(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/health") as reply:
                    if reply.status == 200:
                        return
            await asyncio.sleep(0.1)


@contextlib.contextmanager
def _process(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _serve(file: str) -> None:
    body = Path(file).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


async def _load(url: str) -> None:
    async def user(session: aiohttp.ClientSession, number: int) -> None:
        words = random.Random(number)
        while True:
            prompt = " ".join(str(words.randrange(10**6)) for _ in range(16))
            body = {"prompt": prompt, "max_tokens": 16, "ignore_eos": True}
            async with session.post(f"{url}/v1/completions", json=body) as reply:
                await reply.read()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(user(session, number) for number in range(_USERS)))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        asyncio.run(_load(sys.argv[2]))
