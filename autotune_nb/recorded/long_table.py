"""Measurements in long form: one row per configuration and level, written and read back.

The columns are ``config_id, status, reason, param:NAME…, level, gpus, startup_s, duration_s``, the figures that occur
under their names in FIGURES, the numbers of requests, those of the steady state under their names in STEADY, whether
the trial's values were read at this level, of a confirmation's starts the round (0: before the search) and the finalist
(0: the default), and the recorded CONDITIONS. Which level counts and the rounds are not read back. The cell of a
parameter is its value as JSON, but without quotes for a text that is not JSON itself: ``512``, ``true``, ``f16``,
``"1"`` (a text). An empty cell is a parameter that is not set, ``null`` a parameter set to null; a configuration
without parameters is the engine's default. Texts are written unchanged, even if a spreadsheet reads them as a formula:
import the file as text there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from autotune_nb.errors import Failure, FailureKind, StudyError, did_you_mean
from autotune_nb.task.parameters import Value
from autotune_nb.trial.condition_names import CONDITIONS
from autotune_nb.trial.measurement import FIGURES, STEADY, Level, Measurement, Validity
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    import pandas as pd

_FIRST = ("config_id", "status", "reason")
_OWN = ("level", "gpus", "startup_s", "duration_s")
_COUNTS = ("num_requests", "num_completed_requests", "num_failed_requests")
#: Whether the trial's values were read at the level; the round and the finalist of a start of the confirmation.
_SCORED, _CONFIRMATION = "scored_level", ("confirmation_round", "confirmation_finalist")
_PARAM = "param:"
#: The largest integer and the deepest nesting in a parameter's cell that a study can store.
_MAX_INTEGER, _MAX_DEPTH = 2**64 - 1, 100
_TOO_DEEP = f"lists or objects nested more than {_MAX_DEPTH} deep"
#: The most digits of a load or a number of GPUs.
MAX_COUNT_DIGITS = 9
#: The most characters of an invalid cell that an error quotes.
_MAX_QUOTED = 80
_KNOWN = (*_FIRST, *_OWN, *_COUNTS, *STEADY, _SCORED, *_CONFIRMATION, *FIGURES, *CONDITIONS)
#: An unknown column with a name this similar to a known one is treated as a misspelling.
_MISSPELLED = 0.85
_LEVEL = re.compile(
    r"^(?:(?P<scenario>.+) at )?(?:rate (?P<rate>\d{1,9}(?:\.\d{1,12})?)|"
    r"(?:concurrency |(?P<batch>batch ))?(?P<load>\d{1,9}))$"
)
_REASON = re.compile(
    rf"^({'|'.join(kind.replace('_', ' ') for kind in FailureKind)})(?: in ([^:]+))?: (.*)$", re.DOTALL
)
#: Units that columns must not have, each with the expected unit and the factor to it.
_UNITS = {"_ms": ("seconds", 0.001), "_us": ("seconds", 1e-6), "_ns": ("seconds", 1e-9)}


def long_table(trials: Sequence[Trial], gpus: Callable[[Trial], int | None]) -> pd.DataFrame:
    """Return the finished trials in long form; ``gpus`` returns the number of GPUs of a trial, None if unknown."""
    import pandas as pd

    done = [trial for trial in trials if trial.state.finished]
    names = list(dict.fromkeys(name for trial in done for name in trial.params))
    rows = []
    for trial in done:
        common: dict[str, Any] = {
            "config_id": trial.number,
            "status": str(trial.state),
            "reason": re.sub(r"\r\n?", "\n", str(trial.failure))
            if trial.failure
            else trial.cut_reason or trial.answers,
            **{f"{_PARAM}{name}": cell(value) for name, value in trial.params.items()},
            "gpus": gpus(trial),
            "startup_s": trial.seconds.get("deploy"),
            **dict(zip(_CONFIRMATION, trial.confirmation or (), strict=False)),
        }
        scored = trial.score.level if trial.score is not None else None
        for measured in trial.measurements:
            counts = {name: getattr(measured, name) for name in _COUNTS}
            level: dict[str, Any] = {"level": str(measured.level), "duration_s": measured.duration_s}
            level |= {_SCORED: measured.level == scored} if trial.score is not None else {}
            rows.append({**common, **level, **measured.figures, **counts, **measured.steady, **measured.conditions})
        if not trial.measurements:
            rows.append(common)
    # Other columns only where a row has a value.
    found = {name for row in rows for name in row}
    figures, steady, conditions = ([name for name in group if name in found] for group in (FIGURES, STEADY, CONDITIONS))
    integers = [name for name in (*_CONFIRMATION, "scored_requests", "unscored_requests") if name in found]
    confirming = [name for name in (_SCORED, *_CONFIRMATION) if name in found]
    parameters = [f"{_PARAM}{name}" for name in names]
    columns = [*_FIRST, *parameters, *_OWN, *figures, *_COUNTS, *steady, *confirming, *conditions]
    frame = pd.DataFrame(rows, columns=columns)
    for name in (*_FIRST[1:], "level", *parameters):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    for name in ("gpus", *_COUNTS, *integers):
        frame[name] = frame[name].astype("Int64")
    return frame.astype({name: "boolean" for name in confirming if name == _SCORED})


def cell(value: Value) -> str:
    """Return the text of a parameter's cell; ``value_of`` is the inverse."""
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def value_of(content: Any) -> Value:
    """Return the value of a cell: of a text as ``cell`` writes it, or of a typed column of parquet.

    Raises TypeError, with the name of the type, for a type that parameters do not have; OverflowError, with the reason,
    for a number that is too large, and for lists or objects that are nested too deep.
    """
    value = _plain(content)
    if isinstance(content, str):
        try:
            value = json.loads(content, parse_int=_integer)
        except RecursionError:
            raise OverflowError(_TOO_DEEP) from None
        except ValueError:
            return content
    _require_bounded(value)
    return value


