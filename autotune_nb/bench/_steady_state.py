"""The requests of a level as they begin, stream and end, and its figures in the steady state.

It uses the standard library alone, because the scripts that run genai-bench contain its source (see ``_scripts.py``).
"""

import math
import re
from array import array
from bisect import bisect_left
from typing import Any

#: The last part of a stream, with the counts of tokens.
_NO_CHOICE = re.compile(rb'"choices" ?: ?\[\]')
#: Into how many parts of equal length the steady state is divided for the standard error. It is the largest of them:
#: what lasts longer than a part, such as other load, makes short parts look more precise than they are.
_BATCHES = (20, 10, 5)
#: How many times its planned time an imprecise level may last, and how long it goes on before the next look.
_STRETCH, _PAUSE_S = 1.5, 0.5


class RequestRecord:
    """One request: when it began and ended, and when each part of its reply arrived."""

    def __init__(self, number: int, began: float) -> None:
        self.number, self.began = number, began
        #: None as long as it is in flight, also if the end of the level aborts it.
        self.ended: float | None = None
        self.failed = False
        self.chunks = array("d")
        self.tokens_in = self.tokens_out = 0

    def hear(self, line: bytes, now: float) -> None:
        """Record a line of its stream, if it has a token."""
        if line.startswith(b"data:") and b"[DONE]" not in line and not _NO_CHOICE.search(line):
            self.chunks.append(now)

    def end(self, now: float, *, tokens_in: int, tokens_out: int, failed: bool) -> None:
        self.ended, self.failed = now, failed
        self.tokens_in, self.tokens_out = tokens_in, tokens_out


