"""TLS as ClientTrafficPolicies ask for it, through a real Envoy: one listener for each setting."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.certificates import Authority
from tests.gateways.clients import OK, everything, gateway, ports, status
from tests.gateways.rig import Rig, authorities, load, route, secret, service
from xds_server.features.parts.tls_names import CIPHERS, CURVES, SIGNATURES

CA = "caCertificateRefs: [{kind: ConfigMap, name: ca}]"
ME, URI = "me.example", "spiffe://shop/me"
AUTHORITY = Authority()
GOOD = AUTHORITY.issue(ME, URI)
OTHER = AUTHORITY.issue("other.example")
GONE = AUTHORITY.issue("gone.example")
OLD = AUTHORITY.issue(ME, life=-datetime.timedelta(hours=1))
STRANGER = Authority("stranger").issue(ME, URI)
_PUBLIC = x509.load_pem_x509_certificate(GOOD[0].encode()).public_key()
KEY_HASH = base64.b64encode(
    hashlib.sha256(_PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
).decode()
HASH = x509.load_pem_x509_certificate(GOOD[0].encode()).fingerprint(SHA256()).hex()


def asks(more: str) -> str:
    return f"tls: {{clientValidation: {{{more}}}}}"


POLICIES = {
    "plain": "",
    "new": "tls: {minVersion: '1.3'}",
    "last": "tls: {minVersion: '1.2', maxVersion: '1.2'}",
    "cipher": "tls: {ciphers: [ECDHE-ECDSA-AES256-GCM-SHA384]}",
    "every": f"tls: {{ciphers: {json.dumps(sorted(CIPHERS))}, ecdhCurves: {json.dumps(sorted(CURVES))}, "
    f"signatureAlgorithms: {json.dumps(sorted(SIGNATURES))}}}",
    "curve": "tls: {ecdhCurves: [P-384]}",
    "signature": "tls: {signatureAlgorithms: [ecdsa_secp384r1_sha384]}",
    "http1": "tls: {alpnProtocols: [http/1.1]}",
    "no-alpn": "tls: {alpnProtocols: []}",
    "tickets": "tls: {session: {resumption: {stateless: {}}}}",
    "no-sessions": "tls: {session: {}}",
    "verified": asks(CA),
    "optional": asks(f"optional: true, {CA}"),
    "requested": asks("mode: Request")
    + "\nheaders: {xForwardedClientCert: {mode: SanitizeSet, certDetailsToAdd: [URI]}}",
    "any": asks(f"mode: RequireAny, {CA}"),
    "given": asks(f"mode: VerifyIfGiven, {CA}"),
    "named": asks(f"{CA}, subjectAltNames: {{dnsNames: [{{value: {ME}}}], uris: [{{type: Prefix, value: 'x://'}}]}}"),
    "uri": asks(f"{CA}, subjectAltNames: {{uris: [{{type: Prefix, value: 'spiffe://shop/'}}]}}"),
    "key": asks(f"{CA}, spkiHashes: ['{KEY_HASH}']"),
    "hash": asks(f"certificateHashes: ['{HASH}']"),
    "revoked": asks(f"{CA}, crl: {{refs: [{{kind: ConfigMap, name: revoked}}]}}"),
    "expired": asks(f"{CA}, allowExpiredCertificate: true"),
    "told": asks(CA) + "\nheaders: {xForwardedClientCert: {mode: SanitizeSet, certDetailsToAdd: [Subject, URI, DNS]}}",
    "kept": "headers: {xForwardedClientCert: {mode: AlwaysForwardOnly}}",
    "handshake": "timeout: {tcp: {tlsHandshakeTimeout: 2s}}",
    "two": "http2: {maxConcurrentStreams: 7, initialStreamWindowSize: 128Ki}",
}
PORTS = ports(POLICIES, 12000)
BROKEN = """
apiVersion: v1
kind: ConfigMap
metadata: {name: revoked}
data: {ca.crl: TEXT}
---
"""


class Secure:
    """TLS connections to the listener of a policy."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.address = rig, rig.block.address(1)
        text = gateway(POLICIES, "protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}", 12000)
        text += secret("cert", AUTHORITY.issue("shop.example")) + authorities("ca", AUTHORITY.certificate)
        text += BROKEN.replace("TEXT", json.dumps(AUTHORITY.revoke(GONE[0])))
        rig.serve(text + service("one", *rig.server("one").address) + route("web", "one"))

    def context(self, client: tuple[str, str] | None = None) -> ssl.SSLContext:
        """A context that takes any certificate and shows `client`."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if client is not None:
            load(context, client)
        return context

    def connect(self, listener: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        """A connection."""
        raw = socket.create_connection((self.address, PORTS[listener]), timeout=10)
        return context.wrap_socket(raw, server_hostname="shop.example", session=session)

    def ask(self, listener: str, client: tuple[str, str] | None = None, request: bytes = OK) -> bytes:
        """The answer to a request; empty if there is no TLS connection to be had."""
        try:
            with self.connect(listener, self.context(client)) as connection:
                connection.sendall(request)
                return everything(connection)
        except (ssl.SSLError, ConnectionError):
            return b""


@pytest.fixture(scope="module")
def secure(rig: Rig) -> Secure:
    return Secure(rig)


def versions(secure: Secure, listener: str) -> list[str | None]:
    """The versions that a listener speaks, of 1.2 and 1.3."""
    found = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = secure.context()
        context.minimum_version = context.maximum_version = version
        try:
            with secure.connect(listener, context) as connection:
                found.append(connection.version())
        except (ssl.SSLError, ConnectionError):
            continue
    return found


def test_versions(secure: Secure) -> None:
    assert versions(secure, "plain") == ["TLSv1.2", "TLSv1.3"]
    assert versions(secure, "new") == ["TLSv1.3"]
    assert versions(secure, "last") == ["TLSv1.2"]


def test_ciphers(secure: Secure) -> None:
    context = secure.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with secure.connect("cipher", context) as connection:
        cipher = connection.cipher()
        assert cipher is not None
        assert cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with secure.connect("plain", context) as connection:
        assert connection.version() == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure.connect("cipher", context)


def test_envoy_knows_all_names(secure: Secure) -> None:
    assert status(secure.ask("every")) == 200


def test_curves_and_signatures(secure: Secure) -> None:
    context = secure.context()
    context.set_ecdh_curve("prime256v1")
    with secure.connect("plain", context):
        pass
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure.connect("curve", context)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure.connect("signature", secure.context())  # the certificate's key is of another curve


def test_protocols(secure: Secure) -> None:
    context = secure.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    chosen = {}
    for listener in ("plain", "http1", "no-alpn"):
        with secure.connect(listener, context) as connection:
            chosen[listener] = connection.selected_alpn_protocol()
    assert chosen == {"plain": "h2", "http1": "http/1.1", "no-alpn": None}


def test_sessions_are_taken_up_again(secure: Secure) -> None:
    resumed = {}
    for listener in ("plain", "tickets", "no-sessions"):
        context = secure.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with secure.connect(listener, context) as connection:
            session = connection.session
        with secure.connect(listener, context, session) as connection:
            resumed[listener] = connection.session_reused
    assert resumed == {"plain": True, "tickets": True, "no-sessions": False}


@pytest.mark.parametrize(
    ("listener", "nobody", "good", "other", "stranger"),
    [
        ("plain", 200, 200, 200, 200),
        ("verified", 0, 200, 200, 0),
        ("optional", 200, 200, 200, 0),
        ("requested", 200, 200, 200, 200),
        ("any", 0, 200, 200, 200),
        ("given", 200, 200, 200, 0),
        ("named", 0, 200, 0, 0),
        ("uri", 0, 200, 0, 0),
        ("key", 0, 200, 0, 0),
        ("hash", 0, 200, 0, 0),
    ],
)
def test_who_comes_in(secure: Secure, listener: str, nobody: int, good: int, other: int, stranger: int) -> None:
    found = [status(secure.ask(listener, client)) for client in (None, GOOD, OTHER, STRANGER)]
    assert found == [nobody, good, other, stranger]


def test_revoked_and_expired_certificates(secure: Secure) -> None:
    assert [status(secure.ask("revoked", one)) for one in (GOOD, GONE, OLD)] == [200, 0, 0]
    assert [status(secure.ask("verified", one)) for one in (GONE, OLD)] == [200, 0]
    assert [status(secure.ask("expired", one)) for one in (GOOD, OLD, STRANGER)] == [200, 200, 0]


def test_what_backends_are_told_of_certificates(secure: Secure) -> None:
    request = OK.replace(b"Connection", b"x-forwarded-client-cert: By=forged;URI=x\r\nConnection")

    def told(listener: str, client: tuple[str, str] | None = None) -> str:
        body = secure.ask(listener, client, request).partition(b"\r\n\r\n")[2]
        headers = {name.lower(): text for name, text in json.loads(body)["headers"].items()}
        return str(headers.get("x-forwarded-client-cert", ""))

    assert told("plain") == ""
    assert told("verified", GOOD) == ""
    assert told("kept") == "By=forged;URI=x"
    found = told("told", GOOD)
    assert f"Hash={HASH}" in found
    assert f"URI={URI}" in found
    assert f"DNS={ME}" in found
    assert "forged" not in found
    assert f"URI={URI}" in told("requested", STRANGER)


def test_a_slow_handshake_ends(secure: Secure) -> None:
    hello = ssl.MemoryBIO()
    client = secure.context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="shop.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with socket.create_connection((secure.address, PORTS["handshake"]), timeout=9) as connection:
        connection.sendall(hello.read())
        assert everything(connection)  # the server's part of it; without the policy it takes longer than this waits


def test_http2_settings(secure: Secure) -> None:
    context = secure.context()
    context.set_alpn_protocols(["h2"])
    with secure.connect("two", context) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        data = b""
        while len(data) < 9 or len(data) < 9 + int.from_bytes(data[:3], "big"):
            data += connection.recv(4096)
        assert data[3] == 4, "the first frame is SETTINGS"
        body = data[9 : 9 + int.from_bytes(data[:3], "big")]
    settings = {
        int.from_bytes(body[at : at + 2], "big"): int.from_bytes(body[at + 2 : at + 6], "big")
        for at in range(0, len(body), 6)
    }
    assert (settings[3], settings[4]) == (7, 128 * 1024)
