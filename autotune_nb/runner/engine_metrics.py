"""Reads an engine's own metrics once a second while its levels run: summaries by level, and a file of the samples."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from autotune_nb.engines.metrics import COUNTERS, GAUGES, PATH, read_metrics
from autotune_nb.secrets.scrubbing import scrub
from autotune_nb.trial.measurement import Level

#: The file of the samples in the folder of an attempt: a JSON object per line.
FILE_NAME = "engine_metrics.jsonl"
#: The file of the samples of the level that runs now; it is deleted when the level has ended.
LIVE_FILE_NAME = "engine_metrics_now.jsonl"
_EVERY_S, _WITHIN_S = 1.0, 0.9
_MOST_BYTES = 4_000_000
#: After so many failures, without any success, the engine is not asked again.
_MOST_FAILURES = 3
#: How much of a page that is not understood is quoted.
_QUOTED = 40
_GAUGES = tuple(dict.fromkeys(metric.figure for metric in GAUGES))
_COUNTERS = tuple(dict.fromkeys(metric.figure for metric in COUNTERS))


class _UnreadError(Exception):
    """Why there is no sample, in words that are the same for every trial."""


@dataclass(frozen=True)
class Sample:
    """Figures of an engine or a GPU at a time, in seconds since the epoch."""

    time: float
    figures: Mapping[str, float]


@dataclass
class EngineMetrics:
    """Reads the metrics of an engine beside its levels; what fails here never fails a trial.

    ``report`` is called at the end with a sentence if they could not be read at all.
    """

    url: str
    headers: Mapping[str, str]
    folder: Path
    report: Callable[[str], None] = lambda _text: None
    _samples: list[Sample] = field(init=False, default_factory=list)
    #: The last sample before the level.
    _before: Sample | None = field(init=False, default=None)
    _failures: int = field(init=False, default=0)
    _problem: str = field(init=False, default="")
    _session: aiohttp.ClientSession | None = field(init=False, default=None)

    @contextlib.asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Read the metrics once now, and then every second."""
        # An engine spends more time to compress a page than to send it to its own machine.
        headers = {**self.headers, "Accept-Encoding": "identity"}
        limit = aiohttp.ClientTimeout(total=_WITHIN_S)
        async with aiohttp.ClientSession(headers=headers, timeout=limit) as self._session:
            await self._sample()
            sampling = asyncio.ensure_future(self._sample_on())
            try:
                yield
            finally:
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
                self._forget_live()
                if self._problem:
                    self.report(self._problem)

    async def take(self, level: Level) -> dict[str, float]:
        """Return the summary of a level, which ends now, by names of CONDITIONS, and write its samples to the file."""
        await self._sample()
        self._forget_live()
        samples, before = self._samples, self._before
        self._samples, self._before = [], samples[-1] if samples else before
        if samples:
            await asyncio.to_thread(write_samples, self.folder / FILE_NAME, level, samples)
        return summary(samples, before)

    async def _sample_on(self) -> None:
        while self._wanted:
            await asyncio.sleep(_EVERY_S)
            await self._sample()

    @property
    def _wanted(self) -> bool:
        return not self._problem or self._failures < _MOST_FAILURES

    async def _sample(self) -> None:
        if not self._wanted:
            return
        try:
            page = await self._page()
            sample = await asyncio.to_thread(self._read, page)
        except _UnreadError as error:
            self._failures += 1
            if not self._samples and self._before is None:
                self._problem = str(error)
            return
        self._problem = ""
        self._samples.append(sample)

    def _read(self, page: str) -> Sample:
        """Return the sample of a page and append it to the file of the level that runs now. Raises _UnreadError."""
        sample = Sample(time.time(), _figures(page))
        row = {"time": round(sample.time, 3), **{name: round(value, 4) for name, value in sample.figures.items()}}
        with contextlib.suppress(OSError), (self.folder / LIVE_FILE_NAME).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(row)}\n")
        return sample

    def _forget_live(self) -> None:
        with contextlib.suppress(OSError):
            (self.folder / LIVE_FILE_NAME).unlink(missing_ok=True)

    async def _page(self) -> str:
        assert self._session is not None
        body = bytearray()
        try:
            # A redirect could lead to another server, which must not get the key.
            async with self._session.get(f"{self.url}{PATH}", allow_redirects=False) as reply:
                if reply.status != 200:
                    raise _UnreadError(f"{PATH} returned HTTP {reply.status}{_hint(reply.status)}")
                async for chunk in reply.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise _UnreadError(f"{PATH} returned more than {_MOST_BYTES / 1e6:g} MB")
        except TimeoutError:
            raise _UnreadError(f"{PATH} took longer than {_WITHIN_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _UnreadError(f"{PATH} could not be read: {type(error).__name__}") from None
        return body.decode(errors="replace")


def _hint(status: int) -> str:
    if status in (401, 403):
        return ": it needs a key; set benchmark.api_key"
    off = ": the engine has none, or they are off (llama.cpp has --metrics, SGLang --enable-metrics)"
    return off if status in (404, 501) else ""


def _figures(page: str) -> dict[str, float]:
    """Return the figures of a page. Raises _UnreadError if it has none."""
    try:
        found = read_metrics(page)
    except (ValueError, LookupError, TypeError) as error:
        # As the versions of the parser raise them.
        raise _UnreadError(f"{PATH} returned malformed metrics: {scrub(str(error))[:_QUOTED]}") from None
    if not found:
        start = scrub(page.strip())[:_QUOTED]
        raise _UnreadError(f"{PATH} returned no metrics of vLLM, SGLang or llama.cpp; it begins with {start!r}")
    return found


def summary(samples: Sequence[Sample], before: Sample | None) -> dict[str, float]:
    """Return the mean and the maximum of what was sampled in a level, and by how much the counts grew."""
    if not samples:
        return {}
    found: dict[str, float] = {}
    # The engine idles before a level's first request.
    idle = itertools.takewhile(lambda one: _idles(one, before or samples[0]), samples)
    busy = samples[len(list(idle)) :] or samples
    for name in _GAUGES:
        values = [one.figures[name] for one in busy if name in one.figures]
        if values:
            found[f"{name}_mean"], found[f"{name}_max"] = statistics.fmean(values), max(values)
    first, last = before or samples[0], samples[-1]
    # SGLang's page has a counter from its first event on.
    grown = {name: last.figures[name] - first.figures.get(name, 0.0) for name in _COUNTERS if name in last.figures}
    # An engine that was restarted counts from 0.
    grown = {name: value for name, value in grown.items() if value >= 0}
    if "preemptions" in grown:
        found["preemptions"] = grown["preemptions"]
    if "output_tokens" in grown:
        found["engine_output_tokens"] = grown["output_tokens"]
    cached = grown.get("cached_tokens")
    if cached is not None:
        sought = grown.get("sought_tokens", cached + grown.get("computed_tokens", math.nan))
        if sought > 0:
            found["prefix_cache_hit_rate"] = cached / sought
    if (drafted := grown.get("drafted_tokens", 0.0)) > 0:
        found["speculative_acceptance"] = grown.get("accepted_tokens", 0.0) / drafted
    elif "speculative_acceptance_mean" in found:
        found["speculative_acceptance"] = found["speculative_acceptance_mean"]
    for name in ("speculative_acceptance_mean", "speculative_acceptance_max"):
        found.pop(name, None)
    return {name: round(value, 4) for name, value in found.items()}


def _idles(sample: Sample, before: Sample) -> bool:
    """Whether the engine has no request, and has generated nothing since a sample."""
    figures, name = sample.figures, "output_tokens"
    return figures.get("running_requests", 1.0) <= 0 and figures.get(name, 0.0) <= before.figures.get(name, 0.0)


def write_samples(path: Path, level: Level, samples: Sequence[Sample]) -> None:
    """Append samples to a file: a JSON object with time and level per line. What cannot be written is left out."""
    rows = (
        {"time": round(one.time, 3), "level": str(level), **{n: round(v, 4) for n, v in one.figures.items()}}
        for one in samples
    )
    # A full disk is reported elsewhere.
    with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{json.dumps(row)}\n" for row in rows))
