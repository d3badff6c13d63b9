"""Starts genai-bench inside a Python that has it: the part that ``_fork_server.py`` and ``_in_pod.py`` share.

Its source is put before theirs (see ``_scripts.py``), so of this package it imports only what is put there too.
"""

import contextlib
import functools
import gc
import inspect
import json
import os
import re
import sys
import time
import traceback
from typing import Any, NoReturn

from autotune_nb.bench._level_recording import RECORDER, record_levels, seed_prompts
from autotune_nb.bench._scenarios import add_scenarios

#: Error codes of requests that fail at status 200; genai-bench's own -1 is an error inside a stream.
NO_COMPLETION, NO_TOKEN, CUT, ABORTED, UNANSWERED, OVERCLAIMED = -11, -12, -13, -14, -15, -16
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"(\w*)')
_QUOTED = 200
#: A request counts as unanswered if it received nothing for most of the level, for longer than any pause of a busy
#: machine, and for so many times the longest latency of the others; random sizes differ more.
_SILENT_S, _TIMES_LONGEST, _TIMES_LONGEST_RANDOM = 3.0, 3.0, 10.0
#: A stream came in one burst if all of its events but one were waited for by less than this on average, and together
#: for less than this share of the one wait. No engine is so fast; a proxy or a compression held the stream back.
BURST_S, BURST_SHARE = 1e-4, 0.02
#: A usage claims too much if it has more than so many times the tokens of the text, and so many more, of which it would
#: have taken less than this share of the usual time to generate each of those without text, such as special tokens.
_CLAIM_TIMES, _CLAIM_MORE, _CLAIM_PACE = 2, 2, 0.5


class Minutes(float):
    """Minutes whose product with 60 is a whole number: genai-bench refuses 964.9999999999999; no float gives 965."""

    def __mul__(self, other: float) -> int:
        return round(float(self) * other)


class _Reply:
    """A response of requests that records how its stream began and ended."""

    def __init__(self, response: Any, heard: Any, started_at: Any = None) -> None:
        self._response = response
        self._heard = heard
        self._asked_at = started_at if isinstance(started_at, float) else time.monotonic()
        self._waits: list[float] = []
        self.first_line = b""
        self.finished = self.is_stream = False
        self.finish_reason = self.last_line = b""
        self.finished_at = 0.0
        self._finishing = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def iter_lines(self, *args: Any, **named: Any) -> Any:
        self.is_stream = True
        for line in self._response.iter_lines(*args, **named):
            if line:
                # Without the time that the parsing of events takes.
                self._waits.append(time.monotonic() - self._asked_at)
            self.first_line = self.first_line or line.strip()
            # A search, because a second json.loads of each chunk would slow the load generator down.
            found = _FINISHED.search(line)
            if found is not None:
                self.finish_reason, self.finished_at = found[1], time.monotonic()
                self._finishing = len(self._waits) - 1
            self.finished = self.finished or found is not None or b"[DONE]" in line
            self.last_line = line
            self._heard(line)
            yield line
            self._asked_at = time.monotonic()

    @property
    def is_burst(self) -> bool:
        """Whether the events came all at once although the reply took long, so that there is no time between tokens."""
        waits = sorted(self._waits)
        others_s = sum(waits[:-1])
        return len(waits) > 1 and others_s < min(BURST_S * (len(waits) - 1), BURST_SHARE * waits[-1])

    def tokens_if_overclaimed(self, claimed: Any, count: Any) -> int | None:
        """Return the tokens of the text, which ``count`` returns, if its usage claims impossibly many more, else None.

        An event may have several tokens, and tokens without text may have no event; those take time all the same.
        """
        if not isinstance(claimed, int) or self._finishing < 1 or self.is_burst:
            return None
        if claimed <= _CLAIM_TIMES * self._finishing + _CLAIM_MORE:
            # The usual case, without the time that a tokenizer takes.
            return None
        carried = max(count(), self._finishing)
        between = self._waits[1 : self._finishing]
        pace_s = sum(between) / len(between) if between else BURST_S
        textless_s = _CLAIM_PACE * pace_s * (claimed - carried)
        impossible = claimed > _CLAIM_TIMES * carried + _CLAIM_MORE and self._waits[self._finishing] < textless_s
        return carried if impossible else None

    @property
    def usage(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.last_line.strip().removeprefix(b"data:"))["usage"])
        except (ValueError, KeyError, TypeError):
            return {}

    @property
    def is_single_token(self) -> bool:
        """Whether one token was asked for and generated that has no text: a special one, or part of a character."""
        try:
            asked = json.loads(self._response.request.body)
        except (ValueError, AttributeError, TypeError):
            return False
        limit = asked.get("max_tokens") or asked.get("max_completion_tokens")
        usage = self.usage if self.finish_reason in (b"length", b"stop") and limit == 1 else {}
        return usage.get("completion_tokens") == 1 and isinstance(usage.get("prompt_tokens"), int)

    @property
    def quoted(self) -> str:
        line = self.first_line
        if not self.is_stream:
            with contextlib.suppress(Exception):
                line = self._response.content[: 4 * _QUOTED]
        return " ".join(line.decode("utf-8", errors="replace").split())[:_QUOTED] or "nothing"


