"""JSON Web Key Sets: are these keys that Envoy can use, and may they be fetched from there?

In: the text of a key set, or a URL. Out: what is wrong with it, or the server as a backend. Private keys are refused
(a policy is no place for them), as are addresses that only a machine itself should ask, such as cloud metadata.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from xds_server.graph import Backend, BackendTls, Endpoint

_LEAST_RSA_BITS = 2048
_CURVES = ("P-256", "P-384", "P-521", "Ed25519")
_METADATA = (ipaddress.ip_address("fd00:ec2::254"),)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class KeyServer:
    """Where keys are fetched from."""

    uri: str
    tls: bool
    host: str
    port: int

    @property
    def backend(self) -> Backend:
        """The server as a backend: by address, or by DNS name with its certificate checked."""
        scheme = "https" if self.tls else "http"
        return Backend(
            name=f"jwks/{scheme}/{self.host}/{self.port}",
            endpoints=(Endpoint(self.host, self.port, hostname=self.host),),
            dns=_address(self.host) is None,
            tls=BackendTls(sni=self.host, san=self.host) if self.tls else None,
        )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None


def parse_key_server(uri: str) -> KeyServer | str:
    """The server of a URL, or why it is none."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        return str(error)
    if parts.scheme not in _PORTS or not parts.hostname:
        return "it must be an http or https URL"
    port = _port(parts)
    if port is None:
        return "its port is no port"
    if parts.username is not None or parts.fragment or any(sign.isspace() for sign in uri):
        return "user names, fragments and spaces are not allowed in it"
    return KeyServer(uri, parts.scheme == "https", parts.hostname.rstrip("."), port)


def key_server_problem(server: KeyServer) -> str:
    """Why keys must not be fetched from there; empty if they may."""
    address = _address(server.host)
    if address is None:
        return ""
    if address.is_link_local or address.is_unspecified or address.is_multicast or address in _METADATA:
        return f"the address {address} is not allowed"
    if server.tls:
        return "TLS needs a host name that the server's certificate can be checked against, not an address"
    return ""


def key_set_problem(text: str) -> str:
    """Why Envoy could verify no token with these keys; empty if it could."""
    try:
        keys = json.loads(text)
    except ValueError as error:
        return f"this is not JSON: {error}"
    listed = keys.get("keys") if isinstance(keys, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(key, dict) for key in listed):
        return 'a key set is a JSON object with a list of keys: {"keys": [...]}'
    for number, key in enumerate(listed):
        problem = _key_problem(key)
        if problem:
            return f"key {number}: {problem}"
    return ""


def _modulus_bits(modulus: object) -> int:
    """The length of a base64url number; 0 if it is none."""
    if not isinstance(modulus, str):
        return 0
    try:
        raw = base64.b64decode(modulus + "=" * (-len(modulus) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return 0
    return int.from_bytes(raw, "big").bit_length()


def _key_problem(key: dict[str, Any]) -> str:
    if key.get("kty") not in ("RSA", "EC", "OKP", "oct"):
        return f"kty is {key.get('kty')!r}, must be RSA, EC, OKP or oct"
    if key["kty"] != "oct" and "d" in key:
        return "this is a private key; a policy needs only the public part"
    if key["kty"] in ("EC", "OKP") and key.get("crv") not in _CURVES:
        return f"curve {key.get('crv')!r} is not supported, use one of {', '.join(_CURVES)}"
    if key["kty"] == "RSA" and (bits := _modulus_bits(key.get("n"))) < _LEAST_RSA_BITS:
        return f"its modulus has {bits} bits, {_LEAST_RSA_BITS} are the least that is safe (NIST SP 800-131A)"
    try:
        KeySet.import_key_set({"keys": [key]})
    except (JoseError, ValueError, KeyError, TypeError) as error:
        return str(error) or "it is not well-formed"
    return ""
