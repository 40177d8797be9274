"""What `cellway check` makes of facts: each state, and a page of the documentation for everything that is not well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xds_server.observe.checks import (
    Answers,
    Check,
    certificate_checks,
    envoy_check,
    limit_checks,
    no_server,
    package_check,
    python_check,
    server_checks,
    xds_check,
)

DAY = 86400.0
SAID = "envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL"
SYNCED: dict[str, Any] = {"synced": True, "items": [{}], "missing": []}


def metrics(**ends: float) -> str:
    lines = [
        f'cellway_certificate_expiry_timestamp_seconds{{name="{name.replace("_", "-")}"}} {end}'
        for name, end in ends.items()
    ]
    return "\n".join(['cellway_build_info{envoy_api="1.40.0",version="0.1"} 1.0', *lines])


def server(
    text: str = "", proxies: dict[str, Any] | None = None, ahead: float | None = 0.0, why: str = ""
) -> list[Check]:
    return list(server_checks(Answers("a:1", why, text or metrics(), proxies or SYNCED, ahead), "0.1", 1000 * DAY))


def states(found: list[Check]) -> list[tuple[str, str]]:
    return [(one.what, one.state) for one in found if one.state != "ok"]


def test_a_sound_server_has_nothing_to_say() -> None:
    assert states(server()) == []
    assert [one.what for one in server()] == ["server", "version", "clocks", "envoys", "certificates"]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (server(why="nothing is loaded"), ("server", "failed")),
        (server(metrics().replace("0.1", "0.2")), ("version", "warning")),
        (server(ahead=5.0), ("clocks", "warning")),
        (server(ahead=-90.0), ("clocks", "failed")),
        (server(proxies={"synced": False, "items": [], "missing": ["the Envoy of a"]}), ("envoys", "warning")),
        ([python_check((3, 10, 2))], ("python", "failed")),
        ([package_check({"a": "1.2", "b": "1"}, {"a": "1.10"})], ("packages", "failed")),
        ([package_check({"a": "1.10"}, {"a": "1.9.9"})], ("packages", "failed")),
        ([envoy_check("/e", SAID, "1.41.0", "")], ("envoy", "warning")),
        ([envoy_check("/e", "nonsense", "1.40.0", "")], ("envoy", "failed")),
        ([envoy_check("", "", "1.40.0", "no Envoy found")], ("envoy", "warning")),
        (list(limit_checks(1024, {})), ("open files", "warning")),
        (list(limit_checks(9999, {"max_user_watches": 100, "max_user_instances": None})), ("inotify", "warning")),
        ([no_server("a:1", "refused")], ("server", "failed")),
        ([xds_check("a:1", "refused")], ("xds", "failed")),
    ],
)
def test_what_is_not_well_is_said_with_a_page(found: list[Check], wanted: tuple[str, str]) -> None:
    assert states(found) == [wanted]
    (bad,) = [one for one in found if one.state != "ok"]
    page, _, section = bad.page.partition("#")
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    titles = [line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line.startswith("#")]
    assert not section or section in titles


def test_what_is_well_is_said_too() -> None:
    sound = [
        python_check((3, 11, 0)),
        package_check({"a": "1.2"}, {"a": "1.10"}),
        envoy_check("/e", SAID, "1.40.0", ""),
    ]
    sound += [*limit_checks(9999, {"max_user_watches": 9999}), xds_check("a:1", "")]
    assert {(one.state, one.page) for one in sound} == {("ok", "")}


def test_certificates_that_end_soon_and_those_that_are_renewed() -> None:
    now = 1000 * DAY
    text = metrics(ended=now - DAY, soon=now + 3 * DAY, good=now + 30 * DAY, west_identity=now + DAY / 2)
    found = list(certificate_checks(text, now))
    assert [(one.state, one.message) for one in found] == [
        ("failed", "ended ended 1.0 days ago"),
        ("warning", "soon ends in 3.0 days"),
        ("ok", "2 with time enough"),
    ]
    late = list(certificate_checks(metrics(west_identity=now + 60), now))
    assert [one.state for one in late] == ["warning"]
    assert [one.message for one in certificate_checks("", now)] == ["none"]
