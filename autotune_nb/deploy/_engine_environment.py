"""The environment of a local engine: this process's, without variables that would configure the engine by accident."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

#: Settings of servers and of distributed launchers, which a shell, a pod or a job scheduler may have left.
_STRAY = re.compile(
    r"LLAMA_(?!CACHE$)\w+|VLLM_(?:API_KEY|PORT|HOST_IP|DP_\w+)"
    r"|(?:LOCAL_|GROUP_|NODE_)?RANK|(?:LOCAL_|GROUP_)?WORLD_SIZE|MASTER_(?:ADDR|PORT)|TORCHELASTIC_\w+"
)


def engine_environment(keep: Iterable[str] = ()) -> tuple[dict[str, str], list[str]]:
    """Return the environment and the names of the variables that it leaves out; those in ``keep`` are left in."""
    kept = set(keep)
    stray = sorted(name for name in os.environ if name not in kept and _STRAY.fullmatch(name))
    return {name: value for name, value in os.environ.items() if name not in stray}, stray
