"""ExternalService of `cellway.dev/v1alpha1` as it is written: a service on the internet, and what a stage changes of it.

Rules and credentials need somebody who reads requests. A port that is passed through, or whose bytes nobody looks into,
has neither, so a service that has one cannot ask for them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from xds_server.model.core import IpAddress
from xds_server.model.gateway_api import PathText, check_path
from xds_server.spec import Bool, HeaderName, ObjectName, Port, PreciseHostname, Spec, Text

OutgoingMethod = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"]
"""Without CONNECT: no rule can look into a tunnel, so none goes out."""
PathPrefix = Annotated[PathText, AfterValidator(check_path)]
CredentialType = Literal["Header", "Basic", "OAuth2"]


class Allow(Spec):
    """Which cells may call; absent means every cell that declares the dependency."""

    cells: tuple[ObjectName, ...] = ()
    all: Bool = False


class ExternalPort(Spec):
    """A port of an external service, and what components speak to the gateway for it.

    HTTP and HTTPS with mode Originate: plain HTTP; for HTTPS the gateway speaks TLS to the service. Mode Passthrough:
    TLS of the component's own. TCP, and TLS with mode Originate: bytes on a port of its own.
    """

    port: Port
    protocol: Literal["HTTP", "HTTPS", "TLS", "TCP"]
    mode: Literal["Originate", "Passthrough"] = "Originate"

    @model_validator(mode="after")
    def _has_tls(self) -> ExternalPort:
        if self.mode == "Passthrough" and self.protocol in ("HTTP", "TCP"):
            raise ValueError(f"mode Passthrough is for HTTPS and TLS: {self.protocol} has no TLS to pass through")
        return self

    @property
    def reads_requests(self) -> bool:
        """True if the gateway sees requests."""
        return self.protocol in ("HTTP", "HTTPS") and self.mode == "Originate"

    @property
    def passes_through(self) -> bool:
        """True if components speak TLS with the service itself."""
        return self.mode == "Passthrough"

    @property
    def has_own_port(self) -> bool:
        """True if a port of the gateway leads there and nowhere else."""
        return self.protocol in ("TLS", "TCP") and self.mode == "Originate"


class HttpRule(Spec):
    """Which requests may go out."""

    methods: tuple[OutgoingMethod, ...] = ()
    path_prefix: PathPrefix = "/"


class HttpRules(Spec):
    """Any of these rules admits a request."""

    rules: Annotated[tuple[HttpRule, ...], Field(min_length=1)]


class LocalSecretRef(Spec):
    """A Secret in the namespace of the cell that calls."""

    name: ObjectName


class OAuth2Client(Spec):
    """Where tokens are fetched with the client's id and secret."""

    token_endpoint: Annotated[Text, Field(min_length=1, max_length=2048)]
    client_id: Annotated[Text, Field(alias="clientID", min_length=1)]
    scopes: tuple[Annotated[Text, Field(min_length=1)], ...] = ()


class Credential(Spec):
    """What the gateway shows to the service. The keys of the Secret: `credential` (the whole value of the header) for
    Header, `username` and `password` for Basic, `client-secret` for OAuth2.
    """

    type: CredentialType = "Header"
    header: HeaderName | None = None
    secret_ref: LocalSecretRef
    overwrite: Bool = True
    oauth2: OAuth2Client | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> Credential:
        if (self.oauth2 is not None) != (self.type == "OAuth2"):
            raise ValueError("'oauth2' is for type OAuth2, which needs it")
        if self.header is not None and self.type == "OAuth2":
            raise ValueError("tokens of OAuth2 are sent in Authorization: leave 'header' out")
        return self


class OAuth2ClientOverride(Spec):
    """What is different about fetching tokens."""

    token_endpoint: Annotated[Text, Field(min_length=1, max_length=2048)] | None = None
    client_id: Annotated[Text | None, Field(alias="clientID", min_length=1)] = None
    scopes: tuple[Annotated[Text, Field(min_length=1)], ...] = ()


class CredentialOverride(Spec):
    """What is different about the credential in a stage; with another `type` nothing of the service's is left."""

    type: CredentialType | None = None
    header: HeaderName | None = None
    secret_ref: LocalSecretRef | None = None
    overwrite: Bool | None = None
    oauth2: OAuth2ClientOverride | None = None


class ExternalServiceSpec(Spec):
    """A service on the internet that cells may depend on. The first of its ports that has requests is the usual one."""

    allow: Allow | None = None
    hosts: Annotated[tuple[PreciseHostname, ...], Field(min_length=1)]
    ports: Annotated[tuple[ExternalPort, ...], Field(min_length=1, max_length=16)]
    http: HttpRules | None = None
    credential: Credential | None = None

    @model_validator(mode="after")
    def _ports_fit(self) -> ExternalServiceSpec:
        numbers = [one.port for one in self.ports]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"port {next(one for one in numbers if numbers.count(one) > 1)} is there twice")
        for field, written in (("http.rules", self.http), ("credential", self.credential)):
            blind = next((one for one in self.ports if not one.reads_requests), None)
            if written is not None and blind is not None:
                raise ValueError(
                    f"'{field}' cannot be kept for port {blind.port}, where the gateway sees no requests: "
                    "make that port a service of its own"
                )
        if len(self.hosts) > 1 and any(one.has_own_port for one in self.ports):
            raise ValueError("nothing in TCP tells hosts apart: give a service with TCP, or TLS to originate, one host")
        return self


class ServicePlace(Spec):
    """An address in place of what DNS says. The port is that of the service unless said."""

    address: IpAddress
    port: Port | None = None
    zone: Text = ""


class LocalPort(Spec):
    """The port of the south gateway that leads to a port of the service."""

    port: Port
    local_port: Port


class ExternalOverride(Spec):
    """Where an external service is in this stage, how components reach it, and what is shown to it."""

    hosts: tuple[PreciseHostname, ...] = ()
    endpoints: tuple[ServicePlace, ...] = ()
    ca_certificate_ref: ObjectName | None = None
    local_ports: tuple[LocalPort, ...] = ()
    credential: CredentialOverride | None = None
