"""Rates of bytes as users write them.

In: an amount and a unit of time. Out: KiB a second, which is what Envoy counts; rounded to the nearest, and at least one.
"""

from __future__ import annotations

from typing import Literal

from xds_server.features.contract import Context
from xds_server.features.parts.values import size
from xds_server.spec import Quantity, Spec

_SECONDS = {"Second": 1, "Minute": 60, "Hour": 3600}
_KIB = 1024


class RateSpec(Spec):
    """So many bytes in one unit of time."""

    value: Quantity
    unit: Literal["Second", "Minute", "Hour"]


def rate(spec: RateSpec, context: Context, *path: str | int) -> int | None:
    """KiB a second; None if it is less than one, which was reported."""
    per_second = (size(spec.value) or 0) / _SECONDS[spec.unit]
    if per_second < _KIB:
        reason = f"{spec.value} bytes a {spec.unit.lower()}; Envoy counts whole KiB a second, at least 1Ki a second"
        context.problem("F120", *path, "value", reason=reason)
        return None
    return round(per_second / _KIB)
