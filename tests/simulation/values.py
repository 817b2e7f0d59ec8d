"""Values that applications write: few enough of each type that equal ones meet, and odd ones among them."""

from __future__ import annotations

from random import Random
from typing import Any, Final

_CHOICES: Final[dict[str, tuple[Any, ...]]] = {
    "boolean": (True, False),
    "integer": (0, 1, -7, 2**40, 12),
    "decimal": ("0.00", "1.50", "-12.30", "99999.99"),
    "float": (0.0, 1.5, -2.25, 1e300),
    "text": ("", "a", "ü 説明", "it's", "x" * 30),
    "bytes": (b"", b"\x00\xff", b"abc"),
    "date": ("2026-02-28", "0001-01-01", "9999-12-31"),
    "time": ("00:00:00", "23:59:59.5"),
    "datetime": ("2026-11-21 23:59:59.5", "1999-01-01 00:00:00"),
    "instant": ("2026-11-21 23:59:59.5Z", "1970-01-01 00:00:00Z"),
    "uuid": ("00000000-0000-0000-0000-000000000001", "123e4567-e89b-12d3-a456-426614174000"),
    "json": ('{"a": 1}', "[1, 2.5, null]", '"x"', '{"b": {"c": []}}'),
}
POISON: Final = "poison"
"""A text that one system refuses."""
PLAIN_TYPES: Final = {
    "boolean": "boolean",
    "integer": "integer",
    "decimal": "decimal(9,2)",
    "float": "float",
    "text": "text(30)",
    "bytes": "bytes",
    "date": "date",
    "time": "time",
    "datetime": "datetime",
    "instant": "instant",
    "uuid": "uuid",
    "json": "json",
}
"""A type of each kind, which its column has too."""


def draw(random: Random, field_type: str) -> Any:
    """A value of a field, sometimes NULL."""
    if random.random() < 0.1:
        return None
    kind, _, arguments = field_type.partition("(")
    if kind == "enum":
        return random.choice(arguments[:-1].split(","))
    if kind == "text" and random.random() < 0.6:
        return POISON if random.random() < 0.15 else f"t{random.randrange(1000)}"
    if kind == "integer" and random.random() < 0.6:
        return random.randrange(1000)
    return random.choice(_CHOICES[kind])


def key_part(kind: str, number: int) -> Any:
    """The value of a key field that record `number` has."""
    if kind == "integer":
        return number
    return f"00000000-0000-4000-8000-{number:012d}" if kind == "uuid" else f"K{number}é"


def number_of(part: Any) -> int:
    """The number of the record whose first key field is `part`."""
    return part if isinstance(part, int) else int(part[-12:] if len(part) == 36 else part[1:-1])


def is_volatile(number: int) -> bool:
    """Whether applications may delete the record, rename it or create it without the right: then none refers to it."""
    return number % 3 == 0
