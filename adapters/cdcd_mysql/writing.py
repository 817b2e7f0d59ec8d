"""Writes one batch in an open transaction: which statements for which rows, in how few round trips.

INSERT … ON DUPLICATE KEY UPDATE updates whatever row it collides with, on any unique key, and takes an automatic number
for every row, new or not. So it is used only where the key is the only unique key that can collide, and no column is
automatic. Elsewhere the rows that exist are found (and locked) first; these are updated by one UPDATE that is joined
with the new values, the others inserted plainly: a collision is an error, and no other row is touched.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import pymysql

from cdcd.errors import NotReady, Refused
from cdcd.model import Row, TableWrite, Value, WriteKind
from cdcd_mysql.errors import core_error, failed_row
from cdcd_mysql.literals import UnfitError, encode_column
from cdcd_mysql.lookups import Lookups
from cdcd_mysql.resultset import convert_rows, select_expression
from cdcd_mysql.schema import LiveColumn, LiveTable
from cdcd_mysql.session import Result, Server, Session
from cdcd_mysql.statements import (
    delete_sql,
    equals,
    insert_sql,
    key_condition,
    on_duplicate_sql,
    quote_name,
    select_sql,
    update_joined_sql,
    update_sql,
)

_STATEMENT_ROWS_MAX: Final = 1000
_SMALL_ROWS: Final = 16
"""Up to so many rows, single updates in one round trip are faster than asking first which rows exist."""
_PACKET_SIZE: Final = 1 << 20
"""Characters of SQL sent at once."""
_JOINABLE: Final = frozenset(
    {*("tinyint", "smallint", "mediumint", "int", "bigint", "decimal"), *("char", "varchar", "binary", "varbinary")}
)
"""Types of key columns that compare with a column of literals as they do with a literal, and by an index."""
_CHANGED_VALUE: Final = frozenset({1264, 1265, 1292, 1300, 1366, 1406, 1411, 1441, 1977})
"""Warnings that say that a value was stored as another one."""


class Pace(enum.Enum):
    """ONE_BY_ONE: every row its own statement, in order, sent and looked at before the next."""

    BULK = 1
    ONE_BY_ONE = 2


class _Step(msgspec.Struct, frozen=True):
    """A statement to send, the rows of a write that it is for, and what to do with its result."""

    sql: str
    table: str = ""
    write: int = -1
    places: Sequence[int] = ()
    check: Callable[[Result], None] | None = None
    counts_rows: bool = True
    """Whether "at row 3" in the server's message is the third of `places`: not in joins, nor where a trigger writes."""


class _Job(msgspec.Struct, frozen=True):
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
        return [column.name for column in self.columns]

    @property
    def key_size(self) -> int:
        return len(self.write.key)

    @property
    def updatable(self) -> list[int]:
        """Places of the columns that are written to rows that exist."""
        fixed = {*self.write.key, *self.write.insert_only}
        return [place for place, column in enumerate(self.columns) if column.name not in fixed]

    def only(self, numbers: Sequence[int]) -> _Job:
        """The same with some of the rows."""
        return msgspec.structs.replace(
            self,
            places=[self.places[n] for n in numbers],
            rows=[self.rows[n] for n in numbers],
            literals=[self.literals[n] for n in numbers],
        )

    def key(self, number: int) -> Sequence[str]:
        return self.literals[number][: self.key_size]


