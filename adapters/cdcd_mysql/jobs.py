"""Writes made ready to be put into SQL: rows as literals, with their places in the write; and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain, takewhile
from math import ceil
from operator import itemgetter
from typing import Final, TypeVar

import msgspec

from cdcd.errors import NotReady, Refused
from cdcd.model import Row, TableWrite, Value, WriteKind
from cdcd_mysql.column_literals import encode_column
from cdcd_mysql.literals import Encoder, UnfitError, encoder, of_differences
from cdcd_mysql.schema import INTEGER_BITS, LiveColumn, LiveTable
from cdcd_mysql.statements import (
    any_joined_sql,
    derived_table,
    insert_head,
    key_condition,
    quote_name,
    update_form,
    update_joined_sql,
)

_Item = TypeVar("_Item")
_JOINABLE: Final = frozenset(
    {*("tinyint", "smallint", "mediumint", "int", "bigint", "decimal"), *("char", "varchar", "binary", "varbinary")}
)
"""Types of key columns that compare with a column of literals as they do with a literal, and by an index."""
_JOINED_LITERAL_SIZE_MAX: Final = 16_383
"""Characters of a literal in a join, so that none has more than 65,535 bytes: MariaDB 10.11 and 11.8 cut longer ones there
without a word, and crash when such sizes meet in one derived table."""
_SHAPES_MAX: Final = 1_000
_SEPARATOR_SIZE: Final = 3
"""Characters between two rows: brackets and a comma."""
_NEVER_JOINED: Final = frozenset({"tinytext", "tinyblob"})
"""Types whose limit MariaDB does not enforce in a join: it stores a size modulo 256."""


class WrittenColumns(msgspec.Struct, frozen=True):
    """The columns of a table that writes of one shape write, with their places in the rows of such writes.

    `updatable` are those, by place here, that are written to rows that exist. `collides_on_key` says that a row can be in the
    way of a new one by the key alone, and that no automatic number is taken; `takes_numbers` that one is.

    `encoders` write their values one by one. `insert_head` begins an INSERT; `update_form` is the UPDATE of one row, which takes
    what `update_literals` picks from the row's literals. It is "" where there is nothing to update, or differences are added.
    """

    columns: tuple[LiveColumn, ...]
    places: tuple[int, ...]
    names: tuple[str, ...]
    updatable: tuple[int, ...]
    collides_on_key: bool
    takes_numbers: bool
    encoders: tuple[Encoder, ...]
    insert_head: str
    update_form: str
    update_literals: Callable[[Sequence[str]], tuple[str, ...]]


class Job(msgspec.Struct, frozen=True):
    """A write ready to be put into SQL. `rows` are canonical, `literals` the same as SQL; `places` their places in the write.

    `texts` are the literals of each row, separated by commas.
    """

    index: int
    write: TableWrite
    table: LiveTable
    written: WrittenColumns
    places: Sequence[int]
    rows: Sequence[Sequence[Value]]
    literals: Sequence[tuple[str, ...]]
    texts: Sequence[str]

    @property
    def columns(self) -> tuple[LiveColumn, ...]:
        """Those that are written."""
        return self.written.columns

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return self.written.names

    @property
    def key_size(self) -> int:
        """How many of the columns, the first, are the key."""
        return len(self.write.key)

    @property
    def updatable(self) -> tuple[int, ...]:
        """Places of the columns that are written to rows that exist."""
        return self.written.updatable

    def only(self, numbers: Sequence[int]) -> Job:
        """The same with some of the rows."""
        return Job(
            self.index,
            self.write,
            self.table,
            self.written,
            _some(self.places, numbers),
            _some(self.rows, numbers),
            _some(self.literals, numbers),
            _some(self.texts, numbers),
        )

    def keys(self) -> list[tuple[str, ...]]:
        """The literals of all rows' keys."""
        size = self.key_size
        return [row[:size] for row in self.literals]


def _some(items: Sequence[_Item], numbers: Sequence[int]) -> Sequence[_Item]:
    return items[numbers.start : numbers.stop] if isinstance(numbers, range) else [items[n] for n in numbers]


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


