"""The values of a parked record as a text that a person edits, and what it says afterwards. Pure.

A line per field, NAME = VALUE with the value as JSON, and comments about the error and the types above it:

    # price: decimal(14,2), written to cents: integer(-2147483648,2147483647); owned by erp
    price = "99999999999.00"

Of a sensitive field a mask stands there; whoever leaves it there keeps the value.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdcd.conversions import column_text, typed
from cdcd.model import ABSENT
from cdcd.parking.statement import ShownField
from cdcd.sensitive import MASK
from cdcd.values import ValueType, parse_type

_WIDTH: Final = 110


class Mistake(msgspec.Struct, frozen=True):
    """A line of the text that cannot be taken."""

    field: str
    why: str


def to_text(fields: Sequence[ShownField], about: Sequence[str]) -> str:
    """The text to edit; `about` are sentences for its head."""
    head = [line for text in about for line in textwrap.wrap(text, _WIDTH) or [""]]
    return "\n".join([*(f"# {line}".rstrip() for line in head), "", *_lines(fields)]) + "\n"


def _lines(fields: Sequence[ShownField]) -> Iterator[str]:
    for field in fields:
        column = f", written to {field.column}" if field.column != field.field else ""
        held = f": {field.column_type}" if field.column_type else ""
        owner = f"; owned by {field.owner}" if field.owner else ""
        yield f"# {field.field}: {field.type}{column}{held}{owner}"
        yield f"{field.field} = {value_text(field.shown)}"
        yield ""


def value_text(value: Any) -> str:
    """A value as JSON; bytes as {"hex": "…"}."""
    return msgspec.json.encode({"hex": value.hex()} if isinstance(value, bytes) else value).decode()


def from_text(
    text: str, fields: Sequence[ShownField], kinds: Mapping[str, ValueType]
) -> tuple[dict[str, Any], list[Mistake]]:
    """What the edited text changes, by field, in canonical form; and what in it is wrong.

    `kinds` are types that replace those named in `fields`: of a reference, the type of the key that it holds.
    """
    known = {field.field: field for field in fields}
    changed: dict[str, Any] = {}
    wrong: list[Mistake] = []
    seen: set[str] = set()
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, written = line.partition("=")
        name = name.strip()
        if not equals or name not in known:
            wrong.append(Mistake(name[:40], f"there is no such field; there are {', '.join(known)}"))
        elif name in seen:
            wrong.append(Mistake(name, "it is there twice"))
        else:
            seen.add(name)
            if known[name].hidden and written.strip() == value_text(MASK):
                continue
            try:
                value = _value(written.strip(), kinds.get(name) or parse_type(known[name].type))
            except ValueError as error:
                wrong.append(Mistake(name, str(error)))
            else:
                if value != known[name].value:
                    changed[name] = value
    wrong += [Mistake(name, "it is not there any more; write null for no value") for name in known if name not in seen]
    return changed, wrong


def _value(text: str, kind: ValueType) -> Any:
    """The canonical value that a line says. Raises ValueError."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"{text[:60]} is no JSON; write texts in double quotes ({error})") from None
    if value is None:
        return None
    if kind.kind == "bytes":
        return _bytes(value, kind)
    if kind.kind == "ref":
        return value
    if kind.kind == "json" and not isinstance(value, str):
        return typed(text, kind)
    if kind.kind in ("text", "enum") and not isinstance(value, str):
        raise ValueError(f"a {kind} is written in double quotes")
    if kind.kind == "native":
        return value
    is_number = not isinstance(value, str | bool | list | dict)
    return typed(text if is_number else column_text(value), kind)


def _bytes(value: Any, kind: ValueType) -> bytes:
    found = bytes.fromhex(value["hex"]) if _is_hex(value) else None
    if found is None:
        raise ValueError('bytes are written as {"hex": "00ff"}')
    limit = kind.number(0)
    if limit is not None and len(found) > limit:
        raise ValueError(f"it has {len(found)} bytes, the limit is {limit}")
    return found


def _is_hex(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"hex"} and isinstance(value["hex"], str)


def editable(fields: Sequence[ShownField], fixed: Sequence[str]) -> list[ShownField]:
    """The fields that may be edited: not the `fixed` ones, and only known values."""
    return [field for field in fields if field.field not in fixed and field.value is not ABSENT]
