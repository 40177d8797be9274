"""Questions to a running server's admin API, with the standard library alone: these commands must start fast."""

from __future__ import annotations

import http.client
import json
from typing import Any

from xds_server.cli.output import trouble
from xds_server.supervise.bootstrap import parse_address


def ask(admin: str, path: str, patience: float) -> tuple[int, Any]:
    """Status code and JSON body of a GET. Ends the command with exit code 2 if the server cannot be reached."""
    return _request(admin, "GET", path, None, patience)


def answer_of(admin: str, path: str, patience: float = 30.0) -> Any:
    """The JSON body of a GET that succeeds. Any other status ends the command with exit code 2."""
    code, answer = ask(admin, path, patience)
    if code != 200:
        message = answer.get("message") if isinstance(answer, dict) else None
        trouble(str(message or f"the server at {admin} answers {code}"))
    return answer


def items_of(admin: str, path: str) -> list[dict[str, Any]]:
    """The items of such an answer."""
    return list(answer_of(admin, path)["items"])


def send(admin: str, path: str, body: Any, patience: float) -> tuple[int, Any]:
    """The same of a POST with a JSON body."""
    return _request(admin, "POST", path, json.dumps(body), patience)


def _request(admin: str, method: str, path: str, body: str | None, patience: float) -> tuple[int, Any]:
    try:
        address = parse_address(admin)
    except ValueError as error:
        trouble(str(error))
    connection = http.client.HTTPConnection(address.host, address.port, timeout=patience)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException) as error:
        trouble(f"no cellway server answers at {admin}: {error}")
    except ValueError:
        trouble(f"what answers at {admin} is no cellway server")
    finally:
        connection.close()
