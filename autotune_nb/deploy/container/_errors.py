"""What the messages of docker, podman and nerdctl mean: which field to change, or that the daemon is away."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autotune_nb.engines.log_patterns import DAEMON_AWAY
from autotune_nb.errors import AutotuneError, DeployError, Failure, FailureKind, SetupError, SurroundingsError
from autotune_nb.secrets.scrubbing import scrub

_MAX_CHARS = 300
_NO_ANSWER = re.compile(r"^no answer to |error during connect")
#: What another start of the same container may have fixed: another program took the port.
_PORT_TAKEN = re.compile(
    r"port is already allocated|address already in use|ports are not available|ports? .* already in use", re.IGNORECASE
)


@dataclass(frozen=True)
class _Known:
    """A message for which every trial fails: the field of the task to change, what it means and what to try."""

    pattern: re.Pattern[str]
    field: str
    text: str

    @classmethod
    def of(cls, pattern: str, field: str, text: str) -> _Known:
        return cls(re.compile(pattern, re.IGNORECASE), field, text)


#: The first one that matches counts.
_KNOWN = (
    _Known.of(
        r"permission denied.*(?:socket|docker|containerd)|(?:docker|containerd|podman)\S*\.sock.*permission denied"
        r"|(?:dial|connect).*permission denied|rootless containerd not running",
        "deploy.runtime",
        "this user may not use {runtime}: add the user to its group (sudo usermod -aG docker $USER) and log in again, "
        "or use rootless podman",
    ),
    _Known.of(
        r"could not select device driver|nvidia-container-cli|nvidia-container-runtime|unresolvable CDI device"
        r"|failed to inject CDI|CDI device|unknown device|nvidia\.com/gpu",
        "deploy.gpus",
        "{runtime} could not give a container its GPUs: compare deploy.gpus with nvidia-smi -L, and install the NVIDIA "
        "Container Toolkit (for podman, nvidia-ctk cdi generate)",
    ),
    _Known.of(
        r"exec format error",
        "deploy.image",
        "the image was built for another kind of CPU: use one for this machine",
    ),
    _Known.of(
        r"executable file\b.*not found|exec: .*(?:no such file|not found|permission denied)"
        r"|command that was not found|unable to find command",
        "engine.executable",
        "the image has no such program: give the path of the engine's program in the image, or another image",
    ),
    _Known.of(
        r"unable to find user|no matching entries in passwd|no such user|unable to find group",
        "deploy.user",
        "the image has no such user: use its number, such as 1000",
    ),
    _Known.of(
        r"bind source path does not exist|(?:statfs|stat|lstat) \S+: no such file|error mounting|invalid mount"
        r"|invalid volume|mounts? denied|error while creating mount source path",
        "deploy.volumes",
        "a folder cannot be mounted",
    ),
    _Known.of(
        r"network \S+ (?:not found|is not)|no such network|unable to find network|network not found",
        "deploy.network",
        "there is no such network: create it with {runtime} network create, or use another one",
    ),
    _Known.of(
        r"unknown (?:shorthand )?flag|flag needs an argument|unknown option|flag provided but not defined"
        r"|invalid argument .* for .* flag|conflicting options|cannot set shmsize",
        "deploy.run_args",
        "{runtime} does not accept an option; see {runtime} run --help",
    ),
    _Known.of(
        r"unauthorized|authentication required|access .*denied|denied: |no basic auth|forbidden|requires.*login",
        "deploy.image",
        "the registry refuses the image, which does not exist or needs a login: check its name, or {runtime} login",
    ),
    _Known.of(
        r"manifest (?:unknown|for .* not found)|name unknown|repository .*not found|no such image|image not known"
        r"|(?:no|not a) matching manifest|: not found|image .*(?:not found|does not exist)|no such manifest",
        "deploy.image",
        "there is no such image: check its name and tag",
    ),
    _Known.of(
        r"invalid reference format|invalid (?:image )?reference|could not parse reference|short-name",
        "deploy.image",
        "this is no valid name of an image: write REGISTRY/NAME:TAG, such as docker.io/vllm/vllm-openai:v0.33.0",
    ),
    _Known.of(
        r"dial tcp|no such host|TLS handshake|i/o timeout|connection refused|toomanyrequests|request canceled"
        r"|proxyconnect|network is unreachable|temporary failure",
        "deploy.image",
        "the registry cannot be reached: check the network and the registry's name, or load the image yourself "
        "({runtime} load) and set deploy.pull: never",
    ),
    _Known.of(r"no space left", "deploy.image", "the disk of {runtime} is full: {runtime} system prune, or free space"),
)


def client_error(text: str, runtime: str, *, phase: str = "deploy") -> AutotuneError:
    """Return the error that a client's message stands for.

    That is SurroundingsError for a daemon that is away, SetupError where every trial fails in the same way, and
    DeployError of kind infrastructure for anything else.
    """
    known = next((one for one in _KNOWN if one.pattern.search(text)), None)
    line = message_line(text, known.pattern if known else None)
    permission = known is not None and known is _KNOWN[0]
    if not permission and is_away(text):
        message = f"{runtime} does not respond: {line}"
        hint = f"start its daemon (sudo systemctl start {runtime}), or check DOCKER_HOST and its socket"
        return SurroundingsError(Failure(FailureKind.INFRASTRUCTURE, phase, message, hint=hint))
    if known is not None and not _PORT_TAKEN.search(text):
        return SetupError(f"{known.text.format(runtime=runtime)} ({line})", field=known.field)
    hint = "another program listens on the port" if _PORT_TAKEN.search(text) else ""
    failure = Failure(FailureKind.INFRASTRUCTURE, phase, f"{runtime} did not start the container", (line,), hint)
    return DeployError(failure)


def is_away(text: str) -> bool:
    """Whether a message is of a client whose daemon does not respond."""
    return DAEMON_AWAY.search(text) is not None or _NO_ANSWER.search(text) is not None


def message_line(text: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return the line of a client's output that a pattern matches, else its last line with a message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # docker adds such a line to each error.
    lines = [line for line in lines if not line.startswith(("See '", "Run '", 'See "', "Usage:"))] or lines
    found = next((line for line in reversed(lines) if pattern is not None and pattern.search(line)), None)
    return scrub((found or (lines[-1] if lines else "it printed nothing"))[:_MAX_CHARS])


def missing_client(program: str | None) -> SetupError:
    """Return the error for a client that is not installed."""
    what = "none of docker, podman, nerdctl is on the PATH" if program is None else f"there is no program {program!r}"
    return SetupError(
        f"{what}; install docker, podman or nerdctl (such as apt-get install podman, or "
        "https://docs.docker.com/engine/install), or give its path",
        field="deploy.runtime",
    )
