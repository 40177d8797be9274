"""TLS of the xDS port: who connects must show a certificate of our authority.

In: paths of PEM files. Out: server credentials that read the files again for each new connection, so that a rotated
certificate or authority counts without a restart. Files that have become unusable change nothing: the last good ones
stay, and the reason is told once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The server's certificate chain and key, and the authorities of clients' certificates; PEM.

    `revoked`: revocation lists of these authorities; None: there are none.
    """

    certificate: Path
    key: Path
    authorities: Path
    revoked: Path | None = None


class Credentials:
    """What the files hold, as long as it is usable. `told` hears of every change for the worse."""

    def __init__(self, files: TlsFiles, told: Callable[[str], None]) -> None:
        """Raises ValueError, with a sentence, for files that cannot be used."""
        self.files, self._told = files, told
        self._seen = self._read()
        self._problem = ""
        self._good = _configuration(*self._seen)

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a port of a gRPC server."""
        return grpc.dynamic_ssl_server_credentials(self._good, self._current, require_client_authentication=True)

    def _current(self) -> grpc.ServerCertificateConfiguration:
        """Called by gRPC for every handshake, on a thread of its own."""
        try:
            seen = self._read()
            if seen != self._seen:
                self._good = _configuration(*seen)
                self._seen = seen
            self._problem = ""
        except ValueError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._told(self._problem)
        return self._good

    def _read(self) -> tuple[bytes, bytes, bytes]:
        files = self.files
        try:
            return files.certificate.read_bytes(), files.key.read_bytes(), files.authorities.read_bytes()
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}") from None


def _configuration(chain: bytes, key: bytes, authorities: bytes) -> grpc.ServerCertificateConfiguration:
    """Raises ValueError if these do not belong together: gRPC would only refuse every connection."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        x509.load_pem_x509_certificates(authorities)
        public = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise ValueError(f"the xDS port's certificate, key or authorities are no PEM: {error}") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise ValueError("the xDS port's key does not belong to its certificate")
    return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)
