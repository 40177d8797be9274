"""An external service as one cell sees it in its stage: hosts, ports, addresses, and what is shown to it.

In: the service, and the overrides of a binding. Out: an `Outside`, and the derived Backends that lead there. What does not
fit together is a diagnostic of the binding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from xds_server.cells.derive import Output
from xds_server.cells.plan import Bound, External, Plan
from xds_server.model.external_services import Credential, ExternalOverride, ExternalPort

_KEYS = {"Header": ("credential",), "Basic": ("username", "password"), "OAuth2": ("client-secret",)}
_LOWEST_FREE = 1024
_SHIFT = 10_000


@dataclass(frozen=True, slots=True)
class Outside:
    """A service with the overrides of a stage applied."""

    cell: Bound
    external: External
    override: ExternalOverride

    @property
    def name(self) -> str:
        """The name of the ExternalService."""
        return self.external.item.name

    @property
    def hosts(self) -> tuple[str, ...]:
        """Its hosts in this stage."""
        return self.override.hosts or self.external.spec.hosts

    @property
    def ports(self) -> tuple[ExternalPort, ...]:
        """Its ports, as written."""
        return self.external.spec.ports

    def local_port(self, port: int) -> int:
        """The port of the south gateway that leads to a port without requests: the same, or 10,000 more below 1024."""
        written = {one.port: one.local_port for one in self.override.local_ports}
        return written.get(port, port if port >= _LOWEST_FREE else port + _SHIFT)


def outside_of(cell: Bound, external: External) -> Outside:
    """A service as a cell sees it."""
    override = cell.bound.overrides.externals.get(external.item.name) or ExternalOverride()
    return Outside(cell, external, override)


def override_problem(outside: Outside) -> tuple[tuple[str, ...], str] | None:
    """What the binding says that cannot be, and the field below the override; None if all can."""
    ports, override = [one.port for one in outside.ports], outside.override
    if len(ports) > 1 and any(one.port for one in override.endpoints):
        return ("endpoints",), f"{outside.name} has {len(ports)} ports: leave 'port' out, each endpoint has them all"
    own = [one.port for one in outside.ports if one.has_own_port]
    for one in override.local_ports:
        if one.port not in own:
            return ("localPorts",), f"{outside.name} has no port {one.port} that needs a port of its own"
    if len({one.port for one in override.local_ports}) < len(override.local_ports):
        return ("localPorts",), "a port is there twice"
    if len(outside.hosts) > 1 and own:
        return ("hosts",), f"nothing on port {own[0]} tells hosts apart: give one host"
    blind = next((one for one in outside.ports if not one.reads_requests), None)
    if override.credential is not None and blind is not None:
        return ("credential",), f"it cannot be shown on port {blind.port}, where the gateway sees no requests"
    found = credential_of(outside)
    return (("credential",), found) if isinstance(found, str) else None


def credential_of(outside: Outside) -> Credential | str | None:
    """What is shown to the service in this stage, or why that cannot be, or None if nothing is."""
    own, override = outside.external.spec.credential, outside.override.credential
    if override is None:
        return own
    base = own.model_dump(exclude_unset=True) if own is not None else {}
    changes = override.model_dump(exclude_unset=True)
    if changes.get("type", base.get("type", "Header")) != base.get("type", "Header"):
        base = {}
    try:
        return Credential.model_validate(_joined(base, changes))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in ("credential", *first["loc"]))
        return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def missing_credential(cell: Bound, external: External, plan: Plan) -> str:
    """Why the credential of a service cannot be shown; empty if it can, or if there is none."""
    outside = outside_of(cell, external)
    credential = credential_of(outside)
    if credential is None or isinstance(credential, str) or override_problem(outside):
        return ""
    name = credential.secret_ref.name
    if (cell.name, name) in plan.withheld:
        return f"Secret {cell.name}/{name} for its credential is production's, and stage {plan.stage} is not production"
    known = plan.secrets.get((cell.name, name))
    if known is None:
        return f"there is no Secret {cell.name}/{name} for its credential"
    missing = [key for key in _KEYS[credential.type] if key not in known]
    return f"Secret {cell.name}/{name} for its credential has no key '{missing[0]}'" if missing else ""


def _joined(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in changes.items():
        known = found.get(key)
        found[key] = _joined(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return found


def add_place(outside: Outside, number: int, port: ExternalPort, output: Output) -> str:
    """The Backend of one port of one host, named as its cluster shall be called."""
    host = outside.hosts[number]
    first = port is outside.ports[0]
    name = f"south|{outside.name}" + (f"|{number}" if number else "") + ("" if first else f"|port-{port.port}")
    spec: dict[str, Any] = {"endpoints": [{"fqdn": {"hostname": host, "port": port.port}}]}
    if outside.override.endpoints:
        spec["endpoints"] = [
            {"ip": {"address": one.address, "port": one.port or port.port}, **({"zone": one.zone} if one.zone else {})}
            for one in outside.override.endpoints
        ]
    if port.protocol in ("HTTPS", "TLS") and not port.passes_through:
        trust: dict[str, Any] = {"wellKnownCACertificates": "System"}
        if outside.override.ca_certificate_ref:
            trust = {"caCertificateRefs": [{"kind": "ConfigMap", "name": outside.override.ca_certificate_ref}]}
        spec["tls"] = {**trust, "sni": host}
    output.add("Backend", outside.cell.name, name, spec, (outside.external.item, outside.cell.binding))
    return name
