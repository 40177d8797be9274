"""A certificate authority: its certificate and key, and the short-lived certificates that it issues.

In: PEM text, names, the time. Out: PEM text, `Leaf`s. `AuthorityError` says in a sentence why an authority cannot be used.
Keys are on the curve P-256. Nothing is written to disk here, and no clock is read.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xds_server.attach.certificates import key_pair_problem
from xds_server.cells.authority import Leaf
from xds_server.types import Secret

SHORTEST, LONGEST = 5.0, 24 * 3600.0
"""Seconds that a certificate of a gateway lives, at least and at most."""
_ROOT_DAYS = 3650
BACKDATED = 300.0
"""Seconds, at most, by which a certificate is valid before it is made: clocks of other machines may be behind ours."""
SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class AuthorityError(Exception):
    """Why an authority cannot be used."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authority that can issue. `trusted` is all of its file; `between` what a leaf needs to be traced to a root."""

    certificate: x509.Certificate
    trusted: str
    between: bytes
    key: SigningKey = field(repr=False)

    @property
    def ends(self) -> float:
        """When it expires, in seconds since the epoch."""
        return self.certificate.not_valid_after_utc.timestamp()


def make_root(domain: str, now: float) -> tuple[bytes, bytes]:
    """A new authority for a trust domain: certificate and key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cells of {domain}"[:64])])
    begins = _moment(now - BACKDATED)
    built = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), begins, begins + datetime.timedelta(days=_ROOT_DAYS)
    )
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(_usage(signs=True), critical=True)
    built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    here = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{domain}")])
    built = built.add_extension(here, critical=False)
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), _pem(key)


def read_issuer(chain: bytes, key: bytes, now: float) -> Issuer:
    """The authority whose certificate stands first in `chain`, with those above it; AuthorityError if it is of no use."""
    if problem := key_pair_problem(chain, key):
        raise AuthorityError(problem.replace("tls.crt", "the certificate").replace("tls.key", "the key"))
    certificates = x509.load_pem_x509_certificates(chain)
    private = load_pem_private_key(key, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise AuthorityError("the key is neither RSA nor on an elliptic curve that Envoy takes")
    if problem := _unusable(certificates[0], now):
        raise AuthorityError(problem)
    above = [one for one in certificates if one.subject != one.issuer]
    between = b"".join(one.public_bytes(Encoding.PEM) for one in above)
    return Issuer(certificates[0], chain.decode(errors="replace"), between, private)


def _unusable(certificate: x509.Certificate, now: float) -> str:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "the certificate is not one of an authority"
    if not constraints.ca:
        return "the certificate is not one of an authority"
    if now >= certificate.not_valid_after_utc.timestamp():
        return f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if now < certificate.not_valid_before_utc.timestamp():
        return f"the certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if certificate.subject == certificate.issuer:
        try:
            certificate.verify_directly_issued_by(certificate)
        except (InvalidSignature, ValueError, TypeError):
            return "the certificate is not signed by its own key"
    return ""


def start_of(now: float, lifetime: float) -> float:
    """From when a certificate that is issued now is valid."""
    return now - min(BACKDATED, lifetime / 10)


def issue(issuer: Issuer, name: str, now: float, lifetime: float) -> Leaf:
    """A certificate with the one name (a URI) for both ends of a connection. Of its `lifetime` a tenth may be over `now`."""
    key = ec.generate_private_key(ec.SECP256R1())
    started = start_of(now, lifetime)
    begins, ends = _moment(started), _moment(min(started + lifetime, issuer.ends))
    built = x509.CertificateBuilder(
        issuer.certificate.subject,
        x509.Name([]),
        key.public_key(),
        x509.random_serial_number(),
        begins,
        ends,
    )
    san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)])
    built = built.add_extension(san, critical=True)  # there is no subject, and so RFC 5280 wants it so
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(_usage(signs=False), critical=True)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    built = built.add_extension(both, critical=False)
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    built = built.add_extension(issued_by, critical=False)
    signed = built.sign(issuer.key, hashes.SHA256())
    return Leaf(signed.public_bytes(Encoding.PEM) + issuer.between, Secret(_pem(key)))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
