"""environment.yml and pyproject.toml say the same; the constraints name no host and no path."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import autotune_nb

ROOT = Path(__file__).parents[1]
#: conda-forge's name where it is not the package index's.
CONDA_NAMES = {
    "kubernetes": "python-kubernetes",
    "matplotlib": "matplotlib-base",
    "prometheus-client": "prometheus_client",
}
#: Not on conda-forge.
ONLY_PIP = {"genai-bench", "gguf", "xllamacpp"}


def declared(*extras: str) -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {Requirement(line).name: Requirement(line) for line in lines}


def environment() -> tuple[dict[str, str], dict[str, str]]:
    """Name to version specifier: conda's packages and pip's."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    conda = [entry.partition(" ")[::2] for entry in listed if isinstance(entry, str)]
    requirements = [Requirement(line) for line in pip if not line.startswith("--editable")]
    return dict(conda), {r.name: str(r.specifier) for r in requirements}


def same(a: str, b: str) -> bool:
    return set(a.replace(" ", "").split(",")) == set(b.replace(" ", "").split(","))


def test_the_environment_file_and_the_project_name_the_same_packages_and_bounds() -> None:
    conda, pip = environment()
    wanted = declared("local", "lab")
    for name, requirement in wanted.items():
        specifier = pip.get(name) if name in ONLY_PIP else conda.get(CONDA_NAMES.get(name, name))
        assert specifier is not None, f"environment.yml lacks {name}"
        assert same(specifier, str(requirement.specifier)), name
    named = {CONDA_NAMES.get(name, name) for name in wanted} - ONLY_PIP
    assert conda.keys() - {"python", "pip"} == named
    assert pip.keys() == ONLY_PIP


def test_the_conda_recipe_has_the_dependencies_without_the_extras() -> None:
    recipe = yaml.safe_load((ROOT / "recipe.yaml").read_text())
    run = dict(line.partition(" ")[::2] for line in recipe["requirements"]["run"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={recipe['context']['python_min']}"
    assert run.keys() - {"__unix", "python"} == {CONDA_NAMES.get(name, name) for name in declared()}
    for name, requirement in declared().items():
        assert same(run[CONDA_NAMES.get(name, name)], str(requirement.specifier)), name
    (script,) = recipe["build"]["python"]["entry_points"]
    assert script == f"autotune-nb = {project['scripts']['autotune-nb']}"


def test_one_version_is_in_the_project_the_package_the_recipe_and_the_changes() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert autotune_nb.__version__ == version
    assert yaml.safe_load((ROOT / "recipe.yaml").read_text())["context"]["version"] == version
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == version


def test_kubernetes_stays_below_the_release_that_excludes_genai_bench() -> None:
    assert Version("37.0.2") not in declared()["kubernetes"].specifier
    assert Version("36.0.0") in declared()["kubernetes"].specifier


#: Modules that come with a declared package.
COME_WITH = {
    "IPython": "ipykernel",
    "gevent": "genai-bench",
    "jupyter_client": "ipykernel",
    "mlflow": "mlflow-skinny",
    "nbclient": "papermill",
    "pynvml": "nvidia-ml-py",
    "requests": "genai-bench",
    "sqlalchemy": "optuna",
    "traitlets": "ipywidgets",
    "transformers": "genai-bench",
    "urllib3": "kubernetes",
    "yaml": "pyyaml",
}


def test_every_package_that_is_imported_is_declared() -> None:
    """What a wheel needs in an empty environment; `make test-all` installs one with the packages that it declares."""
    names = {name.lower() for name in declared("local", "lab", "mlflow", "parquet")}
    allowed = {name.replace("-", "_") for name in names} | {m for m, source in COME_WITH.items() if source in names}
    allowed |= {*sys.stdlib_module_names, "autotune_nb"}
    found = set()
    for file in (ROOT / "autotune_nb").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {(alias.name.partition(".")[0], file.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add((node.module.partition(".")[0], file.name))
    assert {(module, file) for module, file in found if module not in allowed} == set()


def test_every_requirement_has_a_lower_bound() -> None:
    for requirement in declared("local", "lab", "app", "front-ends", "test").values():
        assert any(s.operator in (">=", "==", "~=") for s in requirement.specifier), requirement


def test_the_constraints_pin_every_requirement_and_name_no_host_or_path() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = {m.group(1).lower() for m in re.finditer(r"^([A-Za-z0-9_.-]+)==", text, re.MULTILINE)}
    for name in declared("local", "lab", "app", "front-ends", "test"):
        assert re.sub(r"[-_.]+", "-", name).lower() in pinned, name
    assert not re.search(r"://|/work|--(extra-)?index|--find-links|@ ", text)


def test_only_the_agreed_folders_lie_at_the_top() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    folders = {Path(name).parts[0] for name in listed if len(Path(name).parts) > 1}
    assert folders <= {"autotune_nb", "notebooks", "templates", "tests", ".ci"}