def written_columns(write: TableWrite, table: LiveTable) -> WrittenColumns:
    """Found once for all writes of a shape: small transactions would spend a quarter of their time on it. Raises NotReady."""
    shape = (write.kind is WriteKind.REKEY, write.key, write.columns, write.insert_only, write.added)
    found: WrittenColumns | None = table.written.get(shape)
    if found is None:
        if len(table.written) >= _SHAPES_MAX:
            table.written.clear()
        found = table.written[shape] = _written_columns(write, table)
    return found


def _written_columns(write: TableWrite, table: LiveTable) -> WrittenColumns:
    names = write.key * 2 if write.kind is WriteKind.REKEY else write.columns
    every = [column_of(table, name) for name in names]
    kept = [(n, column) for n, column in enumerate(every) if not column.is_generated]
    columns = tuple([of_differences(column) if column.name in write.added else column for _, column in kept])
    column_names = tuple([column.name for column in columns])
    fixed = {*write.key, *write.insert_only}
    updatable = tuple([place for place, name in enumerate(column_names) if name not in fixed])
    takes_numbers = any(column.is_automatic and column.name not in column_names for column in table.columns)
    has_form = updatable and write.key and not write.added
    return WrittenColumns(
        columns,
        tuple([n for n, _ in kept]),
        column_names,
        updatable,
        not takes_numbers and _collides_on_key(write, table),
        takes_numbers,
        (*map(encoder, columns),),
        insert_head(table.name, column_names),
        update_form(table.name, [column_names[n] for n in updatable], write.key) if has_form else "",
        itemgetter(*updatable, *range(len(write.key))) if has_form else tuple,
    )


def _collides_on_key(write: TableWrite, table: LiveTable) -> bool:
    key = set(write.key)
    return (
        any(set(unique) == key for unique in table.unique_keys)
        and all(key <= set(unique) for unique in table.unique_keys)
        and not table.has_partial_unique_key
        and not table.has_insert_trigger
    )


def make_job(index: int, write: TableWrite, table: LiveTable, rows: Sequence[Row], places: Sequence[int]) -> Job:
    """Encode `rows`, which are at `places` in the write. Raises Refused with the place of a value that does not fit."""
    written = written_columns(write, table)
    rows, places = without_null_keys(index, write, rows, places)
    if len(rows) == 1 and (literals := _literals(written, rows[0])) is not None:
        return Job(index, write, table, written, places, rows, [literals], [",".join(literals)])
    values = list(zip(*rows, strict=True)) if rows else []
    encoded = []
    for column, n in zip(written.columns, written.places, strict=True):
        try:
            encoded.append(encode_column(column, values[n] if values else ()))
        except UnfitError as error:
            raise Refused(
                f"could not write to table {write.table}",
                cause=error.cause,
                code=error.code,
                rows=((index, places[error.place]),),
            ) from None
    every = list(zip(*encoded, strict=True)) if encoded else [() for _ in rows]
    return Job(index, write, table, written, places, rows, every, [*map(",".join, every)])


def _literals(written: WrittenColumns, row: Row) -> tuple[str, ...] | None:
    """Of one row, whose columns are not worth a look as wholes; None where a value does not fit."""
    values = map(row.__getitem__, written.places)
    try:
        return tuple(["NULL" if v is None else encode(v) for encode, v in zip(written.encoders, values, strict=True)])
    except UnfitError:
        return None


def without_null_keys(
    index: int, write: TableWrite, rows: Sequence[Row], places: Sequence[int]
) -> tuple[Sequence[Row], Sequence[int]]:
    """No row has a NULL key: a delete of one has nothing to do, anything else is refused."""
    size = len(write.key)
    if len(rows) == 1:
        if None not in rows[0][:size]:
            return rows, places
    elif not any(None in map(itemgetter(n), rows) for n in range(size)):
        return rows, places
    bad = [n for n, row in enumerate(rows) if None in row[:size]]
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
    if len(job.rows) == 1:
        yield job
        return
    keys = job.keys()
    if len(set(keys)) == len(keys):
        if keys:
            yield job
        return
    seen: set[tuple[str, ...]] = set()
    start = 0
    for number, key in enumerate(keys):
        if key in seen:
            yield job.only(range(start, number))
            start = number
            seen.clear()
        seen.add(key)
    yield job.only(range(start, len(keys)))


