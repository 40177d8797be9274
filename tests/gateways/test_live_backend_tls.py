"""BackendTLSPolicy through a real Envoy: who is trusted, which names count, and what a broken policy closes."""

from __future__ import annotations

import ssl

import pytest

from tests.e2e.certificates import Authority
from tests.gateways.rig import Rig, authorities, condition, load, route, service
from xds_server.types import Condition

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 10080}]
---
"""
CA = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]"
PROVEN = f"{{{CA}, hostname: up.example}}"


def policy(name: str, validation: str, target: str = "name: up", created: str = "") -> str:
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: {name}{stamp}}}\n"
        f"spec:\n  targetRefs: [{{group: '', kind: Service, {target}}}]\n  validation: {validation}\n---\n"
    )


class World:
    """A TLS server behind Service `up`, which has the names `up.example` and `spiffe://test/up`."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.authority, self.names = rig, Authority(), list[str | None]()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load(context, self.authority.issue("up.example", "spiffe://test/up"))
        context.sni_callback = lambda _connection, name, _context: self.names.append(name)
        self.server = rig.server("up", context)
        address, port = self.server.address
        self.text = GATEWAY + service("up", address, port) + route("web", "up")
        self.text += authorities("ca", self.authority.certificate)

    def status(self, *policies: str, flawed: bool = False) -> int:
        """What a request is answered with under these policies."""
        self.rig.serve(self.text + "".join(policies), flawed=flawed)
        return self.rig.ask("shop.example").status_code

    def conditions(self, name: str) -> tuple[Condition, ...]:
        """The conditions of a policy for the Gateway."""
        (ancestor,) = self.rig.status("BackendTLSPolicy", name).ancestors
        assert (ancestor.kind, ancestor.name) == ("Gateway", "edge")
        return ancestor.conditions


@pytest.fixture(scope="module")
def world(rig: Rig) -> World:
    return World(rig)


def test_the_backend_is_asked_by_name_and_proves_it(world: World) -> None:
    assert world.status(policy("tls", PROVEN)) == 200
    assert world.names[-1] == "up.example"
    assert condition(world.conditions("tls"), "Accepted") == (True, "Accepted")
    assert condition(world.conditions("tls"), "ResolvedRefs") == (True, "ResolvedRefs")


def test_without_a_policy_the_backend_is_spoken_to_in_plain_text(world: World) -> None:
    assert world.status() == 503


@pytest.mark.parametrize(
    ("validation", "status"),
    [
        (f"{{{CA}, hostname: other.example}}", 503),
        ("{wellKnownCACertificates: System, hostname: up.example}", 503),
        (f"{{{CA}, hostname: a.b, subjectAltNames: [{{type: URI, uri: 'spiffe://test/up'}}]}}", 200),
        (f"{{{CA}, hostname: a.b, subjectAltNames: [{{type: URI, uri: 'spiffe://test/other'}}]}}", 503),
        (f"{{{CA}, hostname: a.b, subjectAltNames: [{{type: Hostname, hostname: up.example}}]}}", 200),
        (f"{{{CA}, hostname: up.example, subjectAltNames: [{{type: Hostname, hostname: no.example}}]}}", 503),
    ],
)
def test_the_certificate_must_have_one_of_the_names(world: World, validation: str, status: int) -> None:
    assert world.status(policy("tls", validation)) == status


def test_one_of_several_alternative_names_is_enough(world: World) -> None:
    names = "[{type: Hostname, hostname: no.example}, {type: URI, uri: 'spiffe://test/up'}]"
    assert world.status(policy("tls", f"{{{CA}, hostname: sent.example, subjectAltNames: {names}}}")) == 200
    assert world.names[-1] == "sent.example"


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("{group: '', kind: ConfigMap, name: gone}", "InvalidCACertificateRef"),
        ("{group: '', kind: ConfigMap, name: empty}", "InvalidCACertificateRef"),
        ("{group: '', kind: ConfigMap, name: garbage}", "InvalidCACertificateRef"),
        ("{group: '', kind: Pod, name: ca}", "InvalidKind"),
    ],
)
def test_authorities_that_are_none_close_the_backend(world: World, ref: str, reason: str) -> None:
    more = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: empty}\ndata: {}\n---\n" + authorities("garbage", "no")
    bad = policy("tls", f"{{caCertificateRefs: [{ref}], hostname: up.example}}")
    assert world.status(more, bad, flawed=True) == 500
    assert condition(world.conditions("tls"), "Accepted") == (False, "NoValidCACertificate")
    assert condition(world.conditions("tls"), "ResolvedRefs") == (False, reason)
    (problem,) = [one for one in world.rig.result.diagnostics if one.code == "A104"]
    assert problem.span is not None


def test_one_good_authority_is_enough(world: World) -> None:
    refs = "[{group: '', kind: ConfigMap, name: gone}, {group: '', kind: ConfigMap, name: ca}]"
    assert world.status(policy("tls", f"{{caCertificateRefs: {refs}, hostname: up.example}}"), flawed=True) == 200
    assert condition(world.conditions("tls"), "Accepted") == (True, "Accepted")
    assert condition(world.conditions("tls"), "ResolvedRefs") == (False, "InvalidCACertificateRef")


def test_the_older_of_two_policies_counts(world: World) -> None:
    wrong = f"{{{CA}, hostname: other.example}}"
    younger = policy("a-younger", wrong, created="2026-02-01T00:00:00Z")
    assert world.status(younger, policy("b-older", PROVEN, created="2026-01-01T00:00:00Z"), flawed=True) == 200
    assert condition(world.conditions("b-older"), "Accepted") == (True, "Accepted")
    assert condition(world.conditions("a-younger"), "Accepted") == (False, "Conflicted")


@pytest.mark.parametrize("section", ["web", "80"])
def test_a_policy_for_the_port_counts_before_one_for_the_service(world: World, section: str) -> None:
    whole = policy("a-whole", f"{{{CA}, hostname: other.example}}")
    assert world.status(whole, policy("b-port", PROVEN, f"name: up, sectionName: '{section}'")) == 200
    assert condition(world.conditions("b-port"), "Accepted") == (True, "Accepted")


def test_a_policy_that_cannot_be_read_closes_the_backend(world: World) -> None:
    assert world.status(policy("tls", "{hostname: up.example}"), flawed=True) == 500
    assert condition(world.conditions("tls"), "Accepted") == (False, "Invalid")


@pytest.mark.parametrize(
    ("target", "words"),
    [("name: pu", "there is no Service default/pu"), ("name: up, sectionName: x", "has no port 'x'")],
)
def test_a_target_that_is_not_there_is_told(world: World, target: str, words: str) -> None:
    assert world.status(policy("tls", PROVEN, target), flawed=True) == 503
    assert [one.code for one in world.rig.result.diagnostics if words in one.message] == ["A120"]
    (ancestor,) = world.rig.status("BackendTLSPolicy", "tls").ancestors
    assert condition(ancestor.conditions, "Accepted") == (False, "TargetNotFound")


def test_websockets_over_tls_need_a_policy(world: World) -> None:
    address, port = world.server.address
    text = GATEWAY + service("up", address, port, app_protocol="kubernetes.io/wss") + route("web", "up")
    text += authorities("ca", world.authority.certificate)
    world.rig.serve(text, flawed=True)
    assert world.rig.ask("shop.example").status_code == 500
    (parent,) = world.rig.status("HTTPRoute", "web").parents
    assert condition(parent.conditions, "ResolvedRefs") == (False, "UnsupportedProtocol")
    world.rig.serve(text + policy("tls", PROVEN))
    assert world.rig.ask("shop.example").status_code == 200
