"""What production has, no other stage has: hosts, whoever writes them, and Secrets, whoever names them."""

from __future__ import annotations

import base64

import pytest

from tests.cells.shop import (
    BACK,
    BACK_AT,
    FRONT_AT,
    SHOP,
    binding,
    compile_shop,
    external,
    objects_of,
    organization,
    route,
)
from tests.cells.test_closed import answers
from tests.cells.test_routes import NORTH, TO_WEB
from tests.cells.test_stages import text_of
from tests.e2e.certificates import Authority
from xds_server.cells.releases import Releases, release_name, release_of
from xds_server.compile import Compiled, Options, compile_objects

ORGANIZATION = organization(spec="{stages: [{name: dev}, {name: prod, production: true}]}")
KEY = external(
    "mail", "{hosts: [mail.example], ports: [{port: 80, protocol: HTTP}], credential: {secretRef: {name: key}}}"
)


def secret(name: str, value: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: front}}\nstringData: {{credential: {value}}}\n"


def front_at(stage: str, overrides: str = "", more: str = "") -> str:
    hosts = "" if stage == "prod" else f"gateways: {{north: {{hostnames: [{stage}.front.example]}}}}"
    over = ", ".join(one for one in (hosts, overrides) if one)
    text = f"{FRONT_AT}{more}" + (f", overrides: {{{over}}}" if over else "")
    return binding("front", 0 if stage == "dev" else 32, text, stage=stage, name=f"front-{stage}")


FILES = SHOP | {
    "org": ORGANIZATION,
    "mail": KEY,
    "key": secret("key", "for-all"),
    "live": secret("live", "for-production"),
    "front-at": front_at("dev"),
    "front-prod": front_at("prod", "externals: {mail: {credential: {secretRef: {name: live}}}}"),
}


def compile_files(releases: Releases | None = None, **changes: str) -> Compiled:
    files = FILES | {name.replace("_", "-"): text for name, text in changes.items()}
    return compile_objects(objects_of(files)[0], Options(releases=releases or Releases()))


def codes(compiled: Compiled) -> list[tuple[str, str]]:
    return sorted(
        (one.code, one.span.file) for one in compiled.diagnostics if one.span and one.code not in ("C121", "A113")
    )


def holders(compiled: Compiled, value: str) -> set[str]:
    return {name for name, one in compiled.snapshots.items() if value.encode() in text_of(one)}


def test_a_credential_that_a_binding_of_production_names_is_nobody_elses() -> None:
    assert codes(compile_files()) == []
    assert holders(compile_files(), "for-all") == {"acme/dev/front/south", "acme/dev/front"}
    taken = compile_files(front_at=front_at("dev", "externals: {mail: {credential: {secretRef: {name: live}}}}"))
    assert codes(taken) == [("C103", "front")]
    assert "is production's" in next(one.message for one in taken.diagnostics if one.code == "C103")
    assert holders(taken, "for-production") == set()
    own = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: sneak, namespace: front}\n"
    )
    own += "spec: {credentialInjection: {credential: {valueRef: {name: live}}}}\n"
    refs = "{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: sneak}}"
    text = route("sneak", "front", NORTH, TO_WEB.replace("{backendRefs", f"{{filters: [{refs}], backendRefs"))
    sneaking = compile_files(own=own, sneak=text)
    assert holders(sneaking, "for-production") == set()
    assert answers(sneaking, "acme/dev/front/north")["sneak"] == {"Respond 500"}


def test_production_itself_has_it() -> None:
    only = organization(spec="{stages: [{name: prod, production: true}]}")
    compiled = compile_files(org=only, front_at="", back_at=binding("back", 16, BACK_AT, stage="prod"))
    assert holders(compiled, "for-production") == {"acme/prod/front/south", "acme/prod/front"}


