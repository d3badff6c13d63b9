"""Files are decoded from a pod's log, in pieces of any size and with other lines between."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_nb.bench._log_frames import Frames
from autotune_nb.bench._scripts import script_source
from tests.stubs import level_data, level_file

SCRIPT = script_source("_in_pod.py")


def framed(name: str, data: bytes, size: int = 20) -> list[bytes]:
    """The lines that the pod writes for a file, with ``size`` characters of data each."""
    coded = base64.b64encode(gzip.compress(data)).decode()
    parts = [coded[at : at + size] for at in range(0, len(coded), size)]
    return [f"AUTOTUNE-NB {name} {n}/{len(parts)} {part}\n".encode() for n, part in enumerate(parts, start=1)]


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=3),
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20), max_size=5),
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
    st.randoms(),
)
def test_every_file_is_decoded_once_and_completely(
    files: list[bytes], noise: list[str], cuts: list[int], random: object
) -> None:
    lines = [line for number, data in enumerate(files) for line in framed(f"f{number}.json", data)]
    for text in noise:
        at = random.randint(0, len(lines))  # type: ignore[attr-defined]
        lines.insert(at, f"log: {text}\n".encode())
    stream = b"".join(lines)
    frames, found = Frames(), []
    while stream:
        for size in cuts:
            found += frames.feed(stream[:size])
            stream = stream[size:]
    assert found == [(f"f{number}.json", data) for number, data in enumerate(files)]
    assert len(frames.lines) == len(noise)


def test_a_log_read_again_yields_only_the_files_that_were_missing() -> None:
    one, two = framed("a.json", b"1" * 50), framed("b.json", b"2" * 50)
    frames = Frames()
    assert [name for name, _ in frames.feed(b"".join([*one, *two[:-1]]))] == ["a.json"]
    frames.restart()
    assert [name for name, _ in frames.feed(b"".join([*one, *two]))] == ["b.json"]


def test_a_damaged_or_missing_part_yields_no_file() -> None:
    lines = framed("a.json", bytes(range(256)) * 2, size=40)
    assert len(lines) > 2
    frames = Frames()
    assert not list(frames.feed(b"".join(lines[:1] + lines[2:])))
    torn = framed("b.json", b"y")[0].replace(b"H4sI", b"AAAA")
    assert not list(frames.feed(torn))
    assert not list(frames.feed(b"AUTOTUNE-NB no frame\nAUTOTUNE-NB a 1/2\n"))


def test_a_last_line_without_a_line_end_is_decoded_at_the_end_of_the_log() -> None:
    frames = Frames()
    assert not list(frames.feed(b"".join(framed("a.json", b"1")).rstrip(b"\n")))
    assert list(frames.end()) == [("a.json", b"1")]


def test_a_name_from_a_pod_stays_in_its_folder() -> None:
    ((name, _),) = Frames().feed(framed("../../etc/passwd", b"1", size=400)[0])
    assert "/" not in name


def read_by_the_pod(folder: Path) -> dict[str, bytes]:
    job = json.dumps({"read": str(folder)})
    done = subprocess.run([sys.executable, "-c", SCRIPT, job], capture_output=True, check=True)
    frames = Frames()
    return {**dict(frames.feed(done.stdout)), **dict(frames.end())}


def test_the_reader_sends_the_files_of_a_finished_benchmark(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / level_file(number)).write_text(json.dumps(level_data(concurrency=number)))
    (tmp_path / "experiment_metadata.json").write_text('{"cmd": "with a key"}')
    (tmp_path / "torn_time_2s.json").write_text('{"aggregated_metrics": {')
    found = read_by_the_pod(tmp_path)
    assert set(found) == {level_file(1), level_file(2), "torn_time_2s.json"}
    assert json.loads(found[level_file(2)]) == level_data(concurrency=2)
    assert read_by_the_pod(tmp_path / "none") == {}


@pytest.mark.parametrize("many", [10, 150_000])
def test_of_a_file_too_large_for_a_log_only_what_limits_are_calculated_from_is_sent(tmp_path: Path, many: int) -> None:
    import random

    rng = random.Random(0)
    requests = [{"ttft": rng.random(), "began_s": rng.random(), "num_output_tokens": 8} for _ in range(many)]
    (tmp_path / level_file(1)).write_text(json.dumps({**level_data(), "individual_request_metrics": requests}))
    data = json.loads(read_by_the_pod(tmp_path)[level_file(1)])
    assert data["aggregated_metrics"] == level_data()["aggregated_metrics"]
    sent = data["individual_request_metrics"]
    assert [one["num_output_tokens"] for one in sent] == [8] * many
    assert sent[0]["ttft"] == pytest.approx(requests[0]["ttft"], abs=1e-6)
    assert ("began_s" in sent[0]) is (many == 10)
