"""Reads result folders of genai-bench: each folder with level files is a configuration."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune_nb.bench.results import (
    UNKNOWN_LOAD,
    impossible_speed,
    json_object,
    level_file_problem,
    measurement,
    read_level,
)
from autotune_nb.errors import Failure, FailureKind, StudyError
from autotune_nb.recorded.long_table import quoted
from autotune_nb.results.exporting import NUM_GPUS
from autotune_nb.task.scenario import canonical_scenario
from autotune_nb.task.workload import TASK_KINDS
from autotune_nb.trial.measurement import Level, Measurement, Validity
from autotune_nb.trial.trial import Trial, TrialState

_LEVEL_FILE = re.compile(r"_time_\d+s\.json$")
_METADATA = "experiment_metadata.json"
#: The name of the only parameter of a result folder.
_FOLDER = "folder"


@dataclass
class Source:
    trials: list[Trial]
    notes: list[str]
    model: str = "imported"
    kind: str = TASK_KINDS[0]
    gpus: int | None = None


def read_folders(source: Path, max_failed_requests: int) -> Source:
    """Read a folder; each folder with level files is a configuration."""
    folders = sorted({file.parent for file in source.rglob("*.json") if _LEVEL_FILE.search(file.name)})
    folders = sorted({*folders, *(file.parent for file in source.rglob(_METADATA))})
    if not folders:
        raise StudyError(
            f"{source} contains no results of genai-bench: neither {_METADATA} nor a level file (…_time_60s.json)"
        )
    found = Source([], [])
    validity, models = Validity(max_failed_requests), dict[str, None]()
    for folder in folders:
        metadata = json_object(folder / _METADATA) or {}
        kind = metadata.get("task")
        found.kind = kind if kind in TASK_KINDS else found.kind
        found.model = str(metadata.get("model") or found.model)
        models |= {found.model: None}
        name = folder.name if folder == source else folder.relative_to(source).as_posix()
        trial = _folder_trial(len(found.trials), name, folder, metadata, found, validity)
        if trial is not None:
            found.trials.append(trial.with_(fingerprint=_gpus(metadata)))
    if len(models) > 1:
        found.notes.append(
            f"the folders are of {len(models)} models ({', '.join(models)}), and compared as if they were of one; "
            "import each model's folders into a study of its own"
        )
    if not found.trials:
        raise StudyError(f"{source} has no results that can be imported: {'; '.join(found.notes)}")
    return found


def _gpus(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the GPUs that genai-bench was called with, as properties of a trial's environment; empty if unknown."""
    count = str(metadata.get("server_gpu_count") or "")
    if not re.fullmatch(r"[1-9]\d{0,4}", count):
        return {}
    kind = metadata.get("server_gpu_type")
    return {NUM_GPUS: int(count), **({"gpu_type": kind} if isinstance(kind, str) else {})}


def _folder_trial(
    number: int, name: str, folder: Path, metadata: dict[str, Any], found: Source, validity: Validity
) -> Trial | None:
    """Return the trial of a folder; None, with a note, if all its levels have loads that a task cannot have."""
    by_level: dict[Level, Measurement] = {}
    torn: dict[str, str] = {}
    foreign: list[str] = []
    text = found.kind.endswith("-to-text")
    for file in sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
        data = read_level(file)
        if data is None:
            torn |= {file.name: level_file_problem(file)} if _LEVEL_FILE.search(file.name) else {}
            continue
        measured = measurement(data, validity, generates_text=text)
        try:
            level = replace(measured.level, scenario=canonical_scenario(measured.level.scenario))
        except ValueError:
            foreign.append(f"the traffic scenario {quoted(measured.level.scenario)} is unknown")
            continue
        if level in by_level:
            found.notes.append(f"{name}: there are two results of {level}; the newer one is used")
        by_level[level] = replace(measured, level=level)
        speed = impossible_speed(data)
        if speed is not None:
            found.notes.append(
                f"{name}, {level}: a request of {speed:,.0f} output tokens/s is impossible (its response came in one "
                "chunk); the statistics that it dominates are left out"
            )
    if not by_level and (foreign or (torn and all(UNKNOWN_LOAD in reason for reason in torn.values()))):
        reasons = dict.fromkeys([*foreign, *torn.values()])
        found.notes.append(f"{name} is left out: {'; '.join(reasons)}")
        return None
    found.notes += [f"{name}: {file} is ignored: {reason}" for file, reason in torn.items()]
    found.notes += [f"{name} is left out in part: {reason}" for reason in dict.fromkeys(foreign)]
    requested = [metadata.get(name) for name in ("traffic_scenario", "num_concurrency")]
    expected = math.prod(len(one) if isinstance(one, list) else 0 for one in requested)
    if by_level and len(by_level) < expected:
        found.notes.append(f"{name}: only {len(by_level)} of {expected} levels have results")
    levels = tuple(by_level.values())
    trial = Trial(number, {_FOLDER: name}, TrialState.COMPLETE, levels)
    if levels:
        return trial.with_(seconds={"benchmark": round(sum(m.duration_s for m in levels), 3)})
    details = "; ".join(f"{file}: {reason}" for file, reason in torn.items())
    message = f"no level file can be read ({details})" if torn else "no level has a result"
    return trial.with_(
        state=TrialState.FAILED,
        failure=Failure(FailureKind.MEASUREMENT, "benchmark", f"genai-bench's folder: {message}"),
    )