def test_a_certificate_that_a_binding_of_production_names_is_nobody_elses() -> None:
    certificate, key = Authority("test").issue("dev.front.example")
    data = {"tls.crt": certificate, "tls.key": key}
    lines = ", ".join(f"{name}: {base64.b64encode(value.encode()).decode()}" for name, value in data.items())
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: cert, namespace: front}\ntype: kubernetes.io/tls\n"
    text += f"data: {{{lines}}}\n"
    tls = "gateways: {north: {hostnames: [HOST], tls: {certificateRef: cert}}}"
    dev = binding("front", 0, f"{FRONT_AT}, overrides: {{{tls.replace('HOST', 'dev.example')}}}")
    fine = compile_files(cert=text, front_at=dev)
    assert codes(fine) == []
    assert holders(fine, "PRIVATE KEY") >= {"acme/dev/front/north"}
    prod = binding(
        "front", 32, f"{FRONT_AT}, overrides: {{{tls.replace('HOST', 'x.example')}}}", stage="prod", name="p"
    )
    taken = compile_files(cert=text, front_at=dev, front_prod=prod)
    assert ("C124", "front-at") in codes(taken)
    assert "acme/dev/front/north" not in holders(taken, "PRIVATE KEY")


def test_hosts_of_what_production_has_count_and_not_only_of_what_is_written_now() -> None:
    """A host that the working copy gives up is served until the release without it is promoted."""
    objects, _ = objects_of(FILES)
    release = release_of(objects, "front")
    name = release_name(release, "front")
    releases = Releases({name: release}, {("prod", "front"): name})
    changed = FILES["front"].replace("front.example", "new.example")
    for host in ("front.example", "new.example"):
        dev = binding("front", 0, f"{FRONT_AT}, overrides: {{gateways: {{north: {{hostnames: [{host}]}}}}}}")
        assert ("C124", "front-at") in codes(compile_files(releases, front=changed, front_at=dev))


PATHS = TO_WEB.replace("{backendRefs", "{matches: [{path: {value: /only}}], backendRefs")


def with_hosts(hosts: str, section: str = "north", rules: str = PATHS) -> str:
    return route("extra", "front", NORTH.replace("north", section), f"hostnames: [{hosts}]\n  {rules}")


def hosts_of(compiled: Compiled, gateway: str, name: str) -> set[str]:
    hosts = [
        host
        for gate in compiled.gateways
        for port in gate.ports
        for chain in port.http_chains
        for host in chain.hosts
        if gate.name == gateway and any(one.name.split("/")[2] == name for one in host.routes)
    ]
    return {name for one in hosts for name in (one.hostname, *one.aliases)}


@pytest.mark.parametrize("host", ["front.example", "'*.example'"])
def test_a_route_does_not_bring_a_host_of_production_into_another_stage(host: str) -> None:
    compiled = compile_files(extra=with_hosts(f"{host}, dev.front.example"))
    assert codes(compiled) == [("C124", "extra")]
    assert hosts_of(compiled, "acme/dev/front/north", "extra") == {"dev.front.example"}
    alone = compile_files(extra=with_hosts(host))
    assert set(answers(alone, "acme/dev/front/north")) == {"web.http.north"}
    instead = compile_files(extra=with_hosts(host, "north.web.http"))
    assert answers(instead, "acme/dev/front/north") == {"web.http.north": {"Respond 500"}}


def test_a_route_has_the_hosts_of_its_cell_unless_it_says_others() -> None:
    compiled = compile_shop(extra=route("extra", "front", NORTH, PATHS))
    assert compiled.diagnostics == ()
    assert hosts_of(compiled, "acme/dev/front/north", "extra") == {"front.example"}


PUBLIC = BACK.replace("[organization]", "[organization, public]")


def test_a_route_does_not_take_the_host_and_path_of_another_cell() -> None:
    at_root = TO_WEB.replace("{backendRefs", "{matches: [{path: {value: /}}], backendRefs")
    compiled = compile_shop(back=PUBLIC, extra=with_hosts("back.example, more.example", rules=at_root))
    assert codes(compiled) == [("C108", "extra")]
    assert hosts_of(compiled, "acme/dev/front/north", "extra") == {"more.example"}
    beside = compile_shop(back=PUBLIC, extra=with_hosts("back.example"))
    assert codes(beside) == [], "cells may divide a host by path"


def test_a_path_that_another_cell_has_is_not_left_to_the_wider_route() -> None:
    same = PUBLIC.replace("back.example", "front.example").replace(
        "name: http, port: 80, v", "name: http, port: 80, basePath: /only, v"
    )
    compiled = compile_shop(back=same, extra=with_hosts("front.example"))
    assert codes(compiled) == [("C108", "extra")]
    assert answers(compiled, "acme/dev/front/north")["extra"] == {"Respond 500"}


