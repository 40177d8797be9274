"""External services: what they may ask for, which listeners and routes they mean, and what settings reach them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cells.shop import (
    binding,
    cell,
    cell_class,
    compile_shop,
    condition,
    external,
    find,
    lower,
    named,
    objects_of,
    places,
    policy,
    spec_of,
)
from xds_server.compile import Compiled
from xds_server.graph import StreamChain

FRONT = cell(
    "front",
    "{class: std, components: [{name: web}], dependencies: [{name: mail, external: mail}, {name: db, external: db}]}",
)
MAIL = "{hosts: [mail.example], ports: [{port: 443, protocol: HTTPS}]CREDENTIAL}"
DB = "{hosts: [db.example], ports: [{port: 5432, protocol: TCP}]}"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: front}\nstringData: {credential: x}\n"
STD = cell_class("std", "{}")


def mail(credential: str = "", ports: str = "") -> str:
    text = MAIL.replace("CREDENTIAL", f", credential: {credential}" if credential else "")
    return external("mail", text.replace("[{port: 443, protocol: HTTPS}]", ports) if ports else text)


def world(**changes: str) -> dict[str, str]:
    files = {"front": FRONT, "back": "", "back_at": "", "mail": mail(), "db": external("db", DB), "std": STD}
    return {"front_at": binding("front", 0), **files, **changes}


def at(externals: str) -> str:
    return binding("front", 0, f", overrides: {{externals: {externals}}}")


def listeners(**changes: str) -> dict[str, Any]:
    spec = spec_of(lower(**world(**changes)), "Gateway", "front", "front-south")
    return {one["name"]: one for one in spec["listeners"]}


REFUSED = [
    ("{hosts: [a.example], ports: [{port: 1, protocol: HTTP, mode: Passthrough}]}", "no TLS to pass through"),
    ("{hosts: [a.example], ports: [{port: 1, protocol: TCP}, {port: 1, protocol: HTTP}]}", "twice"),
    ("{hosts: [a.example, b.example], ports: [{port: 1, protocol: TCP}]}", "one host"),
    ("{hosts: [a.example], ports: [{port: 1, protocol: TLS, mode: Passthrough}], http: {rules: [{}]}}", "http.rules"),
    ("{hosts: [a.example], ports: [{port: 1, protocol: TCP}], credential: {secretRef: {name: x}}}", "credential"),
    ("{hosts: [a.example], ports: [{port: 1, protocol: HTTP}], credential: {header: x}}", "secretRef"),
    (
        "{hosts: [a.example], ports: [{port: 1, protocol: HTTP}], credential: {type: OAuth2, secretRef: {name: x}}}",
        "oauth2",
    ),
]


@pytest.mark.parametrize(("spec", "said"), REFUSED)
def test_what_cannot_be_kept_cannot_be_written(spec: str, said: str) -> None:
    _, problems = objects_of({"x": external("x", spec)})
    assert len(problems) == 1
    assert problems[0].span is not None
    assert said in problems[0].message


def test_listeners_are_there_where_something_needs_them() -> None:
    assert set(listeners()) == {"http", "tcp-db-5432"}
    through = mail(ports="[{port: 443, protocol: HTTPS, mode: Passthrough}]")
    assert listeners(mail=through)["tls"] == {
        "name": "tls", "protocol": "TLS", "tls": {"mode": "Passthrough"}, "port": 15443,
    }  # fmt: skip
    assert set(listeners(db=external("db", DB.replace("TCP", "HTTP")))) == {"http"}


@pytest.mark.parametrize(
    ("port", "override", "local"),
    [("5432", "", 5432), ("25", "", 10025), ("25", "{db: {localPorts: [{port: 25, localPort: 2525}]}}", 2525)],
)
def test_a_port_without_requests_has_a_stable_local_port(port: str, override: str, local: int) -> None:
    service = external("db", DB.replace("5432", port))
    found = listeners(db=service, front_at=at(override) if override else binding("front", 0))
    assert found[f"tcp-db-{port}"]["port"] == local


def test_a_local_port_leads_to_one_dependency() -> None:
    front = FRONT.replace("{name: db,", "{name: log, external: log}, {name: db,")
    changes = {"front": front, "log": external("log", DB.replace("db.", "log."))}
    lowered = lower(**world(**changes))
    assert places(lowered.diagnostics) == [("C103", "front", 4)]
    assert "localPorts" in lowered.diagnostics[0].hint
    assert named(lowered, "TCPRoute") == {"front/log.south.5432"}
    lowered = lower(**world(front_at=at("{db: {localPorts: [{port: 5432, localPort: 15002}]}}")))
    assert [one.code for one in lowered.diagnostics] == ["C103"], "the port of requests"
    assert named(lowered, "TCPRoute") == set()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("{db: {localPorts: [{port: 1, localPort: 2}]}}", "no port 1"),
        ("{db: {localPorts: [{port: 5432, localPort: 2}, {port: 5432, localPort: 3}]}}", "twice"),
        ("{db: {hosts: [a.example, b.example]}}", "one host"),
        ("{db: {credential: {secretRef: {name: key}}}}", "sees no requests"),
        ("{mail: {credential: {header: x-key}}}", "secretRef"),
        ("{mail: {credential: {type: OAuth2, secretRef: {name: key}}}}", "oauth2"),
    ],
)
def test_an_override_that_cannot_be_closes_what_it_is_for(override: str, said: str) -> None:
    lowered = lower(**world(front_at=at(override)))
    assert places(lowered.diagnostics) == [("C104", "front_at".replace("_", "-"), 4)]
    assert said in lowered.diagnostics[0].message
    name = "db" if override.startswith("{db") else "mail"
    assert f"front/south|{name}" not in named(lowered, "Backend")
    other = "mail" if name == "db" else "db"
    assert f"front/south|{other}" in named(lowered, "Backend")


def test_several_ports_keep_their_numbers_on_other_addresses() -> None:
    ports = "[{port: 443, protocol: HTTPS}, {port: 80, protocol: HTTP}]"
    lowered = lower(**world(mail=mail(ports=ports), front_at=at("{mail: {endpoints: [{address: 127.0.9.9}]}}")))
    assert lowered.diagnostics == ()
    found = {
        name: spec_of(lowered, "Backend", "front", name)["endpoints"][0]["ip"]["port"]
        for name in ("south|mail", "south|mail|port-80")
    }
    assert found == {"south|mail": 443, "south|mail|port-80": 80}
    clash = at("{mail: {endpoints: [{address: 127.0.9.9, port: 1}]}}")
    assert [one.code for one in lower(**world(mail=mail(ports=ports), front_at=clash)).diagnostics] == ["C104"]


@pytest.mark.parametrize("secret", ["", SECRET.replace("credential:", "other:"), SECRET.replace("front", "back")])
def test_a_credential_that_is_not_there_closes_the_dependency_and_is_told(secret: str) -> None:
    lowered = lower(**world(mail=mail("{secretRef: {name: key}}"), secret=secret))
    assert condition(lowered, "Cell", "front", "ResolvedRefs").reason == "CredentialMissing"
    assert places(lowered.diagnostics) == [("C103", "front", 4)]
    assert "front/south|mail" not in named(lowered, "Backend")
    answer = spec_of(lowered, "HTTPRouteFilter", "front", "deny-credential-missing")["directResponse"]
    assert answer["statusCode"] == 401
    present = lower(**world(mail=mail("{secretRef: {name: key}}"), secret=SECRET))
    assert condition(present, "Cell", "front", "ResolvedRefs").status


@pytest.mark.parametrize(
    ("own", "override", "wanted"),
    [
        ("{header: x-key, secretRef: {name: key}}", "{secretRef: {name: other}}", ("x-key", "other", True)),
        ("{header: x-key, secretRef: {name: key}}", "{overwrite: false}", ("x-key", "key", False)),
        ("", "{header: x-key, secretRef: {name: key}}", ("x-key", "key", True)),
    ],
)
def test_a_stage_changes_a_credential_leaf_by_leaf(own: str, override: str, wanted: tuple[str, str, bool]) -> None:
    other = SECRET.replace("name: key", "name: other")
    files = world(
        mail=mail(own), front_at=at(f"{{mail: {{credential: {override}}}}}"), secret=SECRET, other_secret=other
    )
    spec = spec_of(lower(**files), "HTTPRouteFilter", "front", "mail.south")["credentialInjection"]
    assert (spec["header"], spec["credential"]["valueRef"]["name"], spec["overwrite"]) == wanted


def test_a_credential_of_another_type_keeps_nothing() -> None:
    login = SECRET.replace("credential: x", "username: shop, password: x")
    override = "{mail: {credential: {type: Basic, secretRef: {name: key}}}}"
    own = mail("{header: x-key, secretRef: {name: key}}")
    lowered = lower(**world(mail=own, front_at=at(override), secret=login))
    assert spec_of(lowered, "HTTPRouteFilter", "front", "mail.south")["credentialInjection"] == {
        "overwrite": True, "credential": {"basicRef": {"name": "key"}},
    }  # fmt: skip


# -- settings ------------------------------------------------------------------------------------------

WIDE = (
    "{defaults: {south: {traffic: {timeout: {tcp: {connectTimeout: 2s}, http: {requestTimeout: 5s}},"
    " retry: {numRetries: 1}, circuitBreaker: {maxConnections: 7, maxParallelRequests: 8}}}}}"
)


def streams(compiled: Compiled) -> dict[str, StreamChain]:
    gateway = next(one for one in compiled.gateways if one.name == "acme/dev/front/south")
    return {chain.route.name: chain for port in gateway.ports for chain in port.stream_chains}


def test_what_was_said_of_requests_is_not_meant_for_connections() -> None:
    compiled = compile_shop(**world(std=cell_class("std", WIDE)))
    assert compiled.diagnostics == ()
    lowered = lower(**world(std=cell_class("std", WIDE)))
    spec = spec_of(lowered, "BackendTrafficPolicy", "front", "db.south.5432.tcproute")
    assert spec["timeout"] == {"tcp": {"connectTimeout": "2s"}}
    assert spec["circuitBreaker"] == {"maxConnections": 7}
    assert "retry" not in spec
    whole = spec_of(lowered, "BackendTrafficPolicy", "front", "mail.south")
    assert whole["timeout"]["http"] == {"requestTimeout": "5s"}


def test_what_is_said_of_such_a_dependency_itself_has_to_mean_something() -> None:
    retries = policy("retries", "front", "south.db", "retry: {numRetries: 2}")
    compiled = compile_shop(**world(retries=retries))
    assert places(compiled.diagnostics) == [("A143", "retries", 6)]
    assert streams(compiled)["tcproute/front/db.south.5432"].route.destinations == ()


DENY = cell_class("std", "{overrides: {south: {denyPrivateAddresses: true}}}")


def test_addresses_inside_are_denied_by_the_class_and_nobody_allows_them() -> None:
    allow = policy("allow", "front", "south.mail", "denyPrivateAddresses: false")
    lowered = lower(**world(std=DENY, allow=allow))
    assert spec_of(lowered, "BackendTrafficPolicy", "front", "mail.south")["denyPrivateAddresses"] is True
    assert [one.code for one in lowered.diagnostics] == ["C130"]


def test_bytes_go_where_their_address_can_be_looked_at() -> None:
    compiled = compile_shop(**world(std=DENY))
    assert compiled.diagnostics == ()
    found = streams(compiled)["tcproute/front/db.south.5432"].route
    assert [one.cluster.partition("/")[0] for one in found.destinations] == ["south||tunnels"]
    lowered = lower(**world(std=DENY))
    spec = spec_of(lowered, "BackendTrafficPolicy", "front", "db.south.5432.tcproute")
    assert (spec["tunnel"], "denyPrivateAddresses" in spec) == ({"host": "db.example", "port": 5432}, False)
    tunnel = spec_of(lowered, "BackendTrafficPolicy", "front", "db.south.tunnel")
    assert tunnel["denyPrivateAddresses"] is True


def test_a_service_may_be_called_like_what_a_gateway_has_for_itself() -> None:
    own = external("tunnels", "{hosts: [tunnels.example], ports: [{port: 443, protocol: HTTPS}]}")
    front = world()["front"].replace("dependencies: [", "dependencies: [{name: t, external: tunnels}, ", 1)
    compiled = compile_shop(**world(std=DENY, tunnels=own, front=front))
    assert compiled.diagnostics == ()
    names = {name for each in compiled.snapshots["acme/dev/front/south"].resources.values() for name in each}
    assert any(name.startswith("south|tunnels") for name in names)
    assert any(name.startswith("south||tunnels") for name in names)


def test_private_addresses_are_a_matter_of_south() -> None:
    _, problems = objects_of({"x": cell_class("x", "{overrides: {west: {denyPrivateAddresses: true}}}")})
    assert [one.code for one in problems] == ["M110"]


THROUGH = mail(ports="[{port: 443, protocol: HTTPS, mode: Passthrough}]")


def test_a_tunnel_has_the_settings_of_its_dependency_and_ends_at_the_gateway() -> None:
    lowered = lower(**world(mail=THROUGH, std=cell_class("std", WIDE)))
    spec = spec_of(lowered, "BackendTrafficPolicy", "front", "mail.south.tunnel")
    assert spec["httpUpgrade"] == [{"type": "CONNECT", "connect": {"terminate": True}}]
    assert spec["circuitBreaker"]["maxConnections"] == 7
    assert "httpUpgrade" not in spec_of(lowered, "BackendTrafficPolicy", "front", "mail.south")
    assert find(lowered, "BackendTrafficPolicy", "front", "mail.south.tunnel").origins


def test_security_that_sni_cannot_keep_closes_it() -> None:
    strict = cell_class("std", "{overrides: {south: {security: {authorization: {defaultAction: Deny}}}}}")
    lowered = lower(**world(mail=THROUGH, std=strict))
    assert named(lowered, "TLSRoute") == set()
    assert [one.code for one in lowered.diagnostics] == ["C103"]
    assert "front/mail.south.tunnel" in named(lowered, "SecurityPolicy")


def test_a_broken_policy_closes_every_route_of_its_section() -> None:
    broken = policy("broken", "front", "south.db", "timeout: {tcp: {connectTimeout: soon}}")
    compiled = compile_shop(**world(broken=broken))
    assert streams(compiled)["tcproute/front/db.south.5432"].route.destinations == ()
