"""Formats of access logs: texts with operators such as `%RESPONSE_CODE%`.

In: a format as users write it. Out: what is wrong with it, as words, or nothing. An operator that Envoy does not know
would make it refuse the whole listener, and one that reads its environment or files would tell secrets, so only those
that are listed here may stand in a format.
"""

from __future__ import annotations

import re

from xds_server.features.parts.decisions import NAME, decision

PLAIN = frozenset(
    {
        "ACCESS_LOG_TYPE",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "CONNECTION_ID",
        "CONNECTION_TERMINATION_DETAILS",
        "DECISION",
        "DOWNSTREAM_CX_RTT",
        "DOWNSTREAM_DETECTED_CLOSE_TYPE",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_PORT",
        "DOWNSTREAM_HANDSHAKE_DURATION",
        "DOWNSTREAM_HEADER_BYTES_RECEIVED",
        "DOWNSTREAM_HEADER_BYTES_SENT",
        "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_CLOSE_REASON",
        "DOWNSTREAM_LOCAL_DNS_SAN",
        "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_LOCAL_SUBJECT",
        "DOWNSTREAM_LOCAL_URI_SAN",
        "DOWNSTREAM_PEER_DNS_SAN",
        "DOWNSTREAM_PEER_EMAIL_SAN",
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        "DOWNSTREAM_PEER_IP_SAN",
        "DOWNSTREAM_PEER_ISSUER",
        "DOWNSTREAM_PEER_SERIAL",
        "DOWNSTREAM_PEER_SUBJECT",
        "DOWNSTREAM_PEER_URI_SAN",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_REMOTE_PORT",
        "DOWNSTREAM_TLS_CIPHER",
        "DOWNSTREAM_TLS_SESSION_ID",
        "DOWNSTREAM_TLS_VERSION",
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
        "DOWNSTREAM_WIRE_BYTES_RECEIVED",
        "DOWNSTREAM_WIRE_BYTES_SENT",
        "DURATION",
        "FILTER_CHAIN_NAME",
        "GRPC_STATUS",
        "GRPC_STATUS_NUMBER",
        "HOSTNAME",
        "PROTOCOL",
        "REQUESTED_SERVER_NAME",
        "REQUEST_DURATION",
        "REQUEST_HEADERS_BYTES",
        "REQUEST_TX_DURATION",
        "RESPONSE_CODE",
        "RESPONSE_CODE_DETAILS",
        "RESPONSE_DURATION",
        "RESPONSE_FLAGS",
        "RESPONSE_FLAGS_LONG",
        "RESPONSE_HEADERS_BYTES",
        "RESPONSE_TRAILERS_BYTES",
        "RESPONSE_TX_DURATION",
        "ROUNDTRIP_DURATION",
        "ROUTE_NAME",
        "SPAN_ID",
        "START_TIME",
        "STREAM_ID",
        "TLS_JA3_FINGERPRINT",
        "TLS_JA4_FINGERPRINT",
        "TRACE_ID",
        "UNIQUE_ID",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
        "UPSTREAM_CONNECTION_ID",
        "UPSTREAM_HEADER_BYTES_RECEIVED",
        "UPSTREAM_HEADER_BYTES_SENT",
        "UPSTREAM_HOST",
        "UPSTREAM_HOSTS_ATTEMPTED",
        "UPSTREAM_HOST_NAME",
        "UPSTREAM_LOCAL_ADDRESS",
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_LOCAL_PORT",
        "UPSTREAM_PEER_DNS_SAN",
        "UPSTREAM_PEER_SUBJECT",
        "UPSTREAM_PEER_URI_SAN",
        "UPSTREAM_PROTOCOL",
        "UPSTREAM_REMOTE_ADDRESS",
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_REMOTE_PORT",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        "UPSTREAM_SERVER_NAME",
        "UPSTREAM_TLS_CIPHER",
        "UPSTREAM_TLS_VERSION",
        "UPSTREAM_TRANSPORT_FAILURE_REASON",
        "UPSTREAM_WIRE_BYTES_RECEIVED",
        "UPSTREAM_WIRE_BYTES_SENT",
        "VIRTUAL_CLUSTER_NAME",
    }
)
_NAMED = ("REQ", "RESP", "TRAILER")
_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\(([^()]*)\))?(?::([0-9]{1,5}))?%")
_OWN_OPERATOR = re.compile(rf"%%|%{NAME}%")
_HEADER = re.compile(r":?[A-Za-z0-9!#$&'*+\-.^_|~]+(\?:?[A-Za-z0-9!#$&'*+\-.^_|~]+)?")
_TIME = re.compile(r"[%A-Za-z0-9:.,/ \-]+")


def format_problem(text: str) -> str:
    """Why this cannot be a format; empty if it can."""
    at = 0
    while (at := text.find("%", at)) >= 0:
        if text.startswith("%%", at):
            at += 2
            continue
        match = _OPERATOR.match(text, at)
        if match is None:
            return f"'%' begins no operator at character {at + 1}; a literal one is written %%"
        if problem := _operator_problem(*match.groups()):
            return problem
        at = match.end()
    return ""


def with_decision(text: str) -> str:
    """A format as Envoy reads it: the one operator that is Cellway's own is an expression."""
    return _OWN_OPERATOR.sub(lambda found: found[0] if found[0] == "%%" else f"%CEL({decision()})%", text)


def _operator_problem(name: str, argument: str | None, length: str | None) -> str:
    if name in _NAMED:
        if argument is None or not _HEADER.fullmatch(argument):
            return f"%{name}% needs the name of a header, such as %{name}(X-NAME)%"
        return ""
    if name not in PLAIN:
        return f"%{name}% cannot stand in an access log"
    if length is not None or (argument is not None and name != "START_TIME"):
        return f"%{name}% has no argument and no length"
    if argument is not None and not _TIME.fullmatch(argument):
        return f"'{argument}' is no format of a time"
    return ""
