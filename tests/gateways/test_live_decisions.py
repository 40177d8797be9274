"""`%DECISION%` in access logs: for every way in which a gateway decides about a request, the word for it."""

from __future__ import annotations

import json
import socket

from tests.e2e.tokens import jwks
from tests.gateways.proxies import gateway, proxy
from tests.gateways.rig import Rig, route, service
from tests.gateways.test_live_access_logs import class_, lines

SETTING = {
    "format": {"json": {"who": "%REQ(:AUTHORITY)%", "decision": "%DECISION%", "details": "%RESPONSE_CODE_DETAILS%"}},
    "sinks": [{"type": "File", "file": {"path": "/dev/stdout"}}],
    "type": "Route",
}
SECURITY = {
    "token": f"jwt: {{providers: [{{name: p, issuer: i, localJWKS: {{type: Inline, inline: '{jwks()}'}}}}]}}",
    "password": "basicAuth: {users: {name: users}}",
    "key": "apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}",
    "rule": "authorization: {defaultAction: Deny}",
    "broken": "nonsense: 1",
}
TRAFFIC = {
    "limit": "rateLimit: {local: {rules: [{limit: {requests: 1, unit: Hour}}]}}",
    "fault": "faultInjection: {abort: {httpStatus: 418}}",
    "slow": "timeout: {http: {requestTimeout: 100ms}}",
}
ANSWERS = {
    "elsewhere": "{type: RequestRedirect, requestRedirect: {hostname: other.example}}",
    "direct": "{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: direct}}",
}
DIRECT = (
    "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {name: direct}\n"
    "spec: {directResponse: {statusCode: 200}}\n---\n"
    "apiVersion: v1\nkind: Secret\nmetadata: {name: users}\nstringData: {.htpasswd: 'a:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M='}\n---\n"
    "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {a: b}\n---\n"
)
WANTED = {
    "plain": "allowed",
    "token": "not-authenticated",
    "password": "not-authenticated",
    "key": "not-authenticated",
    "rule": "not-authorized",
    "broken": "closed",
    "limit": "rate-limited",
    "fault": "refused",
    "slow": "timed-out",
    "dead": "backend-failed",
    "empty": "no-healthy-backend",
    "elsewhere": "redirected",
    "direct": "answered",
    "nobody": "not-found",
}


def policy(kind: str, name: str, text: str) -> str:
    target = f"{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}"
    return (
        f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
        f"spec:\n  targetRefs: [{target}]\n  {text}\n---\n"
    )


def world(rig: Rig, silent: tuple[str, int]) -> str:
    services = {name: rig.server("one").address for name in ("plain", *SECURITY, *TRAFFIC, *ANSWERS)}
    services |= {"slow": silent, "dead": (rig.block.address(9), 9), "empty": ("127.0.0.1", 1)}
    text = class_("") + gateway() + proxy({"accessLog": {"settings": [SETTING]}}) + DIRECT
    for name, (address, port) in services.items():
        written = service(name, address, port)
        written = (
            written.replace(f"endpoints: [{{addresses: [{address}]}}]", "endpoints: []") if name == "empty" else written
        )
        leads = route(name, name, hostnames=f"{name}.example")
        if name in ANSWERS:
            leads = leads.replace(f"backendRefs: [{{name: {name}, port: 80}}]", f"filters: [{ANSWERS[name]}]")
        text += written + leads
    text += "".join(policy("SecurityPolicy", name, one) for name, one in SECURITY.items())
    return text + "".join(policy("BackendTrafficPolicy", name, one) for name, one in TRAFFIC.items())


def test_every_way_to_decide_has_its_word(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        rig.serve(world(rig, silent.getsockname()), flawed=True)
        for name in ("limit", *WANTED):
            rig.ask(f"{name}.example")
        wanted = [f'"who":"{name}.example"' for name in WANTED]
        objects = [json.loads(one) for one in lines(rig, *wanted) if one.startswith("{")]
    found = {one["who"].removesuffix(".example"): one["decision"] for one in objects if "who" in one}
    assert found == WANTED, objects
