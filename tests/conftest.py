"""How long properties may take, and which examples they get.

A busy machine is no failure, so no example has a deadline. The gate tries the same examples on every run: one that is
red today and green tomorrow tells nobody anything. New ones are tried wherever people work.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.strict_skips import VARIABLE

settings.register_profile(
    "cellway",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=settings().derandomize or os.environ.get(VARIABLE) == "1",
)
settings.load_profile("cellway")