@pytest.mark.parametrize("hosts", ["", "other.example"])
def test_with_a_certificate_and_no_hosts_nothing_is_served_in_plain_text(hosts: str) -> None:
    front = FILES["front"].replace("{hostnames: [front.example]}", "{tls: {certificateRef: cert}}")
    text = with_hosts(hosts) if hosts else route("extra", "front", NORTH, PATHS)
    compiled = compile_shop(front=front, extra=text)
    assert ("C108", "extra") in codes(compiled)
    assert answers(compiled, "acme/dev/front/north") == {}


def test_a_binding_of_a_misspelt_stage_gives_up_nothing_of_production() -> None:
    """It may be production's: until its stage is mended, neither its Secrets nor its hosts are for others."""
    objects, _ = objects_of(FILES)
    release = release_of(objects, "front")
    name = release_name(release, "front")
    releases = Releases({name: release}, {("prod", "front"): name})
    misspelt = FILES["front-prod"].replace("stage: prod", "stage: prdo")
    taking = front_at("dev", "externals: {mail: {credential: {secretRef: {name: live}}}}")
    taken = compile_files(front_prod=misspelt, front_at=taking)
    assert ("C103", "front") in codes(taken)
    assert holders(taken, "for-production") == set()
    changed = FILES["front"].replace("front.example", "new.example")
    for host in ("front.example", "new.example"):
        dev = binding("front", 0, f"{FRONT_AT}, overrides: {{gateways: {{north: {{hostnames: [{host}]}}}}}}")
        assert ("C124", "front-at") in codes(compile_files(releases, front=changed, front_at=dev, front_prod=misspelt))


def test_where_no_stage_is_production_a_misspelt_stage_takes_nothing_from_others() -> None:
    misspelt = FILES["front-prod"].replace("stage: prod", "stage: tset")
    taking = binding(
        "front", 0, f"{FRONT_AT}, overrides: {{externals: {{mail: {{credential: {{secretRef: {{name: live}}}}}}}}}}"
    )
    compiled = compile_files(
        org=organization(spec="{stages: [{name: dev}, {name: test}]}"), front_prod=misspelt, front_at=taking
    )
    assert codes(compiled) == [("C104", "front-prod")]
    assert holders(compiled, "for-production") == {"acme/dev/front/south", "acme/dev/front"}


def test_production_keeps_its_secrets_from_what_is_in_no_cell_even_where_it_is_the_first_stage() -> None:
    certificate, key = Authority("test").issue("front.example")
    data = {"tls.crt": certificate, "tls.key": key, "credential": "for-production"}
    lines = ", ".join(f"{name}: {base64.b64encode(value.encode()).decode()}" for name, value in data.items())
    live = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: live, namespace: front}}\ndata: {{{lines}}}\n"
    tls = "gateways: {north: {hostnames: [front.example], tls: {certificateRef: live}}}"
    named = f"{FRONT_AT}, overrides: {{{tls}, externals: {{mail: {{credential: {{secretRef: {{name: live}}}}}}}}}}"
    gateway = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: own, namespace: front}\n"
        "spec:\n  addresses: [{value: 127.0.9.99}]\n  listeners:\n"
        "  - {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: live}]}}\n"
        "  - {name: http, protocol: HTTP, port: 8080}\n"
    )
    sneak = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: sneak, namespace: front}\n"
        "spec: {credentialInjection: {credential: {valueRef: {name: live}}}}\n"
    )
    ref = "{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: sneak}}"
    direct = route("sneaking", "front", "{name: own}", f"rules: [{{filters: [{ref}]}}]")
    borrowed = route(
        "borrowing", "front", "{name: own}", f"rules: [{{filters: [{ref.replace('sneak', 'mail.south')}]}}]"
    )
    compiled = compile_files(
        org=organization(spec="{stages: [{name: prod, production: true}]}"),
        front_at="",
        front_prod=binding("front", 32, named, stage="prod", name="front-prod"),
        back_at=binding("back", 16, BACK_AT, stage="prod"),
        live=live,
        own=gateway,
        sneak=sneak,
        sneaking=direct,
        borrowing=borrowed,
    )
    assert {("A104", "own"), ("A105", "sneak"), ("A114", "borrowing")} <= set(codes(compiled))
    inside = {"acme/prod/front/north", "acme/prod/front"}
    assert inside <= holders(compiled, "PRIVATE KEY")
    assert {one for one in holders(compiled, "PRIVATE KEY") if not one.startswith("acme/")} == set()
    assert holders(compiled, "for-production") == {"acme/prod/front/south", "acme/prod/front"}
