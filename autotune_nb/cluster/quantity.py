"""Kubernetes quantities as numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity


def quantity(text: Any) -> Decimal:
    """Return a quantity such as ``500m``, ``8Gi`` or ``0.5`` as a number. Raises ValueError for anything else."""
    stripped = str(text).strip()
    try:
        # Parsed as text, so that 0.1 is not rounded to a binary fraction.
        number: Decimal = parse_quantity(stripped)
    except ValueError:
        raise ValueError(f"{stripped!r} is no quantity; write one such as 2, 500m or 8Gi") from None
    if not number.is_finite():
        raise ValueError(f"{stripped!r} is no quantity; write one such as 2, 500m or 8Gi")
    return number
