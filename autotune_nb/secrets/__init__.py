"""Secrets: named in tasks, known while they are in use, found in what is written and in what is shared.

Finding secrets and taking them out of text, and nothing else; which files and outputs are cleaned is decided where they
are written.
"""
