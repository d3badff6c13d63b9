"""The command and the webhook that a task names for the end of a run, and the JSON object that both get."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from autotune_nb import events
from autotune_nb.errors import SetupError
from autotune_nb.secrets.references import resolved
from autotune_nb.secrets.scrubbing import scrub_data
from autotune_nb.trial.cost import cost_of
from autotune_nb.watching.watcher import WatchedStudy

#: How long a webhook and a command may take.
WEBHOOK_S, COMMAND_S = 10.0, 60.0


class EndMessage:
    """Calls the command and the webhook of a run when it has ended. What cannot be delivered is a notice."""

    def __init__(
        self, study: WatchedStudy, notify: Callable[[str], None], others_go_on: Callable[[], bool] = lambda: False
    ) -> None:
        self._study = study
        self._notify = notify
        self._others_go_on = others_go_on

    def __call__(self, event: events.Event) -> None:
        """Ignore events: everything is read at the end."""

    async def close(self, error: BaseException | None) -> None:
        if error is None and await asyncio.to_thread(self._others_go_on):
            return
        try:
            payload = await asyncio.to_thread(end_payload, self._study, error)
        except Exception as unread:  # noqa: BLE001 - the end itself is always reported
            self._notify(f"the result of the run was not read for on_end: {type(unread).__name__}: {unread}")
            payload = {"study": self._study.path.name, "state": str(self._study.state)}
        text = json.dumps(scrub_data(payload))
        on_end = self._study.task.on_end
        problems = await asyncio.gather(
            *([_post(on_end.webhook, text)] if on_end.webhook else []),
            *([_execute(on_end.command, text, payload)] if on_end.command else []),
        )
        for problem in filter(None, problems):
            self._notify(problem)


def end_payload(study: WatchedStudy, error: BaseException | None) -> dict[str, Any]:
    """Return the result of a run as data for JSON; ``text`` is its summary in one line, which chats show."""
    verdict, best = str(study.verdict), study.best
    # A run may fail before it has begun to work.
    state = str(study.state) if error is None else "failed"
    counts = Counter(str(trial.state) for trial in study.history)
    ended = f"{study.path.name}: the run is {state}"
    reason = str(error) if error is not None else study.end_reason
    text = ". ".join(part.rstrip(".") for part in (f"{ended} ({reason})" if reason else ended, verdict) if part)
    return {
        "text": f"{text}.",
        "study": study.path.name,
        "folder": str(study.path.absolute()),
        "task": study.task.name,
        "state": state,
        "error": None if error is None else str(error),
        "end_reason": study.end_reason,
        "trials": dict(counts),
        "best": None
        if best is None
        else {"number": best.number, "params": best.params, "values": best.values, "command": best.command},
        "verdict": verdict,
        "elapsed_s": round(study.elapsed_s, 1),
        "cost": cost_of(study.history, study.task.price).to_dict(),
    }


async def _post(webhook: str, text: str) -> str | None:
    """Send the text by POST; return what went wrong, without the path of the URL, which is often a secret."""
    where = "the webhook of on_end"
    try:
        url = resolved(webhook, field="on_end.webhook")
        where = f"the webhook of on_end at {urlsplit(url).hostname}"
        timeout = aiohttp.ClientTimeout(total=WEBHOOK_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.post(url, data=text, headers={"Content-Type": "application/json"}) as response,
        ):
            if response.status >= 400:
                return f"{where} did not accept the result: HTTP {response.status}"
    except TimeoutError:
        return f"{where} did not answer within {WEBHOOK_S:g} s"
    except (aiohttp.ClientError, OSError, ValueError, SetupError) as error:
        # Its own text may repeat the URL.
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
        return f"{where} was not reached: {reason}"
    return None


async def _execute(command: str, text: str, payload: dict[str, Any]) -> str | None:
    """Run a command line in the shell with the text as its input; return what went wrong."""
    env = {**os.environ, "AUTOTUNE_NB_STUDY": str(payload.get("folder", "")), "AUTOTUNE_NB_STATE": payload["state"]}
    try:
        process = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        return f"the command of on_end could not be started: {error}"
    try:
        async with asyncio.timeout(COMMAND_S):
            _, errors = await process.communicate(text.encode())
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        return f"the command of on_end was killed after {COMMAND_S:g} s"
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        return f"the command of on_end ended with code {process.returncode}{f': {lines[-1]}' if lines else ''}"
    return None
