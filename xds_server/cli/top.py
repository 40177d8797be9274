"""`cellway top`: requests per second, errors and times, as the Envoys of this machine count them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xds_server.cli.options import DEFAULT_ADMIN, Admin, Color, OneGateway
from xds_server.cli.output import console, print_table, trouble

if TYPE_CHECKING:
    from rich.console import Console

_SHORTEST = 0.1


def top(
    gateway: OneGateway = None,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=0, help="How many times; 0: until it is interrupted.")
    ] = 0,
    interval: Annotated[str, typer.Option(metavar="DURATION", help="Over which time rates are measured.")] = "2s",
    output: Annotated[
        Literal["text", "json"], typer.Option("--output", "-o", help="As a table, or as a line of JSON each time.")
    ] = "text",
    color: Color = "auto",
    admin: Admin = DEFAULT_ADMIN,
) -> None:
    """Show requests per second, the share of 5xx, and times, by listener, cluster and named route; busiest first.

    Times are Envoy's own percentiles in milliseconds. Example: cellway top -n 1
    """
    import contextlib
    import json

    from xds_server.types import parse_duration

    seconds = parse_duration(interval)
    if seconds is None or seconds < _SHORTEST:
        trouble(f"'{interval}' is not a duration of at least 100ms, such as 2s")
    with contextlib.suppress(KeyboardInterrupt):
        before, shown = _ask(admin, gateway), 0
        while count == 0 or shown < count:
            time.sleep(seconds)
            now = _ask(admin, gateway)
            items = rates(before, now)
            if output == "json":
                print(json.dumps({"items": items}), flush=True)
            else:
                _print(items, console(color), again=shown > 0)
            before, shown = now, shown + 1


def _ask(admin: str, gateway: str | None) -> tuple[float, list[dict[str, Any]]]:
    from xds_server.cli.asking import items_of

    items = items_of(admin, "/api/v1/traffic")
    if not items:
        trouble("the server has no Envoy on its machine; ask others for their statistics where they run")
    chosen = [one for one in items if gateway in (None, one["gateway"])]
    if not chosen:
        trouble(f"no Envoy of gateway {gateway} runs here; those of {', '.join({one['gateway'] for one in items})} do")
    return time.monotonic(), chosen


def rates(before: tuple[float, list[dict[str, Any]]], now: tuple[float, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What happened between two looks, busiest first. Counters of an Envoy that started anew begin at 0."""
    passed = max(now[0] - before[0], 1e-9)
    known = {(one["node"], one["kind"], one["name"]): one for one in before[1]}
    items = []
    for one in now[1]:
        last = known.get((one["node"], one["kind"], one["name"]), {"requests": 0, "errors": 0})
        fresh = one["requests"] < last["requests"]
        requests = one["requests"] - (0 if fresh else last["requests"])
        errors = one["errors"] - (0 if fresh else last["errors"])
        share = errors / requests if requests else 0.0
        items.append({**one, "perSecond": requests / passed, "errorShare": share})
    return sorted(items, key=lambda one: (-one["perSecond"], one["gateway"], one["kind"], one["name"]))


def _print(items: list[dict[str, Any]], out: Console, *, again: bool) -> None:
    if out.is_terminal and again:
        out.clear()
    elif again:
        out.print()
    head = ("GATEWAY", "WHAT", "NAME", "REQ/S", "ERRORS", "P50 MS", "P99 MS")
    rows = [
        (
            one["gateway"],
            one["kind"],
            one["name"],
            f"{one['perSecond']:.1f}",
            f"{100 * one['errorShare']:.1f} %",
            *("-" if one[name] is None else f"{one[name]:.3g}" for name in ("p50", "p99")),
        )
        for one in items
    ]
    print_table(out, head, rows)
