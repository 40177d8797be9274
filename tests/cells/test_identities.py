"""Certificates go into compilation as values: who gets which, what stands there without any, and what is closed then."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509

from tests.cells.shop import (
    BACK,
    BACK_AT,
    FRONT,
    FRONT_AT,
    SHOP,
    binding,
    find,
    lower,
    named,
    objects_of,
    organization,
    places,
    spec_of,
)
from xds_server.automation.authority import issue, make_root, read_issuer
from xds_server.automation.certificates import Certificates, Keeping
from xds_server.cells.authority import Authority
from xds_server.cells.identities import wanted_identities
from xds_server.cells.lower import lower_cells
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.snapshot.resource import SECRET

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
DOMAIN = "dev.cell.internal"
COPY = ", release: working-copy"
FRONT_EAST, BACK_WEST = f"spiffe://{DOMAIN}/cell/front/gw/east", f"spiffe://{DOMAIN}/cell/back/gw/west"


def authority() -> Authority:
    issuer = read_issuer(*make_root(DOMAIN, NOW), NOW)
    return Authority(issuer.trusted, {name: issue(issuer, name, NOW, 3600) for name in (FRONT_EAST, BACK_WEST)})


def compile_with(authorities: dict[str, Authority] | None, **changes: str) -> Compiled:
    files = SHOP | {name.replace("_", "-"): text for name, text in changes.items()}
    return compile_objects(objects_of(files)[0], Options(authorities=authorities))


def secrets(compiled: Compiled) -> dict[str, set[str]]:
    return {name: set(one.get(SECRET)) for name, one in compiled.snapshots.items() if name.count("/") == 3}


def test_every_bound_cell_needs_the_names_of_its_inner_gateways() -> None:
    wanted = wanted_identities(objects_of(SHOP)[0])
    assert set(wanted) == {DOMAIN}
    assert set(wanted[DOMAIN]) == {
        f"spiffe://{DOMAIN}/cell/{cell}/gw/{direction}" for cell in ("front", "back") for direction in ("west", "east")
    }


def test_a_binding_of_what_can_be_no_cell_needs_no_name() -> None:
    files = SHOP | {"odd": binding("b\u00f6rse", 32)}
    assert wanted_identities(objects_of(files)[0]) == wanted_identities(objects_of(SHOP)[0])


def test_what_certificates_are_kept_in_belongs_to_the_cell_even_while_there_is_none() -> None:
    written = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cell-authority, namespace: back}\ndata: {ca.crt: mine}\n"
    )
    result = compile_with({DOMAIN: Authority(problem="broken")}, mine=written)
    assert [one for one in result.diagnostics if one.code == "C110" and one.span and one.span.file == "mine"]
    assert not [one for one in result.lowered if one.name == "cell-authority"]


def test_a_gateway_gets_its_own_certificate_and_no_other() -> None:
    found = secrets(compile_with({DOMAIN: authority()}))
    assert found == {
        "acme/dev/front/north": set(),
        "acme/dev/front/south": set(),
        "acme/dev/front/east": {"front/front-east-identity"},
        "acme/dev/back/west": {"back/back-west-identity", "back/back-west/clients/default"},
    }


def test_equal_certificates_give_equal_bytes() -> None:
    held = authority()
    one, two = compile_with({DOMAIN: held}), compile_with({DOMAIN: held})
    assert one.snapshots == two.snapshots
    assert compile_with({DOMAIN: authority()}).snapshots != one.snapshots


def test_a_new_certificate_changes_a_secret_and_nothing_else() -> None:
    held = authority()
    fresh = Authority(held.certificates, {**held.leaves, FRONT_EAST: authority().leaves[FRONT_EAST]})
    one, two = compile_with({DOMAIN: held}), compile_with({DOMAIN: fresh})
    changed = {
        (name, type_url, resource)
        for name, snapshot in one.snapshots.items()
        for type_url, held_there in snapshot.resources.items()
        for resource in held_there
        if two.snapshots[name].get(type_url)[resource] != held_there[resource]
    }
    assert changed == {
        (name, SECRET, "front/front-east-identity") for name in ("acme/dev/front/east", "acme/dev/front")
    }


def test_placeholders_are_always_the_same_and_expired() -> None:
    one, two = compile_with(None), compile_with(None)
    assert one.snapshots == two.snapshots
    assert one.diagnostics == ()
    text = find(lower(), "ConfigMap", "front", "cell-authority").document["data"]["ca.crt"]
    certificate = x509.load_pem_x509_certificate(text.encode())
    assert certificate.not_valid_after_utc.year == 1970


def test_without_an_authority_it_is_said_once_and_the_gateways_stay_closed() -> None:
    compiled = compile_with({DOMAIN: Authority(problem="it is broken")})
    told = [one for one in compiled.diagnostics if one.code == "C111"]
    assert places(told) == [("C111", "org", 4)]
    assert "it is broken" in told[0].message
    found = {name: sorted(key.rpartition(".")[2] for key in one.resources) for name, one in compiled.snapshots.items()}
    assert "Listener" not in found["acme/dev/back/west"]
    assert "Cluster" not in found["acme/dev/front/east"]
    assert "Listener" in found["acme/dev/front/north"]


def test_another_trust_domain_does_not_vouch() -> None:
    compiled = compile_with({"prod.cell.internal": authority()})
    assert "nothing vouches" in next(one.message for one in compiled.diagnostics if one.code == "C111")


def test_a_stage_trusts_its_own_authority_and_no_other() -> None:
    stages = organization(spec="{stages: [{name: dev}, {name: test}]}")
    files = SHOP | {
        "org": stages,
        "front-test": binding("front", 32, FRONT_AT + COPY, stage="test", name="front-test"),
        "back-test": binding("back", 48, BACK_AT + COPY, stage="test", name="back-test"),
    }
    objects = objects_of(files)[0]
    wanted = wanted_identities(objects)
    assert set(wanted) == {DOMAIN, "test.cell.internal"}
    held = Certificates(Keeping()).renew(wanted, NOW)
    compiled = compile_objects(objects, Options(authorities=held))
    for stage, other in (("dev", "test"), ("test", "dev")):
        mine, foreign = (held[f"{one}.cell.internal"].certificates.encode() for one in (stage, other))
        for gateway in ("front/east", "back/west"):
            snapshot = compiled.snapshots[f"acme/{stage}/{gateway}"]
            text = b"".join(one.body for named_ones in snapshot.resources.values() for one in named_ones.values())
            assert mine in text
            assert foreign not in text
            assert f"spiffe://{other}.".encode() not in text


def test_two_stages_cannot_share_a_trust_domain() -> None:
    text = organization(spec="{stages: [{name: dev, trustDomain: one}, {name: test, trustDomain: one}]}")
    found = objects_of({"org": text})[1]
    assert places(found) == [("M112", "org", 4)]
    assert "'one'" in found[0].message


def test_keys_are_in_no_document_and_no_text() -> None:
    lowered = lower_cells(objects_of(SHOP)[0], authorities={DOMAIN: authority()})
    secret = next(one for one in lowered.objects if one.key.kind == "Secret")
    assert set(secret.document["data"].values()) == {"[redacted]"}
    held = repr((authority(), secret.spec, Options(authorities={DOMAIN: authority()})))
    assert "PRIVATE" not in held
    assert "UFJJVkFURSBLRVk" not in held


def test_nobody_else_may_use_a_gateways_certificate() -> None:
    thief = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: thief, namespace: back}
spec:
  listeners:
  - {name: https, protocol: HTTPS, port: 9443, tls: {certificateRefs: [{name: back-west-identity}]}}
"""
    compiled = compile_with({DOMAIN: authority()}, thief=thief)
    assert places(compiled.diagnostics) == [("A104", "thief", 7)]
    assert "there is no Secret" in compiled.diagnostics[0].message


