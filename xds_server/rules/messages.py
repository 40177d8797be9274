"""`Rules`: walks a message and everything in it, and gives the first violation.

In: a protobuf message whose descriptors carry `validate.rules`. Out: one line, `route.timeout: must be at
least 0s, is -1s`, or None. What is checked follows the code that Envoy generates from the same rules: a field
with presence only when it is set, any other field always; a payload of an Any whenever its type is known. Each
descriptor is read once and its plan kept in the `Rules` object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from xds_server.envoy_api.udpa.annotations.sensitive_pb2 import sensitive
from xds_server.envoy_api.validate import validate_pb2 as validate
from xds_server.rules.values import Check, Problem, show, value_check

# Typed as Any: the stubs know extensions only as plain field descriptors.
_rules: Any = validate.rules
_required: Any = validate.required
_disabled: Any = validate.disabled
_ignored: Any = validate.ignored
_sensitive: Any = sensitive
_ANY = "google.protobuf.Any"
# Types without rules of their own whose insides are plain values.
_LEAVES = "google.protobuf."
_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)


class _Plan:
    """The checks of one message type: of each field that is set, and of the fields that must be."""

    __slots__ = ("fields", "needed")

    def __init__(self) -> None:
        self.fields: dict[int, tuple[FieldDescriptor, Check]] = {}
        self.needed: list[tuple[frozenset[int], Problem]] = []

    def check(self, message: Message) -> Problem | None:
        """The first problem of a message of this type."""
        fields = self.fields
        values = {field.number: value for field, value in message.ListFields()}
        for number, value in values.items():
            if number in fields:
                field, check = fields[number]
                if (problem := check(value)) is not None:
                    return problem.under(f".{field.name}", secret=field.GetOptions().Extensions[_sensitive])
        for numbers, problem in self.needed:
            if numbers.isdisjoint(values):
                return problem
        return None


class Rules:
    """Checks messages. Make one and keep it: it learns each message type the first time that it meets it."""

    def __init__(self) -> None:
        self._plans: dict[str, _Plan] = {}
        self._payloads: dict[str, tuple[type[Message], _Plan] | None] = {}

    def check(self, message: Message) -> str | None:
        """The first violation with the path of its field, or None. Raises NotImplementedError for an unknown rule."""
        descriptor = cast(Descriptor, message.DESCRIPTOR)
        packed = descriptor.full_name == _ANY
        problem = self._check_payload(message) if packed else self._plan(descriptor).check(message)
        return None if problem is None else str(problem)

    def _plan(self, descriptor: Descriptor) -> _Plan:
        plan = self._plans.get(descriptor.full_name)
        if plan is None:
            # Kept before it is filled: message types contain each other in circles.
            plan = self._plans[descriptor.full_name] = _Plan()
            options = descriptor.GetOptions()
            if not (options.Extensions[_disabled] or options.Extensions[_ignored]):
                self._fill(plan, descriptor)
        return plan

    def _fill(self, plan: _Plan, descriptor: Descriptor) -> None:
        for field in descriptor.fields:
            rules: validate.FieldRules = field.GetOptions().Extensions[_rules]
            if (check := self._field_check(field, rules)) is not None:
                plan.fields[field.number] = (field, check)
            if (problem := _problem_if_unset(field, rules, check)) is not None:
                plan.needed.append((frozenset({field.number}), problem.under(f".{field.name}")))
        for oneof in descriptor.oneofs:
            if oneof.GetOptions().Extensions[_required]:
                names = ", ".join(field.name for field in oneof.fields)
                numbers = frozenset(field.number for field in oneof.fields)
                plan.needed.append((numbers, Problem(f"one of {names} must be set", path=f".{oneof.name}")))

    def _field_check(self, field: FieldDescriptor, rules: validate.FieldRules) -> Check | None:
        if not field.is_repeated:
            return self._value_check(field, rules)
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            keys = self._value_check(entry.fields_by_name["key"], rules.map.keys)
            values = self._value_check(entry.fields_by_name["value"], rules.map.values)
            return _map_check(rules.map, keys, values)
        return _list_check(rules.repeated, self._value_check(field, rules.repeated.items))

    def _value_check(self, field: FieldDescriptor, rules: validate.FieldRules) -> Check | None:
        """The check of one value of this field: of the value itself, then of what is in it."""
        kind = rules.WhichOneof("type")
        own = value_check(getattr(rules, kind), field.enum_type) if kind else None
        descriptor = field.message_type
        if descriptor is None or rules.message.skip:
            return own
        if descriptor.full_name in _WRAPPERS:
            return _unwrapped(own) if own else None
        inside: Check | None = None
        if descriptor.full_name == _ANY:
            inside = self._check_payload
        elif not descriptor.full_name.startswith(_LEAVES):
            inside = self._plan(descriptor).check
        return _both(own, inside) if own and inside else own or inside

    def _check_payload(self, packed: Any) -> Problem | None:
        """The check of an Any's payload. A type that is not known here is not known to be wrong."""
        name = packed.type_url.rpartition("/")[2]
        if name not in self._payloads:
            self._payloads[name] = self._payload(name)
        known = self._payloads[name]
        if known is None:
            return None
        payload_type, plan = known
        try:
            return plan.check(payload_type.FromString(packed.value))
        except DecodeError:
            return Problem(f"must hold a message of type {name}")

    def _payload(self, name: str) -> tuple[type[Message], _Plan] | None:
        try:
            descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
        except KeyError:
            return None
        return message_factory.GetMessageClass(descriptor), self._plan(descriptor)


