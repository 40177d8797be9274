"""Responses that are joined from prepared bytes are what protobuf would have made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from xds_server.serve.channel import Sent
from xds_server.serve.wire import Envelope
from xds_server.snapshot.resource import CLUSTER, Resource

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
RESOURCES = st.builds(
    Resource, st.just(CLUSTER), NAMES, st.binary(max_size=300), NAMES, ttl=st.sampled_from([0.0, 1.5])
)


def of(resources: list[Resource], *, delta: bool) -> tuple[str, bytes]:
    """The nonce and the bytes of a response."""
    envelope = Envelope()
    encode = envelope.delta if delta else envelope.full
    message = encode(Sent("7", tuple(resources), ()), CLUSTER, 0)
    return message.nonce, message.data


@given(st.lists(RESOURCES, max_size=4, unique_by=lambda one: one.name))
def test_a_delta_response(resources: list[Resource]) -> None:
    nonce, data = of(resources, delta=True)
    wanted = DeltaDiscoveryResponse(system_version_info="7", type_url=CLUSTER, nonce=nonce)
    for one in resources:
        message = wanted.resources.add(name=one.name, version=one.version)
        message.resource.type_url, message.resource.value = one.type_url, one.body
        if one.ttl:
            message.ttl.FromMilliseconds(round(one.ttl * 1000))
    assert DeltaDiscoveryResponse.FromString(data) == wanted


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
@pytest.mark.parametrize("delta", [True, False])
def test_a_body_of_any_size(size: int, delta: bool) -> None:
    _, data = of([Resource(CLUSTER, "a", b"x" * size, "1")], delta=delta)
    if delta:
        assert DeltaDiscoveryResponse.FromString(data).resources[0].resource.value == b"x" * size
    else:
        (packed,) = DiscoveryResponse.FromString(data).resources
        assert (packed.type_url, packed.value) == (CLUSTER, b"x" * size)