class LevelRecord:
    """The requests of one level with so many concurrent users; ``name`` is its scenario and its load.

    The first request of each user is not scored: all begin at once, and some engines are slow to begin. The steady
    state lasts from the end of the last of them until the end of the level, which aborts what is in flight.
    """

    def __init__(self, users: int, began: float, name: tuple[str, int] = ("", 1)) -> None:
        self.users, self.began, self.name = users, began, name
        self.requests: list[RequestRecord] = []

    def begin(self, now: float) -> RequestRecord:
        record = RequestRecord(len(self.requests), now)
        self.requests.append(record)
        return record

    def is_scored(self, record: RequestRecord) -> bool:
        return record.number >= self.users

    def first_tokens(self, record: RequestRecord, tokens: int) -> int:
        """Return how many tokens a request asks for: the first one of each user for a share of them.

        Otherwise users with replies of one length would begin and end together for the first seconds of a level, which
        is faster than any steady state.
        """
        if self.is_scored(record) or tokens < 2:
            return tokens
        return max(2, round(tokens * (record.number + 1) / self.users))

    @property
    def num_ended(self) -> int:
        """How many requests have ended, failed ones included, without the first of each user."""
        return sum(1 for one in self.requests[self.users :] if one.ended is not None)

    @property
    def num_scored(self) -> int:
        return sum(1 for one in self.requests[self.users :] if one.ended is not None and not one.failed)

    def steady_from(self) -> float | None:
        """Return when the last of the first requests ended; None if one has not."""
        first = self.requests[: self.users]
        ended = [one.ended for one in first if one.ended is not None]
        return max(ended) if len(ended) == len(first) == self.users else None

    def error(self, now: float) -> float:
        """Return the standard error of the throughput as a share of it; infinite if it is unknown."""
        steady = self.steady(now)
        rate = steady.get("output_tokens_per_s", 0.0)
        return steady.get("output_tokens_per_s_error", math.inf) / rate if rate else math.inf

    def steady(self, end: float) -> dict[str, float]:
        """Return the figures of the steady state until ``end``, and the numbers of requests that are scored or not."""
        scored = self.num_scored
        completed = sum(1 for one in self.requests if one.ended is not None and not one.failed)
        found = {"scored_requests": float(scored), "unscored_requests": float(completed - scored)}
        begin = self.steady_from()
        # Without a single complete request nothing says how much of one fits into a second.
        if begin is None or end <= begin or not scored:
            return found
        seconds = end - begin
        done = [one for one in self.requests if one.ended is not None and not one.failed]
        counted = [one for one in self.requests if not one.failed]
        latency_s = _mean([_length(one, end) for one in done if self.is_scored(one)])
        chunks, tokens_in = sum(len(one.chunks) for one in done), _mean([float(one.tokens_in) for one in done])
        per_chunk = sum(one.tokens_out for one in done) / chunks if chunks else 0.0
        busy_s = requests = inputs = 0.0
        for one in self.requests:
            inside = max(0.0, min(one.ended or end, end) - max(one.began, begin))
            busy_s += inside
            if not one.failed:
                # Of a request that only partly lies inside, its part.
                share = inside / max(_length(one, end) if one.ended is not None else latency_s, 1e-9)
                requests += share
                inputs += share * (one.tokens_in if one.ended is not None else tokens_in)
        found |= {
            "steady_from_s": begin - self.began,
            "steady_s": seconds,
            "concurrency_mean": busy_s / seconds,
            "requests_per_s": requests / seconds,
            "input_tokens_per_s": inputs / seconds,
        }
        if not chunks:
            return found
        count = _BATCHES[0]
        edges = [begin + seconds * i / count for i in range(count + 1)]
        tokens = [0.0] * count
        for one in counted:
            # The number of tokens in a chunk is known once the request has ended.
            factor = one.tokens_out / len(one.chunks) if one.ended is not None and one.chunks else per_chunk
            places = [bisect_left(one.chunks, edge) for edge in edges]
            for i in range(count):
                tokens[i] += factor * (places[i + 1] - places[i])
        rate = sum(tokens) / seconds
        first, last = sum(tokens[: count // 2]), sum(tokens[count // 2 :])
        return found | {
            "output_tokens_per_s": rate,
            "output_tokens_per_s_error": max(_standard_error(tokens, number) for number in _BATCHES) / seconds,
            "output_tokens_per_s_drift": last / first - 1 if first else 0.0,
        }

    def stamps(self, record: RequestRecord | None) -> dict[str, Any]:
        """Return the fields of a request for the level's file, in seconds since the level began."""
        if record is None or record.ended is None:
            return {"scored": False}
        return {
            "began_s": round(record.began - self.began, 6),
            "ended_s": round(record.ended - self.began, 6),
            "scored": self.is_scored(record),
        }


class LevelEnd:
    """Decides when a level ends.

    It has a planned end, after its seconds or its requests. It goes on for up to half of that time while its
    throughput is imprecise, or too few requests were scored, and until ``max_seconds`` while a limit is undecided.
    ``plan`` is that of ``_arguments.level_plan``.
    """

    def __init__(self, plan: dict[str, Any], seconds: float, requests: int, is_decided: Any) -> None:
        self._plan, self._seconds, self._requests = plan, seconds, requests
        self._is_decided = is_decided
        self._planned: float | None = None
        self._precise_at = 0.0
        self._counts = [[0, 0] for _ in plan["limits"]]

    def count(self, metrics: Any) -> None:
        """Count a scored request for the limits on percentiles."""
        for counts, (field, operator, bound, _) in zip(self._counts, self._plan["limits"], strict=True):
            value = getattr(metrics, field, None)
            if value is not None:
                counts[0] += 1
                counts[1] += value > bound if operator == "<=" else value < bound

    def reached(self, level: LevelRecord, now: float) -> bool:
        """Whether the level ends now."""
        passed = now - level.began
        if self._planned is None:
            if passed < self._seconds and level.num_ended < self._requests:
                return False
            self._planned = passed
        if passed < _STRETCH * self._planned and not self._is_precise(level, now):
            return False
        at = self._plan["limits_at"]
        if passed >= self._plan["max_seconds"] or at not in (None, list(level.name)):
            return True
        shares = [share for *_, share in self._plan["limits"]]
        return all(self._is_decided(beyond, n, share) for (n, beyond), share in zip(self._counts, shares, strict=True))

    def _is_precise(self, level: LevelRecord, now: float) -> bool:
        if level.num_scored < self._plan["fewest"]:
            return False
        precision = self._plan["precision"]
        if not precision or now < self._precise_at:
            return not precision
        # Under a heavy load the standard error takes milliseconds.
        self._precise_at = now + _PAUSE_S
        return bool(level.error(now) <= precision)


def _standard_error(values: list[float], number: int) -> float:
    """Return the standard error of the sum of values, from the scatter of the sums of so many groups of them."""
    size = len(values) // number
    sums = [sum(values[i * size : (i + 1) * size]) for i in range(number)]
    mean = _mean(sums)
    return math.sqrt(number * sum((one - mean) ** 2 for one in sums) / (number - 1))


def _length(one: RequestRecord, end: float) -> float:
    return (one.ended or end) - one.began


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
