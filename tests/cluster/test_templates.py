"""Manifests contain every value unchanged, and no value changes their structure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autotune_nb.cluster.templates import Templates, refuse_go_templates
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.resources import shared_folder

MANIFEST = """\
metadata:
  name: {{ name }}
spec:
  args: {{ args }}
  env:
{% for key, value in env | dictsort %}
    - {name: {{ key }}, value: {{ value }}}
{% endfor %}
"""
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml.j2").write_text(MANIFEST)
    return tmp_path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1), args=values, env=st.dictionaries(st.text(min_size=1), st.text(), max_size=3))
@example(name="\x7f\U0001f600\\ud83d", args=[1e16, 1.5e-9, -2e300], env={})
def test_no_value_breaks_out_of_its_place(own: Path, name: str, args: Any, env: dict[str, str]) -> None:
    found = Templates(own).render_object("m.yaml.j2", {"name": name, "args": args, "env": env})
    assert found["metadata"] == {"name": name}
    assert found["spec"]["args"] == args
    assert {one["name"]: one["value"] for one in found["spec"]["env"] or []} == env


@pytest.mark.parametrize(
    "nasty", ["a: b", "- x", "#no", "&a", "*a", "!!python/object:os.system", "'", '"', "\n", "%", "@"]
)
def test_what_means_something_in_yaml_means_nothing_in_a_value(own: Path, nasty: str) -> None:
    found = Templates(own).render_object("m.yaml.j2", {"name": nasty, "args": [nasty], "env": {nasty: nasty}})
    assert found == {
        "metadata": {"name": nasty},
        "spec": {"args": [nasty], "env": [{"name": nasty, "value": nasty}]},
    }


def test_a_value_that_is_missing_is_named(own: Path) -> None:
    with pytest.raises(SetupError, match=r"m\.yaml\.j2.*'name' is undefined"):
        Templates(own).render_object("m.yaml.j2", {"args": [], "env": {}})


def test_a_users_own_folder_goes_first_and_the_packages_is_still_there(own: Path) -> None:
    (own / "rbac.yaml.j2").write_text("metadata: {name: mine}\n")
    assert Templates(own).render_object("rbac.yaml.j2", {}) == {"metadata": {"name": "mine"}}
    assert "Role" in {
        one["kind"] for one in Templates(own).render_objects("reaper.yaml.j2", {"namespace": "n", "image": "i"})
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{% if %}", "line 1"),
        ("a: [", "invalid YAML"),
        ("just text", "no Kubernetes object"),
        ("kind: X\n", "no Kubernetes object"),
        ("metadata: {}\n---\nmetadata: {}\n", "2 objects"),
        ("", "0 objects"),
    ],
)
def test_a_template_that_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "wrong.yaml.j2").write_text(text)
    with pytest.raises(SetupError, match=told) as caught:
        Templates(tmp_path).render_object("wrong.yaml.j2", {})
    assert "wrong.yaml.j2" in str(caught.value)
    assert caught.value.field == "deploy.templates"


def test_a_folder_and_a_template_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no folder"):
        Templates(tmp_path / "none")
    with pytest.raises(SetupError, match="there is no template 'none'"):
        Templates().render_text("none", {})


METADATA = {
    "name": "at-t-t0001-abc",
    "namespace": "tune",
    "labels": {"autotune-nb/study": "s", "autotune-nb/trial": "1"},
    "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}],
}
CONTAINER = {"name": "genai-bench", "image": "i", "command": ["python3"], "args": ["{}"]}
POD = {"metadata": METADATA, "deadline_s": 9, "pod": {}, "container": CONTAINER}
RUNNER = {"name": "c", "command": ["x"], "args": ["--a"], "env": [], "resources": {}, "startup_probe": {},
          "readiness_probe": {}}  # fmt: skip
#: What each template of a trial is rendered with.
VALUES: dict[str, dict[str, Any]] = {
    "job.yaml.j2": POD,
    "reader_pod.yaml.j2": POD,
    "inference_service.yaml.j2": {
        "metadata": METADATA, "model": {"name": "m", "kind": None}, "runtime": None, "stop_s": 1, "runner": RUNNER,
        "caches": None,
    },
    "benchmark_job.yaml.j2": {
        "metadata": METADATA, "service": {"name": "at-t-t0001-abc", "namespace": "tune"}, "task": "text-to-text",
        "scenarios": ["D(1,1)"], "concurrency": [1], "minutes": 1, "requests": 1, "results": "pvc://c/x",
        "folder": "f", "override": {},
    },
}  # fmt: skip
OWNERS = re.compile(r"{% if metadata.ownerReferences %}\n.*\n{% endif %}\n")
#: What a user may have changed in a copy of a template, and what is missing then.
DROPPED = [
    *((name, r"name: {{ metadata.name }}", "name: mine", "gives 'mine' for metadata.name") for name in VALUES),
    *((name, r" +namespace: {{ metadata.namespace }}\n", "", "gives nothing for metadata.namespace")
      for name in VALUES),
    *((name, r"labels: {{ metadata.labels }}", "labels: {mine: x}", "for metadata.labels.autotune-nb/study")
      for name in VALUES),
    *((name, OWNERS.pattern, "", "gives nothing for metadata.ownerReferences") for name in VALUES),
    *((name, r"kind: (InferenceService|BenchmarkJob|Job|Pod)", "kind: Deployment", "gives 'Deployment' for kind")
      for name in VALUES),
    ("job.yaml.j2", r" +metadata:\n +labels: {{ metadata.labels }}\n    spec", "    spec",
     "gives nothing for spec.template.metadata.labels.autotune-nb/study"),
    ("job.yaml.j2", r"{{ container }}", "{name: x}",
     r"gives \['x'\] for spec.template.spec.containers, and a container 'genai-bench' is required"),
    ("reader_pod.yaml.j2", r"- {{ container }}", "- {name: genai-bench, image: i}",
     r"gives nothing for spec.containers\[genai-bench\].command"),
    ("reader_pod.yaml.j2", r"- {{ container }}", "", "gives nothing for spec.containers"),
    ("inference_service.yaml.j2", r"args: {{ runner.args }}", "", "gives nothing for spec.engine.runner.args"),
    ("benchmark_job.yaml.j2", r"{{ folder }}", "mine", "gives 'mine' for spec.resultFolderName"),
    ("benchmark_job.yaml.j2", r"{{ results }}", "s3://mine", "gives 's3://mine' for spec.outputLocation.storageUri"),
    ("benchmark_job.yaml.j2", r"name: {{ service.name }}", "name: x", "for spec.endpoint.inferenceService.name"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "old", "new", "told"), DROPPED)
def test_a_users_template_that_drops_what_a_trial_needs_is_refused(
    tmp_path: Path, template: str, old: str, new: str, told: str
) -> None:
    whole = (shared_folder("templates") / template).read_text()
    text = re.sub(old, lambda _: new, whole, count=1)
    assert text != whole
    (tmp_path / template).write_text(text)
    with pytest.raises(SetupError, match=told) as caught:
        Templates(tmp_path).render_object(template, VALUES[template])
    assert str(tmp_path / template) in str(caught.value)
    assert "restore the line of the package's template" in str(caught.value)


@pytest.mark.parametrize("template", VALUES)
def test_a_users_template_may_add_to_what_a_trial_needs(tmp_path: Path, template: str) -> None:
    whole = (shared_folder("templates") / template).read_text()
    (tmp_path / template).write_text(whole.replace("metadata:\n", "metadata:\n  annotations: {team: a}\n", 1))
    found = Templates(tmp_path).render_object(template, VALUES[template])
    assert found["metadata"] == {**METADATA, "annotations": {"team": "a"}}


@given(st.text())
def test_only_a_go_template_is_refused(text: str) -> None:
    if "{{" in text:
        with pytest.raises(TaskError, match="expand as a template"):
            refuse_go_templates({"a": ["x", text]}, field="engine.env")
    else:
        refuse_go_templates({"a": ["x", text]}, field="engine.env")


def test_the_field_of_a_refused_value_is_named() -> None:
    with pytest.raises(TaskError) as caught:
        refuse_go_templates({"MODEL": ["ok", "{{ .Name }}"]}, field="engine.env")
    assert caught.value.field == "engine.env.MODEL[1]"
