"""Who gateways are to each other: the names in their certificates, and the certificates as derived objects.

In: the plan, and certificates as they were given to the compiler. Out: names such as
`spiffe://DOMAIN/cell/orders/gw/west`, and for each gateway a derived Secret and ConfigMap that Gateways and
BackendTLSPolicies refer to. Nothing is issued here. Without certificates there are placeholders: they expired long
ago, so that nobody trusts them. Where certificates should be there and
are not, nothing stands in their place, and the gateways stay closed.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from xds_server.cells.authority import Leaf
from xds_server.cells.bindings import Bound
from xds_server.cells.derive import Output, origins_of
from xds_server.cells.plan import Plan
from xds_server.diagnostics import Positions
from xds_server.memory import difference
from xds_server.model.cell_kinds import CellBindingSpec, OrganizationSpec
from xds_server.model.object import Object
from xds_server.parts import in_parts
from xds_server.types import CORE_GROUP, ENVOY_GATEWAY_GROUP, Key, Secret

AUTHORITY = "cell-authority"
"""The ConfigMap of a cell with the authority of its stage."""
_PLACEHOLDER_DAY = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def gateway_identity(trust_domain: str, cell: str, direction: str) -> str:
    """The name of one gateway of a cell."""
    return f"spiffe://{trust_domain}/cell/{cell}/gw/{direction}"


def component_identity(trust_domain: str, cell: str, component: str) -> str:
    """The name of a component of a cell that has a sidecar."""
    return f"spiffe://{trust_domain}/cell/{cell}/component/{component}"


def sidecar_of(component: str) -> str:
    """What stands for a sidecar where a gateway of a cell has its direction."""
    return f"component-{component}"


_CELL = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def operator_identity(trust_domain: str, name: str) -> str:
    """The name of somebody who operates a stage."""
    return f"spiffe://{trust_domain}/operator/{name}"


class Identities:
    """The names that certificates are needed for, kept from call to call."""

    def __init__(self) -> None:
        self._objects: Sequence[Object] = ()
        self._concerned: dict[int, Object] = {}
        self._wanted: dict[str, tuple[str, ...]] = {}

    def update(self, objects: Iterable[Object]) -> dict[str, tuple[str, ...]]:
        """By trust domain: those of all cells that are bound in its stage."""
        given = in_parts(objects)
        now = difference(self._objects, given)
        self._objects = given
        gone = [self._concerned.pop(id(item), None) for item in now.gone]
        came = {id(item): item for item in now.came if isinstance(item.spec, OrganizationSpec | CellBindingSpec)}
        if came or any(gone):
            self._concerned |= came
            self._wanted = wanted_identities(self._concerned.values())
        return self._wanted


def wanted_identities(objects: Iterable[Object]) -> dict[str, tuple[str, ...]]:
    """The names that certificates are needed for, by trust domain: those of all cells that are bound in its stage.

    North and south speak TLS inside the cell where there are sidecars, and need names there.
    """
    objects = tuple(objects)
    organizations = [item.spec for item in objects if isinstance(item.spec, OrganizationSpec)]
    found: dict[str, dict[str, None]] = {}
    for item in objects:
        if not isinstance(item.spec, CellBindingSpec) or not _CELL.fullmatch(item.spec.cell):
            continue
        for organization in organizations or [OrganizationSpec()]:
            for stage in organization.stages:
                if stage.name == item.spec.stage:
                    domain = organization.domain_of(stage)
                    found.setdefault(domain, {}).update(dict.fromkeys(_names(domain, item.spec)))
    return {domain: tuple(sorted(names)) for domain, names in sorted(found.items())}


def _names(domain: str, bound: CellBindingSpec) -> Iterator[str]:
    inside = ("north", "south") if bound.sidecars else ()
    yield from (gateway_identity(domain, bound.cell, one) for one in ("west", "east", *inside))
    yield from (component_identity(domain, bound.cell, one) for one in bound.sidecars)


def identity_name(cell: Bound, direction: str) -> str:
    """The derived Secret with the certificate of one gateway."""
    return f"{cell.name}-{direction}-identity"


def identity_keys(cell: str, components: Iterable[str]) -> tuple[Key, ...]:
    """What a cell's certificates and their authority are kept in."""
    whose = ("north", "west", "east", "south", *(sidecar_of(one) for one in components))
    secrets = (Key(CORE_GROUP, "Secret", cell, f"{cell}-{one}-identity") for one in whose)
    return (*secrets, Key(CORE_GROUP, "ConfigMap", cell, AUTHORITY))