def _integer(digits: str) -> int:
    if len(digits) > len(str(-_MAX_INTEGER)):
        raise OverflowError(_too_large(len(digits.lstrip("-"))))
    return int(digits)


def _too_large(digits: int) -> str:
    return f"an integer of {digits} digits; the largest allowed is {_MAX_INTEGER}"


def _require_bounded(value: Value) -> None:
    """Raise OverflowError for values that databases or JSON cannot store; iterative, since recursion is bounded."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH + 1):
        for number in level:
            if isinstance(number, int) and abs(number) > _MAX_INTEGER:
                raise OverflowError(_too_large(len(str(abs(number)))))
        level = [
            inner
            for one in level
            if isinstance(one, list | dict)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise OverflowError(_TOO_DEEP)


def _plain(value: Any) -> Value:
    """Convert numpy's types, arrays and decimals to Python's types."""
    if hasattr(value, "dtype") and value.dtype.kind in "mM":
        # Times: as a list they would be numbers of nanoseconds.
        raise TypeError(value.dtype.name.partition("[")[0])
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(type(value).__name__)


def _is_plain(text: str) -> bool:
    # Readers may strip spaces and line ends; quoted as JSON they are preserved.
    if not text or text != text.strip() or not text.isprintable():
        return False
    try:
        return value_of(text) is text
    except OverflowError:
        return False


def read_long_table(frame: pd.DataFrame, *, source: str, scenario: str = "dataset") -> list[Trial]:
    """Return the trials of a table in long form, numbered in order and without scores.

    A level that is only a number is a concurrency with ``scenario``. Without a ``param:`` column the config_id is the
    only parameter. Columns in ``unknown_columns`` are ignored. Raises StudyError for missing, misspelled or duplicate
    columns, columns in another unit, and invalid cells.
    """
    columns = list(map(str, frame.columns))
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise StudyError(f"{source} has the column {twice!r} twice; parameters are param:NAME")
    # Without a complete configuration there may be no column of a figure.
    measured = "status" not in columns or not set(frame["status"].map(str)).isdisjoint(("complete", "cut"))
    _check_columns(columns, source, measured=measured)
    # pandas reads a column of integers with empty cells as floats.
    frame = frame.convert_dtypes() if frame.isna().to_numpy().any() else frame
    rows = [
        {str(name): _clean(value, str(name), f"{source}, row {index + 2}") for name, value in row.items()}
        for index, row in enumerate(frame.astype(object).where(frame.notna(), None).to_dict("records"))
    ]
    grouped: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for index, row in enumerate(rows):
        if row["config_id"] is None:
            raise StudyError(f"{source}, row {index + 2}: config_id is empty; every row needs one")
        grouped.setdefault(str(row["config_id"]), []).append((index + 2, row))
    return [_trial(number, own, source, scenario) for number, own in enumerate(grouped.values())]


def unknown_columns(columns: Sequence[str]) -> list[str]:
    """Return the columns that the long form does not have."""
    return [name for name in columns if name not in _KNOWN and not (name.startswith(_PARAM) and name != _PARAM)]


def _clean(value: Any, name: str, where: str) -> Any:
    if isinstance(value, str):
        return value if value.strip() else None
    if name.startswith(_PARAM):
        try:
            value = _plain(value)
        except TypeError as error:
            raise StudyError(
                f"{where}: {name} contains a {error}, {value!r}; expected a text, a number, true or false, or a list "
                "of these"
            ) from None
    return None if isinstance(value, float) and math.isnan(value) else value


def _check_columns(columns: list[str], source: str, *, measured: bool) -> None:
    missing = [name for name in ("config_id", "status", "level") if name not in columns]
    if missing:
        raise StudyError(
            f"{source} has no column {', '.join(missing)}; its columns are {', '.join(columns[:12])}. Expected one row "
            f"per configuration and level: {', '.join((*_FIRST, 'param:NAME', *_OWN))}, then figures such as "
            "ttft_p99_s"
        )
    for name in unknown_columns(columns):
        for suffix, (unit, factor) in _UNITS.items():
            stem = name.removesuffix(suffix)
            ours = next((f for f in (f"{stem}_s", f"{stem}_mean_s") if f in FIGURES or f in _OWN), None)
            if stem != name and ours:
                raise StudyError(
                    f"{source}: column {name!r} is not in {unit}; expected {ours}, which is {name} times {factor:g}"
                )
        if get_close_matches(name, _KNOWN, n=1, cutoff=_MISSPELLED):
            raise StudyError(
                f"{source}: unknown column {name!r}{did_you_mean(name, _KNOWN)}; parameters are param:NAME"
            )
    if measured and not set(columns) & set(FIGURES):
        raise StudyError(f"{source} has no column of a figure, such as output_tokens_per_s or ttft_p99_s")


def _trial(number: int, rows: list[tuple[int, dict[str, Any]]], source: str, scenario: str) -> Trial:
    line, first = rows[0]
    where = f"{source}, row {line}"
    columns = [name for name in first if name.startswith(_PARAM)]
    for other_line, other in rows[1:]:
        differs = next((n for n in (*columns, "status") if other[n] != first[n]), None)
        if differs:
            raise StudyError(
                f"{source}, row {other_line}: configuration {first['config_id']} has {differs} = "
                f"{quoted(other[differs])} here and {quoted(first[differs])} in row {line}; "
                "another configuration needs another config_id"
            )
    status = str(first["status"])
    if status not in ("complete", "cut", "failed"):
        raise StudyError(f"{where}: status is {quoted(status)}; expected complete, cut or failed")
    params = {n.removeprefix(_PARAM): _value(first[n], n, where) for n in columns if first[n] is not None}
    if not columns:
        params = {"config_id": str(first["config_id"])}
    # Some tools write the level 0 for a configuration that did not start.
    none = (None, "0", 0) if status == "failed" else (None,)
    measurements = tuple(
        _measurement(row, f"{source}, row {at}", scenario) for at, row in rows if row["level"] not in none
    )
    levels = [m.level for m in measurements]
    twice = next((level for level in levels if levels.count(level) > 1), None)
    if twice is not None:
        raise StudyError(f"{where}: configuration {first['config_id']} has {twice} twice; expected one row per level")
    if status != "failed" and not measurements:
        raise StudyError(f"{where}: configuration {first['config_id']} is {status} and has no level")
    startup_s = _seconds(first, "startup_s", where)
    benchmark_s = round(sum(m.duration_s for m in measurements), 3)
    return Trial(
        number,
        params,
        TrialState(status),
        measurements,
        failure=_failure(first.get("reason"), measurements) if status == "failed" else None,
        seconds={
            **({"deploy": startup_s} if startup_s is not None else {}),
            **({"benchmark": benchmark_s} if measurements else {}),
        },
        baseline=not params,
        cut_reason=str(first.get("reason") or "") if status == "cut" else "",
    )


def _value(value: Any, name: str, where: str) -> Value:
    try:
        return value_of(value)
    except OverflowError as error:
        raise StudyError(f"{where}: {name} contains {error}") from None


def quoted(value: object) -> str:
    """Format an invalid cell for an error message."""
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}… ({len(text)} characters)"


def _failure(reason: Any, measurements: Sequence[Measurement]) -> Failure:
    found = _REASON.match(str(reason)) if reason is not None else None
    if found is None:
        return Failure(FailureKind.MEASUREMENT, "benchmark", str(reason or "no reason is known"))
    kind, phase, message = found.groups()
    # Other tools name only the kind; without a figure it failed before the first level.
    phase = phase or ("benchmark" if any(one.figures for one in measurements) else "deploy")
    return Failure(FailureKind(kind.replace(" ", "_")), phase, message)


def _numbers(names: Sequence[str], row: Mapping[str, Any], where: str) -> dict[str, float]:
    return {name: value for name in names if name in row and (value := _number(row, name, where)) is not None}


def _measurement(row: Mapping[str, Any], where: str, scenario: str) -> Measurement:
    figures = _numbers(FIGURES, row, where)
    total, succeeded, failed_ones = (_count(row, name, where) for name in _COUNTS)
    failed = failed_ones or 0
    completed = succeeded if succeeded is not None else max((total or 0) - failed, 0)
    measured = Measurement(
        level=_level(row["level"], where, scenario),
        duration_s=_seconds(row, "duration_s", where) or 0.0,
        num_requests=total if total is not None else completed + failed,
        num_completed_requests=completed,
        num_failed_requests=failed,
        figures=figures,
        conditions=_numbers(CONDITIONS, row, where),
        steady=_numbers(STEADY, row, where),
    )
    # Without a task there is no minimum of requests, but figures must be valid numbers.
    problems = Validity(max_failed_requests=failed, min_completed_requests=0).problems(
        completed=completed, failed=failed, figures=figures
    )
    if problems:
        raise StudyError(f"{where}: {'; '.join(problems)}")
    return measured


def _level(value: Any, where: str, scenario: str) -> Level:
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    found = _LEVEL.match(text.strip())
    if found is None:
        raise StudyError(
            f"{where}: level is {quoted(text)}; expected a level such as 'D(512,128) at concurrency 8', or only the "
            "concurrency"
        )
    name = found["scenario"] or scenario
    if found["rate"]:
        rate = float(found["rate"])
        if not rate:
            raise StudyError(f"{where}: level is {quoted(text)}; expected a rate above 0")
        return Level(name, rate=rate)
    load = int(found["load"])
    if load < 1:
        raise StudyError(f"{where}: level is {quoted(text)}; expected a load of 1 or more")
    return Level(name, 1, load) if found["batch"] else Level(name, load)


def _seconds(row: Mapping[str, Any], name: str, where: str) -> float | None:
    value = _number(row, name, where)
    if value is not None and not 0 <= value < math.inf:
        raise StudyError(f"{where}: {name} is {quoted(row[name])}; expected seconds, 0 or more")
    return value


def _count(row: Mapping[str, Any], name: str, where: str) -> int | None:
    value = _number(row, name, where)
    if value is not None and not (0 <= value < math.inf and value == int(value)):
        raise StudyError(f"{where}: {name} is {quoted(row[name])}; expected an integer, 0 or more")
    return None if value is None else int(value)


def _number(row: Mapping[str, Any], name: str, where: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise StudyError(f"{where}: {name} is {quoted(value)}; expected a number without a unit") from None
