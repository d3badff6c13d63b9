"""Secrets: named in tasks, known while they are in use, found in what is written and in what is shared."""
