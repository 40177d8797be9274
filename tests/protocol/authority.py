"""A certificate authority whose certificates lie in files, and TLS for gRPC clients that trust it."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import certificates


@dataclass(frozen=True)
class Issued:
    """A certificate and its key as files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own is in the file `certificate`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._signer = folder, certificates.Authority(name)
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_text(self._signer.certificate, encoding="ascii")

    def issue(self, name: str, *uris: str, life: datetime.timedelta = certificates.DAY) -> Issued:
        """A certificate for the DNS name and these URIs, for 127.0.0.1, too."""
        issued = Issued(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        chain, key = self._signer.issue(name, "127.0.0.1", *uris, life=life)
        issued.certificate.write_text(chain, encoding="ascii")
        issued.key.write_text(key, encoding="ascii")
        return issued

    def client(self, issued: Issued | None) -> ssl.SSLContext:
        """TLS of a gRPC client that trusts this authority and shows a certificate, if any."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        if issued is not None:
            context.load_cert_chain(str(issued.certificate), str(issued.key))
        return context

    def revoke(self, *issued: Issued) -> bytes:
        """The list of these certificates, which nobody shall trust any more."""
        return self._signer.revoke(*(one.certificate.read_text(encoding="ascii") for one in issued)).encode()