def portions(job: Job, rows_max: int, size_max: int) -> Iterator[Job]:
    """Cut into statements of so many rows and characters, all about equally large."""
    start, count = 0, len(job.rows)
    if count == 1:
        yield job
        return
    rows_max = even_size(count, rows_max)
    while start < count:
        stop = start + _count_within(job.texts[start : start + rows_max], size_max)
        yield job if stop - start == count else job.only(range(start, stop))
        start = stop


def even_size(count: int, most: int) -> int:
    """How many of so many rows, at most `most`, are in each of as few parts that are about equally large."""
    return ceil(count / ceil(count / most)) if count else most


def _count_within(texts: Sequence[str], size_max: int) -> int:
    """How many of the texts, at least one, fit into one statement."""
    if sum(map(len, texts)) + _SEPARATOR_SIZE * len(texts) <= size_max:
        return len(texts)
    sizes = accumulate(len(text) + _SEPARATOR_SIZE for text in texts)
    return max(1, sum(1 for _ in takewhile(lambda size: size <= size_max, sizes)))


def is_joinable(job: Job) -> bool:
    """Whether the rows can be joined: no value is very long, and no key would lose characters of its column's set."""
    if (
        max(map(len, job.texts)) > _JOINED_LITERAL_SIZE_MAX
        and max(map(len, chain.from_iterable(job.literals))) > _JOINED_LITERAL_SIZE_MAX
    ):
        return False
    if any(column.data_type in _NEVER_JOINED for column in job.columns):
        return False
    return has_plain_key(job)


def has_plain_key(job: Job) -> bool:
    """Whether a list of the keys finds what each of them does."""
    return all(
        column.data_type in _JOINABLE
        and (
            column.charset is None or column.charset.name == "utf8mb4" or all(row[n].isascii() for row in job.literals)
        )
        for n, column in enumerate(job.columns[: job.key_size])
    )


def has_integer_key(job: Job) -> bool:
    """Whether the key is the primary one, and a single integer."""
    key = job.columns[: job.key_size]
    return job.table.primary_key == job.write.key and len(key) == 1 and key[0].data_type in INTEGER_BITS


def key_index(job: Job) -> str:
    """The unique index over the key; "" if there is none."""
    names = zip(job.table.unique_key_names, job.table.unique_keys, strict=True)
    return next((name for name, columns in names if set(columns) == set(job.write.key)), "")


def joined_sql(job: Job, where: str, *, is_mariadb: bool) -> str:
    """The UPDATE of all rows at once; `where` says which rows of the table count."""
    return update_joined_sql(
        job.table.name,
        derived_table(job.texts, len(job.columns), is_mariadb=is_mariadb),
        _join_conditions(job, where),
        [(job.names[n], f"cdcd_new.c{n}") for n in job.updatable],
        key_index(job),
        key_condition(job.write.key, job.keys()) if has_integer_key(job) else "",
    )


def any_exists_sql(job: Job, where: str, *, is_mariadb: bool) -> str:
    """The SELECT that gives a row if any of the rows exists.

    Joined, because a list of keys, where the index holds all that is asked for, may be looked for in the whole index.
    """
    keys = derived_table([*map(",".join, job.keys())], job.key_size, is_mariadb=is_mariadb)
    return any_joined_sql(job.table.name, keys, _join_conditions(job, where), key_index(job))


def _join_conditions(job: Job, where: str) -> list[str]:
    conditions = [_join_condition(column, f"c{n}") for n, column in enumerate(job.columns[: job.key_size])]
    return [*conditions[:-1], conditions[-1] + where]


def _join_condition(column: LiveColumn, literal_name: str) -> str:
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
