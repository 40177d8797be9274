"""A small organization as text, and what it lowers to. Every piece is a file of its own, so that places tell them apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.documents import parse
from xds_server.cells.lower import Lowered, lower_cells
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.diagnostics import Diagnostic
from xds_server.model.object import Object
from xds_server.types import CELLWAY_GROUP, ENVOY_GATEWAY_GROUP, Condition, Key

KEYS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}'
_HEAD = "apiVersion: cellway.dev/v1alpha1\n"


def organization(name: str = "acme", spec: str = "{stages: [{name: dev}]}") -> str:
    return f"{_HEAD}kind: Organization\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def cell_class(name: str, spec: str) -> str:
    return f"{_HEAD}kind: CellClass\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def external(name: str, spec: str) -> str:
    return f"{_HEAD}kind: ExternalService\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def cell(name: str, spec: str) -> str:
    return f"{_HEAD}kind: Cell\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def binding(cell_name: str, number: int, more: str = "", *, stage: str = "dev", name: str = "") -> str:
    spec = f"{{cell: {cell_name}, stage: {stage}, address: 127.0.9.{number}{more}}}"
    return f"{_HEAD}kind: CellBinding\nmetadata: {{name: {name or cell_name}}}\nspec: {spec}\n"


def policy(
    name: str, namespace: str, section: str, spec: str, kind: str = "BackendTrafficPolicy", cell: str = ""
) -> str:
    where = f", sectionName: {section}" if section else ""
    target = f"{{group: cellway.dev, kind: Cell, name: {cell or namespace}{where}}}"
    return (
        f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  targetRefs: [{target}]\n  {spec}\n"
    )


def route(name: str, namespace: str, parent: str, rest: str) -> str:
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  parentRefs: [{parent}]\n  {rest}\n"
    )


def on(section: str, cell_name: str = "back") -> str:
    return f"{{group: cellway.dev, kind: Cell, name: {cell_name}, sectionName: {section}}}"


FRONT = cell(
    "front",
    "{components: [{name: web, endpoints: [{name: http, port: 80, visibility: [public]}]}],"
    " dependencies: [{name: back, cell: back, component: api}, {name: mail, external: mail}],"
    " gateways: {north: {hostnames: [front.example]}}}",
)
BACK = cell(
    "back",
    "{components: [{name: api, endpoints: [{name: http, port: 80, visibility: [organization], allow: {cells: [front]}}]},"
    " {name: next, endpoints: [{name: http, port: 80}]}],"
    " gateways: {north: {hostnames: [back.example]}}}",
)
FRONT_AT = ", endpoints: {web.http: [{address: 127.0.9.201}]}"
BACK_AT = ", endpoints: {api.http: [{address: 127.0.9.202}], next.http: [{address: 127.0.9.203}]}"

SHOP = {
    "org": organization(),
    "mail": external("mail", "{hosts: [mail.example], ports: [{port: 80, protocol: HTTP}]}"),
    "front": FRONT,
    "back": BACK,
    "front-at": binding("front", 0, FRONT_AT),
    "back-at": binding("back", 16, BACK_AT),
}


def objects_of(files: dict[str, str]) -> tuple[list[Object], list[Diagnostic]]:
    objects: list[Object] = []
    problems: list[Diagnostic] = []
    for name, text in files.items():
        more, found = parse(text, name)
        objects += more
        problems += found
    return objects, problems


def lower(**changes: str) -> Lowered:
    """The shop with some files changed or added (an empty one is left out); `_` in a name stands for `-`."""
    files = SHOP | {name.replace("_", "-"): text for name, text in changes.items()}
    return lower_cells(objects_of(files)[0])


def compile_shop(**changes: str) -> Compiled:
    files = SHOP | {name.replace("_", "-"): text for name, text in changes.items()}
    return compile_objects(objects_of(files)[0], Options())


def named(lowered: Lowered, kind: str) -> set[str]:
    return {f"{item.namespace}/{item.name}" for item in lowered.objects if item.key.kind == kind}


def find(lowered: Lowered, kind: str, namespace: str, name: str) -> Object:
    return next(one for one in lowered.objects if (one.key.kind, one.namespace, one.name) == (kind, namespace, name))


def spec_of(lowered: Lowered, kind: str, namespace: str, name: str) -> dict[str, Any]:
    return dict(find(lowered, kind, namespace, name).document["spec"])


def places(problems: Iterable[Diagnostic], code: str = "") -> list[tuple[str, str, int]]:
    """Code, file and line of every problem of a code, or of all."""
    return sorted((one.code, one.span.file, one.span.line) for one in problems if one.span and code in one.code)


def condition(lowered: Lowered, kind: str, name: str, type_: str) -> Condition:
    status = lowered.statuses[Key(CELLWAY_GROUP, kind, "", name)]
    return next(one for one in status.conditions if one.type == type_)


def accepted(lowered: Lowered | Compiled, kind: str, namespace: str, name: str) -> list[str]:
    status = lowered.statuses[Key(ENVOY_GATEWAY_GROUP, kind, namespace, name)]
    return [one.reason for place in status.ancestors for one in place.conditions]


def reply(compiled: Compiled, gateway: str, route_name: str) -> set[str]:
    """What a gateway does with requests of one derived route."""
    found = [
        one.action
        for gate in compiled.gateways
        if gate.name == gateway
        for port in gate.ports
        for chain in port.http_chains
        for host in chain.hosts
        for one in host.routes
        if f"/{route_name}/" in one.name
    ]
    return {f"{type(one).__name__} {getattr(one, 'status', '')}".strip() for one in found}


def effective_backends(spec: dict[str, Any]) -> dict[str, int]:
    """Backends of a route and their weights."""
    return {ref["name"]: ref["weight"] for rule in spec["rules"] for ref in rule.get("backendRefs", ())}
