"""JSON Web Key Sets: are these keys that Envoy can use?

In: the text of a key set. Out: what is wrong with it. Private keys are refused: a policy is no place for them.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

_LEAST_RSA_BITS = 2048
_LEAST_SECRET_BITS = 112
_CURVES = ("P-256", "P-384", "P-521", "Ed25519")


def key_set_problem(text: str) -> str:
    """Why Envoy could verify no token with these keys; empty if it could."""
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"this is not JSON: {error}"
    listed = keys.get("keys") if isinstance(keys, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(key, dict) for key in listed):
        return 'a key set is a JSON object with a list of keys: {"keys": [...]}'
    for number, key in enumerate(listed):
        problem = _key_problem(key)
        if problem:
            return f"key {number}: {problem}"
    return ""


def _decoded(text: object) -> bytes:
    """What base64url means; nothing if it is none."""
    if not isinstance(text, str):
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""


def _key_problem(key: dict[str, Any]) -> str:
    if key.get("kty") not in ("RSA", "EC", "OKP", "oct"):
        return f"kty is {key.get('kty')!r}, must be RSA, EC, OKP or oct"
    if key["kty"] != "oct" and "d" in key:
        return "this is a private key; a policy needs only the public part"
    if key["kty"] in ("EC", "OKP") and key.get("crv") not in _CURVES:
        return f"curve {key.get('crv')!r} is not supported, use one of {', '.join(_CURVES)}"
    if key["kty"] == "oct" and (bits := len(_decoded(key.get("k"))) * 8) < _LEAST_SECRET_BITS:
        return f"its secret has {bits} bits, {_LEAST_SECRET_BITS} are the least that is safe (NIST SP 800-131A)"
    if key["kty"] == "RSA" and (bits := int.from_bytes(_decoded(key.get("n")), "big").bit_length()) < _LEAST_RSA_BITS:
        return f"its modulus has {bits} bits, {_LEAST_RSA_BITS} are the least that is safe (NIST SP 800-131A)"
    try:
        KeySet.import_key_set({"keys": [key]})
    except (JoseError, ValueError, KeyError, TypeError) as error:
        return str(error) or "it is not well-formed"
    return ""
