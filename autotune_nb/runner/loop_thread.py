"""The event loop of every run in this process, and what is called when the interpreter exits."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures

# Imported before call_at_exit registers: the callbacks run in reverse order, and that of this module closes the pools.
import concurrent.futures.thread
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A daemon thread with the event loop of every run in this process."""

    _instance: LoopThread | None = None
    _instance_lock = threading.Lock()

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self.loop.run_forever, name="autotune_nb", daemon=True)
        thread.start()

    @classmethod
    def get(cls) -> LoopThread:
        with cls._instance_lock:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)


def call_at_exit(callback: Callable[[], None]) -> None:
    """Call ``callback`` when the interpreter exits, while thread pools still accept work; not in forked processes."""
    pid = os.getpid()

    def call() -> None:
        if os.getpid() == pid:
            callback()

    # atexit's callbacks run only after the thread pools are closed, in which a trial could not be stored any more.
    getattr(threading, "_register_atexit", atexit.register)(call)
