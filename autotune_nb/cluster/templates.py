"""Renders manifests from Jinja2 templates: those of the user's folder, else the package's."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from autotune_nb.cluster._required_fields import require_fields
from autotune_nb.cluster.kinds import Object
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.resources import shared_folder


@functools.cache
def _environment(*folders: str) -> jinja2.Environment:
    """Return the environment of these folders; it keeps compiled templates until their files change."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        # Every inserted value becomes JSON, except text marked as raw YAML.
        finalize=_as_json,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


class Templates:
    """Renders templates. Every value is inserted as JSON, which is valid YAML, so no value can change the structure."""

    def __init__(self, user_folder: str | Path | None = None) -> None:
        """Raises SetupError if the user's folder does not exist."""
        folders = [shared_folder("templates")]
        if user_folder is not None:
            path = Path(user_folder).expanduser()
            if not path.is_dir():
                raise SetupError(f"there is no folder {str(user_folder)!r}", field="deploy.templates")
            folders.insert(0, path)
        self._environment = _environment(*map(str, folders))

    def render_text(self, template: str, values: Mapping[str, Any]) -> str:
        """Return the manifest as text. Raises SetupError, with template and line, if it cannot be rendered."""
        try:
            return self._environment.get_template(template).render(values)
        except jinja2.TemplateNotFound:
            raise SetupError(f"there is no template {template!r}", field="deploy.templates") from None
        except jinja2.TemplateSyntaxError as error:
            where = error.filename or template
            raise SetupError(f"{where}, line {error.lineno}: {error.message}", field="deploy.templates") from None
        except jinja2.TemplateError as error:
            raise SetupError(f"{template}: {error}", field="deploy.templates") from None

    def render_objects(self, template: str, values: Mapping[str, Any]) -> list[Object]:
        """Return every object of the manifest. Raises SetupError if it is no YAML or no object."""
        text = self.render_text(template, values)
        try:
            found = [one for one in yaml.safe_load_all(text) if one is not None]
        except yaml.YAMLError as error:
            message = " ".join(str(error).split())
            raise SetupError(f"{template} renders to invalid YAML: {message}", field="deploy.templates") from None
        for one in found:
            if not isinstance(one, dict) or not isinstance(one.get("metadata"), dict):
                raise SetupError(
                    f"{template} renders to something that is no Kubernetes object", field="deploy.templates"
                )
        return found

    def render_object(self, template: str, values: Mapping[str, Any]) -> Object:
        """Return the manifest's only object.

        Raises SetupError if there are none or several, or if a user's template lacks a required field.
        """
        found = self.render_objects(template, values)
        if len(found) != 1:
            raise SetupError(f"{template} renders to {len(found)} objects instead of one", field="deploy.templates")
        file = self._environment.get_template(template).filename or template
        require_fields(template, found[0], values, file=file)
        return found[0]


def refuse_go_templates(value: Any, *, field: str) -> None:
    """Raise TaskError for ``{{`` anywhere in a value.

    OME expands Go templates in the container, and reports nothing if that fails.
    """
    if isinstance(value, str) and "{{" in value:
        raise TaskError(f"has '{{{{' in {value!r}, which OME would expand as a template", field=field)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            refuse_go_templates(key, field=field)
            refuse_go_templates(inner, field=f"{field}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            refuse_go_templates(inner, field=f"{field}[{index}]")


class _RawYaml(str):
    """Text that is YAML already."""


#: JSON that YAML reads differently: floats without a point, surrogate pairs, and a literal DEL.
_STRING_OR_FLOAT = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\d.])-?\d+(?=e[+-]\d)')
_ESCAPE = re.compile(r"\\u(d[89ab]..)\\u(d[c-f]..)|\\.|\x7f")


def _as_json(value: Any) -> Any:
    if isinstance(value, jinja2.Undefined | _RawYaml):
        return value
    return _RawYaml(_STRING_OR_FLOAT.sub(_for_yaml, json.dumps(value)))


def _for_yaml(token: re.Match[str]) -> str:
    return _ESCAPE.sub(_escape, token[0]) if token[0].startswith('"') else f"{token[0]}.0"


def _escape(found: re.Match[str]) -> str:
    if found[0] == "\x7f":
        return "\\x7f"
    if found[1] is None:
        return found[0]
    return f"\\U{0x10000 + ((int(found[1], 16) - 0xD800) << 10) + int(found[2], 16) - 0xDC00:08x}"
