"""The patterns for lines of an engine's log that report why it failed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autotune_nb.errors import FailureKind


@dataclass(frozen=True)
class LogPattern:
    """A pattern for lines of an engine's log that show why it failed."""

    pattern: re.Pattern[str]
    kind: FailureKind
    hint: str = ""
    #: The hint for an engine that was never ready; "" if ``hint`` fits both.
    start_hint: str = ""
    #: The line only follows from an error that is logged right before it.
    consequence: bool = False

    @classmethod
    def of(
        cls, pattern: str, kind: FailureKind, hint: str = "", *, start_hint: str = "", consequence: bool = False
    ) -> LogPattern:
        return cls(re.compile(pattern, re.IGNORECASE), kind, hint, start_hint, consequence)


#: The container daemon does not respond: docker's, podman's and nerdctl's messages.
DAEMON_AWAY = re.compile(
    r"cannot connect to the docker daemon|failed to connect to the docker API|unable to connect to podman socket"
    r"|cannot connect to podman|cannot access containerd socket|error waiting for container: unexpected EOF",
    re.IGNORECASE,
)

#: Patterns for the log of any engine. An engine's own patterns are tried first. None may match a line of a healthy
#: engine, which also reports refused requests and optional features that are not available.
COMMON_PATTERNS = (
    LogPattern(DAEMON_AWAY, FailureKind.INFRASTRUCTURE, "start the container daemon, or check its socket"),
    LogPattern.of(
        r"address already in use|couldn't bind|EADDRINUSE",
        FailureKind.INFRASTRUCTURE,
        "another program listens on the port; omit deploy.port to get a free one",
    ),
    LogPattern.of(
        r"Error while creating shared memory segment|insufficient shared memory",
        FailureKind.INFRASTRUCTURE,
        "/dev/shm is too small: docker's --shm-size, or an emptyDir with medium Memory in a pod",
    ),
    LogPattern.of(
        r"no space left on device", FailureKind.INFRASTRUCTURE, "the disk is full: free space, or use another volume"
    ),
    LogPattern.of(
        r"No such file or directory: '[^']*\b(?:nvcc|gcc|g\+\+|cc|c\+\+|ninja|ptxas)'|Failed to find C compiler"
        r"|fatal error: \S+\.(?:h|hpp|cuh): No such file",
        FailureKind.INFRASTRUCTURE,
        "the engine compiles kernels: install the compiler with its headers (CUDA toolkit, gcc) that the line names",
    ),
    LogPattern.of(
        r"set_mempolicy: |mbind: |sched_setaffinity",
        FailureKind.INFRASTRUCTURE,
        "binding to a NUMA node is not allowed or not possible here: disable it, or allow it for the container",
    ),
    LogPattern.of(
        r"\[Errno 12\]|^(?!.*(?:mlock|warning)).*cannot allocate memory|std::bad_alloc|DefaultCPUAllocator",
        FailureKind.OUT_OF_MEMORY,
        "the host's memory ran out: give the engine more memory, or run fewer engines at once",
    ),
    LogPattern.of(
        r"\bout of memory\b(?! error)|OutOfMemoryError|failed to allocate(?!.*pinned)|no available memory for",
        FailureKind.OUT_OF_MEMORY,
        "use less memory: fewer slots or sequences, a shorter context, a smaller batch",
    ),
    LogPattern.of(
        r"^(?:[\w./ -]{1,60}: )?error: (?:unrecognized argument|argument |ambiguous option|the following arguments"
        r"|(?:invalid|unknown|unexpected) (?:argument|option|flag|value|choice)|expected one argument)"
        r"|^error while handling argument|^No such option: |^unrecognized arguments: ",
        FailureKind.CONFIGURATION,
        "compare the flags with the engine's --help",
    ),
    LogPattern.of(
        r"Bfloat16 is only supported",
        FailureKind.CONFIGURATION,
        "set dtype to half: this GPU does not support bfloat16",
    ),
    LogPattern.of(
        r"does not recognize this architecture|unknown model architecture|Model architectures .* not supported",
        FailureKind.CONFIGURATION,
        "this version of the engine does not support the model's architecture: use a newer version or another model",
    ),
    LogPattern.of(
        r"access a gated repo",
        FailureKind.CONFIGURATION,
        "the model's repository requires permission: set HF_TOKEN in engine.env, as a reference",
    ),
    LogPattern.of(
        r"FileNotFoundError: (?!.*'/(?:psm_|dev/shm))|is not a local folder|is not a valid (?:model|repo)"
        r"|does not appear to have a file named|(?:file|path|folder|directory)\b.* does not exist",
        FailureKind.CONFIGURATION,
        "check the model's path and the files it refers to",
    ),
    LogPattern.of(
        r"NCCL error: ",
        FailureKind.CRASH,
        "the GPUs could not communicate: set NCCL_DEBUG to INFO in engine.env, and see which call fails in the log",
        consequence=True,
    ),
    LogPattern.of(
        r"(?:CUDA|HIP|Triton) error(?: \[CUDA\])?: \S|illegal memory access|no kernel image is available|GGML_ASSERT"
        r"|^Fatal Python error: ",
        FailureKind.CRASH,
    ),
)