class BatchWriter:
    """Does the writes of one batch. `missing` names UPDATE rows that do not exist, once `flush` was called."""

    def __init__(self, session: Session, server: Server, tables: Mapping[str, LiveTable], pace: Pace) -> None:
        self.missing: list[tuple[int, int]] = []
        self._session = session
        self._server = server
        self._tables = tables
        self._pace = pace
        self._lookups = Lookups(session, tables)
        self._steps: list[_Step] = []
        self._size = 0
        self._size_max = min(server.packet_size_max // 4, _PACKET_SIZE)
        self._has_row_alias = not server.is_mariadb and server.version >= (8, 0, 19)

    # ---- sending -----------------------------------------------------------------------------------------------------------

    def add_first(self, sql: str, check: Callable[[Result], None] | None = None) -> None:
        """A statement of the transaction itself."""
        self._add(_Step(sql, check=check))

    def _add(self, step: _Step) -> None:
        if self._steps and self._size + len(step.sql) > self._size_max:
            self.flush()
        self._steps.append(step)
        self._size += len(step.sql) + 1

    def flush(self) -> None:
        """Send what is pending, in one round trip, and look at every result."""
        steps, self._steps, self._size = self._steps, [], 0
        if not steps:
            return
        results: list[Result] = []
        failure: Exception | None = None
        try:
            sql = self._checked_size(steps)
            results.extend(self._session.run_all(sql))
        except (pymysql.Error, OSError) as error:
            failure = self._refusal(error, steps[len(results)])
        except UnicodeEncodeError:
            failure = _refused(steps[0], "bad-text", "a text holds half of a surrogate pair, which is not a character")
        for step, result in zip(steps, results, strict=False):
            if step.check is not None:
                step.check(result)
            if result.warnings and step.write >= 0:
                self._look_at_warnings(step)
        if failure is not None:
            raise failure from None

    def _checked_size(self, steps: Sequence[_Step]) -> list[str]:
        sql = [step.sql for step in steps]
        if (
            sum(map(len, sql)) > self._size_max
            and sum(len(text.encode()) for text in sql) >= self._server.packet_size_max
        ):
            raise _refused(steps[-1], "too-large", "the row is larger than the server's max_allowed_packet")
        return sql

    def _refusal(self, error: pymysql.Error | OSError, step: _Step) -> Exception:
        translated = core_error(error, f"write to table {step.table}" if step.table else "begin the transaction")
        if not isinstance(translated, Refused) or step.write < 0:
            return translated
        place = failed_row(error) if step.counts_rows and isinstance(error, pymysql.Error) else None
        places = step.places if place is None or len(step.places) == 1 else step.places[place : place + 1]
        rows = ((step.write, places[0]),) if len(places) == 1 else ()
        return Refused(translated.what, cause=translated.cause, code=translated.code, rows=rows)

    def _look_at_warnings(self, step: _Step) -> None:
        """In bulk, a warning is a reason to look again row by row; there, most are harmless."""
        if self._pace is Pace.BULK:
            raise _refused(msgspec.structs.replace(step, places=()), "value-changed", "the server warned")
        for _, number, _ in self._session.run("SHOW WARNINGS").rows:
            if int(number) in _CHANGED_VALUE:
                raise _refused(step, "value-changed", f"the server would store another value (warning {int(number)})")

    # ---- writes ----------------------------------------------------------------------------------------------------------------

    def write(self, index: int, write: TableWrite) -> None:
        """Do one write; what was sent before is done first."""
        job = self._job(index, write)
        self._lookups.forget(write.table)
        if write.kind is WriteKind.DELETE:
            self._delete(job)
            return
        for segment in _segments(job):
            if self._is_direct(segment):
                self._upsert_directly(segment)
            elif self._pace is Pace.ONE_BY_ONE:
                for number in range(len(segment.rows)):
                    self._write_singly(segment.only([number]))
            elif len(segment.rows) <= _SMALL_ROWS or not _is_joinable(segment):
                self._write_singly(segment)
            else:
                sizes = [sum(map(len, segment.key(n))) + 40 for n in range(len(segment.rows))]
                for numbers in self._portions(sizes, _STATEMENT_ROWS_MAX):
                    self._write_in_bulk(segment.only(numbers))

    def _job(self, index: int, write: TableWrite) -> _Job:
        table = self._tables[write.table]
        columns = [_column(table, name) for name in write.columns]
        rows, places = self._resolve(index, write)
        rows, places = _without_null_keys(index, write, rows, places)
        kept = [n for n, column in enumerate(columns) if not column.is_generated]
        values = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
        literals = []
        for n in kept:
            try:
                literals.append(encode_column(columns[n], values[n]))
            except UnfitError as error:
                place = places[error.place]
                raise Refused(
                    f"could not write to table {write.table}",
                    cause=error.cause,
                    code=error.code,
                    rows=((index, place),),
                ) from None
        return _Job(
            index, write, table, tuple(columns[n] for n in kept), places, rows, list(zip(*literals, strict=True))
        )

    def _resolve(self, index: int, write: TableWrite) -> tuple[Sequence[Row], Sequence[int]]:
        """The rows with ids in the place of business keys. Raises Refused with all rows whose key is not found."""
        places: Sequence[int] = range(len(write.rows))
        if not write.lookups:
            return write.rows, places
        self.flush()
        rows = [list(row) for row in write.rows]
        unknown: set[int] = set()
        for lookup in write.lookups:
            column = write.columns.index(lookup.column)
            found = self._lookups.ids(lookup, [row[column] for row in rows])
            for place, (row, identifier) in enumerate(zip(rows, found, strict=True)):
                if identifier is None and row[column] is not None:
                    unknown.add(place)
                row[column] = identifier
        if unknown and write.kind is not WriteKind.DELETE:
            raise Refused(
                f"could not write to table {write.table}",
                cause=f"{len(unknown)} rows refer to rows that do not exist in the target",
                code="reference-missing",
                rows=tuple((index, place) for place in sorted(unknown)),
            )
        places = [place for place in places if place not in unknown]
        return [rows[place] for place in places], places

    def _delete(self, job: _Job) -> None:
        size = 1 if self._pace is Pace.ONE_BY_ONE else _STATEMENT_ROWS_MAX
        for numbers in self._portions([sum(map(len, job.key(n))) + 40 for n in range(len(job.rows))], size):
            condition = key_condition(job.write.key, [job.key(n) for n in numbers])
            self._step(job, delete_sql(job.table.name, condition), numbers)

    # ---- upserts and updates -----------------------------------------------------------------------------------------------------

    def _is_direct(self, job: _Job) -> bool:
        """Whether an upsert can collide on its key alone, and takes no automatic number."""
        table, key, names = job.table, set(job.write.key), set(job.names)
        return (
            job.write.kind is WriteKind.UPSERT
            and any(set(unique) == key for unique in table.unique_keys)
            and all(key <= set(unique) for unique in table.unique_keys)
            and not table.has_partial_unique_key
            and not table.has_insert_trigger
            and not any(column.is_automatic and column.name not in names for column in table.columns)
        )

    def _upsert_directly(self, job: _Job) -> None:
        names = [job.names[n] for n in job.updatable]
        tail = on_duplicate_sql(names, job.write.key[0], has_row_alias=self._has_row_alias)
        self._insert(job, job.names, [",".join(row) for row in job.literals], tail)

    def _insert(self, job: _Job, names: Sequence[str], rows: Sequence[str], tail: str = "") -> None:
        size = 1 if self._pace is Pace.ONE_BY_ONE else _STATEMENT_ROWS_MAX
        for numbers in self._portions(list(map(len, rows)), size):
            sql = insert_sql(job.table.name, names, [f"({rows[n]})" for n in numbers]) + tail
            self._step(job, sql, numbers, counts_rows=not job.table.has_insert_trigger)

    def _portions(self, sizes: Sequence[int], count_max: int) -> Iterator[Sequence[int]]:
        """Cut rows of these sizes into statements."""
        start = size = 0
        for number, row_size in enumerate(sizes):
            if number > start and (number - start >= count_max or size + row_size > self._size_max):
                yield range(start, number)
                start, size = number, 0
            size += row_size + 3
        if start < len(sizes):
            yield range(start, len(sizes))

    def _step(
        self,
        job: _Job,
        sql: str,
        numbers: Sequence[int],
        check: Callable[[Result], None] | None = None,
        *,
        counts_rows: bool = True,
    ) -> None:
        places = [job.places[n] for n in numbers]
        self._add(_Step(sql, job.write.table, job.index, places, check, counts_rows))
        if self._pace is Pace.ONE_BY_ONE:
            self.flush()

    def _write_singly(self, job: _Job) -> None:
        """Update every row; where none matched, the row of an upsert is new, and that of an update missing."""
        unmatched: list[int] = []
        for number in range(len(job.rows)):
            self._update_row(job, number, unmatched)
        if job.write.kind is WriteKind.UPSERT:
            self.flush()
            self._insert_new(job.only(unmatched))

    def _update_row(self, job: _Job, number: int, unmatched: list[int]) -> None:
        row, names = job.literals[number], job.names
        sets = [(names[n], row[n]) for n in job.updatable] or [(job.write.key[0], row[0])]
        sql = update_sql(job.table.name, sets, equals(job.write.key, job.key(number)))

        def check(result: Result) -> None:
            if result.affected > 1:
                raise _ambiguous(job, number)
            if result.affected == 0:
                unmatched.append(number)
                if job.write.kind is WriteKind.UPDATE:
                    self.missing.append((job.index, job.places[number]))

        self._step(job, sql, [number], check)

    def _insert_new(self, job: _Job) -> None:
        self._insert(job, job.names, [",".join(row) for row in job.literals])

    def _write_in_bulk(self, job: _Job) -> None:
        """Update what exists with one statement, whose count tells whether there is anything else to do."""
        matched = self._update_joined(job) if job.updatable else None
        if matched == len(job.rows):
            return
        new = job if matched == 0 else self._not_found(job)
        if new is None:
            self._write_singly(job)
        elif job.write.kind is WriteKind.UPSERT:
            self._insert_new(new)
        else:
            self.missing += [(job.index, place) for place in new.places]

    def _update_joined(self, job: _Job) -> int:
        """Update all rows by one statement, joined with their new values; return how many exist."""
        conditions = [
            _join_condition(column, f"c{n}") for n, column in enumerate(job.columns) if column.name in job.write.key
        ]
        sets = [(job.names[n], f"cdcd_new.c{n}") for n in job.updatable]
        rows = [",".join(row) for row in job.literals]
        sql = update_joined_sql(
            job.table.name, len(job.columns), rows, conditions, sets, is_mariadb=self._server.is_mariadb
        )
        results: list[Result] = []
        self._add(_Step(sql, job.write.table, job.index, job.places, results.append, counts_rows=False))
        self.flush()
        if results[0].affected > len(job.rows):
            raise _refused(_Step("", job.write.table, job.index), "key-ambiguous", "several rows have the same key")
        return results[0].affected

    def _not_found(self, job: _Job) -> _Job | None:
        """The rows that do not exist. The others are locked.

        None when the server holds some of the keys equal that we do not (letter case, spaces): then it must be asked row
        by row.
        """
        self.flush()
        key = [column for column in job.columns if column.name in job.write.key]
        condition = key_condition(job.write.key, [job.key(n) for n in range(len(job.rows))])
        sql = select_sql(job.table.name, map(select_expression, key), condition) + " FOR UPDATE"
        try:
            raw = self._session.run(sql).rows
        except (pymysql.Error, OSError) as error:
            raise core_error(error, f"read rows of table {job.table.spelled}") from None
        found = Counter(tuple(row) for row in convert_rows(key, raw))
        wanted = {tuple(row[: job.key_size]): n for n, row in enumerate(job.rows)}
        if not wanted.keys() >= found.keys():
            return None
        for values, count in found.items():
            if count > 1:
                raise _ambiguous(job, wanted[values])
        return job.only([n for values, n in wanted.items() if values not in found])


def _column(table: LiveTable, name: str) -> LiveColumn:
    column = table.column(name)
    if column is None:
        raise NotReady(
            f"table {table.spelled} has no column {name}",
            remedy="add the column, or correct the configuration",
            code="column-missing",
        )
    return column


def _without_null_keys(
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


def _segments(job: _Job) -> Iterator[_Job]:
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


def _is_joinable(job: _Job) -> bool:
    """Whether the key can be joined; not where converting it to the column's character set could lose characters."""
    return all(
        column.data_type in _JOINABLE
        and (
            column.charset is None or column.charset.name == "utf8mb4" or all(row[n].isascii() for row in job.literals)
        )
        for n, column in enumerate(job.columns[: job.key_size])
    )


def _join_condition(column: LiveColumn, literal_name: str) -> str:
    """Compare a column with one of the literals' columns, by the column's own collation."""
    value = f"cdcd_new.{literal_name}"
    if column.charset is not None:
        value = f"CONVERT({value} USING {column.charset.name}) COLLATE {column.collation}"
    return f"cdcd_old.{quote_name(column.name)} = {value}"


def _ambiguous(job: _Job, number: int) -> Refused:
    return Refused(
        f"could not write to table {job.table.spelled}",
        cause=f"several rows have the same {', '.join(job.write.key)}",
        code="key-ambiguous",
        rows=((job.index, job.places[number]),),
    )


def _refused(step: _Step, code: str, cause: str) -> Refused:
    rows: Iterable[tuple[int, int]] = ((step.write, step.places[0]),) if len(step.places) == 1 else ()
    return Refused(f"could not write to table {step.table}", cause=cause, code=code, rows=tuple(rows))
