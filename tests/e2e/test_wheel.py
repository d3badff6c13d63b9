"""The wheel, built and installed into an empty environment, runs the demo in an empty folder; without the extras, it
reads and replays studies."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

import autotune_nb
from tests.stubs import FakeBench, level_data, level_file
from tests.study.test_earlier_version import rebuilt

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv"]

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "dependencies",
    [pytest.param("these", id="dependencies-of-this-python"), pytest.param("own", marks=pytest.mark.slow)],
)
def test_an_installed_wheel_runs_the_demo_in_an_empty_folder(
    tmp_path: Path, environment: dict[str, str], dependencies: str
) -> None:
    subprocess.run([*UV, "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "autotune_nb/_share/notebooks/01_quickstart.ipynb" in names
    assert "autotune_nb/_share/notebooks/tasks/quickstart.yaml" in names
    assert not any(name.startswith(("tests/", "notebooks/")) for name in names)

    venv = tmp_path / "venv"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    python = venv / "bin" / "python"
    install = [*UV, "pip", "install", "--quiet", "--python", python, "--compile-bytecode"]
    if dependencies == "own":
        install += ["--constraint", ROOT / "constraints.txt"]
        subprocess.run([*install, f"{wheel}[local]"], check=True)
    else:
        # This Python's editable autotune_nb is not among them: .pth files of a folder that is itself added by one are
        # not read.
        subprocess.run([*install, "--no-deps", wheel], check=True)
        (site,) = venv.glob("lib/python*/site-packages")
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    # Other tests share this machine: model and requests are small, levels end by their number of requests, and the
    # limit is high.
    shipped = next(venv.glob("lib/python*/site-packages/autotune_nb/_share/notebooks/tasks/quickstart.yaml"))
    patient = yaml.safe_load(shipped.read_text())
    patient["model"]["random_weights"] = {"layers": 12, "hidden_size": 384, "feed_forward_size": 1024}
    patient["engine"]["args"]["threads"] = 1
    for name in ("threads", "threads_batch"):
        del patient["parameters"][name]
    patient["workload"] |= {"scenarios": ["D(16,8)"], "seconds_per_level": 60, "requests_per_level": 4}
    patient["workload"] |= {"precision": None, "max_seconds_per_level": 1}
    patient["limits"] = ["ttft_p99_s <= 60"]
    patient["confirm"] = False
    if dependencies == "these":
        # The real genai-bench is in the environment of the other case, and in test_run.py.
        bench = FakeBench(tmp_path / "fake")
        levels = {level_file(n): level_data(concurrency=n) for n in patient["workload"]["concurrency"]}
        patient["benchmark"] = {"executable": bench.write(levels)}
    task = tmp_path / "patient.json"
    task.write_text(json.dumps(patient))

    empty = tmp_path / "empty"
    empty.mkdir()
    own = {**environment, "PATH": "/usr/bin:/bin", "VIRTUAL_ENV": ""}
    if dependencies == "these":
        own["JUPYTER_PATH"] = f"{sys.prefix}/share/jupyter"
    done = subprocess.run(
        [venv / "bin" / "autotune-nb", "demo", "--task", task, "--trials", "2"],
        cwd=empty,
        env=own,
        capture_output=True,
        text=True,
        timeout=330,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((empty / "runs" / "quickstart" / "results.json").read_text())
    assert [t["state"] for t in results["trials"]] == ["complete", "complete"]
    assert results["best"]["command"] in done.stdout
    assert (empty / "runs" / "quickstart" / "quickstart.ipynb").is_file()
    assert "data:image/svg+xml" in (empty / "runs" / "quickstart" / "quickstart.html").read_text()
    assert sorted(p.name for p in empty.iterdir()) == ["runs"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_wheel_without_extras_checks_reads_and_replays_a_recorded_study(tmp_path: Path) -> None:
    # The wheel is built from the sdist, which must therefore be complete.
    subprocess.run([*UV, "build", "--quiet", "--out-dir", tmp_path / "dist", ROOT], check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert len(list((tmp_path / "dist").glob("*.tar.gz"))) == 1
    venv, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    install = [*UV, "pip", "install", "--quiet", "--python", venv / "bin" / "python"]
    subprocess.run([*install, "--constraint", ROOT / "constraints.txt", wheel], check=True)
    study = rebuilt(tmp_path / "study")

    def call(*arguments: str | Path, program: str = "autotune-nb", code: int = 0) -> str:
        command = [venv / "bin" / program, *arguments]
        done = subprocess.run(
            command, cwd=empty, env={"PATH": "/usr/bin:/bin", "HOME": str(empty)}, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    assert "Usage: autotune-nb" in call("--help")
    assert call("--version").split()[-1] == autotune_nb.__version__
    missing = call("check", "quickstart", code=2)
    assert "local" in missing
    replayed = ["--deploy", "replay", "--table", study]
    call("check", study / "task.json", *replayed)
    best = json.loads((study / "results.json").read_text())["best"]
    assert json.loads(call("show", study, "--json"))["best"]["command"] == best["command"]
    code = "import sys, autotune_nb as at; print(at.open(sys.argv[1]).best.command)"
    assert call("-c", code, study, program="python").strip() == best["command"]
    ran = json.loads(call("run", study / "task.json", *replayed, "--study", tmp_path / "replay", "--json"))
    assert ran["best"]["number"] is not None
