"""Messages without the values that Envoy's own API marks as sensitive.

In: a message of the Envoy API. Out: a copy in which every sensitive text reads `[redacted]`. The mark is the field
option `udpa.annotations.sensitive`, the same that Envoy's own configuration dump goes by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from xds_server.envoy_api.udpa.annotations import sensitive_pb2
from xds_server.features.parts.walk import message_type

REDACTED = "[redacted]"
_NO_VALUE = ("#", b"#")
"""What stands where Envoy wants a list of users and there are none: an empty comment is no secret."""


M = TypeVar("M", bound=Message)


Word = Callable[[bytes], str]
"""What stands in place of a value."""
Value = Callable[[bytes], str | bytes]
"""The same where it may be a value, too."""


def redacted(message: M, word: Value = lambda _: REDACTED) -> M:
    """A copy without sensitive values."""
    copy = type(message)()
    copy.CopyFrom(message)
    _redact(copy, word, hide=False)
    return copy


def _redact(message: Message, word: Value, *, hide: bool) -> None:
    if isinstance(message, AnyMessage):
        _redact_any(message, word, hide=hide)
        return
    for field, value in message.ListFields():
        marked: bool = field.GetOptions().Extensions[sensitive_pb2.sensitive]  # type: ignore[index]
        sensitive = hide or marked
        if field.message_type is None:
            text = field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
            if sensitive and text and value not in _NO_VALUE:
                _hide(message, field, value, word)
        elif not field.is_repeated:
            _redact(value, word, hide=sensitive)
        elif field.message_type.GetOptions().map_entry:
            _redact_map(field, value, word, hide=sensitive)
        else:
            for item in value:
                _redact(item, word, hide=sensitive)


def _redact_any(message: AnyMessage, word: Value, *, hide: bool) -> None:
    if not message.type_url:  # a filter that a route switches on as it is
        return
    inner = message_type(message.type_url).FromString(message.value)
    _redact(inner, word, hide=hide)
    message.value = inner.SerializeToString(deterministic=True)


def _redact_map(field: FieldDescriptor, entries: Any, word: Value, *, hide: bool) -> None:
    assert field.message_type is not None
    kind = field.message_type.fields_by_name["value"]
    for key in list(entries):
        if kind.message_type is not None:
            _redact(entries[key], word, hide=hide)
        elif hide and kind.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            entries[key] = _text(kind, entries[key], word)


def _hide(message: Message, field: FieldDescriptor, value: Any, word: Value) -> None:
    if field.is_repeated:
        value[:] = [_text(field, one, word) for one in value]
    else:
        setattr(message, field.name, _text(field, value, word))


def _text(field: FieldDescriptor, value: str | bytes, word: Value) -> str | bytes:
    said = word(value.encode() if isinstance(value, str) else value)
    if field.type == FieldDescriptor.TYPE_STRING:
        return said if isinstance(said, str) else said.decode()
    return said.encode() if isinstance(said, str) else said
