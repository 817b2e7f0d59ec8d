"""Canonical types and values: the one vocabulary that columns of every server and fields of every entity share.

| type           | value | form                                                                                  |
|----------------|-------|---------------------------------------------------------------------------------------|
| boolean        | bool  |                                                                                       |
| integer(lo,hi) | int   | bounds optional; never beyond -2^63 to 2^64-1                                          |
| decimal(p,s)   | str   | plain notation, exactly s digits after the point: "-12.3400"; without (p,s) no trailing zeros |
| float          | float | shortest form that reads back the same                                                |
| text(n)        | str   | n in characters, optional                                                             |
| bytes(n)       | bytes | n in bytes, optional                                                                  |
| date           | str   | "2026-11-21"                                                                          |
| time(f)        | str   | "23:59:59.5", at most f digits of fraction, no trailing zeros; may be negative or exceed 24 h |
| datetime(f)    | str   | "2026-11-21 23:59:59.5", no zone                                                      |
| instant(f)     | str   | "2026-11-21 23:59:59.5Z", UTC                                                         |
| uuid           | str   | lower case with hyphens                                                               |
| json           | str   | JSON text as the server gave it; compared by content                                  |
| enum(a,b)      | str   | one of the members                                                                    |
| ref(entity)    | key   | fields only: the business key of the record referred to                               |
| native(name)   | str   | a type we do not interpret, as its server prints it                                   |

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
_SPEC: Final = re.compile(r"\s*([a-z]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


class ValueRefused(CdcdError):
    """A value that cannot be represented where it must go. The message names types and limits, never the value."""

    default_code = "value-refused"


class ValueType(msgspec.Struct, frozen=True):
    """A parsed type: `kind` and its arguments ("decimal(12,4)" is kind decimal with arguments ("12", "4"))."""

    kind: str
    arguments: tuple[str, ...] = ()

    def number(self, index: int) -> int | None:
        """The argument at `index` as a number, None when the type does not state it."""
        return int(self.arguments[index]) if index < len(self.arguments) else None

    def __str__(self) -> str:
        return f"{self.kind}({','.join(self.arguments)})" if self.arguments else self.kind


def parse_type(spec: str) -> ValueType:
    """Read a type as written in configuration and relations. Raises ValueError with the rule that was broken."""
    match = _SPEC.fullmatch(spec)
    if match is None or match[1] not in KINDS:
        raise ValueError(f"unknown type {spec!r}; types are {', '.join(sorted(KINDS - {'native'}))}")
    arguments = tuple(part.strip() for part in match[2].split(",")) if match[2] else ()
    kind = match[1]
    if kind in ("text", "bytes", "decimal", "integer") and not all(re.fullmatch(r"-?\d+", a) for a in arguments):
        raise ValueError(f"{kind} takes numbers in its brackets, got {spec!r}")
    if kind == "decimal" and len(arguments) not in (0, 2):
        raise ValueError(f"decimal takes precision and scale, as in decimal(12,4), got {spec!r}")
    if kind == "enum" and not arguments:
        raise ValueError("enum needs its members, as in enum(new,paid)")
    if kind == "ref" and len(arguments) != 1:
        raise ValueError("ref names one entity, as in ref(customer)")
    return ValueType(kind, arguments)
