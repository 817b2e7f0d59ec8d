"""PostgreSQL's types in canonical terms.

How their texts become canonical values is said by `cdcd.printed`: they are what type output functions print under the settings
of `session.SETTINGS`. What a canonical type cannot say (the number "NaN", the date "infinity", a year BC) passes as PostgreSQL
prints it, and is refused where it would be converted: one such value must not stop the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

_MODIFIER_OFFSET: Final = 4  # VARHDRSZ: what type modifiers of lengths and precisions are raised by
_FRACTION_DIGITS: Final = 6


class TypeEntry(msgspec.Struct, frozen=True):
    """A row of pg_type: `kind` is typtype, `base` and `base_modifier` are of domains.

    `printed` is format_type's, with the modifier of the column, without a schema.
    """

    name: str
    kind: str
    base: int
    base_modifier: int
    printed: str


def _text(modifier: int) -> str:
    return f"text({modifier - _MODIFIER_OFFSET})" if modifier >= _MODIFIER_OFFSET else "text"


def _padded_text(modifier: int) -> str:
    """character(n); without n, as an array's element has it, it is one of any length."""
    length = f"{modifier - _MODIFIER_OFFSET}," if modifier >= _MODIFIER_OFFSET else ""
    return f"text({length}padded)"


def _numeric(modifier: int) -> str:
    """Modifiers of numeric: numeric.c, make_numeric_typmod; the scale is 11 bits with sign since PostgreSQL 15."""
    if modifier < _MODIFIER_OFFSET:
        return "decimal"
    packed = modifier - _MODIFIER_OFFSET
    scale = ((packed & 0x7FF) ^ 0x400) - 0x400
    return f"decimal({packed >> 16 & 0xFFFF},{scale})"


def _timed(kind: str, limits: str = "") -> Callable[[int], str]:
    return lambda modifier: f"{kind}({modifier if modifier >= 0 else _FRACTION_DIGITS}{limits})"


def _fixed(canonical: str) -> Callable[[int], str]:
    return lambda _modifier: canonical


_BUILT_IN: Final[dict[int, Callable[[int], str]]] = {  # by OID, from pg_type.dat
    16: _fixed("boolean"),
    17: _fixed("bytes"),
    20: _fixed(f"integer({-(2**63)},{2**63 - 1})"),
    21: _fixed(f"integer({-(2**15)},{2**15 - 1})"),
    23: _fixed(f"integer({-(2**31)},{2**31 - 1})"),
    25: _text,
    26: _fixed(f"integer(0,{2**32 - 1})"),  # oid
    114: _fixed("json"),
    700: _fixed("float(24)"),
    701: _fixed("float"),
    1042: _padded_text,
    1043: _text,
    1082: _fixed("date"),
    1083: _timed("time", ",0,24"),
    1114: _timed("datetime"),
    1184: _timed("instant"),
    1700: _numeric,
    2950: _fixed("uuid"),
    3802: _fixed("json"),
}


class Types:
    """Canonical types by OID and modifier. `look_up` asks the catalog for a type that is not built in, once."""

    def __init__(self, look_up: Callable[[int, int], TypeEntry | None]) -> None:
        self._look_up = look_up
        self._entries: dict[tuple[int, int], TypeEntry | None] = {}

    def column(self, oid: int, modifier: int) -> str:
        """The type of a column. A type that the catalog no longer has is native(unknown)."""
        oid, modifier = self.base(oid, modifier)
        if oid in _BUILT_IN:
            return _BUILT_IN[oid](modifier)
        entry = self._entry(oid, modifier)
        if entry is None:
            return "native(unknown)"
        if entry.kind == "e" or entry.name == "citext":
            return "text"
        return f"native({entry.printed})"

    def base(self, oid: int, modifier: int) -> tuple[int, int]:
        """The type below all domains, with the modifier that applies."""
        while oid not in _BUILT_IN and (entry := self._entry(oid, modifier)) is not None and entry.kind == "d":
            oid, modifier = entry.base, entry.base_modifier
        return oid, modifier

    def _entry(self, oid: int, modifier: int) -> TypeEntry | None:
        if (oid, modifier) not in self._entries:
            self._entries[oid, modifier] = self._look_up(oid, modifier)
        return self._entries[oid, modifier]
