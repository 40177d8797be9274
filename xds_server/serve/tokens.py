"""Words by which an Envoy without a certificate shows for which gateway it is.

In: a key that only the server and whoever may read its state folder have. Out: the word of a gateway, which the Envoy's
bootstrap says with every stream; and the gateway of a word that came, if it was made with this key. What the Envoy's
own connection is used for by others, such as a script in it, does not have the word.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256

_LONGEST = 2000
_SCHEME = "Bearer "
_WORD = re.compile(r"cellway-xds\.(?P<name>[A-Za-z0-9_=-]+)\.(?P<proof>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What words are made with."""

    key: bytes = field(repr=False)

    def word(self, gateway: str) -> str:
        """The word of an Envoy of this gateway, or of this group of gateways."""
        name = base64.urlsafe_b64encode(gateway.encode()).decode()
        return f"cellway-xds.{name}.{self._proof(gateway)}"

    def gateway(self, said: str) -> str | None:
        """The gateway that an `authorization` header is for; None if it is for none."""
        found = _WORD.fullmatch(said.removeprefix(_SCHEME)) if len(said) <= _LONGEST else None
        if found is None or not said.startswith(_SCHEME):
            return None
        try:
            name = base64.b64decode(found["name"], b"-_", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        return name if hmac.compare_digest(self._proof(name), found["proof"]) else None

    def _proof(self, gateway: str) -> str:
        return hmac.new(self.key, gateway.encode(), sha256).hexdigest()


def without_words(text: str) -> str:
    """A text that may quote a bootstrap, for logs and answers."""
    return _WORD.sub("[redacted]", text)
