"""Manifests out of Jinja2 templates: a user's own folder first, then the package's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from autotune_nb.cluster._required_fields import require_kept
from autotune_nb.cluster.kinds import Object
from autotune_nb.errors import SetupError, TaskError
from autotune_nb.resources import shared_folder


class Templates:
    """Renders a template into objects. Every value is written as JSON, which YAML reads as it is: none breaks out."""

    def __init__(self, own: str | Path | None = None) -> None:
        """Raises SetupError where the user's own folder does not exist."""
        folders = [shared_folder("templates")]
        if own is not None:
            path = Path(own).expanduser()
            if not path.is_dir():
                raise SetupError(f"there is no folder {str(own)!r}", field="deploy.templates")
            folders.insert(0, path)
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([str(folder) for folder in folders]),
            undefined=jinja2.StrictUndefined,
            # What stands between the braces becomes JSON unless the template itself says | safe.
            finalize=_as_json,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        """The manifest as text. Raises SetupError, naming the template and the line, where it cannot be rendered."""
        try:
            return self._environment.get_template(template).render(values)
        except jinja2.TemplateNotFound:
            raise SetupError(f"there is no template {template!r}", field="deploy.templates") from None
        except jinja2.TemplateSyntaxError as error:
            where = error.filename or template
            raise SetupError(f"{where}, line {error.lineno}: {error.message}", field="deploy.templates") from None
        except jinja2.TemplateError as error:
            raise SetupError(f"{template}: {error}", field="deploy.templates") from None

    def objects(self, template: str, values: Mapping[str, Any]) -> list[Object]:
        """Every object of the manifest. Raises SetupError where it is no YAML or no object."""
        text = self.text(template, values)
        try:
            found = [one for one in yaml.safe_load_all(text) if one is not None]
        except yaml.YAMLError as error:
            told = " ".join(str(error).split())
            raise SetupError(f"what {template} gives is no YAML: {told}", field="deploy.templates") from None
        for one in found:
            if not isinstance(one, dict) or not isinstance(one.get("metadata"), dict):
                raise SetupError(f"what {template} gives is no Kubernetes object", field="deploy.templates")
        return found

    def object(self, template: str, values: Mapping[str, Any]) -> Object:
        """The manifest's one object. Raises SetupError where there are none or several, and where a user's template
        dropped what a trial's object needs."""
        found = self.objects(template, values)
        if len(found) != 1:
            raise SetupError(f"{template} gives {len(found)} objects, one is wanted", field="deploy.templates")
        file = self._environment.get_template(template).filename or template
        require_kept(template, found[0], values, file=file)
        return found[0]


def refuse_templates(value: Any, *, field: str) -> None:
    """Raises TaskError for ``{{`` anywhere in a value: OME runs the container through a Go template, and falls silent
    where that fails."""
    if isinstance(value, str) and "{{" in value:
        raise TaskError(f"has '{{{{' in {value!r}, which OME would take for a template of its own", field=field)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            refuse_templates(key, field=field)
            refuse_templates(inner, field=f"{field}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            refuse_templates(inner, field=f"{field}[{index}]")


class _Raw(str):
    """Text that is YAML already."""


#: JSON that YAML reads otherwise: floats without a point, characters as two surrogates, and a bare DEL.
_STRING_OR_FLOAT = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\d.])-?\d+(?=e[+-]\d)')
_ESCAPE = re.compile(r"\\u(d[89ab]..)\\u(d[c-f]..)|\\.|\x7f")


def _as_json(value: Any) -> Any:
    if isinstance(value, jinja2.Undefined | _Raw):
        return value
    return _Raw(_STRING_OR_FLOAT.sub(_for_yaml, json.dumps(value)))


def _for_yaml(token: re.Match[str]) -> str:
    return _ESCAPE.sub(_escape, token[0]) if token[0].startswith('"') else f"{token[0]}.0"


def _escape(found: re.Match[str]) -> str:
    if found[0] == "\x7f":
        return "\\x7f"
    if found[1] is None:
        return found[0]
    return f"\\U{0x10000 + ((int(found[1], 16) - 0xD800) << 10) + int(found[2], 16) - 0xDC00:08x}"
