"""Writes come in their order, whether or not they were made before their turn."""

from __future__ import annotations

from collections.abc import Iterator

from cdcd.model import TableWrite, WriteKind
from cdcd_postgres.ahead import Ahead


class Maker:
    """Makes writes to tables a, b, c, and says what it has made; "end" when it is asked for more."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def writes(self) -> Iterator[TableWrite]:
        for table in "abc":
            self.made.append(table)
            yield TableWrite(table, WriteKind.UPSERT, ("id",), ("id",), [])
        self.made.append("end")


def test_the_next_write_is_made_when_that_is_wanted_and_is_given_in_its_turn():
    maker = Maker()
    ahead = Ahead(maker.writes())
    assert next(ahead).table == "a"
    assert maker.made == ["a"]
    ahead.make()
    ahead.make()
    assert maker.made == ["a", "b"]
    assert [write.table for write in ahead] == ["b", "c"]


def test_whoever_makes_them_learns_early_that_all_have_been_taken():
    maker = Maker()
    ahead = Ahead(maker.writes())
    for _ in range(3):
        next(ahead)
    ahead.make()
    assert maker.made[-1] == "end"
    ahead.make()
    assert list(ahead) == []
    assert maker.made.count("end") == 1
