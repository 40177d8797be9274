"""Users with passwords and clients with keys in a real Envoy: who is refused, and what backends hear of those who pass."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.translate.graphs import Reporter, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.api_keys import ApiKeyAuthSpec
from xds_server.features.basic_auth import BasicAuthSpec
from xds_server.graph import Setting


def line(name: str, password: str) -> str:
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return f"{name}:{{SHA}}{base64.b64encode(digest).decode()}\n"


SECRETS = {
    "users": {".htpasswd": line("ann", "xyzzy-ann") + line("bob", "p:w")},
    "others": {".htpasswd": line("eve", "xyzzy-eve")},
    "keys": {"shop": "xyzzy-shop", "desk": "xyzzy-desk"},
}
PLACES = [{"headers": ["x-key", "Authorization"]}, {"params": ["key"], "cookies": ["key"]}]


def basic(users: str = "users", **more: Any) -> Setting:
    return setting("basic_auth", BasicAuthSpec, {"users": {"name": users}, **more}, Reporter(secrets=SECRETS))


def keys(**more: Any) -> Setting:
    written = {"credentialRefs": [{"name": "keys"}], "extractFrom": PLACES, **more}
    return setting("api_keys", ApiKeyAuthSpec, written, Reporter(secrets=SECRETS))


def login(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    action = forward(backend(envoy.server().address))
    envoy.apply(
        gateway(
            host("open.example", route(action)),
            host("users.example", route(action, basic())),
            host("told.example", route(action, basic(forwardUsernameHeader="X-User"))),
            host("others.example", route(action, basic("others", forwardUsernameHeader="X-Person"))),
            host("keys.example", route(action, keys())),
            host("clients.example", route(action, keys(forwardClientIDHeader="X-Client", sanitize=True))),
        )
    )
    return envoy


def status(edge: Envoy, name: str, path: str = "/", **headers: str) -> int:
    return edge.get(name, path, **headers).status_code


def seen(edge: Envoy, name: str, path: str = "/", **headers: str) -> dict[str, str]:
    """The path and the headers that the backend saw; names in lower case."""
    told = edge.get(name, path, **headers).json()
    return {"path": told["path"], **{key.lower(): text for key, text in told["headers"].items()}}


def test_users_need_their_passwords(edge: Envoy) -> None:
    refused = edge.get("users.example")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic realm=")
    assert status(edge, "users.example", **login("ann", "wrong")) == 401
    assert status(edge, "users.example", **login("ann", "")) == 401
    assert status(edge, "users.example", **login("eve", "xyzzy-eve")) == 401, "a user of another route"
    assert status(edge, "users.example", Authorization="Basic !!!") == 401
    assert status(edge, "users.example", Authorization="Bearer x") == 401
    assert status(edge, "users.example", **login("ann", "xyzzy-ann")) == 200
    assert status(edge, "users.example", **login("bob", "p:w")) == 200
    assert status(edge, "open.example") == 200


def test_backends_hear_who_it_is_and_no_one_else_says_so(edge: Envoy) -> None:
    assert status(edge, "told.example", x_user="root") == 401
    assert seen(edge, "told.example", x_user="root", **login("ann", "xyzzy-ann"))["x-user"] == "ann"
    assert seen(edge, "others.example", x_person="root", **login("eve", "xyzzy-eve"))["x-person"] == "eve"
    assert status(edge, "others.example", **login("ann", "xyzzy-ann")) == 401


def test_clients_need_a_key(edge: Envoy) -> None:
    assert status(edge, "keys.example") == 401
    assert status(edge, "keys.example", x_key="") == 401
    assert status(edge, "keys.example", x_key="xyzzy") == 401
    assert status(edge, "keys.example", x_key="shop") == 401, "the name of a client is no key"
    assert status(edge, "keys.example", x_other="xyzzy-shop") == 401
    assert status(edge, "keys.example", "/xyzzy-shop") == 401
    assert status(edge, "keys.example", x_key="xyzzy-shop") == 200
    assert status(edge, "keys.example", Authorization="Bearer xyzzy-desk") == 200
    assert status(edge, "keys.example", "/?key=xyzzy-shop") == 200
    assert status(edge, "keys.example", cookie="key=xyzzy-desk") == 200


def test_the_first_place_with_a_key_counts(edge: Envoy) -> None:
    assert status(edge, "keys.example", "/?key=xyzzy-shop", x_key="wrong") == 401


def test_backends_hear_the_client_and_not_the_key(edge: Envoy) -> None:
    told = seen(edge, "clients.example", "/?key=xyzzy-desk&a=b", x_client="root")
    assert (told["x-client"], told["path"]) == ("desk", "/?a=b")
    assert "x-key" not in seen(edge, "clients.example", x_key="xyzzy-shop")


def test_envoy_shows_no_credentials(edge: Envoy) -> None:
    shown = str(edge.admin("config_dump")) + edge.log()
    assert "x-key" in shown
    assert "xyzzy" not in shown
    assert line("ann", "xyzzy-ann").strip().partition("}")[2] not in shown
