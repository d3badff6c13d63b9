"""Measurements in long form: one row per configuration and level, written and read back.

The columns are ``config_id, status, reason, param:NAME…, level, gpus, startup_s, duration_s``, the figures that occur
under their names in FIGURES, and how many requests there were. A parameter's cell is its value as JSON, except that a
text which JSON would not read as something else stands as it is: ``512``, ``true``, ``f16``, ``"1"`` (a text). An empty
cell is a parameter that is not set, ``null`` one that is set to nothing; a configuration that sets none is the engine's
default. Texts are never changed, also where a spreadsheet would read a formula: open the file as text there.
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
from autotune_nb.trial.measurement import FIGURES, Level, Measurement, Validity
from autotune_nb.trial.trial import Trial, TrialState

if TYPE_CHECKING:
    import pandas as pd

_FIRST = ("config_id", "status", "reason")
_OWN = ("level", "gpus", "startup_s", "duration_s")
_COUNTS = ("num_requests", "num_completed_requests", "num_failed_requests")
_PARAM = "param:"
#: What a parameter's cell may hold; a study keeps no larger ones.
_MAX_INTEGER, _MAX_DEPTH = 2**64 - 1, 100
_TOO_DEEP = f"lists or objects nested more than {_MAX_DEPTH} deep"
#: A load or a number of GPUs has no more digits.
MAX_COUNT_DIGITS = 9
#: So much of a wrong cell is repeated.
_SHOWN = 80
_KNOWN = (*_FIRST, *_OWN, *_COUNTS, *FIGURES)
#: A column's name that is so like one of ours is taken for a slip of the pen.
_ALMOST = 0.85
_LEVEL = re.compile(r"^(?:(?P<scenario>.+) at )?(?:concurrency |(?P<batch>batch ))?(?P<load>\d{1,9})$")
_REASON = re.compile(rf"^({'|'.join(kind.replace('_', ' ') for kind in FailureKind)}) in ([^:]+): (.*)$", re.DOTALL)
#: Spellings of units that no column here has, and the factor to ours.
_UNITS = {"_ms": ("seconds", 0.001), "_us": ("seconds", 1e-6), "_ns": ("seconds", 1e-9)}


def long_table(trials: Sequence[Trial], gpus: Callable[[Trial], int]) -> pd.DataFrame:
    """The finished trials in long form, every cell a text or a number; ``gpus`` tells how many one holds."""
    import pandas as pd

    done = [trial for trial in trials if trial.state.finished]
    names = list(dict.fromkeys(name for trial in done for name in trial.params))
    rows = []
    for trial in done:
        common: dict[str, Any] = {
            "config_id": trial.number,
            "status": "complete" if trial.state is TrialState.COMPLETE else "failed",
            "reason": re.sub(r"\r\n?", "\n", str(trial.failure)) if trial.failure else "",
            **{f"{_PARAM}{name}": cell(value) for name, value in trial.params.items()},
            "gpus": gpus(trial),
            "startup_s": trial.seconds.get("deploy"),
        }
        for measured in trial.measurements:
            counts = {name: getattr(measured, name) for name in _COUNTS}
            level = {"level": str(measured.level), "duration_s": measured.duration_s}
            rows.append({**common, **level, **measured.figures, **counts})
        if not trial.measurements:
            rows.append(common)
    found = {name for trial in done for m in trial.measurements for name in m.figures}
    figures = [name for name in FIGURES if name in found]
    columns = [*_FIRST, *(f"{_PARAM}{name}" for name in names), *_OWN, *figures, *_COUNTS]
    frame = pd.DataFrame(rows, columns=columns)
    for name in (*_FIRST[1:], "level", *(f"{_PARAM}{name}" for name in names)):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    for name in _COUNTS:
        frame[name] = frame[name].astype("Int64")
    return frame


def cell(value: Value) -> str:
    """A parameter's value as its cell has it; ``value_of`` gives it back."""
    if isinstance(value, str) and _is_plain(value):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def value_of(told: Any) -> Value:
    """The value that a cell stands for: a text as ``cell`` writes it, or what a typed column of parquet holds.

    Raises TypeError, with the type's name, for what a typed column holds and no parameter can be; OverflowError, with
    the reason, for a number that is too large and for lists or objects that are nested too deep.
    """
    value = _plain(told)
    if isinstance(told, str):
        try:
            value = json.loads(told, parse_int=_integer)
        except RecursionError:
            raise OverflowError(_TOO_DEEP) from None
        except ValueError:
            return told
    _require_bounded(value)
    return value


def _integer(digits: str) -> int:
    if len(digits) > len(str(-_MAX_INTEGER)):
        raise OverflowError(_too_large(len(digits.lstrip("-"))))
    return int(digits)


