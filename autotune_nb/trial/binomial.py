"""Whether a share of requests is shown to be below what a limit on a percentile allows, by the binomial distribution.

It uses the standard library alone, because the scripts that run genai-bench contain it (``bench/_scripts.py``).
"""

import functools
import math

#: The probability with which a decision may be wrong.
ERROR = 0.05


@functools.cache
def at_most(count: int, requests: int, share: float) -> float:
    """Return the probability that at most ``count`` of the requests are beyond, if ``share`` of all requests are."""
    if count < 0:
        return 0.0
    if count >= requests:
        return 1.0
    odds, log_factorial = math.log(share) - math.log1p(-share), math.lgamma
    # The terms are largest at the end or at the mean; relative to that one, none overflows.
    peak = min(count, int(share * (requests + 1)))

    def term(k: int) -> float:
        ways = log_factorial(requests + 1) - log_factorial(k + 1) - log_factorial(requests - k + 1)
        return ways + k * odds + requests * math.log1p(-share)

    top = term(peak)
    return min(1.0, math.exp(top) * math.fsum(math.exp(term(k) - top) for k in range(count + 1)))


def shown_below(beyond: int, requests: int, share: float, error: float = ERROR) -> bool:
    """Whether so few of the requests are beyond that less than ``share`` of all are, but for this error."""
    return at_most(beyond, requests, share) <= error


def shown_above(beyond: int, requests: int, share: float, error: float = ERROR) -> bool:
    """Whether so many of the requests are beyond that more than ``share`` of all are, but for this error."""
    return beyond > 0 and 1.0 - at_most(beyond - 1, requests, share) <= error


@functools.cache
def fewest_requests(share: float, beyond: int = 0, error: float = ERROR) -> int:
    """Return how many requests show that less than ``share`` of all are beyond, if only ``beyond`` of them are."""
    low = high = beyond + 1
    while not shown_below(beyond, high, share, error):
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if shown_below(beyond, middle, share, error):
            high = middle
        else:
            low = middle + 1
    return low


def is_decided(beyond: int, requests: int, share: float) -> bool:
    """Whether a level that goes on for a limit may end.

    It is asked again and again, which would double the error of a single decision: each has half of it.
    """
    return shown_below(beyond, requests, share, ERROR / 2) or shown_above(beyond, requests, share, ERROR / 2)
