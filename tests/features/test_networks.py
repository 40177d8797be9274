"""Ranges of addresses: what Envoy would refuse is refused before it gets there."""

from __future__ import annotations

import pytest

from xds_server.types import read_network


def test_ranges_are_read() -> None:
    assert str(read_network("192.0.2.0/24")) == "192.0.2.0/24"
    assert str(read_network("192.0.2.7/24", strict=False)) == "192.0.2.0/24"


@pytest.mark.parametrize("text", ["2001:db8::%x/32", "fe80::%eth0", "192.0.2.1/24", "nothing"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_network(text)
