"""Signs JWTs for tests with a key made for this process, and prints its public JWKS."""

from __future__ import annotations

import json
import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

ISSUER = "https://idp.acme.example"
_KEY = RSAKey.generate_key(2048, {"kid": "test", "alg": "RS256", "use": "sig"})


def jwks() -> str:
    """The public key set, as JSON text on one line."""
    return json.dumps({"keys": [_KEY.as_dict(private=False)]})


def token(*, audience: str = "shop", lifetime: int = 3600, issuer: str = ISSUER, **claims: Any) -> str:
    """A signed token. A negative lifetime gives one that is expired."""
    body = {"iss": issuer, "aud": audience, "exp": int(time.time()) + lifetime, "sub": "user-1", **claims}
    return jwt.encode({"alg": "RS256", "kid": "test"}, body, _KEY)


def bearer(**claims: Any) -> dict[str, str]:
    """The Authorization header with a token."""
    return {"Authorization": f"Bearer {token(**claims)}"}
