"""Stages: each has its own cells, addresses, hosts and identities, and what is written for one changes no other."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.cells.shop import (
    BACK,
    BACK_AT,
    FRONT_AT,
    SHOP,
    binding,
    cell,
    external,
    objects_of,
    on,
    organization,
    policy,
    route,
)
from xds_server.cells.releases import Releases, release_name, release_of
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.diagnostics import CATALOGUE
from xds_server.snapshot.resource import Snapshot
from xds_server.types import CELLWAY_GROUP, ENVOY_GATEWAY_GROUP, Key

ORGANIZATION = organization(
    spec="{stages: [{name: dev, trustDomain: dev.acme}, {name: test, trustDomain: test.acme},"
    " {name: prod, trustDomain: prod.acme, production: true}]}"
)
HOST = ", overrides: {gateways: {north: {hostnames: [%s.front.example]}}}"
COPY = ", release: working-copy"
STAGES = SHOP | {
    "org": ORGANIZATION,
    "front-at": binding("front", 0, FRONT_AT + HOST % "dev"),
    "front-test": binding("front", 32, FRONT_AT + COPY + HOST % "test", stage="test", name="front-test"),
    "back-test": binding("back", 48, BACK_AT + COPY, stage="test", name="back-test"),
}


def compile_stages(releases: Releases | None = None, **changes: str) -> Compiled:
    files = STAGES | {name.replace("_", "-"): text for name, text in changes.items()}
    return compile_objects(objects_of(files)[0], Options(releases=releases or Releases()))


def text_of(snapshot: Snapshot) -> bytes:
    return b"".join(one.body for named in snapshot.resources.values() for one in named.values())


def versions(compiled: Compiled, stage: str) -> dict[str, Mapping[str, str]]:
    return {name: one.versions for name, one in compiled.snapshots.items() if f"/{stage}/" in name}


def found(compiled: Compiled) -> list[tuple[str, str, int]]:
    return [(one.code, one.span.file, one.span.line) for one in compiled.diagnostics if one.span]


def test_every_stage_has_the_gateways_of_its_cells_under_names_of_their_own() -> None:
    compiled = compile_stages()
    assert compiled.diagnostics == ()
    both = {f"acme/{stage}/{name}" for stage in ("dev", "test") for name in ("front/north", "front/east", "back/west")}
    assert both <= {one.name for one in compiled.gateways}
    assert {"acme/dev/back", "acme/test/back"} <= set(compiled.snapshots)
    clusters = {one for each in compiled.snapshots["acme/test/front/east"].resources.values() for one in each}
    assert "east|back.api.http" in clusters, "names inside carry no stage"


def test_a_snapshot_holds_nothing_of_another_stage() -> None:
    compiled = compile_stages()
    for stage, other, block in (("dev", "test", b"127.0.9.50"), ("test", "dev", b"127.0.9.18")):
        for name, snapshot in compiled.snapshots.items():
            if f"/{stage}/" in name:
                text = text_of(snapshot)
                assert f"{other}.acme".encode() not in text
                assert block not in text, "the west gateway of the other stage"
                assert f"{other}.front.example".encode() not in text


def test_a_secret_of_one_stage_is_in_no_snapshot_of_another() -> None:
    secrets = "".join(
        f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: key-{stage}, namespace: front}}\n"
        f"stringData: {{credential: value-of-{stage}}}\n"
        for stage in ("dev", "test")
    )
    mail = external(
        "mail", "{hosts: [mail.example], ports: [{port: 80, protocol: HTTP}], credential: {secretRef: {name: key-dev}}}"
    )
    over = ", externals: {mail: {credential: {secretRef: {name: key-test}}}}}"
    there = STAGES["front-test"].replace("{gateways", "{gateways", 1).rstrip()[:-2] + over + "}\n"
    compiled = compile_stages(secrets=secrets, mail=mail, front_test=there)
    assert compiled.diagnostics == ()
    for stage, other in (("dev", "test"), ("test", "dev")):
        texts = {name: text_of(one) for name, one in compiled.snapshots.items() if f"/{stage}/" in name}
        assert f"value-of-{stage}".encode() in texts[f"acme/{stage}/front/south"]
        assert all(f"value-of-{other}".encode() not in text for text in texts.values())


def test_an_edit_of_one_binding_changes_no_version_of_another_stage() -> None:
    before, after = compile_stages(), compile_stages(back_at=binding("back", 80, BACK_AT))
    assert versions(before, "dev") != versions(after, "dev")
    assert versions(before, "test") == versions(after, "test") != {}


def test_a_label_limits_what_is_attached_to_stages() -> None:
    text = policy("p", "front", "east.back", "timeout: {http: {requestTimeout: 7s}}")
    limited = text.replace("namespace: front", "namespace: front, labels: {cellway.dev/stages: 'test, prod'}")
    plain, compiled = compile_stages(), compile_stages(p=limited)
    assert compiled.diagnostics == ()
    assert versions(plain, "dev") == versions(compiled, "dev")
    assert versions(plain, "test") != versions(compiled, "test")
    status = compiled.statuses[Key(ENVOY_GATEWAY_GROUP, "BackendTrafficPolicy", "front", "p")]
    assert [one.reason for place in status.ancestors for one in place.conditions] == ["Accepted"]


def test_a_limited_route_takes_the_place_of_the_derived_one_in_its_stage_only() -> None:
    text = route(
        "r",
        "back",
        on("west.api.http"),
        "rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: next.http}]}]",
    )
    limited = text.replace("namespace: back", "namespace: back, labels: {cellway.dev/stages: test}")
    compiled = compile_stages(r=limited)
    assert compiled.diagnostics == ()
    assert b"127.0.9.203" in text_of(compiled.snapshots["acme/test/back/west"])
    assert b"127.0.9.203" not in text_of(compiled.snapshots["acme/dev/back/west"])


def test_what_is_no_cells_is_compiled_once() -> None:
    gateway = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
        "spec: {gatewayClassName: c, addresses: [{value: 127.0.9.250}], listeners: [{name: a, protocol: HTTP, port: 80}]}\n"
    )
    both = "{name: edge, namespace: default}, " + on("west.api.http")
    compiled = compile_stages(
        gateway=gateway.replace("port: 80}", "port: 80, allowedRoutes: {namespaces: {from: All}}}"),
        r=route("r", "back", both, "hostnames: [r.example]\n  rules: [{backendRefs: []}]"),
    )
    assert [one.name for one in compiled.gateways].count("default/edge") == 1
    assert compiled.diagnostics == ()


def test_a_cell_may_be_in_a_later_stage_alone() -> None:
    compiled = compile_stages(
        front_at="",
        p=policy("p", "front", "east.back", "timeout: {http: {requestTimeout: 7s}}"),
        r=route("r", "front", on("north", "front"), "rules: [{matches: [{path: {value: /r}}]}]"),
    )
    assert compiled.diagnostics == ()
    assert "acme/dev/front/north" not in compiled.snapshots
    assert "acme/test/front/north" in compiled.snapshots


def test_a_stage_has_the_release_that_its_binding_names_whatever_is_written_now() -> None:
    objects, _ = objects_of(STAGES)
    stored = release_of(objects, "back")
    name = release_name(stored, "back")
    pinned = binding("back", 48, f"{BACK_AT}, release: {name}", stage="test", name="back-test")
    releases = Releases({name: stored})
    before = compile_stages(releases, back_test=pinned)
    assert before.diagnostics == ()
    edited = {
        "back": BACK.replace("allow: {cells: [front]}", "allow: {cells: []}"),
        "p": policy("p", "back", "west.api.http", "timeout: {http: {requestTimeout: 7s}}"),
    }
    after = compile_stages(releases, back_test=pinned, **edited)
    assert versions(before, "test") == versions(after, "test")
    assert versions(before, "dev") != versions(after, "dev")
    assert {one for one, file, _ in found(after) if file == "front"} == {"C103"}, "dev alone is refused"


def test_a_release_is_named_by_its_content() -> None:
    objects, _ = objects_of(STAGES)
    moved = {f"elsewhere-{name}": f"\n\n{text}" for name, text in reversed(STAGES.items())}
    assert release_name(release_of(objects, "back"), "back") == release_name(
        release_of(objects_of(moved)[0], "back"), "back"
    )
    edited, _ = objects_of(STAGES | {"back": BACK.replace("port: 80", "port: 81")})
    assert release_name(release_of(edited, "back"), "back") != release_name(release_of(objects, "back"), "back")
    assert release_of(objects, "nobody") == ()


def test_a_stage_keeps_what_it_has_if_its_release_is_not_there() -> None:
    objects, _ = objects_of(STAGES)
    stored = release_of(objects, "back")
    name = release_name(stored, "back")
    releases = Releases({name: stored}, {("test", "back"): name})
    wrong = binding("back", 48, f"{BACK_AT}, release: back-0000000", stage="test", name="back-test")
    kept = compile_stages(releases, back_test=wrong)
    assert found(kept) == [("C123", "back-test", 4)]
    good = compile_stages(releases, back_test=wrong.replace(", release: back-0000000", ""))
    assert good.diagnostics == ()
    assert versions(kept, "test") == versions(good, "test")
    lost = compile_stages(back_test=wrong)
    assert ("C123", "back-test", 4) in found(lost)
    assert "acme/test/back/west" not in lost.snapshots
    assert versions(lost, "dev") == versions(kept, "dev")


def test_a_release_of_another_cell_is_none_of_this_one() -> None:
    objects, _ = objects_of(STAGES)
    stored = release_of(objects, "front")
    wrong = binding("back", 48, f"{BACK_AT}, release: front-1", stage="test", name="back-test")
    assert ("C123", "back-test", 4) in found(compile_stages(Releases({"front-1": stored}), back_test=wrong))


IN_PROD = ", overrides: {gateways: {north: {hostnames: [p.example]}}}"
MISTAKES = {
    "not promoted": ("C121", "zz", 4, binding("back", 96, BACK_AT, stage="prod", name="zz")),
    "label of no stage": (
        "C122",
        "zz",
        3,
        policy("zz", "back", "", "timeout: {}").replace("namespace: back", "namespace: back, labels: {cellway.dev/stages: tset}"),
    ),
    "label on what is no cell's": (
        "C122",
        "zz",
        3,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: zz, labels: {cellway.dev/stages: dev}}\n",
    ),
    "no such release": ("C123", "zz", 4, binding("back", 96, BACK_AT + ", release: back-1", stage="prod", name="zz")),
    "the working copy in production": ("C104", "zz", 4, binding("back", 96, BACK_AT + COPY, stage="prod", name="zz")),
    "an address of another stage": ("C104", "zz", 4, binding("back", 32, BACK_AT, stage="prod", name="zz")),
    "no such stage": ("C104", "zz", 4, binding("back", 96, BACK_AT, stage="tset", name="zz")),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_found_at_its_place_and_changes_no_other_stage(what: str) -> None:
    code, file, line, text = MISTAKES[what]
    before, after = compile_stages(), compile_stages(zz=text)
    assert found(after) == [(code, file, line)]
    if "label" not in what:
        assert versions(before, "dev") == versions(after, "dev")
        assert versions(before, "test") == versions(after, "test")


def test_every_code_of_stages_is_tested() -> None:
    assert {code for code, _, _, _ in MISTAKES.values()} | {"C124", "C125"} >= {
        one for one in CATALOGUE if one[:3] == "C12"
    }


def test_a_stage_that_nobody_knows_closes_what_a_limited_policy_covers_in_all() -> None:
    text = policy("zz", "back", "west.api.http", "cors: {allowOrigins: ['*']}", "SecurityPolicy")
    limited = text.replace("namespace: back", "namespace: back, labels: {cellway.dev/stages: prd}")
    compiled = compile_stages(zz=limited)
    (problem,) = compiled.diagnostics
    assert (problem.code, problem.hint) == ("C122", "did you mean 'prod'?")
    for stage in ("dev", "test"):
        routes = [
            one.action
            for gate in compiled.gateways
            if gate.name == f"acme/{stage}/back/west"
            for port in gate.ports
            for chain in port.http_chains
            for host in chain.hosts
            for one in host.routes
        ]
        assert routes
        assert {getattr(one, "status", None) for one in routes} == {500}


def test_a_host_of_production_is_served_there_alone() -> None:
    prod = binding("front", 64, FRONT_AT, stage="prod", name="front-prod")
    fine = compile_stages(front_prod=prod)
    assert {one.code for one in fine.diagnostics} == {"C121"}
    written = compile_stages(front_prod=prod, front_at=binding("front", 0, FRONT_AT + HOST.replace("%s.", "")))
    assert ("C124", "front-at", 4) in found(written)
    assert b"front.example" not in text_of(written.snapshots["acme/dev/front/north"])
    inherited = compile_stages(front_prod=prod, front_at=binding("front", 0, FRONT_AT))
    (problem,) = [one for one in inherited.diagnostics if one.code == "C124"]
    assert "overrides.gateways.north.hostnames" in problem.hint
    assert versions(inherited, "test") == versions(fine, "test")


def test_the_status_of_a_cell_says_what_is_wrong_in_any_stage() -> None:
    compiled = compile_stages(back_test="")
    status = compiled.statuses[Key(CELLWAY_GROUP, "Cell", "", "front")]
    resolved = next(one for one in status.conditions if one.type == "ResolvedRefs")
    assert (resolved.status, resolved.reason) == (False, "NotBound")
    assert "stage test" in resolved.message
    assert next(one for one in status.conditions if one.type == "Bound").status


def test_a_cell_that_only_production_misses_is_not_in_it() -> None:
    lonely = cell("lonely", "{components: [{name: a}]}")
    compiled = compile_stages(lonely=lonely, at=binding("lonely", 112))
    assert compiled.diagnostics == ()
