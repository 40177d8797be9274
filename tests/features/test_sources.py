"""Who may connect: rules in order and the longest of all ranges say the same of every address."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from xds_server.features.parts.sources import Network, divide


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Ranges that often lie in each other."""
    length = draw(st.integers(0, 32))
    address = draw(st.integers(0, 7)) << 29 | draw(st.sampled_from((0, 1, 1 << 8, 1 << 16, 1 << 24)))
    network = ipaddress.ip_network((address, length), strict=False)
    return str(network.network_address), network.prefixlen


rules = st.lists(st.tuples(st.booleans(), st.lists(networks(), min_size=1, max_size=4)), max_size=5)


@given(rules, st.booleans(), networks())
@settings(deadline=None)
def test_the_longest_range_decides_as_the_first_rule_does(
    ordered: list[tuple[bool, list[Network]]], others: bool, near: Network
) -> None:
    sources = divide(ordered, others=others)
    address = ipaddress.ip_address(near[0])

    def fitting(ranges: tuple[Network, ...] | list[Network]) -> list[int]:
        return [length for first, length in ranges if address in ipaddress.ip_network((first, length))]

    expected = next((let_in for let_in, ranges in ordered if fitting(ranges)), others)
    allowed, refused = max(fitting(sources.allowed), default=-1), max(fitting(sources.refused), default=-1)
    assert allowed != refused
    assert (allowed > refused) == expected


def test_addresses_of_both_versions_are_covered() -> None:
    sources = divide([(True, [("2001:db8::", 32)])], others=False)
    assert sources.allowed == (("2001:db8::", 32),)
    assert sources.refused == (("0.0.0.0", 0), ("::", 0))
