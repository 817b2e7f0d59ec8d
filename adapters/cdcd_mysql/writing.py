"""Writes one batch in an open transaction: which statements for which rows, in how few round trips.

INSERT … ON DUPLICATE KEY UPDATE updates whatever row it collides with, on any unique key, and takes an automatic number
for every row, new or not. So it is used only where the key is the only unique key that can collide, and no column is
automatic. Elsewhere the rows that exist are found (and locked) first; these are updated by one UPDATE that is joined
with the new values, the others inserted plainly: a collision is an error, and no other row is touched. Where a write's
rows are probably new, whether one of them exists is asked before anything else, which costs a tenth of an UPDATE that
finds nothing. An INSERT is not simply tried: one that fails keeps the locks that it has taken on the rows of others.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
import pymysql

from cdcd.errors import NotReady, Refused
from cdcd.folding.found_ids import FoundIds, hashable, tables_of
from cdcd.model import Row, TableWrite, Value, WriteKind
from cdcd_mysql.connection import Parameters
from cdcd_mysql.errors import core_error
from cdcd_mysql.jobs import (
    Job,
    ambiguous,
    any_exists_sql,
    column_of,
    even_size,
    has_integer_key,
    has_plain_key,
    is_joinable,
    joined_sql,
    key_index,
    make_job,
    portions,
    segments,
)
from cdcd_mysql.learnt import Learnt
from cdcd_mysql.lookups import Lookups, Resolved, where_sql
from cdcd_mysql.parameters import parameters_of
from cdcd_mysql.results import Result
from cdcd_mysql.resultset import convert_rows, select_expression
from cdcd_mysql.schema import LiveTable
from cdcd_mysql.sending import PresumedError, Sender, Step, refused
from cdcd_mysql.session import Server, Session
from cdcd_mysql.statements import (
    delete_sql,
    equals,
    insert_sql,
    key_condition,
    on_duplicate_sql,
    quote_name,
    quote_table,
    select_sql,
    update_sql,
)

_STATEMENT_ROWS_MAX: Final = 999
"""A list of 1000 keys or more MariaDB does not look for in the index (in_predicate_conversion_threshold)."""
_SMALL_ROWS: Final = 16
"""Up to so many rows, single updates in one round trip are faster than asking first which rows exist."""
_LED_ROWS_MAX: Final = 500
"""Of an UPDATE that its table leads: cheapest of 200 to 900, and still cheap should a server join it without an index."""
_ASKED_ROWS_MAX: Final = 5_000
"""Whether one of so many rows exists is one question."""
_PRESUMED_ROWS_MAX: Final = 200
"""Of a batch, in all its tables: presuming saves round trips, which are nothing beside the work for more rows."""
_RECENT_ROWS_MAX: Final = 5000
"""Rows after which what was written is not gone back to any more."""
_SAVEPOINT: Final = "cdcd_recent"


class Pace(enum.Enum):
    """PRESUMING: rows that should exist do, so that nothing has to be looked at before the end.

    ONE_BY_ONE: every row its own statement, in order, sent and looked at before the next.
    """

    PRESUMING = 0
    BULK = 1
    ONE_BY_ONE = 2


class BatchWriter:
    """Does the writes of one batch. `missing` names UPDATE rows that do not exist, once it is committed."""

    def __init__(
        self,
        session: Session,
        server: Server,
        describe: Callable[[Sequence[str]], Mapping[str, LiveTable]],
        learnt: Learnt,
    ) -> None:
        """`describe` gives tables that must exist; it is asked for those of each write. `learnt` is kept from batch to batch."""
        self.missing: list[tuple[int, int]] = []
        self._session = session
        self._server = server
        self._describe = describe
        self._learnt = learnt
        self._tables = describe(())
        self._pace = Pace.PRESUMING
        self._sender = Sender(session, server)
        self._first = Step("")
        self._lookups = Lookups(session, self._tables, FoundIds())
        self._found_before = FoundIds()
        self._recent: list[tuple[int, TableWrite]] = []
        self._recent_rows = 0
        self._missing_before = 0
        self._rows: Sequence[Row] = ()
        self._places: Sequence[int] = ()
        """Of the write under way: its rows, in all its statements, and their places."""
        self._are_new: bool | None = None
        """Whether none of them exists, once that was asked."""
        self._has_savepoints = False
        """Whether `_recent` begins at one, instead of where the transaction does."""
        self._has_row_alias = not server.is_mariadb and server.version >= (8, 0, 19)

    # ---- the transaction ----------------------------------------------------------------------------------------------------

    def begin(self, sql: str, check: Callable[[Result], None]) -> None:
        """Begin with this statement, which finds one row, or else `check` raises."""
        self._learnt.next_batch()
        self._first = Step(sql, check=check, presumed=1)
        self._sender.add(self._first)

    def write_all(self, writes: Iterable[TableWrite]) -> None:
        """Do `writes` and commit, holding a few thousand rows of them.

        A small batch is written as if every row existed that should. Else, or where that was wrong, in bulk; where the server
        refuses something without naming its row, or says that it changed a value, the last few thousand rows once
        more row by row, in order, which finds the row.
        """
        for index, write in enumerate(writes):
            if not self._recent:
                self._remember()
            self._recent.append((index, write))
            self._recent_rows += len(write.rows)
            if self._pace is Pace.PRESUMING and self._recent_rows > _PRESUMED_ROWS_MAX:
                self._pace = Pace.BULK
            self._or_again(partial(self.write, index, write))
            if self._recent_rows >= _RECENT_ROWS_MAX:
                self._or_again(self._sender.flush)
                self._recent, self._recent_rows, self._has_savepoints = [], 0, True
        self._commit()

    def _remember(self) -> None:
        """To this point it is gone back to, if need be: the beginning, or a savepoint."""
        self._missing_before = len(self.missing)
        self._found_before = self._lookups.of_writes.copy()
        if self._has_savepoints:
            self._sender.add(Step(f"SAVEPOINT {_SAVEPOINT}"))

    def _or_again(self, act: Callable[[], None]) -> None:
        try:
            act()
        except PresumedError:
            self._write_again(Pace.BULK)
        except Refused as refused:
            if refused.rows:
                raise
            self._write_again(Pace.ONE_BY_ONE)

    def _commit(self) -> None:
        if self._pace is Pace.PRESUMING and not self._learnt.is_doubtful("") and self._sender.can_commit_at_once():
            try:
                self._sender.commit_at_once()
            except PresumedError:
                self._learnt.doubt("")
                self._write_again(Pace.BULK)
            else:
                return
        self._or_again(self._sender.flush)
        self._sender.commit()

    def _write_again(self, pace: Pace) -> None:
        """Undo the recent writes, and do them at this pace; row by row, if that does not tell which row is refused."""
        del self.missing[self._missing_before :]
        self._lookups = Lookups(self._session, self._tables, self._found_before)
        if self._has_savepoints:
            self._sender.go_back(_SAVEPOINT)
        else:
            self._sender.begin_again(self._first)
        self._pace = pace
        self._sender.looks_closely = pace is Pace.ONE_BY_ONE
        try:
            for index, write in self._recent:
                self.write(index, write)
            self._sender.flush()
        except PresumedError:  # that rows can be parameters: that is not presumed twice
            self._write_again(pace)
        except Refused as refused:
            if refused.rows or pace is Pace.ONE_BY_ONE:
                raise
            self._write_again(Pace.ONE_BY_ONE)
        else:
            self._pace, self._sender.looks_closely = Pace.BULK, False

    # ---- writes ----------------------------------------------------------------------------------------------------------------

    def write(self, index: int, write: TableWrite) -> None:
        """Do one write; what was sent before is done first."""
        self._tables = self._describe([write.table, *tables_of(write.lookups)])
        if write.kind is WriteKind.CLEAR:
            self._lookups.forget(write.table)
            self._sender.add(Step(f"DELETE FROM {quote_table(self._tables[write.table].name)}", write.table, index))
            return
        if write.numbers_new and write.kind is not WriteKind.DELETE:
            self._write_numbered(index, write)
            return
        rows, places, _ = self._resolved(index, write)
        self._lookups.forget(write.table)
        act = {WriteKind.REKEY: self._rekey, WriteKind.DELETE: self._delete}.get(write.kind, self._upsert)
        table = self._tables[write.table]
        self._rows, self._places, self._are_new = rows, places, None
        size = even_size(len(rows), _STATEMENT_ROWS_MAX)
        for at in range(0, len(rows), size):  # literals of the next part are made while the server works at this one
            act(make_job(index, write, table, rows[at : at + size], places[at : at + size]))
            if self._pace is Pace.BULK:
                self._sender.send_much(waits=False)
        if self._pace is Pace.BULK:
            self._sender.send_much()  # then it has something to do while the next batch is folded

    def _upsert(self, job: Job) -> None:
        """Update the rows that exist, and insert the others if it is an upsert."""
        write = job.write
        for segment in segments(job):
            if write.kind is WriteKind.UPSERT and segment.written.collides_on_key and not write.where:
                self._upsert_directly(segment)
            elif self._pace is Pace.ONE_BY_ONE:
                for number in range(len(segment.rows)):
                    self._write_singly(segment.only([number]))
            else:
                for part in self._portions(segment):
                    self._upsert_portion(part)

    def _upsert_portion(self, job: Job) -> None:
        if self._are_all_new(job):
            self._insert(job)
        elif len(job.rows) <= _SMALL_ROWS or not is_joinable(job) or job.write.added:
            self._write_singly(job)
        else:
            self._write_in_bulk(job)

    def _write_numbered(self, index: int, write: TableWrite) -> None:
        """Rows whose id is found are updated, the others get one."""
        rows, places, new = self._resolved(index, write)
        kept = [n for n, name in enumerate(write.columns) if name not in write.insert_only]
        known = msgspec.structs.replace(
            write, kind=WriteKind.UPDATE, columns=tuple(write.columns[n] for n in kept), insert_only=()
        )
        self._lookups.forget(write.table)
        existing = [[row[n] for n in kept] for row in rows]
        self._upsert(make_job(index, known, self._tables[write.table], existing, places))
        if write.kind is WriteKind.UPDATE:
            self.missing += [(index, place) for place in new]
        elif new:
            self._insert_numbered(index, write, new)

    def _insert_numbered(self, index: int, write: TableWrite, new: Mapping[int, Row]) -> None:
        """Insert rows one by one, each with the number that the server gives it."""
        column = column_of(self._tables[write.table], write.key[0])
        if not column.is_automatic:
            raise NotReady(
                f"rows of table {write.table} cannot be made",
                cause=f"the server does not number {column.name}",
                remedy="make the column AUTO_INCREMENT",
                code="id-given",
            )
        bare = msgspec.structs.replace(write, key=(), columns=write.columns[1:])
        job = make_job(index, bare, self._tables[write.table], [row[1:] for row in new.values()], list(new))
        lookup = next(lookup for lookup in write.lookups if lookup.column == column.name)
        given: dict[object, Value] = {}
        for number in range(len(job.rows)):

            def check(result: Result, place: int = job.places[number]) -> None:
                given[hashable(write.rows[place][0])] = result.inserted_id

            one = job.only([number])
            self._step(one, insert_sql(job.written.insert_head, one.texts), check)
        self._sender.flush()
        self._lookups.of_writes.keep(write, lookup, {**self._lookups.of_writes.of(write, lookup), **given})

    def _resolved(self, index: int, write: TableWrite) -> Resolved:
        if not write.lookups:
            return write.rows, range(len(write.rows)), {}
        self._sender.flush()
        return self._lookups.resolve(index, write)

    def _delete(self, job: Job) -> None:
        for part in self._portions(job):
            condition = key_condition(job.write.key, part.keys())
            self._step(part, delete_sql(job.table.name, f"({condition}){self._where(job)}"))

    def _where(self, job: Job, of: str = "") -> str:
        return where_sql(job.table, job.write.where, of) if job.write.where else ""

    def _rekey(self, job: Job) -> None:
        """Row by row, in order: a row may take the key that another leaves."""
        size = job.key_size
        for number, row in enumerate(job.literals):
            sql = update_sql(
                job.table.name, list(zip(job.write.key, row[size:], strict=True)), equals(job.write.key, row[:size])
            )
            if self._presumes(job):
                self._step(job.only([number]), sql, presumed=1)
                continue
            place = (job.index, job.places[number])

            def check(result: Result, place: tuple[int, int] = place) -> None:
                if result.affected == 0:
                    self.missing.append(place)
                    self._learnt.doubt(job.write.table)

            self._step(job.only([number]), sql, check)

    # ---- upserts and updates -----------------------------------------------------------------------------------------------------

    def _upsert_directly(self, job: Job) -> None:
        names = [job.names[n] for n in job.updatable]
        self._insert(job, on_duplicate_sql(names, job.write.key[0], has_row_alias=self._has_row_alias))

    def _insert(self, job: Job, tail: str = "") -> None:
        for part in self._portions(job):
            gives = self._pace is Pace.BULK and self._session.takes_parameters
            parameters = parameters_of(part, self._server.packet_size_max) if gives else None
            texts = part.texts if parameters is None else [",".join("?" * len(job.columns))]
            sql = insert_sql(job.written.insert_head, texts) + tail
            counts_rows = parameters is None and not job.table.has_insert_trigger
            self._step(part, sql, counts_rows=counts_rows, parameters=parameters)

    def _portions(self, job: Job, rows_max: int = _STATEMENT_ROWS_MAX) -> Iterator[Job]:
        """Cut into statements."""
        return portions(job, 1 if self._pace is Pace.ONE_BY_ONE else rows_max, self._sender.size_max)

    def _step(
        self,
        job: Job,
        sql: str,
        check: Callable[[Result], None] | None = None,
        *,
        counts_rows: bool = True,
        presumed: int = -1,
        gives_rows: bool = False,
        parameters: Parameters | None = None,
    ) -> None:
        """A statement for all rows of the job."""
        fits = not gives_rows and not job.write.added
        of_job = (job.write.table, job.index, job.places)
        self._sender.add(Step(sql, *of_job, check, counts_rows, presumed, fits, parameters))
        if self._pace is Pace.ONE_BY_ONE:
            self._sender.flush()

    def _presumes(self, job: Job) -> bool:
        """Whether all rows of a job are presumed to be there, once each."""
        return (
            self._pace is Pace.PRESUMING and not job.write.likely_new and not self._learnt.is_doubtful(job.write.table)
        )

    def _are_all_new(self, job: Job) -> bool:
        """Whether none of the rows that are probably new exists. A table where that was not so is not asked for a while.

        Asked once for all of a write: else each of its statements would wait for the one before it.
        """
        if not job.write.likely_new or job.write.table in self._learnt.not_new:
            return False
        if self._are_new is None:
            keys = self._keys_of_write(job)
            self._are_new = keys is not None and not self._does_any_exist(keys)
            if keys is not None and not self._are_new:
                self._learnt.not_new.add(job.write.table)
        return self._are_new

    def _keys_of_write(self, job: Job) -> Job | None:
        """The keys of all rows of the write that this job is a part of, if a list of them finds what each of them does."""
        of_keys = msgspec.structs.replace(job.write, columns=job.write.key, insert_only=())
        rows = [row[: job.key_size] for row in self._rows]
        keys = make_job(job.index, of_keys, job.table, rows, self._places)
        return keys if len(set(keys.texts)) == len(keys.texts) and has_plain_key(keys) else None

    def _does_any_exist(self, keys: Job) -> bool:
        results: list[Result] = []
        for part in portions(keys, _ASKED_ROWS_MAX, self._sender.size_max):
            sql = any_exists_sql(part, self._where(keys, "cdcd_old"), is_mariadb=self._server.is_mariadb)
            self._sender.add(Step(sql, keys.write.table, keys.index, check=results.append))
        self._sender.flush()
        return any(result.rows for result in results)

    def _write_singly(self, job: Job) -> None:
        """Update every row; where none matched, the row of an upsert is new, and that of an update missing."""
        unmatched: list[int] = []
        presumes = self._presumes(job)
        for number in range(len(job.rows)):
            self._update_row(job, number, None if presumes else unmatched)
        if job.write.kind is WriteKind.UPSERT and not presumes:
            self._sender.flush()
            self._insert_new(job, job.only(unmatched))

    def _update_row(self, job: Job, number: int, unmatched: list[int] | None) -> None:
        """Without `unmatched`, the row is presumed to be there."""
        one = job if len(job.rows) == 1 else job.only([number])
        gives_rows = not job.updatable
        sql = self._update_row_sql(job, job.literals[number])
        if unmatched is None:
            self._step(one, sql, presumed=1, gives_rows=gives_rows)
            return

        def check(result: Result) -> None:
            if result.affected > 1:
                raise ambiguous(job, number)
            if result.affected == 0:
                self._learnt.doubt(job.write.table)
                unmatched.append(number)
                if job.write.kind is WriteKind.UPDATE:
                    self.missing.append((job.index, job.places[number]))

        self._step(one, sql, check, gives_rows=gives_rows)

    def _update_row_sql(self, job: Job, row: Sequence[str]) -> str:
        """The UPDATE of a row, given as literals. Where there is nothing to change, a SELECT says whether it is there."""
        where, form = self._where(job), job.written.update_form
        if form:
            return form % job.written.update_literals(row) + where
        condition = equals(job.write.key, row[: job.key_size]) + where
        if not job.updatable:  # an UPDATE would need the key's column to be ours to write
            return f"{select_sql(job.table.name, ['1'], condition)} FOR UPDATE"
        sets = [(job.names[n], self._new_value(job, job.names[n], row[n])) for n in job.updatable]
        return update_sql(job.table.name, sets, condition)

    def _new_value(self, job: Job, name: str, literal: str) -> str:
        """What a column of a row that exists becomes. Differences are added once, so never by a statement that may be repeated."""
        return f"COALESCE({quote_name(name)}, 0) + {literal}" if name in job.write.added else literal

    def _insert_new(self, job: Job, new: Job) -> None:
        """Insert the rows of a job that do not exist."""
        if len(new.rows) == len(job.rows):
            self._learnt.not_new.discard(job.write.table)
        self._insert(new)

    def _write_in_bulk(self, job: Job) -> None:
        """Update what exists with one statement, whose count tells whether there is anything else to do."""
        if job.updatable and self._presumes(job):
            for part in self._parts_to_join(job):
                sql = joined_sql(part, self._where(job, "cdcd_old"), is_mariadb=self._server.is_mariadb)
                self._step(part, sql, counts_rows=False, presumed=len(part.rows))
            return
        matched = self._update_joined(job) if job.updatable else None
        if matched == len(job.rows):
            return
        self._learnt.doubt(job.write.table)
        new = job if matched == 0 else self._not_found(job)
        if new is None:
            self._write_singly(job)
        elif job.write.kind is WriteKind.UPSERT:
            self._insert_new(job, new)
        else:
            self.missing += [(job.index, place) for place in new.places]

    def _parts_to_join(self, job: Job) -> Iterator[Job]:
        return self._portions(job, _LED_ROWS_MAX if has_integer_key(job) else _STATEMENT_ROWS_MAX)

    def _update_joined(self, job: Job) -> int:
        """Update all rows by statements that are joined with their new values; return how many exist."""
        results: list[Result] = []
        for part in self._parts_to_join(job):
            sql = joined_sql(part, self._where(job, "cdcd_old"), is_mariadb=self._server.is_mariadb)
            self._step(part, sql, results.append, counts_rows=False)
        self._sender.flush()
        matched = sum(result.affected for result in results)
        if matched > len(job.rows):
            raise refused(Step("", job.write.table, job.index), "key-ambiguous", "several rows have the same key")
        return matched

    def _not_found(self, job: Job) -> Job | None:
        """The rows that do not exist. The others are locked.

        None when the server holds some of the keys equal that we do not (letter case, spaces): then it must be asked row
        by row.
        """
        self._sender.flush()
        key = [column for column in job.columns if column.name in job.write.key]
        condition = key_condition(job.write.key, job.keys())
        condition = f"({condition}){self._where(job)}"
        sql = select_sql(job.table.name, map(select_expression, key), condition, key_index(job)) + " FOR UPDATE"
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
                raise ambiguous(job, wanted[values])
        return job.only([n for values, n in wanted.items() if values not in found])
