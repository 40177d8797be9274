"""What the log says when something new comes into force.

In: what was in force, and what is. Out: lines in the log: how much there is, what is gone, and findings that are new.
"""

from __future__ import annotations

import structlog

from xds_server.diagnostics import Severity
from xds_server.memory import difference
from xds_server.observe.diagnostics_view import summary
from xds_server.reload import Policies

_LOG = structlog.get_logger("cellway")
_MOST = 20


def log_published(before: Policies, now: Policies) -> None:
    """Say it."""
    gateways, total = len(now.compiled.gateways), round(sum(now.seconds.values()), 3)
    found = summary(now.diagnostics)
    _LOG.info("published", objects=len(now.compiled.objects), gateways=gateways, found=found, seconds=total)
    changed = difference(before.compiled.objects, now.compiled.objects)
    gone = {item.key for item in changed.gone} - {item.key for item in changed.came}
    if gone:
        _LOG.info("objects are gone", count=len(gone), objects=[str(key) for key in sorted(gone)[:_MOST]])
    known = set(before.diagnostics)
    for diagnostic in now.diagnostics:
        if diagnostic.severity != Severity.INFO and diagnostic not in known:
            _LOG.warning(str(diagnostic))


def log_not_kept(problem: str) -> None:
    """Why what is in force cannot be kept for the next start; empty: it can again."""
    if problem:
        _LOG.error("what is in force cannot be kept for the next start", reason=problem)
    else:
        _LOG.info("what is in force is kept for the next start again")


def log_not_fetched(url: str, problem: str) -> None:
    """Why a document of the web is not as new as it could be."""
    _LOG.error("a document cannot be fetched; what is known of it stays", url=url, reason=problem)
