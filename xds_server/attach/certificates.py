"""Whether a private key belongs to a certificate (chain), both as PEM text.

In: bytes of Secrets. Out: what is wrong, as words, or nothing. Expiry is not judged here, since
that needs a clock.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from xds_server.features.parts.pem import UNREADABLE, certificate_problem


def key_pair_problem(chain: bytes, key: bytes) -> str:
    """Why this certificate chain and private key cannot be served together; empty if they can."""
    if problem := certificate_problem(chain):
        return f"tls.crt {problem}"
    try:
        private = load_pem_private_key(key, password=None)
    except UNREADABLE as error:
        return f"tls.key holds no private key in PEM form without a password: {error}"
    leaf = x509.load_pem_x509_certificates(chain)[0].public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_bytes(*form) != private.public_key().public_bytes(*form):
        return "tls.key does not belong to the first certificate of tls.crt"
    return ""
