"""Canonical types and values: the one vocabulary that columns of every server and fields of every entity share.

| type            | value | form                                                                                  |
|-----------------|-------|---------------------------------------------------------------------------------------|
| boolean         | bool  |                                                                                       |
| integer(lo,hi)  | int   | bounds optional; never beyond -2^63 to 2^64-1                                          |
| decimal(p,s)    | str   | plain notation, exactly s digits after the point: "-12.3400"; without (p,s) no trailing zeros |
| float(24)       | float | shortest form that reads back the same; 24 bits of precision (32-bit) or, without, 53    |
| text(n)         | str   | n in characters, optional                                                             |
| bytes(n)        | bytes | n in bytes, optional                                                                  |
| date(lo,hi)     | str   | "2026-11-21"                                                                          |
| time(f,lo,hi)   | str   | "23:59:59.5", at most f digits of fraction, no trailing zeros; may be negative or exceed 24 h |
| datetime(f,lo,hi) | str | "2026-11-21 23:59:59.5", no zone                                                      |
| instant(f,lo,hi) | str  | "2026-11-21 23:59:59.5Z", UTC                                                         |
| uuid            | str   | lower case with hyphens                                                               |
| json            | str   | JSON text as the server gave it; compared by content                                  |
| enum(a,b)       | str   | one of the members                                                                    |
| ref(entity)     | key   | fields only: the business key of the record referred to                               |
| native(name)    | str   | a type we do not interpret, as its server prints it                                   |

A type without limits also has the values that not every server knows: numbers "NaN" and "Infinity", the dates
"infinity" and "0044-03-15 BC", years of five digits. Limits leave them out, and say what a column can hold:

- of dates, the beginnings of the first and last value: "date(0001,9999)", "instant(6,1970-01-01 00:00:01,2038-01-19
  03:14:07)"; of times the lowest and highest hour, "time(6,-838,838)" (24 as the highest means 24:00:00 and no later).
  What breaks its own limits (a zero date, "0000-00-00") is not understood as a date: it goes only to a column of the
  same type.
- "float(53,finite)", "float(24,finite)": no NaN, no infinities.
- "text(10,padded)": a text loses spaces at its end. "text(10,raw)": bytes that are not text come as bytes.
- "json(double)": a number that is no 64-bit integer is kept as a double.

A value that its type cannot hold exactly is a `ValueRefused`, never a nearest value (Invariant 7).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from cdcd.errors import CdcdError

KINDS: Final = frozenset(
    [
        "boolean",
        "integer",
        "decimal",
        "float",
        "text",
        "bytes",
        "date",
        "time",
        "datetime",
        "instant",
        "uuid",
        "json",
        "enum",
        "ref",
        "native",
    ]
)
_NUMBER: Final = re.compile(r"-?\d+", re.ASCII)
_FLAGS: Final = {"text": {"padded", "raw"}, "float": {"finite"}, "json": {"double"}}
_LIMITS_AT: Final = {"date": 0, "time": 1, "datetime": 1, "instant": 1}
_SPEC: Final = re.compile(r"\s*([a-z]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


class ValueRefused(CdcdError):
    """A value that cannot be represented where it must go. The message names types and limits, never the value."""

    default_code = "value-refused"


def misfit(target: object, why: str) -> ValueRefused:
    """The refusal of a value that `target` cannot hold."""
    return ValueRefused(f"a value does not fit {target}", cause=why, remedy="widen the column or correct the value")


class ValueType(msgspec.Struct, frozen=True):
    """A parsed type: `kind` and its arguments ("decimal(12,4)" is kind decimal with arguments ("12", "4"))."""

    kind: str
    arguments: tuple[str, ...] = ()

    def number(self, index: int) -> int | None:
        """The argument at `index` as a number, None when the type does not state it."""
        stated = self.arguments[index] if index < len(self.arguments) else ""
        return int(stated) if _NUMBER.fullmatch(stated) else None

    def has(self, flag: str) -> bool:
        """Whether the type states a limit by this word."""
        return flag in self.arguments

    def __str__(self) -> str:
        return f"{self.kind}({','.join(self.arguments)})" if self.arguments else self.kind


def parse_type(spec: str) -> ValueType:
    """Read a type as written in configuration and relations. Raises ValueError with the rule that was broken."""
    match = _SPEC.fullmatch(spec)
    if match is None or match[1] not in KINDS:
        raise ValueError(f"unknown type {spec!r}; types are {', '.join(sorted(KINDS - {'native'}))}")
    kind = match[1]
    if kind == "native":  # the server's own name: brackets and commas in it are its own
        return ValueType(kind, (match[2],) if match[2] else ())
    arguments = tuple(part.strip() for part in match[2].split(",")) if match[2] else ()
    numbers = [argument for argument in arguments if argument not in _FLAGS.get(kind, ())]
    if kind in ("text", "bytes", "decimal", "integer", "float") and not all(map(_NUMBER.fullmatch, numbers)):
        raise ValueError(f"{kind} takes numbers in its brackets, got {spec!r}")
    if kind in _LIMITS_AT and len(arguments) - _LIMITS_AT[kind] not in (-1, 0, 2):
        raise ValueError(f"{kind} takes a first and a last value together, got {spec!r}")
    if kind == "decimal" and len(arguments) not in (0, 2):
        raise ValueError(f"decimal takes precision and scale, as in decimal(12,4), got {spec!r}")
    if kind == "enum" and not arguments:
        raise ValueError("enum needs its members, as in enum(new,paid)")
    if kind == "ref" and len(arguments) != 1:
        raise ValueError("ref names one entity, as in ref(customer)")
    return ValueType(kind, arguments)
