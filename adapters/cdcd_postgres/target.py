"""Writes to PostgreSQL in set-based transactions. See `cdcd.adapter.Target` for what is promised."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NoReturn

import psycopg
from msgspec import structs

from cdcd.adapter import Applied, Checkpoint, Finding, Identity, TableNeed
from cdcd.errors import CdcdError, Fenced, NeedsOperator, NotReady, Refused, Unavailable
from cdcd.model import Batch, TableShape, TableWrite, WriteKind
from cdcd_postgres import checks, session, statements
from cdcd_postgres.ahead import Ahead
from cdcd_postgres.catalog import Catalog, CatalogTable, table_shape
from cdcd_postgres.copying import CopyAttempts
from cdcd_postgres.errors import DENIED, answer_to, denied, translate, translated
from cdcd_postgres.lookups import Lookups, Query, Resolved
from cdcd_postgres.names import TableName, parse_table
from cdcd_postgres.options import Options
from cdcd_postgres.pipelining import Pipeline
from cdcd_postgres.predecessor import end_predecessor
from cdcd_postgres.publication import ensure_publication, read_publication
from cdcd_postgres.session import Connection
from cdcd_postgres.transaction import Transaction
from cdcd_postgres.writes import PlanKey, WritePlan, plan_key, plan_write

_PLANS_MAX: Final = 500


class PostgresTarget:
    """See the contract."""

    def __init__(self, identity: Identity, options: Options) -> None:
        self._identity = identity
        self._system = identity.system
        self._options = options
        self._checkpoint = options.checkpoint_table
        self._connection: Connection | None = None
        self._pipeline: Pipeline | None = None
        self._epoch = 0
        self._plans: dict[PlanKey, WritePlan] = {}
        self._lookup_queries: dict[Hashable, Query] = {}
        self._copies = CopyAttempts()
        self._has_applied = False
        self._has_progress = False

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

    def checkpoint(self) -> Checkpoint | None:
        """See the contract."""
        connection, identity = self._connected(), self._identity
        with translated(f"system '{self._system}': the checkpoint could not be read"):
            table = Catalog(connection).table(self._checkpoint)
            if table is None:
                return None
            sql = statements.read_checkpoint(self._checkpoint, has_progress=_has_progress(table))
            row = connection.execute(sql, [identity.daemon, identity.system]).fetchone()
        return None if row is None else Checkpoint(row[0], int(row[1]), int(row[2]), row[3])

    def open(self, *, xref_table: str = "", adopt: str = "") -> int:
        """See the contract."""
        connection = self._connected()
        identity = self._identity
        what = f"system '{self._system}': the checkpoint could not be taken over"
        with translated(what):
            end_predecessor(connection, identity, "writer")
        with translated(what), connection.transaction():
            connection.execute(statements.LOCK_OURS)
            table = self._prepare_table(
                connection, self._checkpoint, statements.create_checkpoint_table(self._checkpoint)
            )
            self._has_progress = _has_progress(table) or self._add_progress(connection)
            if xref_table:
                name = parse_table(xref_table)
                self._prepare_table(connection, name, statements.create_xref_table(name))
            parameters = [identity.daemon, identity.system, identity.lineage, adopt or identity.lineage]
            row = connection.execute(statements.take_over(self._checkpoint), parameters).fetchone()
            if row is None:
                raise self._wrong_lineage()
        self._epoch, through = row
        return int(through)

    def close(self) -> None:
        """See the contract."""
        session.close(self._connection)
        self._connection = self._pipeline = None

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = session.connect_writing(self._system, self._options)
        return self._connection

    def _add_progress(self, connection: Connection) -> bool:
        """Have the column that earlier versions lacked; only the table's owner may add it, and we can do without."""
        try:
            with connection.transaction():
                connection.execute(statements.add_progress(self._checkpoint))
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True

    def _prepare_table(self, connection: Connection, name: TableName, create: Sequence[str]) -> CatalogTable:
        """Create a table of ours, and have our own publication list it: that of the checkpoint marks our transactions."""
        catalog = Catalog(connection)
        table = catalog.table(name)
        if table is None:
            for statement in create:
                connection.execute(statement)
            table = catalog.table(name)
            assert table is not None
        publication = self._options.publication_name(self._identity)
        if read_publication(connection, publication) is not None:
            ensure_publication(connection, publication, [table], exactly=False)
        return table

    def _wrong_lineage(self) -> NeedsOperator:
        table = self._checkpoint
        return NeedsOperator(
            f"system '{self._system}' was written under another state directory",
            cause=f"its row in {table.spelled} has another lineage: the state directory is new, restored or not ours",
            remedy="start with the state directory that belongs to it; if it is lost, 'cdcd recover' takes the systems over",
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
        connection = self._connected()
        if self._pipeline is None:
            self._pipeline = Pipeline(connection)
        lookups = Lookups(self._pipeline, self._describe, self._lookup_queries, self._system)
        move = statements.move_checkpoint(self._checkpoint, has_progress=self._has_progress)
        with Transaction(connection, self._pipeline) as transaction:
            transaction.add(move, self._checkpoint_parameters(batch))
            ahead = Ahead(writes)
            for number, write in enumerate(ahead):
                if write.lookups and write.rows:
                    transaction.flush()
                    self._write_resolved(transaction, number, write, lookups.resolve(number, write))
                    continue
                plan = self._plan(transaction, write)
                if not (plan.copy and self._copies.is_due(write) and self._copy(transaction, plan, write, ahead)):
                    transaction.write(number, plan, write.rows, range(len(write.rows)))
                if write.kind is WriteKind.CLEAR:
                    transaction.add(plan.statements[0])
            transaction.commit()
        return transaction.missing

    def _copy(self, transaction: Transaction, plan: WritePlan, write: TableWrite, ahead: Ahead) -> bool:
        """Try to insert all rows of a write by COPY; False when they are still to be written."""
        accepted = transaction.copy(plan, write.rows, meanwhile=ahead.make)
        self._copies.note(write.table, accepted=accepted)
        return accepted

    def _write_resolved(self, transaction: Transaction, number: int, write: TableWrite, found: Resolved) -> None:
        """Rows that the server numbers are known to exist, or not to: those are updated, these inserted."""
        known = write
        if write.numbers_new and write.kind is WriteKind.UPSERT:
            known = structs.replace(write, kind=WriteKind.UPDATE)
            transaction.write(number, self._plan(transaction, write), found.new, found.new_places)
        elif write.kind is WriteKind.UPDATE:
            transaction.missing += [(number, place) for place in found.new_places]
        fixed = {name for name in known.insert_only if known.kind is WriteKind.UPDATE}
        rows = found.rows
        if fixed:
            kept = [place for place, name in enumerate(write.columns) if name not in fixed]
            known = structs.replace(known, columns=tuple(write.columns[place] for place in kept), insert_only=())
            rows = [[row[place] for place in kept] for row in rows]
        if rows:
            transaction.write(number, self._plan(transaction, known), rows, found.places)

    def _checkpoint_parameters(self, batch: Batch) -> list[str]:
        identity = self._identity
        return [
            str(batch.after),
            str(batch.through),
            identity.daemon,
            identity.system,
            identity.lineage,
            str(self._epoch),
            *([batch.progress] if self._has_progress else []),
        ]

    def _plan(self, transaction: Transaction, write: TableWrite) -> WritePlan:
        key = plan_key(write)
        plan = self._plans.get(key)
        if plan is None:
            transaction.flush()
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
        if isinstance(ours, NotReady) and error.sqlstate == DENIED and self._may_move_checkpoint():
            raise denied(error, what) from None
        if isinstance(ours, NotReady) and self._has_applied:
            raise Unavailable(what, cause=f"{ours.cause}: a table may have changed, looking at it anew") from error
        raise ours from (None if answer_to(error).from_data else error)

    def _may_move_checkpoint(self) -> bool:
        """Whether our role may write at all, so that what it was denied is about some rows."""
        with translated(f"the privileges on the checkpoint of system '{self._system}' could not be read"):
            row = self._connected().execute(statements.MAY_MOVE_CHECKPOINT, [self._checkpoint.sql]).fetchone()
        return row is not None and bool(row[0])

    def _is_writer(self) -> bool:
        identity = self._identity
        parameters = [identity.daemon, identity.system, identity.lineage, str(self._epoch)]
        with translated(f"the checkpoint of system '{self._system}' could not be read"):
            row = self._connected().execute(statements.holds_checkpoint(self._checkpoint), parameters).fetchone()
        return row is not None and bool(row[0])


def _has_progress(checkpoint: CatalogTable) -> bool:
    return any(column.name == "progress" for column in checkpoint.columns)
