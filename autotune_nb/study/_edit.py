"""One edit of a study: what it changes, as it is stored and as text."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from autotune_nb.task.parameters import Value
from autotune_nb.task.restriction import bounds_text, value_text
from autotune_nb.trial.trial import configuration_text


class EditKind(StrEnum):
    """What an edit does."""

    ENQUEUE = "enqueue"
    BAN = "ban"
    NARROW = "narrow"
    PIN = "pin"
    FREE = "free"
    BUDGET = "budget"
    #: Removes an enqueued configuration, or changes the order of those that wait.
    DEQUEUE = "dequeue"
    REORDER = "reorder"
    #: A note on a trial and its tags; it steers nothing.
    NOTE = "note"


@dataclass(frozen=True, repr=False)
class Edit:
    """A change of a study, made at ``at`` (seconds since the epoch).

    ``parameter`` is the subject of ``ban``, ``narrow``, ``pin`` and ``free``; ``values`` are the banned, pinned (one)
    or allowed values; ``low`` and ``high`` bound a range; ``params`` is the enqueued configuration; ``budget`` has the
    changed fields and ``asked`` their values in the task at that time. ``ids`` are the edits of enqueued
    configurations to remove, or the first of the queue in their order. ``note`` and ``tags`` are those of
    ``noted_trial``; None leaves them as they are. ``origin`` is why a configuration was enqueued if no user asked
    for it.
    """

    kind: EditKind
    parameter: str | None = None
    values: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None
    params: Mapping[str, Value] | None = None
    budget: Mapping[str, Any] | None = None
    asked: Mapping[str, Any] | None = None
    ids: tuple[str, ...] = ()
    noted_trial: int | None = None
    note: str | None = None
    tags: tuple[str, ...] | None = None
    origin: str | None = None
    at: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def text(self) -> str:
        """A description of the edit."""
        listed = ", ".join(map(value_text, self.values))
        match self.kind:
            case EditKind.ENQUEUE:
                why = f", {self.origin}" if self.origin else ""
                return f"try next {configuration_text(self.params or {})}{why}"
            case EditKind.BAN:
                return f"ban {self.parameter} = {listed}"
            case EditKind.PIN:
                return f"pin {self.parameter} to {listed}"
            case EditKind.FREE:
                return f"free {self.parameter}"
            case EditKind.DEQUEUE:
                return f"do not try {configuration_text(self.params or {})}"
            case EditKind.REORDER:
                return "change the order of the enqueued configurations"
            case EditKind.NOTE:
                tags = None if self.tags is None else f"tags: {', '.join(self.tags) or 'none'}"
                return f"trial {self.noted_trial}: {'; '.join(filter(None, (self.note, tags))) or 'no note'}"
            case EditKind.BUDGET:
                changes = [f"{k} {'no limit' if v is None else v}" for k, v in (self.budget or {}).items()]
                return f"budget: {', '.join(changes)}"
        if self.values:
            return f"narrow {self.parameter} to {listed}"
        return f"narrow {self.parameter} {bounds_text(self.low, self.high)}"

    @property
    def when(self) -> str:
        """The time of the edit, in local time."""
        return f"{datetime.fromtimestamp(self.at).astimezone():%Y-%m-%d %H:%M:%S}"

    def __repr__(self) -> str:
        return f"<Edit of {self.when}: {self.text}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the edit for JSON, without fields that are not set."""
        data = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v is not None and v != ()}
        if self.tags is not None:
            data["tags"] = list(self.tags)
        return {**data, "kind": str(self.kind), "text": self.text}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Edit:
        """Return the edit of a ``to_dict``; unknown fields are ignored."""
        names = {one.name for one in fields(cls)}
        known = {k: v for k, v in data.items() if k in names}
        listed: dict[str, Any] = {name: tuple(known[name]) for name in ("values", "ids", "tags") if name in known}
        return cls(**{**known, "kind": EditKind(data["kind"]), **listed})
