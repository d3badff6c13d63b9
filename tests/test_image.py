"""The image is built from the package's files, and runs as the manifests specify."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from autotune_nb.resources import shared_folder

ROOT = Path(__file__).parents[1]
CONTAINERFILE = (ROOT / "Containerfile").read_text()


def test_the_build_sees_what_the_package_is_made_from_and_nothing_else() -> None:
    kept = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    made = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = made["tool"]["hatch"]["build"]["targets"]["wheel"]
    files = {"pyproject.toml", "constraints.txt", made["project"]["readme"], *made["project"]["license-files"]}
    assert kept == {*files, *wheel["packages"], *wheel["force-include"]}


def test_the_extras_one_may_ask_for_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r"EXTRAS=([\w,]+)", CONTAINERFILE)
    assert {one for text in asked for one in text.split(",")} <= extras.keys()
    # Without the driver, the workers of a study in PostgreSQL could not start.
    assert any("postgres" in text for text in asked)


def test_the_manifests_run_as_the_images_user_and_program() -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", CONTAINERFILE, re.MULTILINE)
    (program,) = re.findall(r'^ENTRYPOINT \["(.*)"\]$', CONTAINERFILE, re.MULTILINE)
    for name in ("reaper.yaml.j2", "runner_cronjob.yaml.j2"):
        text = (shared_folder("templates") / name).read_text()
        assert f"runAsUser: {user}\n" in text
        assert f"command: [{program}]" in text
