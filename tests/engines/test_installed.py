"""Programs that are asked for their flags: Python engines, help texts and images; and the kept answers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune_nb.engines import installed
from autotune_nb.engines._help_text import read_help
from autotune_nb.engines.installed import ask_image, ask_program, keep, kept_schema
from autotune_nb.engines.registry import engine_named, engine_of_study, program_words
from autotune_nb.errors import SetupError

# After llama-server b10212.
HELP = """\
\x1b[1m----- common params -----\x1b[0m

-h,    --help, --usage                  print usage and exit
-t,    --threads N                      number of CPU threads to use during generation (default: -1)
                                        (env: LLAMA_ARG_THREADS)
-fa,   --flash-attn [on|off|auto]       set Flash Attention use ('on', 'off', or 'auto', default: 'auto')
-cb,   --cont-batching, -nocb, --no-cont-batching
                                        whether to enable continuous batching (default: enabled)
-ctk,  --cache-type-k TYPE              KV cache data type for K
                                        allowed values: f32, f16, q8_0 (default: f16)
-sm,   --split-mode {none,layer,row}    how to split the model across several GPUs
--draft, --draft-n, --draft-max N       the argument has been removed. use --spec-draft-n-max
--spec-type none,draft-mtp,ngram        comma-separated list of types of speculative decoding
--mlock                                 keep the model in RAM
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM, either an exact number,
                                        'auto', or 'all' (default: auto)
-c,    --ctx-size N                     size of the prompt context
-b,    --batch-size N                   logical maximum batch size
-ub,   --ubatch-size N                  physical maximum batch size
-np,   --parallel N                     number of server slots
"""


def test_a_help_text_has_the_flags_with_their_spellings_and_choices() -> None:
    flags = {flag.name: flag for flag in read_help(HELP)}
    assert "help" not in flags and "draft_max" not in flags
    assert flags["threads"].spellings == ("--threads", "-t")
    assert flags["flash_attn"].choices == ("on", "off", "auto")
    assert flags["cache_type_k"].choices == ("f32", "f16", "q8_0")
    assert flags["split_mode"].choices == ("none", "layer", "row")
    assert (flags["cont_batching"].style, flags["cont_batching"].negations) == ("negatable", ("--no-cont-batching",))
    assert (flags["mlock"].kind, flags["mlock"].style) == ("bool", "switch")
    assert flags["n_gpu_layers"].names == {"ngl", "gpu_layers", "n_gpu_layers"}
    # Any text is accepted where the help does not list the values.
    assert {flags[name].kind for name in ("threads", "n_gpu_layers", "spec_type")} == {"any"}
    assert flags["threads"].help.startswith("number of CPU threads")


SERVER = """
import argparse, sys, warnings
small = argparse.ArgumentParser()
small.add_argument("--device")
small.parse_known_args([])
warnings.warn("a plugin is deprecated")
print("\\x1b[33mINFO\\x1b[0m starting", end="")
{more}
parser = argparse.ArgumentParser()
for n in range(25):
    parser.add_argument(f"--option-{{n}}", type=int, default=n, help="An option of 50%%. More.")
parser.add_argument("--mode", "-m", choices=["a", "b"])
parser.add_argument("--cache", action=argparse.BooleanOptionalAction, default=float("inf"))
parser.parse_args()
raise SystemExit("parsed its arguments")
"""


def engine_in(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> object:
    (folder / "pretend_engine.py").write_text(SERVER.format(more=more))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return replace(engine_named("vllm"), module="pretend_engine", packages=("absent", "pip"))


def test_a_python_engine_is_asked_for_its_parsers_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_in(tmp_path, monkeypatch)
    schema = ask_program(engine, [sys.executable, "-m", "pretend_engine"])  # type: ignore[arg-type]
    assert len(schema.flags) == 27 and schema.version and schema.prefixes
    first, mode, cache = schema.exact("option_0"), schema.exact("m"), schema.exact("cache")
    assert first is not None and (first.kind, first.default, first.help) == ("int", 0, "An option of 50%.")
    assert mode is not None and (mode.name, mode.choices) == ("mode", ("a", "b"))
    # JSON has no infinity.
    assert cache is not None and (cache.style, cache.negations, cache.default) == ("negatable", ("--no-cache",), None)
    # A script is asked by the Python of its first line.
    script = tmp_path / "serve"
    script.write_text(f"#!{sys.executable}\nraise SystemExit('executed')\n")
    assert ask_program(engine, [str(script), "serve"]).flags == schema.flags  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("raise RuntimeError('Failed to infer device type')", "exit code 1: RuntimeError: Failed to infer device type"),
        ("raise SystemExit", "printed no flags of vllm"),
        ("sys.exit(3)", "exit code 3"),
    ],
)
def test_a_program_that_prints_no_flags_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, message: str
) -> None:
    engine = engine_in(tmp_path, monkeypatch, more)
    with pytest.raises(SetupError, match=message):
        ask_program(engine, [sys.executable, "-m", "pretend_engine"])  # type: ignore[arg-type]


def program(folder: Path, text: str) -> str:
    """Return a program that prints a help text, and a version."""
    (folder / "help.txt").write_text(text)
    file = folder / "llama-server"
    file.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "version: 10212 (abc123)" >&2 || cat "{folder}/help.txt"\n'
    )
    file.chmod(0o755)
    return str(file)


def test_another_program_is_asked_for_its_help_text(tmp_path: Path) -> None:
    schema = ask_program(engine_named("llama_cpp"), [program(tmp_path, HELP)])
    assert schema.title == "llama_cpp 10212 (abc123)"
    assert schema.problem("flash_attn") is None
    assert schema.problem("flash_atn") == "llama_cpp 10212 (abc123) has no flag --flash-atn; did you mean 'flash_attn'?"
    for text, message in (("", "lists none"), ("usage: something\n-x   else\n", "lists 1 flags")):
        with pytest.raises(SetupError, match=f"{message}.*is it llama_cpp"):
            ask_program(engine_named("llama_cpp"), [program(tmp_path, text)])
    with pytest.raises(SetupError, match="cannot be started"):
        ask_program(engine_named("llama_cpp"), [str(tmp_path / "absent")])


def test_an_image_is_asked_by_its_python_or_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A client that runs the image's program here.
    client = tmp_path / "podman"
    client.write_text(
        f"""#!/bin/sh
[ "$1" = image ] && {{ echo sha256:12; exit; }}
shift 4
[ "$1" = --entrypoint ] && {{ shift 3; exec {sys.executable} "$@"; }}
shift; exec {program(tmp_path, HELP)} "$@"
"""
    )
    client.chmod(0o755)
    schema = ask_image(engine_named("llama_cpp"), "server:b1", [str(client)])
    assert (schema.program, schema.identity, schema.version) == (("server:b1",), "sha256:12", "10212 (abc123)")
    engine = engine_in(tmp_path, monkeypatch)
    assert len(ask_image(engine, "vllm:1", [str(client)]).flags) == 27  # type: ignore[arg-type]


def test_an_answer_is_kept_until_the_program_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = program(tmp_path, HELP)
    assert kept_schema("llama_cpp", [path]) is None
    schema = ask_program(engine_named("llama_cpp"), [path])
    file = keep(schema)
    assert kept_schema("llama_cpp", [path]) == schema
    assert kept_schema("vllm", [path]) is None
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert kept_schema("llama_cpp", ["llama-server"]) == schema
    Path(path).write_text(Path(path).read_text() + "# newer\n")
    assert kept_schema("llama_cpp", [path]) is None
    file.write_text("{")
    assert kept_schema("llama_cpp", [path]) is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "help.txt"))
    with pytest.raises(SetupError, match="cannot be kept"):
        keep(schema)


def test_an_answer_of_a_package_is_kept_until_the_package_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    metadata = tmp_path / "engine-1.dist-info"
    metadata.mkdir()
    schema = ask_program(engine_named("llama_cpp"), [program(tmp_path, HELP)])
    schema = replace(schema, identity=str(metadata))
    keep(schema)
    assert kept_schema("llama_cpp", schema.program) == schema
    metadata.rename(tmp_path / "engine-2.dist-info")
    assert kept_schema("llama_cpp", schema.program) is None


def test_xllamacpps_server_has_the_flags_of_the_catalog() -> None:
    engine = engine_named("llama_cpp")
    schema = ask_program(engine, [sys.executable, "-m", "autotune_nb.engines.llama_server"])
    assert schema.version and len(schema.flags) > 25
    assert schema.lacks(engine.flags) == []
    assert installed._still(schema.identity)
    assert program_words(engine)


def test_a_task_with_an_image_is_checked_against_what_the_image_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_task: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    schema = replace(ask_program(engine_named("llama_cpp"), [program(tmp_path, HELP)]), program=("server:b1",))
    keep(schema)
    task = make_task(deploy={"kind": "container", "image": "server:b1"})
    assert engine_of_study(task).installed == schema
    other = make_task(deploy={"kind": "container", "image": "server:b2"})
    assert engine_of_study(other).installed is None
