"""The EnvoyProxy of a Gateway: its own, else that of its class.

In: a Gateway and its GatewayClass. Out: settings for all of its listeners, or why there are none that could be
followed: then the Gateway is not served, rather than served without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds_server.attach.index import Index
from xds_server.attach.listeners import read_certificate
from xds_server.attach.processes import read_process
from xds_server.attach.settings import settings_of
from xds_server.diagnostics import Diagnostic, Path
from xds_server.features.contract import AnyFeature
from xds_server.graph import Certificate, Process, Setting
from xds_server.model.gateways import GatewayClassSpec, GatewaySpec
from xds_server.model.object import Object
from xds_server.model.proxies import EnvoyProxySpec
from xds_server.types import ENVOY_GATEWAY_GROUP, Key

KIND = "EnvoyProxy"


ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - a Gateway without addresses listens on all of them, as Gateway API expects
_ALL_OF_IPV6 = "::"
_ADDRESSES = {
    None: (ALL_ADDRESSES,),
    "IPv4": (ALL_ADDRESSES,),
    "IPv6": (_ALL_OF_IPV6,),
    "DualStack": (ALL_ADDRESSES, _ALL_OF_IPV6),
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """The settings, and how its Envoys are run; or a `problem` that keeps the Gateway from being served.

    `addresses` are those of a Gateway that has none of its own; `client` is what it shows to backends, if it does not say itself.
    """

    settings: tuple[Setting, ...] = ()
    addresses: tuple[str, ...] = (ALL_ADDRESSES,)
    client: Certificate | None = None
    process: Process | None = Process()  # noqa: RUF009 - frozen
    problem: str = ""


def read_proxy(
    item: Object, above: Object | None, index: Index, features: Sequence[AnyFeature], problems: list[Diagnostic]
) -> Proxy:
    """What the EnvoyProxy of a Gateway means."""
    assert isinstance(item.spec, GatewaySpec)
    if item.spec.infrastructure is not None and (own := item.spec.infrastructure.parameters_ref) is not None:
        target = Key(own.group, own.kind, item.namespace, own.name)
        return _followed(item, target, ("infrastructure", "parametersRef"), (index, features, problems))
    if (
        above is not None
        and isinstance(above.spec, GatewayClassSpec)
        and (ref := above.spec.parameters_ref) is not None
    ):
        target = Key(ref.group, ref.kind, ref.namespace or "", ref.name)
        return _followed(above, target, ("parametersRef",), (index, features, problems))
    return Proxy()


def _followed(
    item: Object, target: Key, path: Path, known: tuple[Index, Sequence[AnyFeature], list[Diagnostic]]
) -> Proxy:
    index, features, problems = known
    found = index.by_key.get(target)
    if (target.group, target.kind) != (ENVOY_GATEWAY_GROUP, KIND):
        message = f"{'.'.join(map(str, path))}: {target.kind} of '{target.group}' has no meaning here"
    elif found is None:
        message = f"there is no {target}"
    elif found.broken:
        message = f"{target} has errors"
    else:
        settings, wrong, failed = settings_of(found, KIND, found.spec, (), features, index)
        problems += [one for one in wrong if one not in problems]
        process = read_process(found, item.key.kind == "GatewayClass" or index.may_extend(found.namespace), problems)
        client = _client(found, index, problems)
        if not failed and process is not None and not isinstance(client, str):
            assert isinstance(found.spec, EnvoyProxySpec)
            return Proxy(settings, _ADDRESSES[found.spec.ip_family], client, process)
        return Proxy(process=None, problem=f"{target} has errors")
    problems.append(item.diagnose("A105", *path, reason=message))
    return Proxy(process=None, problem=message)


def _client(item: Object, index: Index, problems: list[Diagnostic]) -> Certificate | str | None:
    """The certificate that is shown to backends, or what is wrong with it."""
    assert isinstance(item.spec, EnvoyProxySpec)
    ref = item.spec.backend_tls.client_certificate_ref if item.spec.backend_tls else None
    if ref is None:
        return None
    found = read_certificate(ref, item, index)
    if isinstance(found, Certificate):
        return found
    problem = item.diagnose("A104", "backendTLS", "clientCertificateRef", reason=found[1])
    problems += [problem] if problem not in problems else []
    return found[1]
