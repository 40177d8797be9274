"""Which certificates clients must show, as users write it.

In: a `clientValidation` object. Out: its meaning, and that in Envoy's message. Refused: demands that nobody would
check, and authorities or revocation lists that are not there or are none.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
)
from xds_server.features.contract import Context
from xds_server.features.parts.patterns import StringMatchSpec, check_regex, string_matcher
from xds_server.features.parts.pem import certificate_problem, revocation_problem
from xds_server.spec import Bool, NamespaceName, ObjectName, Spec, Text
from xds_server.types import Path, Secret

_HASH = re.compile(r"[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}")
_TYPES = {
    "dnsNames": SubjectAltNameMatcher.DNS,
    "emailAddresses": SubjectAltNameMatcher.EMAIL,
    "ipAddresses": SubjectAltNameMatcher.IP_ADDRESS,
    "uris": SubjectAltNameMatcher.URI,
    "otherNames": SubjectAltNameMatcher.OTHER_NAME,
}
Mode = Literal["Request", "RequireAny", "VerifyIfGiven", "RequireAndVerify"]
Matches = Annotated[tuple[StringMatchSpec, ...], Field(max_length=64)]
Hashes = Annotated[tuple[Text, ...], Field(max_length=64)]


class HolderRefSpec(Spec):
    """A Secret or a ConfigMap. In another namespace a ReferenceGrant there must permit it."""

    group: Literal[""] = ""
    kind: Literal["Secret", "ConfigMap"] = "Secret"
    name: ObjectName
    namespace: NamespaceName | None = None


_ARC = r"(0|[1-9][0-9]{0,17})"
_OID = rf"^([01]\.([0-9]|[1-3][0-9])|2\.{_ARC})(\.{_ARC})*$"


class OtherNameSpec(StringMatchSpec):
    """A name of a type that an object identifier tells."""

    oid: Annotated[str, StringConstraints(pattern=_OID, max_length=128)]


class SubjectAltNamesSpec(Spec):
    """A certificate must have one of these names at least."""

    dns_names: Matches = ()
    email_addresses: Matches = ()
    ip_addresses: Matches = ()
    uris: Matches = ()
    other_names: Annotated[tuple[OtherNameSpec, ...], Field(max_length=64)] = ()


class RevocationSpec(Spec):
    """Lists of revoked certificates, key `ca.crl`: one for every authority of a chain, or only of the leaf's."""

    refs: Annotated[tuple[HolderRefSpec, ...], Field(min_length=1, max_length=8)]
    only_verify_leaf_certificate: Bool = False


class ClientValidationSpec(Spec):
    """What clients must show. `optional: true` is an older way to say `mode: VerifyIfGiven`."""

    mode: Mode | None = None
    optional: Bool | None = None
    ca_certificate_refs: Annotated[tuple[HolderRefSpec, ...], Field(max_length=8)] = ()
    spki_hashes: Hashes = ()
    certificate_hashes: Hashes = ()
    subject_alt_names: SubjectAltNamesSpec | None = None
    crl: RevocationSpec | None = None
    allow_expired_certificate: Bool = False


@dataclass(frozen=True, slots=True)
class AltNameMatch:
    """`field` is that of the spec; `oid` only for other names."""

    field: str
    type: str
    value: str
    oid: str = ""


@dataclass(frozen=True, slots=True)
class ClientCertificates:
    """Checked demands. `authorities` and `revoked` are PEM."""

    required: bool
    verified: bool
    authorities: str
    revoked: str
    only_leaf: bool
    keys: tuple[str, ...]
    hashes: tuple[str, ...]
    names: tuple[AltNameMatch, ...]
    expired: bool

    @property
    def proves_names(self) -> bool:
        """True if the names in a certificate are true. A pinned key says who somebody is, and can sign any name."""
        return self.verified and bool(self.authorities or not self.keys)


def resolve_validation(spec: ClientValidationSpec, context: Context) -> ClientCertificates | None:
    """The demands of a spec that stands at `clientValidation`; None after a problem was reported."""
    if spec.mode is not None and spec.optional is not None:
        reason = "give either mode or optional, its older form"
        context.problem("F103", "clientValidation", "optional", reason=reason)
        return None
    mode = spec.mode or ("VerifyIfGiven" if spec.optional else "RequireAndVerify")
    verified = mode in ("VerifyIfGiven", "RequireAndVerify")
    good = _fits(spec, context, mode, verified=verified)
    good = _hashes_fit(spec, context) and good
    names = _names(spec.subject_alt_names or SubjectAltNamesSpec(), context)
    authorities = _texts(spec.ca_certificate_refs, context, "ca.crt", "caCertificateRefs")
    revoked = _texts(spec.crl.refs, context, "ca.crl", "crl", "refs") if spec.crl else ""
    if not good or names is None or authorities is None or revoked is None:
        return None
    return ClientCertificates(
        required=mode in ("RequireAny", "RequireAndVerify"),
        verified=verified,
        authorities=authorities,
        revoked=revoked,
        only_leaf=spec.crl.only_verify_leaf_certificate if spec.crl else False,
        keys=spec.spki_hashes,
        hashes=spec.certificate_hashes,
        names=names,
        expired=spec.allow_expired_certificate,
    )


