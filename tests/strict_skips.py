"""With CELLWAY_REQUIRE_ALL=1 a skipped test is a failed test.

In: the reports of pytest. Out: the same reports, with skips turned into failures that name the reason. A
developer without some tool may skip; CI may not, because a gate that skips checks nothing. Expected
failures stay what they are: strict mode already fails those that pass.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

VARIABLE = "CELLWAY_REQUIRE_ALL"


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail") and os.environ.get(VARIABLE) == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{VARIABLE}=1 allows no skip. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip in setup, call or teardown into a failure."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skip of a whole module (`importorskip`) into a failure."""
    report = yield
    _refuse_skip(report)
    return report
