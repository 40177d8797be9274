"""What clients must show on the HTTPS listeners of a Gateway: `tls.frontend`, for all ports and for single ones.

In: a Gateway. Out: a `Frontend` that says what counts for a port. Where nobody that is named can vouch for clients,
there is no validation but a condition: the listeners of that port are not served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xds_server.attach.authorities import read_authorities
from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic, Path
from xds_server.graph import ClientValidation
from xds_server.model.gateways import FrontendTls, GatewaySpec
from xds_server.model.object import Object
from xds_server.types import Condition

_REASONS = {"InvalidKind": "InvalidCACertificateKind"}
INSECURE = "AllowInsecureFallback"


@dataclass(frozen=True, slots=True)
class Checked:
    """One validation. `resolved` is the ResolvedRefs condition if references are bad."""

    validation: ClientValidation | None
    resolved: Condition | None = None


@dataclass(frozen=True, slots=True)
class Frontend:
    """What counts for each port."""

    default: Checked | None = None
    ports: Mapping[int, Checked | None] = field(default_factory=dict)

    def of(self, port: int) -> Checked | None:
        """The validation for a port: its own, else the default. None: clients need no certificate."""
        return self.ports.get(port, self.default)

    @property
    def insecure(self) -> bool:
        """True if some port lets in clients whom nobody vouches for."""
        every = (self.default, *self.ports.values())
        return any(one is not None and one.validation is not None and one.validation.insecure for one in every)


def read_frontend(item: Object, spec: GatewaySpec, index: Index, problems: list[Diagnostic]) -> Frontend:
    """The validations of a Gateway."""
    written = spec.tls.frontend if spec.tls else None
    if written is None:
        return Frontend()
    path = ("tls", "frontend")
    default = _checked(item, written.default, (*path, "default"), index, problems)
    ports = {
        one.port: _checked(item, one.tls, (*path, "perPort", number, "tls"), index, problems)
        for number, one in enumerate(written.per_port)
    }
    return Frontend(default, ports)


def _checked(
    item: Object, written: FrontendTls, path: Path, index: Index, problems: list[Diagnostic]
) -> Checked | None:
    if written.validation is None:
        return None
    found = read_authorities(written.validation.ca_certificate_refs, item.key, index)
    place = (*path, "validation", "caCertificateRefs")
    problems += [item.diagnose("A104", *place, bad.number, reason=bad.message) for bad in found.problems]
    resolved = None
    if found.problems:
        reason = found.problems[0].reason
        message = "; ".join(bad.message for bad in found.problems)
        resolved = Condition("ResolvedRefs", False, _REASONS.get(reason, reason), message)
    if not found.pem:
        return Checked(None, resolved)
    port = f"port-{path[3]}" if path[2] == "perPort" else "default"
    name = f"{item.namespace}/{item.name}/clients/{port}"
    insecure = written.validation.mode == INSECURE
    return Checked(ClientValidation(name, "\n".join(found.pem), insecure, found.origins), resolved)
