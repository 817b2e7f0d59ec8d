"""Writes one batch in an open transaction: which statements for which rows, in how few round trips.

An upsert by INSERT … ON DUPLICATE KEY UPDATE updates whatever row it collides with, on any unique key. So it is used
in two places only: where the key is the only unique key that can collide, and for rows that exist, by their primary key,
which the server compares first (and which was read and locked before). New rows of other tables are plain inserts: a
collision is an error, and no other row is touched. It also keeps auto-increment counters from running away, as ON
DUPLICATE KEY takes a number for every row. Measured, 1,000 rows a transaction: see the numbers in DESIGN.md.
"""

from __future__ import annotations

import enum
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
    select_sql,
    update_sql,
)

_STATEMENT_ROWS_MAX: Final = 1000
_SMALL_ROWS: Final = 16
"""Up to so many rows, single updates in one round trip are faster than asking first which rows exist."""
_PACKET_SIZE: Final = 1 << 20
"""Characters of SQL sent at once."""
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
        place = failed_row(error) if isinstance(error, pymysql.Error) else None
        places = step.places if place is None else step.places[place : place + 1]
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
            elif len(segment.rows) <= _SMALL_ROWS:
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
            self._step(job, sql, numbers)

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

    def _step(self, job: _Job, sql: str, numbers: Sequence[int], check: Callable[[Result], None] | None = None) -> None:
        self._add(_Step(sql, job.write.table, job.index, [job.places[n] for n in numbers], check))
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
        """Find out which rows exist, and lock them; then two statements, one for these and one for the others."""
        found, has_variants = self._find(job)
        known = [n for n in range(len(job.rows)) if _key_values(job, n) in found]
        other = [n for n in range(len(job.rows)) if _key_values(job, n) not in found]
        if self._can_upsert_by_primary_key(job):
            self._upsert_by_primary_key(job.only(known), [found[_key_values(job, n)] for n in known])
        else:
            self._write_singly(job.only(known))
        if has_variants:
            self._write_singly(job.only(other))
        elif job.write.kind is WriteKind.UPDATE:
            self.missing += [(job.index, job.places[n]) for n in other]
        else:
            self._insert_new(job.only(other))

    def _find(self, job: _Job) -> tuple[dict[tuple[Value, ...], tuple[str, ...]], bool]:
        """Primary keys, as literals, of the rows that exist, by the values of the write's key.

        The second is whether the server holds some of the keys equal that we do not (letter case, spaces): then a row
        that was not found may exist all the same.
        """
        self.flush()
        key = [column for column in job.columns if column.name in job.write.key]
        primary = [_column(job.table, name) for name in job.table.primary_key]
        condition = key_condition(job.write.key, [job.key(n) for n in range(len(job.rows))])
        sql = select_sql(job.table.name, map(select_expression, [*primary, *key]), condition) + " FOR UPDATE"
        try:
            raw = self._session.run(sql).rows
        except (pymysql.Error, OSError) as error:
            raise core_error(error, f"read rows of table {job.table.spelled}") from None
        found: dict[tuple[Value, ...], tuple[str, ...]] = {}
        for row in convert_rows([*primary, *key], raw):
            values = tuple(row[len(primary) :])
            if values in found:
                number = next((n for n in range(len(job.rows)) if _key_values(job, n) == values), 0)
                raise _ambiguous(job, number)
            found[values] = tuple(
                encode_column(column, [value])[0] for column, value in zip(primary, row, strict=False)
            )
        wanted = {_key_values(job, n) for n in range(len(job.rows))}
        return found, not found.keys() <= wanted

    def _can_upsert_by_primary_key(self, job: _Job) -> bool:
        """Whether INSERT … ON DUPLICATE KEY UPDATE is possible at all: it needs all columns that an insert needs."""
        table, given = job.table, {*job.names, *job.table.primary_key}
        moves_primary_key = bool({job.names[n] for n in job.updatable} & set(table.primary_key))
        return (
            bool(table.primary_key)
            and not moves_primary_key
            and not table.has_insert_trigger
            and not table.is_view
            and all(
                column.name in given or column.nullable or column.has_default or column.is_generated
                for column in table.columns
            )
        )

    def _upsert_by_primary_key(self, job: _Job, primary: Sequence[Sequence[str]]) -> None:
        added = [n for n, name in enumerate(job.table.primary_key) if name not in job.names]
        names = [*(job.table.primary_key[n] for n in added), *job.names]
        rows = [",".join([*(keys[n] for n in added), *row]) for keys, row in zip(primary, job.literals, strict=True)]
        sets = [job.names[n] for n in job.updatable]
        self._insert(job, names, rows, on_duplicate_sql(sets, job.write.key[0], has_row_alias=self._has_row_alias))


def _column(table: LiveTable, name: str) -> LiveColumn:
    column = table.column(name)
    if column is None:
        raise NotReady(
            f"table {table.spelled} has no column {name}",
            remedy="add the column, or correct the configuration",
            code="no-column",
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


def _key_values(job: _Job, number: int) -> tuple[Value, ...]:
    return tuple(job.rows[number][: job.key_size])


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
