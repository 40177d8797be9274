"""All policy features, in the order of their HTTP filters.

In: the feature files. Out: `FEATURES`. The order is the order in which filters see a request: whose certificate a
connection came with is asked first, and tokens are checked before requests are counted, so that nobody uses up the limit of
another user. Preflights of browsers carry no token, so CORS comes before tokens. Faults stand for those of a backend, and only
requests that may pass are buffered, so both come after guards and limits. Answers go the other way: they are compressed
before their bytes are counted, and replaced last of all.
No other filter sees a credential for the backend.
docs/decisions/0006 gives the reasons. Where two features set one field of a route (`timeout` and `route_timeout`), the
later one has the last word. A feature is registered here and nowhere else.
"""

from __future__ import annotations

from xds_server.features.access_log import ACCESS_LOG
from xds_server.features.adaptive_concurrency import ADAPTIVE_CONCURRENCY
from xds_server.features.admission_control import ADMISSION_CONTROL
from xds_server.features.api_keys import API_KEYS
from xds_server.features.authorization import AUTHORIZATION
from xds_server.features.backend_http2 import BACKEND_HTTP2
from xds_server.features.backend_proxy_protocol import BACKEND_PROXY_PROTOCOL
from xds_server.features.backend_tls_defaults import BACKEND_TLS_DEFAULTS
from xds_server.features.bandwidth import BANDWIDTH
from xds_server.features.bandwidth_share import BANDWIDTH_SHARE
from xds_server.features.basic_auth import BASIC_AUTH
from xds_server.features.circuit_breaker import CIRCUIT_BREAKER
from xds_server.features.client_address import CLIENT_ADDRESS
from xds_server.features.client_connection import CLIENT_CONNECTION
from xds_server.features.client_grpc import CLIENT_GRPC
from xds_server.features.client_health_check import CLIENT_HEALTH_CHECK
from xds_server.features.client_http1 import CLIENT_HTTP1
from xds_server.features.client_http2 import CLIENT_HTTP2
from xds_server.features.client_keepalive import CLIENT_KEEPALIVE
from xds_server.features.client_messages import CLIENT_MESSAGES
from xds_server.features.client_path import CLIENT_PATH
from xds_server.features.client_protocol import CLIENT_PROTOCOL
from xds_server.features.client_proxy_protocol import CLIENT_PROXY_PROTOCOL
from xds_server.features.client_scheme import CLIENT_SCHEME
from xds_server.features.client_timeout import CLIENT_TIMEOUT
from xds_server.features.client_tls import CLIENT_TLS
from xds_server.features.compression import COMPRESSION
from xds_server.features.connection import CONNECTION
from xds_server.features.contract import AnyFeature
from xds_server.features.cors import CORS
from xds_server.features.credential_injection import CREDENTIAL_INJECTION
from xds_server.features.csrf import CSRF
from xds_server.features.decompression import DECOMPRESSION
from xds_server.features.direct_response import DIRECT_RESPONSE
from xds_server.features.dns import DNS
from xds_server.features.dynamic_modules import DYNAMIC_MODULES
from xds_server.features.dynamic_resolver import DYNAMIC_RESOLVER
from xds_server.features.early_headers import EARLY_HEADERS
from xds_server.features.ext_auth import EXT_AUTH
from xds_server.features.ext_proc import EXT_PROC
from xds_server.features.fault import FAULT
from xds_server.features.filter_order import FILTER_ORDER
from xds_server.features.filter_rewrite import FILTER_REWRITE
from xds_server.features.global_rate_limit import GLOBAL_RATE_LIMIT
from xds_server.features.grpc_web import GRPC_WEB
from xds_server.features.header_modifier import REQUEST_HEADER_MODIFIER, RESPONSE_HEADER_MODIFIER
from xds_server.features.health import HEALTH
from xds_server.features.health_log import HEALTH_LOG
from xds_server.features.http3 import HTTP3
from xds_server.features.http_upgrade import HTTP_UPGRADE
from xds_server.features.ip_family import IP_FAMILY
from xds_server.features.jwt import JWT
from xds_server.features.load_balancer import LOAD_BALANCER
from xds_server.features.local_rate_limit import LOCAL_RATE_LIMIT
from xds_server.features.locations import LOCATIONS
from xds_server.features.lua import LUA
from xds_server.features.metrics import METRICS
from xds_server.features.oidc import OIDC
from xds_server.features.peer_header import PEER_HEADER
from xds_server.features.peers import PEERS
from xds_server.features.priority_class import PRIORITY_CLASS
from xds_server.features.private_addresses import PRIVATE_ADDRESSES
from xds_server.features.request_buffer import REQUEST_BUFFER
from xds_server.features.response_override import RESPONSE_OVERRIDE
from xds_server.features.retry import RETRY
from xds_server.features.route_retry import ROUTE_RETRY
from xds_server.features.route_timeout import ROUTE_TIMEOUT
from xds_server.features.routing_type import ROUTING_TYPE
from xds_server.features.session_persistence import SESSION_PERSISTENCE
from xds_server.features.tcp_keepalive import TCP_KEEPALIVE
from xds_server.features.telemetry import TELEMETRY
from xds_server.features.timeout import TIMEOUT
from xds_server.features.tracing import TRACING
from xds_server.features.trusted_edge import TRUSTED_EDGE
from xds_server.features.tunnel import TUNNEL
from xds_server.features.url_rewrite import URL_REWRITE
from xds_server.features.wasm import WASM