def count_failed_requests() -> None:
    """Make genai-bench count requests that fail at status 200, and those without a reply at the end of a level.

    By itself it leaves both out, and counts a stream that is cut off as complete. A stream that came all at once gets
    no time between tokens.
    """
    from genai_bench.metrics.aggregated_metrics_collector import AggregatedMetricsCollector
    from genai_bench.metrics.metrics import RequestLevelMetrics
    from genai_bench.metrics.request_metrics_collector import RequestMetricsCollector
    from genai_bench.protocol import UserChatResponse, UserResponse
    from genai_bench.user.base_user import BaseUser
    from genai_bench.user.openai_user import OpenAIUser
    from gevent import GreenletExit
    from requests.exceptions import RequestException

    class Burst(UserChatResponse):  # type: ignore[misc]
        """A reply that came all at once."""

    def failed(code: int, message: str) -> Any:
        return UserResponse(status_code=code, error_message=message)

    def checked(parse: Any, heard: Any, length: Any) -> Any:
        def parse_checked(response: Any, *args: Any, **named: Any) -> Any:
            reply = _Reply(response, heard, next(iter(args), None))
            try:
                parsed = parse(reply, *args, **named)
            except RequestException as error:
                return failed(CUT, f"the reply broke off: {type(error).__name__}: {error}")
            except Exception as error:  # noqa: BLE001 - locust would log it and forget the request
                if reply.is_single_token:
                    return UserChatResponse(
                        status_code=200,
                        tokens_received=1,
                        time_at_first_token=reply.finished_at,
                        num_prefill_tokens=reply.usage["prompt_tokens"],
                        start_time=args[0],
                        end_time=time.monotonic(),
                    )
                if reply.is_stream and not reply.first_line.startswith(b"data:"):
                    return failed(NO_COMPLETION, f"the reply is no stream of a completion: {reply.quoted}")
                kind = NO_TOKEN if "empty response" in str(error) else NO_COMPLETION
                return failed(kind, f"{type(error).__name__}: {str(error)[:_QUOTED]}; the reply began: {reply.quoted}")
            if parsed.status_code != 200 or not reply.is_stream:
                return parsed
            if reply.finish_reason in (b"abort", b"error"):
                return failed(ABORTED, f"the server ended it with finish_reason {reply.finish_reason.decode()}")
            if parsed.time_at_first_token is None:
                is_event = reply.first_line.startswith(b"data:")
                return failed(NO_TOKEN if is_event else NO_COMPLETION, f"no token; the reply began: {reply.quoted}")
            if not reply.finished:
                return failed(CUT, "the stream ended without a finish_reason and without [DONE]")
            if type(parsed) is UserChatResponse:
                carried = reply.tokens_if_overclaimed(parsed.tokens_received, lambda: length(parsed.generated_text))
                if carried is not None:
                    text = f"its usage has {parsed.tokens_received} tokens, but the text that streamed has {carried}"
                    return failed(OVERCLAIMED, text)
            return Burst(**parsed.model_dump()) if reply.is_burst and type(parsed) is UserChatResponse else parsed

        return parse_checked

    send = OpenAIUser.send_request
    signature = inspect.signature(send)

    @functools.wraps(send)
    def send_request(*args: Any, **named: Any) -> Any:
        call = signature.bind(*args, **named)
        last = time.monotonic()
        record = RECORDER.begin_request(call.arguments.get("payload"))

        def heard(line: bytes) -> None:
            nonlocal last
            last = time.monotonic()
            record.hear(line, last)

        user = call.arguments["self"]

        def length(text: str) -> int:
            try:
                return int(user.environment.sampler.get_token_length(text, add_special_tokens=False))
            except Exception:  # noqa: BLE001 - a token has at least one byte
                return len(text.encode())

        call.arguments["parse_strategy"] = checked(call.arguments["parse_strategy"], heard, length)
        # A compressed stream may come all at once.
        user.headers = {**(user.headers or {}), "Accept-Encoding": "identity"}
        try:
            return send(*call.args, **call.kwargs)
        except GreenletExit:
            # The end of the level; genai-bench forgets the request.
            silences.append(time.monotonic() - last)
            raise

    collect = BaseUser.collect_metrics

    @functools.wraps(collect)
    def collect_metrics(self: Any, user_response: Any, endpoint: str) -> None:
        try:
            collect(self, user_response, endpoint)
        except Exception as error:
            if user_response.status_code != 200:
                raise
            collect(self, failed(NO_COMPLETION, f"{type(error).__name__}: {str(error)[:_QUOTED]}"), endpoint)

    compute = RequestMetricsCollector._calculate_output_metrics

    @functools.wraps(compute)
    def calculate_output_metrics(self: Any, response: Any) -> None:
        compute(self, response)
        # Requests without these figures are kept only if allow_single_tokens succeeded.
        if isinstance(response, Burst) and "tpot" in RequestLevelMetrics.AUDIO_METRICS_FIELDS:
            self.metrics.tpot = self.metrics.output_inference_speed = self.metrics.output_throughput = None

    silences: list[float] = []
    aggregate = AggregatedMetricsCollector.aggregate_metrics_data

    @functools.wraps(aggregate)
    def aggregate_metrics_data(self: Any, start_time: float, end_time: float, *args: Any, **named: Any) -> None:
        longest_s = max((one.e2e_latency or 0.0 for one in self.all_request_metrics if not one.error_code), default=0.0)
        scenario = str(getattr(self.aggregated_metrics, "scenario", ""))
        factor = _TIMES_LONGEST if scenario.startswith("D") else _TIMES_LONGEST_RANDOM
        for silent_s in silences:
            # Without any completed request there are no figures either.
            if longest_s and silent_s > max((end_time - start_time) / 2, factor * longest_s, _SILENT_S):
                text = (
                    f"it received nothing for {silent_s:.1f} s, and then the level ended; others took {longest_s:.1f} s"
                )
                self.add_single_request_metrics(RequestLevelMetrics(error_code=UNANSWERED, error_message=text))
        silences.clear()
        aggregate(self, start_time, end_time, *args, **named)

    AggregatedMetricsCollector.aggregate_metrics_data = aggregate_metrics_data
    RequestMetricsCollector._calculate_output_metrics = calculate_output_metrics
    OpenAIUser.send_request = send_request
    BaseUser.collect_metrics = collect_metrics


