"""How long the server keeps what connections to a former listener need, by whose Envoys they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.translate.graphs import gateway
from xds_server.graph import Process
from xds_server.snapshot.resource import ENVOY_DRAIN, Snapshot
from xds_server.supervise.command import DRAIN
from xds_server.supervise.drains import with_drains

NAMES = ("default/edge", "group")


def drains(written: float | None, *, is_local: bool) -> list[float]:
    """That of a gateway, and that of a group of gateways which it is in."""
    process = Process(drain=written)
    made = replace(gateway(), groups=("group",), process=process)
    local: dict[str, Process | None] = {made.name: process} if is_local else {}
    found = with_drains({name: Snapshot(name, {}, {}) for name in NAMES}, [made], local)
    return [found[name].drain for name in NAMES]


@pytest.mark.parametrize("written", [None, 1.0, 3600.0])
def test_envoys_of_this_machine_have_what_they_are_told(written: float | None) -> None:
    own, group = drains(written, is_local=True)
    assert own == (DRAIN if written is None else written)
    assert group == (written if written == 3600 else ENVOY_DRAIN)


@pytest.mark.parametrize("written", [None, 1.0, 3600.0])
def test_envoys_of_others_have_their_own_or_what_is_written_if_that_is_longer(written: float | None) -> None:
    assert drains(written, is_local=False) == [3600.0 if written == 3600 else ENVOY_DRAIN] * 2


def test_an_envoy_of_this_machine_whose_proxy_has_errors_may_be_run_as_before() -> None:
    made = {"default/edge": Snapshot("default/edge", {}, {})}
    assert with_drains(made, [gateway()], {"default/edge": None})["default/edge"].drain == ENVOY_DRAIN