def _too_large(digits: int) -> str:
    return f"an integer of {digits} digits; the largest that is read is {_MAX_INTEGER}"


def _require_bounded(value: Value) -> None:
    """Raises OverflowError for what no database or JSON writer takes; not by recursion, which is bounded itself."""
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


def _plain(told: Any) -> Value:
    """numpy's own types, arrays and decimals as Python's."""
    if hasattr(told, "dtype") and told.dtype.kind in "mM":
        # As a list they would be bare numbers of nanoseconds.
        raise TypeError(told.dtype.name.partition("[")[0])
    if hasattr(told, "tolist"):
        told = told.tolist()
    if isinstance(told, list | tuple):
        return [_plain(item) for item in told]
    if isinstance(told, dict):
        return {str(name): _plain(item) for name, item in told.items()}
    if isinstance(told, Decimal):
        exponent = told.as_tuple().exponent
        return int(told) if isinstance(exponent, int) and exponent >= 0 else float(told)
    if told is None or isinstance(told, str | int | float):
        return told
    raise TypeError(type(told).__name__)


def _is_plain(text: str) -> bool:
    # A reader may take spaces and line ends off; JSON's quotes keep them.
    if not text or text != text.strip() or not text.isprintable():
        return False
    try:
        return value_of(text) is text
    except OverflowError:
        return False


def read_long_table(frame: pd.DataFrame, *, source: str, scenario: str = "dataset") -> list[Trial]:
    """The trials of a long table, numbered as they come.

    A level that is a bare number is a concurrency of ``scenario``; without any ``param:`` column the config_id is one.
    Cells are texts or numbers; columns that ``unknown_columns`` names are left out. Raises StudyError for missing
    columns, columns in another unit or almost with a name of ours, and cells that are not what their column says.
    Scores are not read: they depend on the objective.
    """
    columns = list(map(str, frame.columns))
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise StudyError(f"{source} has the column {twice!r} twice; name each once, a parameter as param:NAME")
    # Where every configuration failed at its start there is no figure to have.
    measured = "status" not in columns or "complete" in set(frame["status"].map(str))
    _check_columns(columns, source, measured=measured)
    # A column of whole numbers with a gap has become one of floats.
    frame = frame.convert_dtypes() if frame.isna().to_numpy().any() else frame
    rows = [
        {str(name): _clean(value, str(name), f"{source}, row {index + 2}") for name, value in row.items()}
        for index, row in enumerate(frame.astype(object).where(frame.notna(), None).to_dict("records"))
    ]
    grouped: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for index, row in enumerate(rows):
        if row["config_id"] is None:
            raise StudyError(f"{source}, row {index + 2}: config_id is empty; every row names its configuration")
        grouped.setdefault(str(row["config_id"]), []).append((index + 2, row))
    return [_trial(number, own, source, scenario) for number, own in enumerate(grouped.values())]


def unknown_columns(columns: Sequence[str]) -> list[str]:
    """The columns that are neither a parameter's, nor a figure's, nor another one of the long form."""
    return [name for name in columns if name not in _KNOWN and not (name.startswith(_PARAM) and name != _PARAM)]


def _clean(value: Any, name: str, where: str) -> Any:
    if isinstance(value, str):
        return value if value.strip() else None
    if name.startswith(_PARAM):
        try:
            value = _plain(value)
        except TypeError as error:
            raise StudyError(
                f"{where}: {name} holds a {error}, {value!r}; expected is a text, a number, true or false, or a list "
                "of such"
            ) from None
    return None if isinstance(value, float) and math.isnan(value) else value


def _check_columns(columns: list[str], source: str, *, measured: bool) -> None:
    missing = [name for name in ("config_id", "status", "level") if name not in columns]
    if missing:
        raise StudyError(
            f"{source} has no column {', '.join(missing)}; its columns are {', '.join(columns[:12])}. One row per "
            f"configuration and level is expected: {', '.join((*_FIRST, 'param:NAME', *_OWN))}, then figures such as "
            "ttft_p99_s"
        )
    for name in unknown_columns(columns):
        for suffix, (unit, factor) in _UNITS.items():
            stem = name.removesuffix(suffix)
            ours = next((f for f in (f"{stem}_s", f"{stem}_mean_s") if f in FIGURES or f in _OWN), None)
            if stem != name and ours:
                raise StudyError(
                    f"{source}: column {name!r} is not in {unit}; expected is {ours}, which is {name} times {factor:g}"
                )
        if get_close_matches(name, _KNOWN, n=1, cutoff=_ALMOST):
            raise StudyError(
                f"{source}: nobody knows the column {name!r}{did_you_mean(name, _KNOWN)}; parameters are param:NAME"
            )
    if measured and not set(columns) & set(FIGURES):
        raise StudyError(f"{source} has no column of a figure, such as output_tokens_per_s or ttft_p99_s")


