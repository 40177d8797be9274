"""Questions to a running server's admin API, with the standard library alone: these commands must start fast.

What may change something needs the token of the server. Where that is the server says itself when it is asked without.
"""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any

from xds_server.cli.output import trouble
from xds_server.supervise.bootstrap import parse_address

_WORDS = "cellway-[0-9a-f]{64}"
_LONG = 1000


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
    """The same of a POST with a JSON body. Ends the command with exit code 2 if the token cannot be read."""
    code, answer = _request(admin, "POST", path, "{}", patience)
    if code < 400 or not isinstance(answer, dict):
        trouble(f"what answers at {admin} asks for no token: it is no cellway server of this version")
    file = answer.get("tokenFile")
    if code != 401 or not isinstance(file, str):
        return code, answer
    return _request(admin, "POST", path, json.dumps(body), patience, _token(Path(file)))


def _token(file: Path) -> str:
    """The token in a file. Whoever answers chose the file: nothing that is no token must get there."""
    try:
        with file.open(encoding="utf-8") as opened:
            found = opened.read(_LONG).strip() if file.is_file() else ""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        trouble(f"the server wants the token that is in {file}, which cannot be read: {reason}")
    if not re.fullmatch(_WORDS, found):
        trouble(f"the server wants the token that is in {file}, and there is none")
    return found


def _request(admin: str, method: str, path: str, body: str | None, patience: float, token: str = "") -> tuple[int, Any]:
    try:
        address = parse_address(admin)
    except ValueError as error:
        trouble(str(error))
    connection = http.client.HTTPConnection(address.host, address.port, timeout=patience)
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, body, headers | ({"Authorization": f"Bearer {token}"} if token else {}))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException) as error:
        trouble(f"no cellway server answers at {admin}: {error}")
    except ValueError:
        trouble(f"what answers at {admin} is no cellway server")
    finally:
        connection.close()
