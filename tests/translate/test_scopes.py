"""Large chains in several tables: which, where hosts are, and that one edit makes one table anew.

In: chains of many routes. Out: failures where a host would be looked for in another table than it is in, where a chain
has several tables that must have one, or where an edit costs more than its table.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.tokens import jwks
from tests.translate.graphs import ORIGIN, Reporter, feature, gateway, host, route, setting
from xds_server.features import FEATURES
from xds_server.features.jwt import JwtSpec
from xds_server.features.parts.headers import TABLE, check_forwarded
from xds_server.features.parts.rate_limits import RateLimitSpec
from xds_server.graph import Gateway, HttpChain, Patch, PatchSet, Respond, Setting, VirtualHost
from xds_server.rules.messages import Rules
from xds_server.snapshot.resource import LISTENER, ROUTES, SCOPES
from xds_server.translate.gateway import Memory, translate_gateway
from xds_server.translate.message import Translated
from xds_server.translate.scopes import COUNT, LIMIT, MOST, PATTERNS, part_names, place, spread_chains
from xds_server.types import Key

RULES = Rules()
NAME = "default/edge/http"


def hosts(count: int, routes: int = 10) -> list[VirtualHost]:
    """Hosts with so many routes each."""
    return [
        host(f"host-{number}.example", *(route(Respond(200), path=f"/{at}") for at in range(routes)))
        for number in range(count)
    ]


def chain_of(wanted: Gateway) -> HttpChain:
    (chain,) = wanted.ports[0].http_chains
    return chain


def is_spread(wanted: Gateway) -> bool:
    return chain_of(spread_chains(wanted, FEATURES)).spread


def tables(wanted: Gateway, memory: Memory | None = None) -> dict[str, Translated]:
    messages, problems = translate_gateway(wanted, FEATURES, RULES.check, memory)
    assert not problems
    return {one.name: one for one in messages if type(one.message).__name__ == "RouteConfiguration"}


LARGE = gateway(*hosts(101), host("*", route(Respond(404))))


def test_a_large_chain_has_several_tables_and_a_small_one_has_one() -> None:
    assert LIMIT < 101 * 10
    assert set(tables(LARGE)) == set(part_names(NAME))
    assert set(tables(gateway(*hosts(LIMIT // 10)))) == {NAME}


def test_every_host_is_in_its_table_and_a_wildcard_in_each() -> None:
    found = {name: {one.domains[0] for one in table.whole.virtual_hosts} for name, table in tables(LARGE).items()}  # type: ignore[attr-defined]
    assert all("*" in names for names in found.values())
    for number in range(101):
        name = f"host-{number}.example"
        assert [table for table, names in found.items() if name in names] == [part_names(NAME)[place(name)]]


def test_a_host_with_other_names_is_in_the_tables_of_all() -> None:
    many = VirtualHost("one.example", tuple(route(Respond(200)) for _ in range(LIMIT + 1)), aliases=("two.example",))
    found = {name for name, table in tables(gateway(many)).items() if table.rest}
    assert found == {part_names(NAME)[place(one)] for one in many_names(many)}


def many_names(one: VirtualHost) -> tuple[str, ...]:
    return (one.hostname, *one.aliases)


def test_scopes_lead_to_tables_and_the_listener_needs_both() -> None:
    messages, _ = translate_gateway(LARGE, FEATURES, RULES.check)
    leading = [one for one in messages if type(one.message).__name__ == "ScopedRouteConfiguration"]
    assert [one.needs for one in leading] == [((ROUTES, name),) for name in part_names(NAME)]
    (listener,) = (one for one in messages if type(one.message).__name__ == "Listener")
    assert {one for one in listener.needs if one[0] in (SCOPES, ROUTES)} == {
        (kind, name) for kind in (SCOPES, ROUTES) for name in part_names(NAME)
    }


def test_one_edit_makes_one_table_anew() -> None:
    memory = Memory()
    many = hosts(101)
    before = tables(gateway(*many), memory)
    many[7] = host("host-7.example", route(Respond(500)))
    after = tables(gateway(*many), memory)
    assert [name for name in after if after[name] is not before[name]] == [part_names(NAME)[place("host-7.example")]]
    fresh = tables(gateway(*many))
    assert {name: one.whole for name, one in after.items()} == {name: one.whole for name, one in fresh.items()}


def with_setting(feature: str) -> Gateway:
    """The large gateway, where one feature is used."""
    chain = chain_of(LARGE)
    chain = replace(chain, settings=(Setting(feature, None),))
    return replace(LARGE, ports=(replace(LARGE.ports[0], chains=(chain,)),))


@pytest.mark.parametrize("feature", ["lua", "wasm", "ext_proc", "ext_auth", "dynamic_modules"])
def test_whoever_reads_all_headers_keeps_a_chain_in_one_table(feature: str) -> None:
    assert not is_spread(with_setting(feature))
    assert is_spread(with_setting("cors"))


def test_who_has_the_table_chosen_anew_keeps_a_chain_in_one_table() -> None:
    for recompute in (False, True):
        provider = {"name": "idp", "localJWKS": {"inline": jwks()}, "recomputeRoute": recompute}
        guarded = host("one.example", route(Respond(200), setting("jwt", JwtSpec, {"providers": [provider]})))
        assert is_spread(gateway(*hosts(101), guarded)) is not recompute


def test_nobody_else_writes_the_header_that_names_a_table() -> None:
    reporter = Reporter()
    claims = [{"claim": "sub", "header": TABLE.title()}]
    provider = {"name": "idp", "localJWKS": {"inline": jwks()}, "claimToHeaders": claims}
    assert feature("jwt").resolve(JwtSpec.model_validate({"providers": [provider]}), reporter) is None
    assert not check_forwarded(reporter, TABLE.title())
    assert [code for code, *_ in reporter.found] == ["F101", "F101"]


def test_what_counts_for_a_route_counts_once() -> None:
    limits = {"local": {"rules": [{"limit": {"requests": 2, "unit": "Hour"}}]}}
    limit = setting("local_rate_limit", RateLimitSpec, limits)
    limited = [route(Respond(200), limit)]
    assert is_spread(gateway(*hosts(101), host("one.example", *limited), host("*", route(Respond(404)))))
    assert not is_spread(gateway(*hosts(101), host("*.example", *limited)))
    assert not is_spread(gateway(*hosts(101), replace(host("one.example", *limited), aliases=("two.example",))))


def test_hosts_with_names_in_many_tables_are_not_copied_too_often() -> None:
    names = tuple(f"{letter}.example" for letter in "abcdefghijklmnop")
    for many in (1, 101):
        named = [
            replace(one, aliases=tuple(f"{number}{name}" for name in names)) for number, one in enumerate(hosts(many))
        ]
        assert is_spread(gateway(*hosts(303)[202:], *named)) is (many == 1)


def patched(type_url: str, name: str) -> Gateway:
    operation = json.dumps({"op": "add", "path": "/x", "value": 1})
    key = Key("gateway.envoyproxy.io", "EnvoyPatchPolicy", "default", "one")
    return replace(LARGE, patches=(PatchSet(key, (Patch(type_url, name, operation, ORIGIN),)),))


def test_what_is_patched_stays_in_one_table() -> None:
    assert not is_spread(patched(LISTENER, "default/edge/http-8080"))
    assert not is_spread(patched(ROUTES, NAME))
    assert is_spread(patched(ROUTES, "default/edge/other"))
    assert is_spread(patched(LISTENER, "default/edge/http-9090"))


def test_hosts_on_demand_and_many_routes_of_wildcards_stay_in_one_table() -> None:
    port = LARGE.ports[0]
    on_demand = replace(chain_of(LARGE), on_demand=True)
    assert not is_spread(replace(LARGE, ports=(replace(port, chains=(on_demand,)),)))
    wide = host("*.example", *(route(Respond(200)) for _ in range(34)))
    assert not is_spread(gateway(*hosts(99), wide))
    assert is_spread(gateway(*hosts(103), wide))


def test_not_all_chains_of_a_gateway_have_several_tables() -> None:
    many = tuple(replace(LARGE.ports[0], name=f"p{number}", port=number) for number in range(MOST + 2))
    found = spread_chains(replace(LARGE, ports=many), FEATURES)
    assert [one.http_chains[0].spread for one in found.ports] == [True] * MOST + [False, False]


NAMES = st.one_of(
    st.from_regex(r"[a-zA-Z0-9]([-a-zA-Z0-9.]{0,40}[a-zA-Z0-9])?", fullmatch=True),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=":"), max_size=30),
)


@given(NAMES, st.sampled_from(["", ":80", ":", ":xyz", ":99999"]))
def test_expressions_find_the_table_that_a_host_is_in(name: str, port: str) -> None:
    written = [one.replace("\\\\", "\\") for one in PATTERNS]
    bits = "".join("0" if re.search(one, name + port) else "1" for one in written)
    assert int(bits, 2) == place(name)
    assert place(name) == place(name.upper()) == place(f"{name}.")


def test_hosts_are_spread_evenly() -> None:
    for names in ([f"host-{n}.example.com" for n in range(1000)], [f"tenant{n:04}.example.com" for n in range(1000)]):
        counts = [0] * COUNT
        for name in names:
            counts[place(name)] += 1
        assert max(counts) < 2 * len(names) / COUNT