def fill_validation(validation: CertificateValidationContext, value: ClientCertificates) -> None:
    """Write the demands into Envoy's message."""
    validation.SetInParent()
    if value.authorities:
        validation.trusted_ca.inline_string = value.authorities
    if not value.verified:
        validation.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
    if value.revoked:
        validation.crl.inline_string = value.revoked
    validation.only_verify_leaf_cert_crl = value.only_leaf
    validation.verify_certificate_spki.extend(value.keys)
    validation.verify_certificate_hash.extend(value.hashes)
    validation.allow_expired_certificate = value.expired
    for name in value.names:
        matcher = string_matcher(name.type, name.value)
        validation.match_typed_subject_alt_names.add(san_type=_TYPES[name.field], matcher=matcher, oid=name.oid)


def _fits(spec: ClientValidationSpec, context: Context, mode: str, *, verified: bool) -> bool:
    """True if somebody checks what is demanded."""
    pinned = bool(spec.spki_hashes or spec.certificate_hashes)
    named = spec.subject_alt_names is not None
    asked = {
        "spkiHashes": bool(spec.spki_hashes),
        "certificateHashes": bool(spec.certificate_hashes),
        "subjectAltNames": named,
        "crl": spec.crl is not None,
    }
    if mode == "RequireAny" and not spec.ca_certificate_refs:
        reason = "mode RequireAny needs caCertificateRefs: without any, Envoy lets clients in that show nothing"
        context.problem("F103", "clientValidation", reason=reason)
        return False
    if not verified:
        unused = [field for field, there in asked.items() if there]
        for field in unused:
            reason = f"with mode {mode} no certificate is refused, so {field} does nothing; RequireAndVerify checks it"
            context.problem("F103", "clientValidation", field, reason=reason)
        return not unused
    if not spec.ca_certificate_refs and not pinned:
        reason = f"mode {mode} needs caCertificateRefs, spkiHashes or certificateHashes to compare with"
        context.problem("F103", "clientValidation", reason=reason)
        return False
    lacking = [field for field in ("subjectAltNames", "crl") if asked[field] and not spec.ca_certificate_refs]
    for field in lacking:
        reason = f"{field} proves nothing without caCertificateRefs"
        context.problem("F103", "clientValidation", field, reason=reason)
    if pinned and mode == "VerifyIfGiven":
        reason = "with hashes Envoy demands a certificate from everybody; use mode RequireAndVerify"
        context.problem("F103", "clientValidation", "mode" if spec.mode else "optional", reason=reason)
        return False
    return not lacking


def _hashes_fit(spec: ClientValidationSpec, context: Context) -> bool:
    good = True
    for number, text in enumerate(spec.spki_hashes):
        if not _is_key_hash(text):
            reason = f"'{text}' is not the Base64 of a SHA-256 hash of a public key (44 characters)"
            context.problem("F103", "clientValidation", "spkiHashes", number, reason=reason)
            good = False
    for number, text in enumerate(spec.certificate_hashes):
        if not _HASH.fullmatch(text):
            reason = f"'{text}' is not a SHA-256 hash of a certificate: 64 hexadecimal digits, with or without colons"
            context.problem("F103", "clientValidation", "certificateHashes", number, reason=reason)
            good = False
    return good


def _is_key_hash(text: str) -> bool:
    try:
        return len(text) == 44 and len(base64.b64decode(text, validate=True)) == 32
    except binascii.Error:
        return False


def _names(spec: SubjectAltNamesSpec, context: Context) -> tuple[AltNameMatch, ...] | None:
    found: list[AltNameMatch] = []
    good = True
    for name, info in type(spec).model_fields.items():
        field = str(info.alias)
        matches: tuple[StringMatchSpec, ...] = getattr(spec, name)
        for number, one in enumerate(matches):
            if one.type == "RegularExpression":
                path = ("clientValidation", "subjectAltNames", field, number, "value")
                good = check_regex(context, one.value, *path) and good
            oid = one.oid if isinstance(one, OtherNameSpec) else ""
            found.append(AltNameMatch(field, one.type, one.value, oid))
    return tuple(found) if good else None


def _texts(refs: tuple[HolderRefSpec, ...], context: Context, key: str, *path: str) -> str | None:
    """The PEM texts of all references below `clientValidation`; None after a problem was reported."""
    found = []
    for number, ref in enumerate(refs):
        place: Path = ("clientValidation", *path, number)
        text = _text(ref, context, key, *place)
        if text is None:
            return None
        problem = revocation_problem(text) if key == "ca.crl" else certificate_problem(text)
        if problem:
            context.problem("A104", *place, reason=f"{ref.kind} {ref.name} {problem}")
            return None
        found.append(text.decode(errors="replace"))
    return "\n".join(found)


def _text(ref: HolderRefSpec, context: Context, key: str, *place: str | int) -> bytes | None:
    held: Mapping[str, str] | Mapping[str, Secret] | None
    if ref.kind == "ConfigMap":
        held = context.config_map(ref.name, ref.namespace, *place)
    else:
        held = context.secret(ref.name, ref.namespace, *place)
    if held is None:
        return None
    if key not in held:
        context.problem("A104", *place, reason=f"{ref.kind} {ref.name} has no key {key}")
        return None
    value = held[key]
    return value.value if isinstance(value, Secret) else value.encode()
