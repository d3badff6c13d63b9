"""What the single requests of a level show: how many are beyond a limit, and the goodput."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from autotune_nb.trial.score import Limit

#: The field of a request for a figure of it whose name differs, and the factor of its unit.
REQUEST_FIELDS = {"request_output_tokens_per_s": ("output_inference_speed", 1.0)}


def beyond(data: Mapping[str, Any], limits: Iterable[Limit]) -> dict[str, tuple[int, int]]:
    """Return the number of requests, and of those beyond the bound, for each limit on a percentile."""
    completed, found = _scored(data), {}
    for limit in limits:
        if limit.tail is None:
            continue
        field, factor = REQUEST_FIELDS.get(limit.tail.figure, (limit.tail.figure, _seconds(data)))
        values = [float(one[field]) * factor for one in completed if _is_number(one.get(field))]
        if values:
            found[str(limit)] = (len(values), sum(map(limit.is_beyond, values)))
    return found


def goodput_figures(data: Mapping[str, Any], bounds: Mapping[str, float], rate: float | None) -> dict[str, float]:
    """Return the share of the requests that keep every bound, and how many of them complete per second.

    ``bounds`` are by the name of a time with its unit, as in ``ttft_s``; ``rate`` are the completed requests per
    second. A failed request keeps none. One without a time between tokens, such as of a single token, keeps any bound
    on it, as in vLLM's benchmark. Empty if the file does not have every request.
    """
    completed, scale = _scored(data), _seconds(data)
    if not completed:
        return {}
    fields = {name.removesuffix("_s"): bound for name, bound in bounds.items()}

    def keeps(one: Mapping[str, Any], field: str, bound: float) -> bool:
        value = one.get(field)
        return float(value or 0.0) * scale <= bound if _is_number(value) else field == "tpot"

    good = sum(all(keeps(one, field, bound) for field, bound in fields.items()) for one in completed)
    failed = int(data["aggregated_metrics"].get("num_error_requests") or 0)
    found = {"goodput_share": good / (len(completed) + failed)}
    return found if rate is None else {"goodput_requests_per_s": rate * good / len(completed), **found}


def _scored(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the completed requests that are scored; none if the file does not have every request."""
    requests = data.get("individual_request_metrics")
    found = [one for one in requests if isinstance(one, dict) and not one.get("error_code")] if requests else []
    if len(found) != data["aggregated_metrics"].get("num_completed_requests"):
        return []
    return [one for one in found if one.get("scored", True)]


def _seconds(data: Mapping[str, Any]) -> float:
    """Return the factor from the unit of the file's times to seconds."""
    return 0.001 if data.get("_time_unit", "s") == "ms" else 1.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