def client_certificate(cell: Bound, direction: str) -> dict[str, Any]:
    """What a gateway shows to those that it reaches over TLS: `tls.backend` of its Gateway."""
    return {"clientCertificateRef": {"kind": "Secret", "name": identity_name(cell, direction)}}


def server_certificate(cell: Bound, direction: str) -> dict[str, Any]:
    """What a gateway shows to those that reach it over TLS: `tls` of its listener."""
    return {"certificateRefs": [{"kind": "Secret", "name": identity_name(cell, direction)}]}


def callers_inside(cell: Bound, who: str) -> dict[str, Any]:
    """Whom a listener lets finish a handshake: owners of certificates of the cell itself whose name fits `who`."""
    pattern = f"spiffe://{re.escape(cell.domain)}/cell/{re.escape(cell.name)}/{who}"
    names = {"uris": [{"type": "RegularExpression", "value": pattern}]}
    return {"clientValidation": {"caCertificateRefs": [_authority()], "subjectAltNames": names}}


def add_trust(cell: Bound, backend: str, host: str, uri: str, output: Output, *made_from: Object) -> None:
    """TLS to a backend inside the stage: its authority is the stage's, and its name exactly this one."""
    validation = {
        "caCertificateRefs": [_authority()],
        "hostname": host,
        "subjectAltNames": [{"type": "URI", "uri": uri}],
    }
    target = {"group": ENVOY_GATEWAY_GROUP, "kind": "Backend", "name": backend}
    spec = {"targetRefs": [target], "validation": validation}
    output.add("BackendTLSPolicy", cell.name, backend, spec, (cell.item, *made_from))


def _authority() -> dict[str, str]:
    return {"group": "", "kind": "ConfigMap", "name": AUTHORITY}


def add_identity(cell: Bound, direction: str, plan: Plan, output: Output, component: str = "") -> None:
    """The certificate of one gateway, or of a component, and the authority that it trusts; nothing where there is none."""
    authority, domain = plan.authority, plan.trust_domain
    name = gateway_identity(domain, cell.name, direction)
    if component:
        name, direction = component_identity(domain, cell.name, component), sidecar_of(component)
    leaf = _placeholder(name) if authority is None else authority.leaves.get(name)
    certificates = _placeholder(plan.trust_domain).chain.decode() if authority is None else authority.certificates
    if leaf is not None:
        values = {"tls.crt": leaf.chain, "tls.key": leaf.key.value}
        data = {key: base64.b64encode(value).decode() for key, value in values.items()}
        _add(cell, "Secret", identity_name(cell, direction), data, output)
    if certificates:
        _add(cell, "ConfigMap", AUTHORITY, {"ca.crt": certificates}, output)


def _add(cell: Bound, kind: str, name: str, data: dict[str, str], output: Output) -> None:
    metadata = {"name": name, "namespace": cell.name}
    document = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}
    start = cell.binding.source.positions.start
    output.parse(document, Positions(start), origins_of((cell.binding, cell.item)))


@lru_cache(maxsize=4096)
def _placeholder(name: str) -> Leaf:
    """A certificate that only looks like one: the same for the same name, and of no use."""
    key = Ed25519PrivateKey.from_private_bytes(sha256(b"placeholder " + name.encode()).digest())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "placeholder")])
    built = x509.CertificateBuilder(subject, subject, key.public_key(), 1, _PLACEHOLDER_DAY, _PLACEHOLDER_DAY)
    uri = name if "://" in name else f"spiffe://{name}"
    built = built.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Leaf(built.sign(key, None).public_bytes(Encoding.PEM), Secret(secret))
