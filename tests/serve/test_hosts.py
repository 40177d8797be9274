"""Virtual hosts one by one, and only for those who ask for one of their hosts.

In: playbooks with tables of virtual hosts. Out: failures where a request in an Envoy would hang, get the routes of a
wider host, or would not hear of a change.
"""

from __future__ import annotations

from tests.serve.playbook import Client, world
from xds_server.snapshot.resource import CLUSTER, HOST, Resource, Snapshot, snapshot_of


def host(name: str, version: str, *aliases: str, on_demand: bool = True, cluster: str = "") -> Resource:
    """A virtual host of table `t`."""
    name, needs = f"t/{name}", ((CLUSTER, cluster),) if cluster else ()
    body, further = f"{name}{version}".encode(), tuple(f"t/{one}" for one in aliases)
    return Resource(HOST, name, body, version, (), needs, on_demand=on_demand, aliases=further)


def state(*hosts: Resource, clusters: str = "") -> Snapshot:
    others = world(f"CDS {clusters}").get(CLUSTER).values()
    return snapshot_of("default/web", [host("first.invalid", "0", on_demand=False), *hosts, *others])


def client_of(*hosts: Resource) -> Client:
    """A client whose listener waits for the first virtual host, and then serves."""
    client = Client(True, state(*hosts))
    assert client.ask("VHDS") == ["VHDS t/first.invalid0"]
    assert client.ack("VHDS") == []
    return client


def change(client: Client, *hosts: Resource, clusters: str = "") -> list[str]:
    client.stream.replace_snapshot(state(*hosts, clusters=clusters))
    return client.poll()


def test_all_virtual_hosts_that_are_not_on_demand_come_unasked() -> None:
    client = Client(True, state(host("a.example", "1", on_demand=False)))
    assert client.ask("VHDS") == ["VHDS t/a.example1 t/first.invalid0"]
    client.ack("VHDS")
    assert change(client, host("a.example", "2", on_demand=False)) == ["VHDS t/a.example2"]
    client.ack("VHDS")
    assert change(client) == ["VHDS -t/a.example"]


def test_a_host_that_is_asked_for_comes_under_the_name_that_was_asked() -> None:
    client = client_of(host("a.example", "1"), host("b.example", "1", "c.example"))
    assert client.ask("VHDS", "+t/a.example") == ["VHDS t/a.example1=t/a.example"]
    client.ack("VHDS")
    assert client.ask("VHDS", "+t/C.example:8080") == ["VHDS t/b.example1=t/C.example:8080"]
    client.ack("VHDS")
    assert client.stream.in_sync()


def test_a_host_that_nothing_answers_is_answered_with_nothing() -> None:
    client = client_of(host("a.example", "1"))
    assert client.ask("VHDS", "+t/x.example") == ["VHDS t/x.example?"]
    client.ack("VHDS")
    assert change(client, host("a.example", "1"), host("x.example", "1")) == ["VHDS t/x.example1"]
    client.ack("VHDS")
    assert client.stream.in_sync()


def test_a_host_asked_for_twice_is_answered_twice() -> None:
    client = client_of(host("a.example", "1"))
    client.ask("VHDS", "+t/a.example")
    client.ack("VHDS")
    assert client.ask("VHDS", "+t/a.example") == ["VHDS t/a.example1=t/a.example"]
    client.ack("VHDS")
    assert client.ask("VHDS", "+t/x") == ["VHDS t/x?"]
    client.ack("VHDS")
    assert client.ask("VHDS", "+t/x") == ["VHDS t/x?"]


def test_hosts_asked_for_while_a_response_is_on_its_way_come_next() -> None:
    client = client_of(host("a.example", "1"), host("b.example", "1"))
    assert client.ask("VHDS", "+t/a.example") == ["VHDS t/a.example1=t/a.example"]
    assert client.ask("VHDS", "+t/b.example", "+t/x", nonce="") == []
    assert client.ack("VHDS") == ["VHDS t/x? t/b.example1=t/b.example"]


def test_with_a_wildcard_come_the_narrower_hosts_that_nobody_would_ask_for_any_more() -> None:
    hosts = (host("*.example", "1"), host("a.example", "1"), host("*.b.example", "1"), host("other", "1"))
    client = client_of(*hosts)
    assert client.ask("VHDS", "+t/z.example") == ["VHDS t/*.b.example1 t/*.example1=t/z.example t/a.example1"]
    client.ack("VHDS")
    assert change(client, *hosts, host("new.example", "1"), host("new", "1")) == ["VHDS t/new.example1"]


def test_a_change_reaches_who_has_the_host_and_nobody_else() -> None:
    client = client_of(host("a.example", "1"), host("b.example", "1"))
    client.ask("VHDS", "+t/a.example")
    client.ack("VHDS")
    assert change(client, host("a.example", "1"), host("b.example", "2")) == []
    assert change(client, host("a.example", "2"), host("b.example", "2")) == ["VHDS t/a.example2"]
    client.ack("VHDS")
    assert change(client, host("b.example", "2")) == ["VHDS -t/a.example"]
    client.ack("VHDS")
    assert client.ask("VHDS", "+t/a.example") == ["VHDS t/a.example?"]


def test_a_host_with_a_new_cluster_waits_for_it() -> None:
    client = client_of()
    client.ask("CDS")
    client.ack("CDS")
    assert change(client, host("a.example", "1", cluster="c"), clusters="c1") == ["CDS c1"]
    assert client.ask("VHDS", "+t/a.example") == []
    assert client.ack("CDS") == ["VHDS t/a.example1=t/a.example"]


def test_a_client_that_comes_back_is_sent_only_what_it_lacks() -> None:
    client = Client(True, state(host("a.example", "1"), host("b.example", "2"), host("*.c", "1")))
    had = {"t/first.invalid": "0", "t/a.example": "1", "t/b.example": "1", "t/gone": "1"}
    said = client.ask("VHDS", "+t/a.example", "+t/x.c", had=had)
    assert said == ["VHDS t/*.c1=t/x.c t/b.example2 -t/gone"]


def test_a_refused_host_leaves_no_request_waiting() -> None:
    client = client_of(host("a.example", "1"), host("b.example", "1"))
    client.ask("VHDS", "+t/a.example")
    assert client.nack("VHDS", "t/a.example is bad") == []
    assert client.ask("VHDS", "+t/a.example") == ["VHDS t/a.example?"]
    client.ack("VHDS")
    assert change(client, host("a.example", "2"), host("b.example", "1")) == ["VHDS t/a.example2"]


def test_the_state_of_the_world_knows_no_virtual_hosts() -> None:
    client = Client(False, state(host("a.example", "1")))
    assert client.ask("VHDS", "t/a.example") == []
    assert client.stream.in_sync()


def test_hosts_that_nobody_has_are_not_remembered_without_end() -> None:
    client = client_of()
    for number in range(10_050):
        client.ask("VHDS", f"+t/x{number}")
        client.ack("VHDS")
    hosts = client.stream.channels[HOST].on_demand
    assert hosts is not None
    assert len(hosts.absent) == 10_000
