"""Whether PEM text is what Envoy will accept: certificates, lists of revoked ones.

In: bytes of Secrets and ConfigMaps. Out: what is wrong, as words, or nothing. Expiry is not judged here, since
that needs a clock.
"""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

UNREADABLE = (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm)
"""What reading a certificate or a key raises if its bytes are not what they should be."""
_LIST = re.compile(rb"-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----")


def certificate_problem(pem: bytes) -> str:
    """Why this is no PEM certificate (or several of them); empty if it is."""
    try:
        found = x509.load_pem_x509_certificates(pem)
        for one in found:  # much of a certificate is read only when it is asked for
            _ = (one.public_key(), one.not_valid_after_utc, list(one.extensions))
    except UNREADABLE as error:
        return f"holds no certificate in PEM form: {error}"
    return "" if found else "holds no certificate in PEM form"


def revocation_problem(pem: bytes) -> str:
    """Why this is no PEM list of revoked certificates (or several of them); empty if it is."""
    lists = _LIST.findall(pem)
    try:
        for one in lists:
            x509.load_pem_x509_crl(one)
    except UNREADABLE as error:
        return f"holds no certificate revocation list in PEM form: {error}"
    return "" if lists else "holds no certificate revocation list in PEM form"
