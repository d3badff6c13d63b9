"""The section of a task about what is called when a run ends."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from autotune_nb.secrets.references import secret_of, variables_in
from autotune_nb.task.section import Section


def _is_url(text: str) -> bool:
    """Return whether a text is a URL, or refers to a variable or a secret that may be one."""
    if variables_in(text) or secret_of(text):
        return True
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


class OnEnd(Section):
    """What is called once when a run ends, however it ends: with a JSON object that has the result."""

    command: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="a command line for the shell, which gets the result as JSON on its standard input"
    )
    webhook: str | None = Field(
        None, description="a URL that gets the result by POST; ${NAME} if it is secret, as those of chats are"
    )

    @field_validator("webhook")
    @classmethod
    def _url(cls, webhook: str | None) -> str | None:
        if webhook is not None and not _is_url(webhook):
            raise ValueError("expected a URL such as https://example.com/hook, or ${NAME}, a variable that has one")
        return webhook
