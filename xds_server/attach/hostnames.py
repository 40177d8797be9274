"""Hostnames of listeners and routes: which one of two is the more specific, and what they have in common.

`*` stands for any host; `*.example.com` for one or more labels before `example.com`.
"""

from __future__ import annotations

from collections.abc import Iterable


def intersect(first: str, second: str) -> str | None:
    """The hosts that both stand for, as one hostname; None if there are none."""
    if covers(first, second):
        return second
    return first if covers(second, first) else None


def covers(wide: str, narrow: str) -> bool:
    """True if every host of `narrow` is one of `wide`."""
    if wide in ("*", narrow):
        return True
    return wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:])


def specificity(hostname: str) -> tuple[bool, int]:
    """Greater is more specific: exact names before wildcards, longer before shorter."""
    return (not hostname.startswith("*"), len(hostname))


def owner(hostname: str, listeners: Iterable[str]) -> str:
    """The most specific of the listeners' hostnames that covers a hostname."""
    return max((host for host in listeners if covers(host, hostname)), key=specificity)
