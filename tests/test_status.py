"""What may be said of an object: places of a status that are too many to be listed."""

from __future__ import annotations

from xds_server.status import ParentStatus, Status, aggregated
from xds_server.types import Condition

GOOD = Condition("Accepted", True, "Accepted")


def place(number: int, *conditions: Condition) -> ParentStatus:
    return ParentStatus("gateway.networking.k8s.io", "HTTPRoute", "shop", f"route-{number:02}", conditions=conditions)


def test_sixteen_ancestors_are_listed_as_they_are() -> None:
    status = Status(ancestors=tuple(place(number, GOOD) for number in range(16, 0, -1)))
    assert aggregated(status) is status


def test_of_more_the_ones_that_need_attention_are_kept() -> None:
    refused = place(19, Condition("Accepted", False, "Conflicted"))
    overridden = place(18, GOOD, Condition("Overridden", True, "Overridden"))
    places = (*(place(number, GOOD) for number in range(17, -1, -1)), overridden, refused)
    kept = aggregated(Status(ancestors=places)).ancestors
    assert [one.name for one in kept] == ["route-19", "route-18", *(f"route-{number:02}" for number in range(14))]
    assert [(one.type, one.message) for one in kept[-1].conditions][1:] == [
        ("Aggregated", "4 more ancestors are not listed")
    ]
    assert all(len(one.conditions) == 1 for one in kept[2:-1])