def test_east_expects_exactly_the_providers_west_gateway() -> None:
    lowered = lower()
    assert spec_of(lowered, "BackendTLSPolicy", "front", "east|back.api.http")["validation"] == {
        "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "cell-authority"}],
        "hostname": "api.back.cell.internal",
        "subjectAltNames": [{"type": "URI", "uri": BACK_WEST}],
    }
    assert "front/cell-authority" in named(lowered, "ConfigMap")


def test_a_written_policy_cannot_weaken_what_east_expects() -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: weaker, namespace: front, creationTimestamp: "2001-01-01T00:00:00Z"}
spec:
  targetRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: "east|back.api.http"}]
  validation: {wellKnownCACertificates: System, hostname: other.example}
"""
    held = authority()
    before, after = compile_with({DOMAIN: held}), compile_with({DOMAIN: held}, weaker=text)
    assert before.snapshots["acme/dev/front/east"] == after.snapshots["acme/dev/front/east"]
    assert places(after.diagnostics) == [("A121", "weaker", 6)]


def test_a_cell_without_inner_gateways_needs_no_certificate() -> None:
    alone = lower(front="", front_at="", back=BACK.replace("[organization]", "[]"))
    assert named(alone, "Secret") == set()


@pytest.mark.parametrize("name", ["front-east-identity", "front-north-identity", "front-component-web-identity"])
@pytest.mark.parametrize("written_in", ["front", "front-at"])
def test_north_does_not_show_what_identifies_a_gateway_or_a_sidecar(name: str, written_in: str) -> None:
    """The key of an identity would end up with an Envoy that is not it, and on the internet."""
    north = f"{{hostnames: [front.example], tls: {{certificateRef: {name}}}}}"
    sidecars = f"{FRONT_AT}, sidecars: {{web: {{application: 127.0.9.211}}}}"
    if written_in == "front":
        changes = {
            "front": FRONT.replace("{hostnames: [front.example]}", north),
            "front_at": binding("front", 0, sidecars),
        }
    else:
        changes = {"front_at": binding("front", 0, f"{sidecars}, overrides: {{gateways: {{north: {north}}}}}")}
    compiled = compile_with(None, **changes)
    assert [one.span.file for one in compiled.diagnostics if one.code == "C110" and one.span] == [written_in]
    ports = next(one.ports for one in compiled.gateways if one.name == "acme/dev/front/north")
    assert [one.port for one in ports if one.chains] == [8080]
    held = secrets(compiled)["acme/dev/front/north"]
    assert held & {"front/front-east-identity", "front/front-component-web-identity"} == set()