FEATURES: tuple[AnyFeature, ...] = (
    EARLY_HEADERS,
    TRUSTED_EDGE,
    PEER_HEADER,
    CLIENT_HEALTH_CHECK,
    RESPONSE_OVERRIDE,
    PEERS,
    CORS,
    CSRF,
    API_KEYS,
    BASIC_AUTH,
    OIDC,
    JWT,
    EXT_AUTH,
    LOCATIONS,
    AUTHORIZATION,
    LOCAL_RATE_LIMIT,
    GLOBAL_RATE_LIMIT,
    ADAPTIVE_CONCURRENCY,
    LUA,
    EXT_PROC,
    WASM,
    DYNAMIC_MODULES,
    FAULT,
    REQUEST_BUFFER,
    BANDWIDTH,
    BANDWIDTH_SHARE,
    COMPRESSION,
    DECOMPRESSION,
    CREDENTIAL_INJECTION,
    GRPC_WEB,
    DYNAMIC_RESOLVER,
    CLIENT_GRPC,
    HTTP_UPGRADE,
    TELEMETRY,
    PRIORITY_CLASS,
    TIMEOUT,
    RETRY,
    ROUTE_RETRY,
    ROUTE_TIMEOUT,
    CIRCUIT_BREAKER,
    ADMISSION_CONTROL,
    TCP_KEEPALIVE,
    CONNECTION,
    ROUTING_TYPE,
    BACKEND_TLS_DEFAULTS,
    IP_FAMILY,
    DNS,
    CLIENT_PROTOCOL,
    BACKEND_HTTP2,
    BACKEND_PROXY_PROTOCOL,
    LOAD_BALANCER,
    HEALTH,
    PRIVATE_ADDRESSES,
    TUNNEL,
    REQUEST_HEADER_MODIFIER,
    RESPONSE_HEADER_MODIFIER,
    URL_REWRITE,
    FILTER_REWRITE,
    DIRECT_RESPONSE,
    SESSION_PERSISTENCE,
    CLIENT_TLS,
    CLIENT_ADDRESS,
    CLIENT_PROXY_PROTOCOL,
    CLIENT_KEEPALIVE,
    CLIENT_TIMEOUT,
    CLIENT_CONNECTION,
    CLIENT_PATH,
    CLIENT_SCHEME,
    CLIENT_HTTP1,
    CLIENT_HTTP2,
    CLIENT_MESSAGES,
    HTTP3,
    ACCESS_LOG,
    TRACING,
    METRICS,
    HEALTH_LOG,
    FILTER_ORDER,
)
