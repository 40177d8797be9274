"""HTTPS listeners through a real Envoy: isolation, misdirected requests, clients' certificates, new certificates."""

from __future__ import annotations

import ssl

import httpx
import pytest
from cryptography import x509

from tests.e2e.certificates import Authority
from tests.gateways.rig import Rig, ask_on, authorities, condition, load, route, secret, service

HTTP = "{name: http, protocol: HTTP, port: 10080}"


def listener(name: str, hostname: str = "", port: int = 10443, certificate: str = "cert", more: str = "") -> str:
    host = f"hostname: '{hostname}', " if hostname else ""
    tls = f"tls: {{certificateRefs: [{certificate and '{name: ' + certificate + '}'}]}}"
    return f"{{name: {name}, protocol: HTTPS, port: {port}, {host}{tls}{more}}}"


def gateway(*listeners: str, tls: str = "", more: str = "") -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n"
        "  addresses: [{value: ADDR.1}]\n"
        + "".join(f"  {line}\n" for line in (f"tls: {tls}" if tls else "", more) if line)
        + f"  listeners: [{', '.join(listeners)}]\n---\n"
    )


class World:
    """Three servers behind Services of their names, and a certificate for everything in Secret `cert`."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.authority = rig, Authority()
        self.text = secret("cert", self.authority.issue("shop.example", "*.shop.example"))
        for name in ("one", "two", "three"):
            self.text += service(name, *rig.server(name).address)


@pytest.fixture(scope="module")
def world(rig: Rig) -> World:
    return World(rig)


def test_the_most_specific_listener_owns_a_request(world: World) -> None:
    hosts = {"any": "", "wild": "*.shop.example", "deep": "*.a.shop.example", "exact": "b.a.shop.example"}
    listeners = [
        f"{{name: {name}, protocol: HTTP, port: 10080{f', hostname: {host!r}' if host else ''}}}"
        for name, host in hosts.items()
    ]
    text = gateway(*listeners) + route("r1", "one", "name: edge, sectionName: any")
    text += route("r2", "two", "name: edge, sectionName: wild") + route("r3", "three", "name: edge, sectionName: exact")
    world.rig.serve(world.text + text)
    answers = {
        host: world.rig.ask(host) for host in ("x.test", "x.shop.example", "x.a.shop.example", "b.a.shop.example")
    }
    assert {
        host: one.json()["server"] if one.status_code == 200 else one.status_code for host, one in answers.items()
    } == {
        "x.test": "one",
        "x.shop.example": "two",
        "x.a.shop.example": 404,  # `deep` owns it and has no route
        "b.a.shop.example": "three",
    }


@pytest.mark.parametrize(
    ("sni", "host", "expected"),
    [
        ("a.shop.example", "a.shop.example", (200, "one")),
        ("b.shop.example", "b.shop.example", (200, "two")),
        ("c.shop.example", "c.shop.example", (200, "three")),
        ("a.shop.example", "b.shop.example", (421, "")),
        ("b.shop.example", "a.shop.example", (421, "")),
        ("c.shop.example", "a.shop.example", (421, "")),
        ("a.shop.example", "c.shop.example", (421, "")),
        ("c.shop.example", "d.shop.example", (200, "three")),
        ("a.shop.example", "other.test", (404, "")),
        ("a.shop.example", "a.shop.example:10443", (200, "one")),
    ],
)
def test_a_request_on_the_wrong_connection_is_misdirected(
    world: World, sni: str, host: str, expected: tuple[int, str]
) -> None:
    names = {"a": "a.shop.example", "b": "b.shop.example", "wild": "*.shop.example"}
    text = gateway(*(listener(name, host) for name, host in names.items())) + route(
        "r1", "one", "name: edge, sectionName: a"
    )
    text += route("r2", "two", "name: edge, sectionName: b") + route("r3", "three", "name: edge, sectionName: wild")
    world.rig.serve(world.text + text)
    assert world.rig.ask_tls(sni, host) == expected
    listeners = {one.name: one.conditions for one in world.rig.status("Gateway", "edge").listeners}
    assert condition(listeners["a"], "OverlappingTLSConfig") == (True, "OverlappingHostnames")


def test_http2_with_and_without_tls(world: World) -> None:
    world.rig.serve(world.text + gateway(HTTP, listener("https")) + route("r1", "one"))
    with world.rig.connect("shop.example", alpn="h2") as connection:
        assert connection.selected_alpn_protocol() == "h2"
    for protocol in ("HTTP/1.1", "HTTP/2"):
        with httpx.Client(http1=protocol == "HTTP/1.1", http2=protocol == "HTTP/2", timeout=10) as client:
            url = f"http://{world.rig.block.address(1)}:10080/"
            assert client.get(url, headers={"Host": "shop.example"}).http_version == protocol


VALIDATION = "{validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]MODE}}"
STRICT, INSECURE = VALIDATION.replace("MODE", ""), VALIDATION.replace("MODE", ", mode: AllowInsecureFallback")


def refused(world: World, client: tuple[str, str] | None, port: int = 10443) -> bool:
    try:
        return world.rig.ask_tls("shop.example", port=port, client=client)[0] != 200
    except (ssl.SSLError, ConnectionError):
        return True


def test_clients_show_a_certificate(world: World) -> None:
    good, stranger = world.authority.issue("me.example"), Authority("stranger").issue("me.example")
    tls = (
        f"{{frontend: {{default: {STRICT}, perPort: [{{port: 10444, tls: {{}}}}, {{port: 10445, tls: {INSECURE}}}]}}}}"
    )
    listeners = [HTTP, listener("a"), listener("b", port=10444), listener("c", port=10445)]
    text = (
        world.text + authorities("ca", world.authority.certificate) + gateway(*listeners, tls=tls) + route("r1", "one")
    )
    world.rig.serve(text)
    assert [refused(world, client) for client in (good, stranger, None)] == [False, True, True]
    assert [refused(world, client, 10444) for client in (good, stranger, None)] == [False, False, False]
    assert [refused(world, client, 10445) for client in (good, stranger, None)] == [False, False, False]
    assert world.rig.ask("shop.example").status_code == 200
    conditions = world.rig.status("Gateway", "edge").conditions
    assert condition(conditions, "InsecureFrontendValidationMode") == (True, "ConfigurationChanged")


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("{group: '', kind: ConfigMap, name: gone}", "InvalidCACertificateRef"),
        ("{group: '', kind: Pod, name: ca}", "InvalidCACertificateKind"),
        ("{group: '', kind: ConfigMap, name: ca, namespace: far}", "RefNotPermitted"),
    ],
)
def test_authorities_that_are_none_close_https_listeners_only(world: World, ref: str, reason: str) -> None:
    tls = f"{{frontend: {{default: {{validation: {{caCertificateRefs: [{ref}]}}}}}}}}"
    far = authorities("ca", world.authority.certificate, "far")
    world.rig.serve(world.text + far + gateway(HTTP, listener("a"), tls=tls) + route("r1", "one"), flawed=True)
    assert world.rig.ask("shop.example").status_code == 200
    with pytest.raises(ConnectionRefusedError):
        world.rig.connect("shop.example")
    listeners = {one.name: one.conditions for one in world.rig.status("Gateway", "edge").listeners}
    assert condition(listeners["a"], "Accepted") == (False, "NoValidCACertificate")
    assert condition(listeners["a"], "ResolvedRefs") == (False, reason)
    assert condition(listeners["a"], "Programmed") == (False, "Invalid")
    assert condition(listeners["http"], "ResolvedRefs") == (True, "ResolvedRefs")


def test_the_gateway_shows_a_certificate_to_backends(world: World) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load(context, world.authority.issue("up.example"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=world.authority.certificate)
    text = world.text + service("up", *world.rig.server("up", context).address) + route("r1", "up")
    text += authorities("ca", world.authority.certificate) + secret("me", world.authority.issue("edge.example"))
    text += (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: up}\nspec:\n"
        "  targetRefs: [{group: '', kind: Service, name: up}]\n  validation: "
        "{caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], hostname: up.example}\n---\n"
    )
    world.rig.serve(text + gateway(HTTP))
    assert world.rig.ask("shop.example").status_code == 503
    world.rig.serve(text + gateway(HTTP, tls="{backend: {clientCertificateRef: {name: me}}}"))
    assert world.rig.ask("shop.example").status_code == 200
    assert condition(world.rig.status("Gateway", "edge").conditions, "ResolvedRefs") == (True, "ResolvedRefs")
    world.rig.serve(text + gateway(HTTP, tls="{backend: {clientCertificateRef: {name: you}}}"), flawed=True)
    assert world.rig.ask("shop.example").status_code == 503
    conditions = world.rig.status("Gateway", "edge").conditions
    assert condition(conditions, "ResolvedRefs") == (False, "InvalidClientCertificateRef")


def test_a_new_certificate_drops_no_connection(world: World) -> None:
    text = gateway(listener("https")) + route("r1", "one")
    world.rig.serve(world.text + text)
    with world.rig.connect("shop.example") as connection:
        before = connection.getpeercert(binary_form=True)
        fresh = secret("cert", world.authority.issue("fresh.example"))
        world.rig.serve(world.text.replace(world.text.split("---\n")[0] + "---\n", fresh) + text)
        assert ask_on(connection, "shop.example") == (200, "one")
        with world.rig.connect("shop.example") as other:
            shown = other.getpeercert(binary_form=True) or b""
            assert shown != before
            assert x509.load_der_x509_certificate(shown).subject.rfc4514_string() == "CN=fresh.example"
        assert ask_on(connection, "shop.example") == (200, "one")
    world.rig.serve(world.text + text)


@pytest.mark.parametrize(
    ("refs", "reason", "served"),
    [
        ("{name: gone}", "InvalidCertificateRef", False),
        ("{name: cert, kind: ConfigMap}", "InvalidCertificateRef", False),
        ("{name: cert, namespace: far}", "RefNotPermitted", False),
        ("{name: cert}, {name: gone}", "PartiallyInvalidCertificateRef", True),
    ],
)
def test_bad_certificates(world: World, refs: str, reason: str, served: bool) -> None:
    bad = f"{{name: a, protocol: HTTPS, port: 10443, tls: {{certificateRefs: [{refs}]}}}}"
    world.rig.serve(world.text + gateway(HTTP, bad) + route("r1", "one"), flawed=True)
    assert world.rig.ask("shop.example").status_code == 200
    if served:
        assert world.rig.ask_tls("shop.example") == (200, "one")
    listeners = {one.name: one.conditions for one in world.rig.status("Gateway", "edge").listeners}
    assert condition(listeners["a"], "ResolvedRefs") == (False, reason)
    assert condition(listeners["a"], "Programmed") == ((True, "Programmed") if served else (False, "Invalid"))


def test_a_grant_for_gateways_is_none_for_listener_sets(world: World) -> None:
    def grant(kind: str) -> str:
        return (
            f"apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: far}}\n"
            f"spec:\n  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: default}}]\n"
            "  to: [{group: '', kind: Secret, name: cert}]\n---\n"
        )

    far = secret("cert", world.authority.issue("far.example"), "far")
    of_gateway = listener("own", "own.example").replace("name: cert", "name: cert, namespace: far")
    of_set = listener("added", "added.example").replace("name: cert", "name: cert, namespace: far")
    text = world.text + far + gateway(HTTP, of_gateway, more="allowedListeners: {namespaces: {from: Same}}")
    text += (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: more}\n"
        f"spec: {{parentRef: {{name: edge}}, listeners: [{of_set}]}}\n---\n"
    )
    text += route("r1", "one") + route("r2", "two", "kind: ListenerSet, name: more")
    for kind, served in (("Gateway", "own"), ("ListenerSet", "added")):
        world.rig.serve(text + grant(kind), flawed=True)
        answers = {}
        for name in ("own", "added"):
            try:
                answers[name] = world.rig.ask_tls(f"{name}.example")[0]
            except (ssl.SSLError, ConnectionError):
                answers[name] = 0
        assert answers == {"own": 0, "added": 0} | {served: 200}
        ((_, conditions),) = [
            (one.name, one.conditions)
            for status in (world.rig.status("Gateway", "edge"), world.rig.status("ListenerSet", "more"))
            for one in status.listeners
            if one.name in {"own", "added"} - {served}
        ]
        assert condition(conditions, "ResolvedRefs") == (False, "RefNotPermitted")


def test_infrastructure_marks_what_is_made(world: World) -> None:
    more = "infrastructure: {labels: {team: web}, annotations: {example.com/owner: ann}}"
    world.rig.serve(world.text + gateway(HTTP, more=more) + route("r1", "one"))
    shown = str(world.rig.envoy.admin("config_dump?resource=dynamic_listeners"))
    assert "'cellway.dev/infrastructure'" in shown
    assert "'team': 'web'" in shown
    assert "'example.com/owner': 'ann'" in shown
