"""Writes made ready to be put into SQL: rows as literals, with their places in the write; and what can be done with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec

from cdcd.errors import NotReady, Refused
from cdcd.model import Row, TableWrite, Value, WriteKind
from cdcd_mysql.schema import LiveColumn, LiveTable
from cdcd_mysql.statements import quote_name

_JOINABLE: Final = frozenset(
    {*("tinyint", "smallint", "mediumint", "int", "bigint", "decimal"), *("char", "varchar", "binary", "varbinary")}
)
"""Types of key columns that compare with a column of literals as they do with a literal, and by an index."""
_JOINED_LITERAL_SIZE_MAX: Final = 16_383
"""Characters of a literal in a join, so that none has more than 65,535 bytes: MariaDB 10.11 and 11.8 cut longer ones there
without a word, and crash when such sizes meet in one derived table."""
_NEVER_JOINED: Final = frozenset({"tinytext", "tinyblob"})
"""Types whose limit MariaDB does not enforce in a join: it stores a size modulo 256."""


class Job(msgspec.Struct, frozen=True):
    """A write ready to be put into SQL. `rows` are canonical, `literals` the same as SQL; `places` their places in the write."""

    index: int
    write: TableWrite
    table: LiveTable
    columns: tuple[LiveColumn, ...]
    places: Sequence[int]
    rows: Sequence[Sequence[Value]]
    literals: Sequence[Sequence[str]]

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    @property
    def key_size(self) -> int:
        """How many of the columns, the first, are the key."""
        return len(self.write.key)

    @property
    def updatable(self) -> list[int]:
        """Places of the columns that are written to rows that exist."""
        fixed = {*self.write.key, *self.write.insert_only}
        return [place for place, column in enumerate(self.columns) if column.name not in fixed]

    def only(self, numbers: Sequence[int]) -> Job:
        """The same with some of the rows."""
        return msgspec.structs.replace(
            self,
            places=[self.places[n] for n in numbers],
            rows=[self.rows[n] for n in numbers],
            literals=[self.literals[n] for n in numbers],
        )

    def key(self, number: int) -> Sequence[str]:
        """The literals of a row's key."""
        return self.literals[number][: self.key_size]


def column_of(table: LiveTable, name: str) -> LiveColumn:
    """The column of that name. Raises NotReady."""
    column = table.column(name)
    if column is None:
        raise NotReady(
            f"table {table.spelled} has no column {name}",
            remedy="add the column, or correct the configuration",
            code="column-missing",
        )
    return column


def without_null_keys(
    index: int, write: TableWrite, rows: Sequence[Row], places: Sequence[int]
) -> tuple[Sequence[Row], Sequence[int]]:
    """No row has a NULL key: a delete of one has nothing to do, anything else is refused."""
    size = len(write.key)
    bad = [n for n, row in enumerate(rows) if None in row[:size]]
    if not bad:
        return rows, places
    if write.kind is not WriteKind.DELETE:
        raise Refused(
            f"could not write to table {write.table}",
            cause="a column of the key is NULL",
            code="key-null",
            rows=tuple((index, places[n]) for n in bad),
        )
    good = [n for n in range(len(rows)) if n not in set(bad)]
    return [rows[n] for n in good], [places[n] for n in good]


def segments(job: Job) -> Iterator[Job]:
    """Cut where a key comes a second time: its rows are written one after the other."""
    seen: set[tuple[str, ...]] = set()
    start = 0
    for number in range(len(job.rows)):
        key = tuple(job.key(number))
        if key in seen:
            yield job.only(range(start, number))
            start = number
            seen.clear()
        seen.add(key)
    if start < len(job.rows):
        yield job if start == 0 else job.only(range(start, len(job.rows)))


def is_joinable(job: Job) -> bool:
    """Whether the rows can be joined: no value is very long, and no key would lose characters of its column's set."""
    if max(map(len, chain.from_iterable(job.literals))) > _JOINED_LITERAL_SIZE_MAX:
        return False
    if any(column.data_type in _NEVER_JOINED for column in job.columns):
        return False
    return all(
        column.data_type in _JOINABLE
        and (
            column.charset is None or column.charset.name == "utf8mb4" or all(row[n].isascii() for row in job.literals)
        )
        for n, column in enumerate(job.columns[: job.key_size])
    )


def join_condition(column: LiveColumn, literal_name: str) -> str:
    """Compare a column with one of the literals' columns, by the column's own collation."""
    value = f"cdcd_new.{literal_name}"
    if column.charset is not None:
        value = f"CONVERT({value} USING {column.charset.name}) COLLATE {column.collation}"
    return f"cdcd_old.{quote_name(column.name)} = {value}"


def ambiguous(job: Job, number: int) -> Refused:
    """The error for a row whose key several rows have."""
    return Refused(
        f"could not write to table {job.table.spelled}",
        cause=f"several rows have the same {', '.join(job.write.key)}",
        code="key-ambiguous",
        rows=((job.index, job.places[number]),),
    )
