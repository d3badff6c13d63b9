"""Secrets: what names them (``names``), refers to them (``references``), is known of their values (``known_values``,
``scrubbing``, ``files``), and finds them in a task (``literals``) and in any text (``detectors``).

Here belongs how a secret is recognised and taken out, for any text or file. What is cleaned, and when, is decided where
it is written; notebooks are cleaned in ``reports/share.py``. A form of secret belongs to detect-secrets, whose plugins
are used as they are: nothing here guesses from prose, tables or other languages' code.
"""
