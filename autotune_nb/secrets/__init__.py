"""Secrets: what names them (``names``), refers to them (``references``), is known of their values (``known_values``,
``scrubbing``, ``files``), and finds them in a task (``literals``) and in any text (``detectors``).

Here belongs how a secret is recognised and taken out, for any text or file. What is cleaned, and when, is decided where
it is written; notebooks are cleaned in ``reports/share.py``. A form of secret belongs to detect-secrets, whose plugins
are used as they are: nothing here guesses from prose, tables or other languages' code.
"""

from autotune_nb.secrets.files import scrub_files
from autotune_nb.secrets.literals import has_secret, literal_secrets, text_without_secrets, without_secrets
from autotune_nb.secrets.scrubbing import know, scrub, scrub_data, scrub_error, scrub_failure

__all__ = [
    "has_secret",
    "know",
    "literal_secrets",
    "scrub",
    "scrub_data",
    "scrub_error",
    "scrub_failure",
    "scrub_files",
    "text_without_secrets",
    "without_secrets",
]
