"""A storage's URL as it is told: without its password, whatever its form."""

from __future__ import annotations

import pytest

from autotune_nb.errors import StudyError
from autotune_nb.study.storage_url import redact, require_lasting


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


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite+pysqlite://", "sqlite:///?timeout=3"]
)
def test_a_database_in_memory_is_no_storage_of_a_study(url: str) -> None:
    with pytest.raises(StudyError, match=r"names no file, so that the trials would be lost; write sqlite:///FILE\.db"):
        require_lasting(url)


def test_an_outdated_scheme_is_refused_without_its_password() -> None:
    with pytest.raises(StudyError, match=r"^postgres://me:\*\*\*@host/db has an unknown scheme; write postgresql://"):
        require_lasting("postgres://me:hidden@host/db")
    for url in ("sqlite:///a.db", "sqlite:////a.db?timeout=3", "postgresql://h/db", "postgresql+psycopg://h/db"):
        require_lasting(url)