def allow_single_tokens() -> None:
    """Make genai-bench keep requests without a time between tokens, and the levels in which no request has one."""
    from genai_bench.metrics.metrics import RequestLevelMetrics

    # The figures that it accepts as missing; it drops requests of one token, and ends if a level has no time per token.
    RequestLevelMetrics.AUDIO_METRICS_FIELDS |= {"tpot", "output_inference_speed", "output_throughput"}


def trust_remote_code() -> None:
    """Let tokenizers run the code that comes with them."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained = functools.partial(AutoTokenizer.from_pretrained, trust_remote_code=True)


def load_genai_bench(*, trusted: bool = False) -> tuple[Any, str]:
    """Import genai-bench and adapt it; ``trusted`` tokenizers may run code. Returns its command and its version."""
    import click
    from genai_bench.cli.cli import benchmark, cli

    try:
        from genai_bench.version import __version__ as version
    except ImportError:
        version = "unknown"
    for option in benchmark.params:
        if option.name == "max_time_per_run":
            # The option accepts whole minutes only, but the code behind it any whole number of seconds.
            option.type = click.types.FuncParamType(Minutes)
    if trusted:
        trust_remote_code()
    try:
        allow_single_tokens()
    except (ImportError, AttributeError, TypeError) as error:
        sys.stderr.write(f"autotune_nb: responses of one token are not measured: {error!r}\n")
    try:
        add_scenarios()
    except (ImportError, AttributeError) as error:
        sys.stderr.write(f"autotune_nb: shared prefixes and mixes of scenarios cannot be sent: {error!r}\n")
    try:
        # First, so that it also sees the requests that the other one adds.
        record_levels()
    except (ImportError, AttributeError, KeyError) as error:
        sys.stderr.write(f"autotune_nb: the steady state of levels is not measured: {error!r}\n")
    try:
        count_failed_requests()
    except (ImportError, AttributeError, KeyError) as error:
        sys.stderr.write(f"autotune_nb: requests that fail at status 200 are not counted: {error!r}\n")
    return cli, version


def warm_up() -> None:
    """Do before the load, once all is imported, what would stall the load generator."""
    # Locust calls it at the end of each level; the first call examines every loaded module, up to a second.
    inspect.stack()
    gc.collect()
    gc.freeze()


def run_genai_bench(cli: Any, argv: list[str], seed: int, plan: dict[str, Any]) -> NoReturn:
    """Run one command line and exit with its code. The seed gives every trial the same prompts.

    ``plan`` is that of ``_arguments.level_plan``.
    """
    RECORDER.plan, RECORDER.seed = plan, seed
    seed_prompts(seed)
    sys.argv = ["genai-bench", *argv]
    code = 1
    try:
        cli.main(args=argv, prog_name="genai-bench")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - reported by the log and the exit code
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