def _trial(number: int, rows: list[tuple[int, dict[str, Any]]], source: str, scenario: str) -> Trial:
    line, first = rows[0]
    where = f"{source}, row {line}"
    told = [name for name in first if name.startswith(_PARAM)]
    for other_line, other in rows[1:]:
        differs = next((n for n in (*told, "status") if other[n] != first[n]), None)
        if differs:
            raise StudyError(
                f"{source}, row {other_line}: configuration {first['config_id']} has {differs} = "
                f"{shown(other[differs])} here and {shown(first[differs])} in row {line}; "
                "another configuration needs another config_id"
            )
    status = str(first["status"])
    if status not in ("complete", "failed"):
        raise StudyError(f"{where}: status is {shown(status)}; expected is complete or failed")
    params = {n.removeprefix(_PARAM): _value(first[n], n, where) for n in told if first[n] is not None}
    if not told:
        params = {"config_id": str(first["config_id"])}
    measurements = tuple(
        _measurement(row, f"{source}, row {at}", scenario) for at, row in rows if row["level"] is not None
    )
    levels = [m.level for m in measurements]
    twice = next((level for level in levels if levels.count(level) > 1), None)
    if twice is not None:
        raise StudyError(
            f"{where}: configuration {first['config_id']} has {twice} twice; one row per level is expected"
        )
    if status == "complete" and not measurements:
        raise StudyError(f"{where}: configuration {first['config_id']} is complete and has no level")
    startup_s = _seconds(first, "startup_s", where)
    benchmark_s = round(sum(m.duration_s for m in measurements), 3)
    return Trial(
        number,
        params,
        TrialState.COMPLETE if status == "complete" else TrialState.FAILED,
        measurements,
        failure=_failure(first.get("reason")) if status == "failed" else None,
        seconds={
            **({"deploy": startup_s} if startup_s is not None else {}),
            **({"benchmark": benchmark_s} if measurements else {}),
        },
        baseline=not params,
    )


def _value(told: Any, name: str, where: str) -> Value:
    try:
        return value_of(told)
    except OverflowError as error:
        raise StudyError(f"{where}: {name} holds {error}") from None


def shown(value: object) -> str:
    """A wrong cell as an error repeats it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _failure(reason: Any) -> Failure:
    found = _REASON.match(str(reason)) if reason is not None else None
    if found is None:
        return Failure(FailureKind.MEASUREMENT, "benchmark", str(reason or "no reason was given"))
    kind, phase, message = found.groups()
    return Failure(FailureKind(kind.replace(" ", "_")), phase, message)


def _measurement(row: Mapping[str, Any], where: str, scenario: str) -> Measurement:
    figures = {name: value for name in FIGURES if name in row and (value := _number(row, name, where)) is not None}
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
    )
    # How many requests must complete is the task's to say; that a figure is a number is not.
    problems = Validity(max_failed_requests=failed, min_completed_requests=0).problems(
        completed=completed, failed=failed, figures=figures
    )
    if problems:
        raise StudyError(f"{where}: {'; '.join(problems)}")
    return measured


def _level(told: Any, where: str, scenario: str) -> Level:
    text = str(int(told)) if isinstance(told, float) and told.is_integer() else str(told)
    found = _LEVEL.match(text.strip())
    if found is None:
        raise StudyError(
            f"{where}: level is {shown(text)}; expected is one like 'D(512,128) at concurrency 8', or the "
            "concurrency alone"
        )
    load = int(found["load"])
    if load < 1:
        raise StudyError(f"{where}: level is {shown(text)}; expected is a load of 1 or more")
    name = found["scenario"] or scenario
    return Level(name, 1, load) if found["batch"] else Level(name, load)


def _seconds(row: Mapping[str, Any], name: str, where: str) -> float | None:
    value = _number(row, name, where)
    if value is not None and not 0 <= value < math.inf:
        raise StudyError(f"{where}: {name} is {shown(row[name])}; expected are seconds, 0 or more")
    return value


def _count(row: Mapping[str, Any], name: str, where: str) -> int | None:
    value = _number(row, name, where)
    if value is not None and not (0 <= value < math.inf and value == int(value)):
        raise StudyError(f"{where}: {name} is {shown(row[name])}; expected is a whole number, 0 or more")
    return None if value is None else int(value)


def _number(row: Mapping[str, Any], name: str, where: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise StudyError(f"{where}: {name} is {shown(value)}; expected is a number without a unit") from None
