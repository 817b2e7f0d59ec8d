"""Writes to PostgreSQL in set-based transactions. See `cdcd.adapter.Target` for what is promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn

import psycopg

from cdcd.adapter import Applied, Finding, Identity, TableNeed
from cdcd.errors import CdcdError, Fenced, NeedsOperator, NotReady, Refused, Unavailable
from cdcd.model import Batch, Lookup, Row, TableShape, TableWrite, Value, WriteKind
from cdcd_postgres import checks, session, statements
from cdcd_postgres.catalog import Catalog, CatalogTable, table_shape
from cdcd_postgres.encoding import array_literal, transpose
from cdcd_postgres.errors import answer_to, translate, translated
from cdcd_postgres.names import parse_table
from cdcd_postgres.options import Options
from cdcd_postgres.publication import ensure_publication, read_publication
from cdcd_postgres.session import Connection
from cdcd_postgres.writes import PlanKey, WritePlan, lookup_sql, plan_key, plan_write

STATEMENT_ROWS_MAX: Final = 5000
STATEMENT_CHARACTERS_MAX: Final = 4 << 20
PIPELINE_CHARACTERS_MAX: Final = 4 << 20
"""Bounds of what is encoded at once; one row may exceed them. The driver and libpq hold it too, so memory is three times that."""
_PLANS_MAX: Final = 500


class PostgresTarget:
    """See the contract."""

    def __init__(self, identity: Identity, options: Options) -> None:
        self._identity = identity
        self._system = identity.system
        self._options = options
        self._checkpoint = options.checkpoint_table
        self._connection: Connection | None = None
        self._epoch = 0
        self._plans: dict[PlanKey, WritePlan] = {}
        self._lookups: dict[Lookup, str] = {}
        self._has_applied = False

    # ---- look, and take over -----------------------------------------------------------------------------------------

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        """See the contract."""
        with translated(f"system '{self._system}' could not be checked"):
            return checks.check_target(self._connected(), self._identity, self._options, tables)

    def describe(self, tables: Sequence[str]) -> Mapping[str, TableShape]:
        """See the contract."""
        names = {spelled: parse_table(spelled) for spelled in tables}
        with translated(f"the tables of system '{self._system}' could not be described"):
            catalog = Catalog(self._connected())
            found = catalog.tables(list(names.values()))
            return {
                spelled: table_shape(found[name], catalog.types, spelled)
                for spelled, name in names.items()
                if name in found
            }

    def open(self) -> int:
        """See the contract."""
        connection = self._connected()
        identity = self._identity
        with translated(f"system '{self._system}': the checkpoint could not be taken over"), connection.transaction():
            connection.execute(statements.LOCK_OURS)
            self._prepare_checkpoint_table(connection)
            parameters = [identity.daemon, identity.system, identity.lineage]
            row = connection.execute(statements.take_over(self._checkpoint), parameters).fetchone()
            if row is None:
                raise self._wrong_lineage()
        self._epoch, through = row
        return int(through)

    def close(self) -> None:
        """See the contract."""
        session.close(self._connection)
        self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = session.connect_writing(self._system, self._options)
        return self._connection

    def _prepare_checkpoint_table(self, connection: Connection) -> None:
        """Create the table, and have our own publication list it: it marks our transactions in the log."""
        catalog = Catalog(connection)
        table = catalog.table(self._checkpoint)
        if table is None:
            for statement in statements.create_checkpoint_table(self._checkpoint):
                connection.execute(statement)
            table = catalog.table(self._checkpoint)
            assert table is not None
        name = self._options.publication_name(self._identity)
        if read_publication(connection, name) is not None:
            ensure_publication(connection, name, [table], exactly=False)

    def _wrong_lineage(self) -> NeedsOperator:
        table, identity = self._checkpoint, self._identity
        return NeedsOperator(
            f"system '{self._system}' was written under another state directory",
            cause=f"its row in {table.spelled} has another lineage: the state directory is new, restored or not ours",
            remedy="start with the state directory that belongs to it; or, to begin anew with this one, run in "
            f"{self._system}: {statements.forget_checkpoint(table, identity.daemon, identity.system)}",
            code="other-lineage",
        )

    # ---- apply -------------------------------------------------------------------------------------------------------

    def apply(self, writes: Iterable[TableWrite], batch: Batch) -> Applied:
        """See the contract."""
        assert self._epoch > 0, "not open"
        what = f"a batch was not written to system '{self._system}'"
        try:
            missing = self._apply(writes, batch)
        except psycopg.Error as error:
            self._give_up(error, what)
        except CdcdError:
            self._roll_back()
            raise
        except UnicodeEncodeError:
            self._roll_back()
            raise Refused(what, cause="a text is not Unicode (it holds half of a surrogate pair)") from None
        self._has_applied = True
        return Applied(tuple(missing))

    def _apply(self, writes: Iterable[TableWrite], batch: Batch) -> list[tuple[int, int]]:
        run = _Run(self._connected())
        run.add("BEGIN")
        run.add(statements.move_checkpoint(self._checkpoint), self._checkpoint_parameters(batch))
        for number, write in enumerate(writes):
            plan = self._plan(write)
            rows: Sequence[Row] = write.rows
            if write.lookups and rows:
                run.flush()
                rows = self._resolve(number, write)
            size = 1 if plan.singly else STATEMENT_ROWS_MAX
            for first in range(0, len(rows), size):
                run.write(number, plan, rows[first : first + size], first)
            if write.kind is WriteKind.CLEAR:
                run.add(plan.statements[0])
        run.add("COMMIT")
        run.flush()
        return run.missing

    def _checkpoint_parameters(self, batch: Batch) -> list[str]:
        identity = self._identity
        return [
            str(batch.after),
            str(batch.through),
            identity.daemon,
            identity.system,
            identity.lineage,
            str(self._epoch),
        ]

    def _plan(self, write: TableWrite) -> WritePlan:
        key = plan_key(write)
        plan = self._plans.get(key)
        if plan is None:
            table, casts = self._describe(write.table)
            while len(self._plans) >= _PLANS_MAX:
                del self._plans[next(iter(self._plans))]
            plan = plan_write(write, table, casts)
            self._plans[key] = plan
        return plan

    def _describe(self, spelled: str) -> tuple[CatalogTable, dict[str, str]]:
        catalog = Catalog(self._connected())
        table = catalog.table(parse_table(spelled))
        if table is None:
            raise NotReady(
                f"system '{self._system}' has no table {spelled}",
                remedy="correct the table in the configuration, or create it",
                code="table-missing",
            )
        return table, {column.name: catalog.sql_type(column) for column in table.columns}

    def _roll_back(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.rollback()

    def _give_up(self, error: psycopg.Error, what: str) -> NoReturn:
        """Roll back, and raise what the error means here."""
        self._roll_back()
        if isinstance(error, psycopg.errors.DivisionByZero) and not self._is_writer():
            raise Fenced(
                f"system '{self._system}' has been taken over by another daemon",
                cause=f"the epoch in {self._checkpoint.spelled} is not ours any more",
                remedy="stop the other daemon of this name, then start this one",
            ) from None
        ours = translate(error, what)
        if isinstance(ours, NotReady) and self._has_applied:
            raise Unavailable(what, cause=f"{ours.cause}: a table may have changed, looking at it anew") from error
        raise ours from (None if answer_to(error).from_data else error)

    def _is_writer(self) -> bool:
        identity = self._identity
        parameters = [identity.daemon, identity.system, identity.lineage, str(self._epoch)]
        with translated(f"the checkpoint of system '{self._system}' could not be read"):
            row = self._connected().execute(statements.holds_checkpoint(self._checkpoint), parameters).fetchone()
        return row is not None and bool(row[0])

    # ---- references --------------------------------------------------------------------------------------------------

    def _resolve(self, number: int, write: TableWrite) -> list[Row]:
        """The rows with ids instead of business keys; without those of a DELETE that refer to nothing."""
        rows = [list(row) for row in write.rows]
        unresolved: set[int] = set()
        for lookup in write.lookups:
            column = write.columns.index(lookup.column)
            ids = self._look_up(lookup, [row[column] for row in rows])
            for place, row in enumerate(rows):
                if row[column] is not None:
                    row[column] = ids.get(_hashable(row[column]))
                    if row[column] is None:
                        unresolved.add(place)
        if unresolved and write.kind is not WriteKind.DELETE:
            raise Refused(
                f"{len(unresolved)} rows for {write.table} refer to records that system '{self._system}' does not have",
                cause="no row of " + " or ".join(sorted({lookup.table for lookup in write.lookups})) + " has that key",
                remedy="they can be written once the records that they refer to have come",
                code="reference-missing",
                rows=tuple((number, place) for place in sorted(unresolved)),
            )
        return [row for place, row in enumerate(rows) if place not in unresolved]

    def _look_up(self, lookup: Lookup, values: Sequence[Any]) -> dict[Any, Value]:
        """The id of every business key that has one."""
        wanted = list(dict.fromkeys(_hashable(value) for value in values if value is not None))
        if not wanted:
            return {}
        if lookup not in self._lookups:
            self._lookups[lookup] = lookup_sql(lookup, *self._describe(lookup.table))
        keys: Sequence[Row] = [list(key) if len(lookup.key) > 1 else [key] for key in wanted]
        parameters = [array_literal(column) for column in transpose(keys)]
        found = self._connected().execute(self._lookups[lookup], parameters, prepare=True).fetchall()
        if any(count > 1 for _, _, count in found):
            raise Refused(
                f"a reference to {lookup.table} is ambiguous in system '{self._system}'",
                cause=f"several of its rows have the same {', '.join(lookup.key)}",
                remedy="remove the duplicates, and create a unique index",
                code="reference-ambiguous",
            )
        return {wanted[place]: identifier for place, identifier, _ in found}


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class _Statement(NamedTuple):
    sql: str
    parameters: Sequence[str]
    reports: tuple[int, int] | None


class _Run:
    """The statements of one transaction: sent together as far as nothing has to be known in between."""

    def __init__(self, connection: Connection) -> None:
        self.missing: list[tuple[int, int]] = []
        self._connection = connection
        self._waiting: list[_Statement] = []
        self._character_count = 0

    def add(self, sql: str, parameters: Sequence[str] = (), reports: tuple[int, int] | None = None) -> None:
        """Send a statement with the next flush; `reports` says to which write and row its missing places belong."""
        self._waiting.append(_Statement(sql, parameters, reports))
        self._character_count += sum(map(len, parameters))
        if self._character_count > PIPELINE_CHARACTERS_MAX:
            self.flush()

    def write(self, number: int, plan: WritePlan, rows: Sequence[Row], first: int) -> None:
        """Add the statements that write `rows`, which begin at row `first` of write `number`."""
        parameters = [array_literal(column) for column in transpose(rows, plan.picked)]
        if len(rows) > 1 and sum(map(len, parameters)) > STATEMENT_CHARACTERS_MAX:
            half = len(rows) // 2
            self.write(number, plan, rows[:half], first)
            self.write(number, plan, rows[half:], first + half)
            return
        for sql in plan.statements:
            self.add(sql, parameters, (number, first) if plan.reports else None)

    def flush(self) -> None:
        """Send what waits, in one round trip, and look at the results. Raises the error of the first that failed."""
        waiting, self._waiting, self._character_count = self._waiting, [], 0
        for statement, cursor in zip(waiting, self._execute(waiting), strict=True):
            if statement.reports is not None:
                number, first = statement.reports
                self.missing += [(number, first + place) for (place,) in cursor.fetchall()]

    def _execute(self, waiting: Sequence[_Statement]) -> list[psycopg.Cursor[Any]]:
        """An error is kept while the pipeline ends: raised inside it, it would be logged as ignored."""
        cursors: list[psycopg.Cursor[Any]] = []
        failure: psycopg.Error | None = None
        try:
            with self._connection.pipeline():
                try:
                    for sql, parameters, _ in waiting:
                        cursors.append(self._connection.execute(sql, parameters, prepare=True))
                except psycopg.Error as error:
                    failure = error
        except psycopg.Error as error:
            raise failure or error from None
        if failure is not None:
            raise failure
        return cursors
