"""Resources without their secrets, for patches to be made on, and with them again.

In: a message of the Envoy API. Out: the same with a sign in place of every value that Envoy's API marks as sensitive; and,
of a message with such signs, the one with the values. A sign counts where it was put, in a sensitive field: whoever patches
can neither ask what stands behind it nor have it written elsewhere. Signs of one set of patches begin with the same random
word: no resource has it in a text of its own, and nobody can write it. What comes out never holds it.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message
from jsonpath import JSONPointer, JSONPointerError

from xds_server.features.parts.redact import redacted
from xds_server.translate.documents import PatchError

_BYTES = 15  # 30 digits: the word begins the same in base 64, whatever follows
_STAYS = "what is secret stays in its place and is not asked about: add or replace it, by a path"
M = TypeVar("M", bound=Message)


@dataclass(slots=True)
class Hidden:
    """The values behind the signs of one set of patches."""

    values: list[bytes] = field(default_factory=list, repr=False)
    word: str = field(default_factory=lambda: secrets.token_hex(_BYTES), repr=False)

    def hide(self, message: M) -> M:
        """The message with signs."""
        return redacted(message, self._sign)

    def show(self, message: M) -> M:
        """The message with values. PatchError if there is a sign where none was."""
        shown = redacted(message, self._value)
        if self.word.encode() in shown.SerializeToString():
            raise PatchError(_STAYS)
        return shown

    def check(self, document: Any, operation: dict[str, Any]) -> None:
        """PatchError for an operation that brings a sign or takes one elsewhere."""
        brought = operation.get("value")
        if operation["op"] in ("copy", "move"):
            try:
                brought = JSONPointer(str(operation.get("from"))).resolve(document, default=None)
            except JSONPointerError:
                brought = None
        text = json.dumps(brought, ensure_ascii=False)
        if self.word in text or base64.b64encode(self.word.encode()).decode() in text:
            raise PatchError(_STAYS)

    def _sign(self, value: bytes) -> str:
        self.values.append(value)
        return f"{self.word}{len(self.values) - 1}"

    def _value(self, value: bytes) -> bytes:
        number = value.decode("utf-8", "replace").removeprefix(self.word)
        known = value.startswith(self.word.encode()) and number.isdecimal() and int(number) < len(self.values)
        return self.values[int(number)] if known else value
