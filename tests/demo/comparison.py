"""The verdict: every field of every record, on both sides, against what its owner last wrote. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from demo.records import KINDS, OWNERS, Books, Key, Side, order_status, owner

SIDES: tuple[Side, ...] = ("erp", "shop")


class Difference(msgspec.Struct, frozen=True):
    """A field that is not what its owner wrote, or a record that is missing or too many (`field` is empty then)."""

    kind: str
    key: Key
    side: Side
    field: str
    owner: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        where = f"{self.kind} {self.key!r} in the {self.side}"
        if not self.field:
            return f"{where}: {self.found}, expected {self.expected}"
        return f"{where}: {self.field} is {self.found!r}, but its owner ({self.owner}) wrote {self.expected!r}"


class Verdict(msgspec.Struct, frozen=True):
    """What was compared, and everything that differs."""

    record_counts: dict[str, int]
    field_count: int
    differences: tuple[Difference, ...]

    @property
    def in_step(self) -> bool:
        """Whether there was something to compare, and nothing differs."""
        return not self.differences and self.field_count > 0


def compare(ledger: Books, erp: Books, shop: Books) -> Verdict:
    """Hold both sides against the ledger: two sides that are wrong in the same way differ from it both."""
    books: dict[Side, Books] = {"erp": erp, "shop": shop}
    differences = tuple(d for kind in KINDS for side in SIDES for d in _compare_kind(kind, side, ledger, books[side]))
    counts = {kind: len(ledger[kind]) for kind in KINDS}
    field_count = sum(counts[kind] * len(OWNERS[kind]) for kind in KINDS)
    return Verdict(counts, field_count, differences)


def _compare_kind(kind: str, side: Side, ledger: Books, books: Books) -> Iterator[Difference]:
    expected, found = ledger[kind], books[kind]
    for key in expected.keys() - found.keys():
        yield Difference(kind, key, side, "", "", "a record", "missing")
    for key in found.keys() - expected.keys():
        yield Difference(kind, key, side, "", "", "none", "a record")
    for key in expected.keys() & found.keys():
        yield from _compare_record(kind, key, side, ledger, books)


def _compare_record(kind: str, key: Key, side: Side, ledger: Books, books: Books) -> Iterator[Difference]:
    expected, found = ledger[kind][key], books[kind][key]
    status = order_status(kind, key, expected, ledger)
    for field in OWNERS[kind]:
        if not same(field, expected[field], found[field]):
            yield Difference(kind, key, side, field, owner(kind, field, status), expected[field], found[field])


def same(field: str, expected: Any, found: Any) -> bool:
    """Whether two values are one: of one type and equal, JSON by its content. NULL and the empty text are two."""
    if expected is None or found is None:
        return expected is found
    if field == "attributes":
        return bool(json.loads(expected) == json.loads(found))
    return type(expected) is type(found) and bool(expected == found)
