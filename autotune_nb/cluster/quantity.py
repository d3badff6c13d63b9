"""Quantities as Kubernetes writes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity


def quantity(text: Any) -> Decimal:
    """A quantity such as ``500m``, ``8Gi`` or ``0.5`` as a number. Raises ValueError for anything else."""
    word = str(text).strip()
    try:
        # As text: 0.1 is a tenth here, and not the nearest binary fraction.
        found: Decimal = parse_quantity(word)
    except ValueError:
        raise ValueError(f"{word!r} is no quantity; write one such as 2, 500m or 8Gi") from None
    if not found.is_finite():
        raise ValueError(f"{word!r} is no quantity; write one such as 2, 500m or 8Gi")
    return found
