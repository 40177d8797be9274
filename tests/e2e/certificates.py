"""Certificates for tests: an authority that signs them, and one that signs itself."""

from __future__ import annotations

import datetime
import ipaddress
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def self_signed(*names: str) -> tuple[str, str]:
    """Certificate and private key as PEM, valid for these DNS names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(names[0])
    built = _dated(subject, subject, key.public_key(), DAY)
    built = built.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return _pem(built.sign(key, hashes.SHA256())), _key_pem(key)


class Authority:
    """A certificate authority that signs certificates for names. `certificate` is its own as PEM."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject(name)
        built = _dated(self._name, self._name, self._key.public_key(), DAY)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = _pem(built.sign(self._key, hashes.SHA256()))

    def issue(self, *names: str, life: datetime.timedelta = DAY) -> tuple[str, str]:
        """Certificate and private key as PEM. A name with `://` is a URI, one of digits an address, others are DNS."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _dated(_subject(names[0]), self._name, key.public_key(), life)
        built = built.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        return _pem(built.sign(self._key, hashes.SHA256())), _key_pem(key)

    def revoke(self, *certificates: str) -> str:
        """The list of these certificates (PEM), which nobody shall trust any more, as PEM."""
        now = datetime.datetime.now(datetime.UTC)
        built = x509.CertificateRevocationListBuilder(self._name, now - DAY, now + DAY)
        for one in certificates:
            serial = x509.load_pem_x509_certificate(one.encode()).serial_number
            built = built.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, now - DAY).build())
        return built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:60])])


def _name(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if re.fullmatch(r"[0-9.]+|[0-9a-f]*:[0-9a-f:]*", name):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def _dated(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    # The start lies before the end of one that is over already.
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - 2 * DAY, now + life)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, *form).decode()
