"""BackendTLSPolicy as it is written: TLS from the gateway to a Service.

Follows the v1 type of gateway-api.sigs.k8s.io, whose rules across fields are checked here, too. `options` is not
declared: no key of it has a meaning here, and so setting one is an error with a place.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from xds_server.model.policies import Targets
from xds_server.spec import GroupName, Hostname, KindName, ObjectName, PreciseHostname, Spec

Uri = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^:/?#\s]+://[^\s]*$")]


class AuthorityRef(Spec):
    """A ConfigMap or Secret of the same namespace whose key `ca.crt` holds certificate authorities as PEM."""

    group: GroupName
    kind: KindName
    name: ObjectName


class SubjectAltName(Spec):
    """A name that the backend's certificate may have: a DNS name, or a URI such as a SPIFFE identity."""

    type: Literal["Hostname", "URI"]
    hostname: Hostname | None = None
    uri: Uri | None = None

    @model_validator(mode="after")
    def _field_fits_type(self) -> SubjectAltName:
        if (self.hostname is not None, self.uri is not None) != (self.type == "Hostname", self.type == "URI"):
            raise ValueError(f"type {self.type} needs the field '{self.type.lower()}' and no other")
        return self


class BackendTlsValidation(Spec):
    """Whom to trust, and which names the backend's certificate may have."""

    ca_certificate_refs: Annotated[tuple[AuthorityRef, ...], Field(max_length=8)] = ()
    well_known_ca_certificates: Annotated[Literal["System"] | None, Field(alias="wellKnownCACertificates")] = None
    hostname: PreciseHostname
    subject_alt_names: Annotated[tuple[SubjectAltName, ...], Field(max_length=5)] = ()

    @model_validator(mode="after")
    def _exactly_one_trust(self) -> BackendTlsValidation:
        if bool(self.ca_certificate_refs) == (self.well_known_ca_certificates is not None):
            raise ValueError("give either 'caCertificateRefs' or 'wellKnownCACertificates: System'")
        return self


class BackendTlsPolicySpec(Targets):
    """TLS to the targets: Services, or one port of them by `sectionName`, or Backends."""

    validation: BackendTlsValidation

    @model_validator(mode="after")
    def _target_refs(self) -> BackendTlsPolicySpec:
        if others := self.model_fields_set - {"target_refs", "validation"}:
            name = type(self).model_fields[min(others)].alias
            raise ValueError(f"a BackendTLSPolicy has 'targetRefs' and 'validation', not '{name}'")
        places = [(one.group, one.kind, one.name, one.section_name) for one in self.target_refs]
        if len(set(places)) < len(places):
            raise ValueError("two targetRefs are the same; name a different sectionName in each")
        whole = {place[:3] for place in places if place[3] is None}
        if any(place[:3] in whole for place in places if place[3] is not None):
            raise ValueError("of two targetRefs to one object each needs a sectionName")
        return self
