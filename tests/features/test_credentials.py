"""Users, keys and other credentials: what is refused when they are read, and that nothing said of them holds any."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from tests.translate.graphs import Reporter, feature
from xds_server.features.api_keys import ApiKeyAuthSpec
from xds_server.features.basic_auth import BasicAuthSpec
from xds_server.spec import Spec
from xds_server.types import Secret

ANN = "ann:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs="
USERS = {"users": {"name": "users"}}
FROM = [{"headers": ["x-key"]}]
KEYS = {"credentialRefs": [{"name": "one"}, {"name": "two"}], "extractFrom": FROM}
SPECS: dict[str, type[Spec]] = {"basic_auth": BasicAuthSpec, "api_keys": ApiKeyAuthSpec}


def resolve(name: str, written: dict[str, Any], **secrets: dict[str, str]) -> tuple[Any, Reporter]:
    reporter = Reporter(secrets=secrets)
    return feature(name).resolve(SPECS[name].model_validate(written), reporter), reporter


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "holds no user"),
        ("# nobody\n\n", "holds no user"),
        (f"{ANN}\nbob", "line 2: a line is NAME:{SHA}HASH"),
        (f"{ANN}\n:x", "line 2"),
        (f"{ANN}\nbob:$2y$05$canary", "line 2: Envoy knows passwords as {SHA} only"),
        (f"{ANN}\nbob:canary", "line 2"),
        (f"\n{ANN}\nbob:{{SHA}}canary", "line 3: the hash is no SHA-1 in base64"),
        (f"{ANN}\n{ANN}", "line 2: this user is there twice"),
    ],
)
def test_bad_lines_are_named_by_their_number(text: str, part: str) -> None:
    value, reporter = resolve("basic_auth", USERS, users={".htpasswd": text})
    assert value is None
    ((code, path, message),) = reporter.found
    assert (code, path) == ("F140", ("users",))
    assert part in message
    assert "canary" not in message


def test_users_that_are_not_there() -> None:
    assert resolve("basic_auth", USERS)[1].found[0][:2] == ("A105", ("users",))
    assert "no key '.htpasswd'" in resolve("basic_auth", USERS, users={"a": "b"})[1].found[0][2]


def test_comments_and_line_ends_in_password_files() -> None:
    value, _ = resolve("basic_auth", USERS, users={".htpasswd": f"# all of us\r\n\r\n{ANN}\r\n"})
    assert value.users == Secret(f"{ANN}\n".encode())


@pytest.mark.parametrize(
    ("one", "two", "place", "part"),
    [
        ({"ann": "canary"}, {"bob": "canary"}, 1, "the clients 'ann' and 'bob' have the same key"),
        ({"ann": "canary"}, {"ann": "other"}, 1, "there is another key of client 'ann'"),
        ({"ann": "canary\n"}, {"bob": "b"}, 0, "holds a line break"),
        ({"ann": ""}, {"bob": "b"}, 0, "is empty"),
        ({"ann": "a"}, {}, 1, "holds no key"),
    ],
)
def test_bad_keys_are_named_by_their_place(one: dict[str, str], two: dict[str, str], place: int, part: str) -> None:
    value, reporter = resolve("api_keys", KEYS, one=one, two=two)
    assert value is None
    ((code, path, message),) = reporter.found
    assert (code, path) == ("F140", ("credentialRefs", place))
    assert part in message
    assert "canary" not in message


def test_keys_need_a_place_and_a_header_of_their_own() -> None:
    both: dict[str, dict[str, str]] = {"one": {"ann": "a"}, "two": {"bob": "b"}}
    assert resolve("api_keys", {**KEYS, "extractFrom": [*FROM, {}]}, **both)[1].found[0][:2] == (
        "F103",
        ("extractFrom", 1),
    )
    found = resolve("api_keys", {**KEYS, "forwardClientIDHeader": "Host"}, **both)[1].found
    assert found[0][:2] == ("F101", ("forwardClientIDHeader",))
    found = resolve("basic_auth", {**USERS, "forwardUsernameHeader": "host"}, users={".htpasswd": ANN})[1].found
    assert found[0][:2] == ("F101", ("forwardUsernameHeader",))


def test_a_secret_cannot_be_printed_and_shows_that_it_changed() -> None:
    secret = Secret(b"canary")
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr([secret]),
        repr({1: secret}),
    ):
        assert "canary" not in text
    assert repr(secret) == repr(Secret(b"canary")) != repr(Secret(b"canary2"))
    assert pickle.loads(pickle.dumps(secret)) == secret