def _problem_if_unset(field: FieldDescriptor, rules: validate.FieldRules, check: Check | None) -> Problem | None:
    """What is wrong when the field is not set: nothing, "is required", or what is wrong with its zero value."""
    if field.is_repeated:
        return check({} if field.message_type and field.message_type.GetOptions().map_entry else ()) if check else None
    if not field.has_presence:
        return check(field.default_value) if check else None
    oneof = field.containing_oneof
    if oneof is not None and oneof.name != f"_{field.name}":  # one choice of several; `optional` makes a oneof of one
        return None
    kind = rules.WhichOneof("type")
    if rules.message.required or (kind in {"any", "duration", "timestamp"} and getattr(rules, kind).required):
        return Problem("is required")
    return None


def _both(first: Check, second: Check) -> Check:
    return lambda value: first(value) or second(value)


def _unwrapped(check: Check) -> Check:
    return lambda wrapper: check(wrapper.value)


def _counts(least: int, most: int | None, unit: str) -> Callable[[int], Problem | None]:
    def check(size: int) -> Problem | None:
        if size < least:
            rule = "must not be empty" if least == 1 else f"must have at least {least} {unit}"
            return Problem(rule, f"{size} {unit}" if size else "")
        if most is not None and size > most:
            return Problem(f"must have at most {most} {unit}", f"{size} {unit}")
        return None

    return check


def _list_check(rules: validate.RepeatedRules, item: Check | None) -> Check | None:
    if item is None and not rules.ListFields():
        return None
    count = _counts(rules.min_items, rules.max_items if rules.HasField("max_items") else None, "items")
    unique = rules.unique

    def check(values: Any) -> Problem | None:
        if not values and rules.ignore_empty:
            return None
        if (problem := count(len(values))) is not None:
            return problem
        if unique and len(set(values)) != len(values):
            twice = next(value for index, value in enumerate(values) if value in values[:index])
            return Problem("must not hold an item twice", f"{show(twice)} twice")
        if item is not None:
            for index, value in enumerate(values):
                if (problem := item(value)) is not None:
                    return problem.under(f"[{index}]")
        return None

    return check


def _map_check(rules: validate.MapRules, keys: Check | None, values: Check | None) -> Check | None:
    if rules.no_sparse:
        raise NotImplementedError("the validation rule MapRules.no_sparse")
    if keys is None and values is None and not rules.ListFields():
        return None
    count = _counts(rules.min_pairs, rules.max_pairs if rules.HasField("max_pairs") else None, "entries")

    def check(entries: Any) -> Problem | None:
        if not entries and rules.ignore_empty:
            return None
        if (problem := count(len(entries))) is not None:
            return problem
        for key in sorted(entries):
            problem = keys(key) if keys else None
            problem = problem or (values(entries[key]) if values else None)
            if problem is not None:
                return problem.under(f"[{show(key)}]")
        return None

    return check


__all__ = ["Rules"]
