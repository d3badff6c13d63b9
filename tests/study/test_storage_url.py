"""A storage's URL as it is told: without its password, whatever its form."""

from __future__ import annotations

import pytest

from autotune_nb.study.storage_url import redact


@pytest.mark.parametrize(
    "secret", ["plain-hidden", "with/slash-hidden", "with:colon-hidden", "perc%40ent-hidden", "qu?ery-hidden"]
)
def test_a_url_loses_its_password_and_nothing_else(secret: str) -> None:
    assert redact(f"postgresql+psycopg://me:{secret}@host:5432/db?a=b") == (
        "postgresql+psycopg://me:***@host:5432/db?a=b"
    )


def test_a_password_among_the_options_is_lost_too() -> None:
    assert redact("postgresql://host/db?user=me&password=hidden&a=b") == "postgresql://host/db?user=me&password=***&a=b"
    for url in ("sqlite:////a/b@c:d.db", "postgresql://me@host/db", "sqlite:///x.db"):
        assert redact(url) == url


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@SECRET@h/x", "postgresql://u:a/SECRET@h/x", "mysql://h/x?password=SECRET"]
)
def test_no_form_of_a_password_is_kept(url: str) -> None:
    assert "SECRET" not in redact(url)
