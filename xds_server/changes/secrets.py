"""Secrets in what is compared: short keyed hashes, so that a change can be seen, and the value cannot.

In: a key that is new for every comparison, and values. Out: texts such as `(secret 5d41ab02)`. With a new key each time nobody
can try out values and compare hashes of two runs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

_OPEN = ("apiVersion", "kind", "type", "immutable")
_OPEN_METADATA = ("name", "namespace", "labels")


@dataclass(frozen=True, slots=True)
class Hasher:
    """Hashes of one comparison."""

    key: bytes

    def word(self, value: bytes) -> str:
        """What stands in place of a secret."""
        return f"(secret {blake2b(value, key=self.key, digest_size=4).hexdigest()})"

    def document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A document, if it is a Secret without its values; annotations may hold copies of them."""
        if document.get("kind") != "Secret":
            return dict(document)
        hidden = {name: value if name in _OPEN else self._hidden(value, name) for name, value in document.items()}
        metadata = document.get("metadata")
        if isinstance(metadata, Mapping):
            hidden["metadata"] = {
                name: value if name in _OPEN_METADATA else self._hidden(value, name) for name, value in metadata.items()
            }
        return hidden

    def _hidden(self, value: Any, field: str) -> Any:
        if isinstance(value, Mapping):
            return {name: self._hidden(one, field) for name, one in value.items()}
        if isinstance(value, list):
            return [self._hidden(one, field) for one in value]
        return self.word(_bytes(str(value), encoded=field == "data"))


def _bytes(text: str, *, encoded: bool) -> bytes:
    """The value itself, so that the same one is equal however it is written."""
    try:
        return base64.b64decode(text, validate=True) if encoded else text.encode()
    except (binascii.Error, UnicodeEncodeError):
        return text.encode(errors="surrogatepass")
