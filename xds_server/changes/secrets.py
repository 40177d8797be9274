"""Secrets in what is compared: short keyed hashes, so that a change can be seen, and the value cannot.

In: a key that is new for every comparison, and values. Out: texts such as `(secret 5d41ab02)`. With a new key each time nobody
can try out values and compare hashes of two runs. Patches and bootstraps hold Envoy's own resources in any form, private keys
and passwords among them: of those only the places are shown.
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
_PATCHED = {"EnvoyPatchPolicy": "jsonPatches", "EnvoyProxy": "bootstrap"}
"""Fields of `spec` with resources of Envoy in them."""
_OPEN_PATCH = ("type", "name", "op", "path", "from", "jsonPath")
_PATCHES = ("jsonPatches", "operation")


@dataclass(frozen=True, slots=True)
class Hasher:
    """Hashes of one comparison."""

    key: bytes

    def word(self, value: bytes) -> str:
        """What stands in place of a secret."""
        return f"(secret {blake2b(value, key=self.key, digest_size=4).hexdigest()})"

    def document(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A document without the values of Secrets, patches and bootstraps; annotations may hold copies of them."""
        kind, metadata, spec = document.get("kind"), document.get("metadata"), document.get("spec")
        field = _PATCHED.get(str(kind))
        if kind == "Secret":
            hidden = {name: value if name in _OPEN else self._hidden(value, name) for name, value in document.items()}
        elif field is None:
            return dict(document)
        else:
            hidden = dict(document)
            if isinstance(spec, Mapping):
                hidden["spec"] = {name: self._patch(one) if name == field else one for name, one in spec.items()}
        if isinstance(metadata, Mapping):
            hidden["metadata"] = {
                name: value if name in _OPEN_METADATA else self._hidden(value, name) for name, value in metadata.items()
            }
        return hidden

    def _patch(self, value: Any) -> Any:
        """Patches, or a bootstrap, without what they put into resources."""
        if isinstance(value, list):
            return [self._patch(one) for one in value]
        if not isinstance(value, Mapping):
            return self._hidden(value, "")
        return {name: self._part(name, one) for name, one in value.items()}

    def _part(self, name: str, value: Any) -> Any:
        if name in _PATCHES:
            return self._patch(value)
        return value if name in _OPEN_PATCH and isinstance(value, str) else self._hidden(value, name)

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
