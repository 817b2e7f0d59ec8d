"""Writes to a MySQL or MariaDB database (`cdcd.adapter.Target`)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pymysql
from pymysql.constants import ER

from cdcd.adapter import Applied, Checkpoint, Finding, Identity, TableNeed
from cdcd.errors import Fenced, NeedsOperator, NotReady, Unavailable
from cdcd.model import CHECKPOINT_TABLE, Batch, TableShape, TableWrite
from cdcd_mysql import preflight
from cdcd_mysql.connection import BulkConnection
from cdcd_mysql.errors import DUPLICATE_KEY, core_error, error_number, translated
from cdcd_mysql.learnt import Learnt
from cdcd_mysql.options import Options
from cdcd_mysql.own_tables import columns_of, create_table, create_xref_tables
from cdcd_mysql.predecessor import be_known, end_predecessor
from cdcd_mysql.results import Result
from cdcd_mysql.schema import LiveTable, read_tables
from cdcd_mysql.session import Server, Session, inspect
from cdcd_mysql.statements import CREATE_CHECKPOINT_SQL, checkpoint_table, quote_text
from cdcd_mysql.writing import BatchWriter

_DESCRIPTION_AGE_MAX_SECONDS: Final = 60
_PREDECESSOR_WAIT_SECONDS: Final = 1
_FORBIDDEN: Final = (1044, 1142)
"""ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR: the account lacks the privilege."""
_SETTINGS_SQL: Final = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"


class MySqlTarget:
    """See the contract. One connection writes; a second is opened for a moment where something is to be described."""

    def __init__(self, identity: Identity, options: Options) -> None:
        self._identity = identity
        self._options = options
        self._checkpoint = checkpoint_table(options.database)
        self._session: Session | None = None
        self._server: Server | None = None
        self._tables: dict[str, LiveTable] = {}
        self._learnt = Learnt()
        self._described_at = 0.0
        self._epoch = 0
        self._where_ours = ""
        """What finds the checkpoint for as long as nobody else has taken it over."""
        self._has_progress = False

    # ---- describing ------------------------------------------------------------------------------------------------------

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        """See the contract."""
        session = Session(self._options)
        try:
            return preflight.check_target(session, inspect(session), self._identity, self._options, tables)
        finally:
            session.close()

    def describe(self, tables: Sequence[str]) -> Mapping[str, TableShape]:
        """See the contract. Asks the server every time."""
        return {name: table.shape for name, table in self._read_tables(tables).items()}

    def _read_tables(self, names: Sequence[str]) -> dict[str, LiveTable]:
        session = Session(self._options)
        try:
            return read_tables(session, inspect(session), names, self._options.database)
        finally:
            session.close()

    def _described(self, names: Sequence[str]) -> Mapping[str, LiveTable]:
        """The tables as they were described not long ago."""
        if self._tables.keys() >= {*names}:
            return self._tables
        unknown = [name for name in dict.fromkeys(names) if name not in self._tables]
        self._tables |= self._read_tables(unknown)
        for name in unknown:
            if name not in self._tables:
                raise NotReady(f"table {name} does not exist", remedy="create it, or correct the configuration")
        return self._tables

    def _forget_old_descriptions(self) -> None:
        """A unique key that a person adds changes how rows may be written."""
        if time.monotonic() - self._described_at > _DESCRIPTION_AGE_MAX_SECONDS:
            self._tables = {}
            self._described_at = time.monotonic()

    # ---- the checkpoint -----------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint | None:
        """See the contract."""
        session = Session(self._options)
        try:
            with translated("read the checkpoint"):
                columns = columns_of(session, CHECKPOINT_TABLE, self._options.database)
                if not columns:
                    return None
                progress = "coalesce(progress, '')" if "progress" in columns else "''"
                rows = session.run(
                    f"SELECT lineage, epoch, batch_through, {progress} FROM {self._checkpoint} WHERE {self._own_row()}"
                ).rows
        finally:
            session.close()
        return Checkpoint(rows[0][0], int(rows[0][1]), int(rows[0][2]), rows[0][3]) if rows else None

    def open(self, *, xref_table: str = "", adopt: str = "") -> int:
        """See the contract."""
        self.close()
        plain = Session(self._options)
        try:
            self._server = inspect(plain)
            with translated("create the checkpoint table"):
                create_table(plain, CHECKPOINT_TABLE, self._options.database, CREATE_CHECKPOINT_SQL)
                self._has_progress = self._add_progress(plain)
                create_xref_tables(plain, [xref_table], self._options.database)
            with translated("take over the checkpoint"):
                through = self._take_over_from_anyone(plain, adopt)
        finally:
            plain.close()
        self._session = Session(
            self._options,
            raw=True,
            settings={
                "autocommit": "0",  # a transaction begins with its first statement
                "character_set_results": "NULL",
                "innodb_lock_wait_timeout": str(self._options.lock_timeout_seconds),
                "lock_wait_timeout": str(self._options.lock_timeout_seconds),
                "foreign_key_checks": "1",
                "unique_checks": "1",
            },
            kind=BulkConnection,
        )
        with translated("open the target"):
            self._session.run(_SETTINGS_SQL)
            be_known(self._session, self._identity, self._epoch)
        return through

    def _add_progress(self, session: Session) -> bool:
        """Have the column that earlier versions lacked, if we may: we can do without. Return whether it is there."""
        if "progress" in columns_of(session, CHECKPOINT_TABLE, self._options.database):
            return True
        try:
            session.run(f"ALTER TABLE {self._checkpoint} ADD COLUMN progress TEXT")
        except pymysql.Error as error:
            if error_number(error) not in _FORBIDDEN:
                raise
            return False
        return True

    def _take_over_from_anyone(self, session: Session, adopt: str) -> int:
        """Whoever holds the checkpoint for long is ended, if it is our predecessor."""
        session.run(f"SET SESSION innodb_lock_wait_timeout = {_PREDECESSOR_WAIT_SECONDS}")
        try:
            return self._take_over(session, adopt)
        except pymysql.Error as error:
            if error_number(error) != ER.LOCK_WAIT_TIMEOUT:
                raise
        session.run("ROLLBACK")
        rows = session.run(f"SELECT epoch FROM {self._checkpoint} WHERE {self._own_row()}").rows
        if rows:
            end_predecessor(session, self._identity, int(rows[0][0]))
        session.run(f"SET SESSION innodb_lock_wait_timeout = {self._options.lock_timeout_seconds}")
        return self._take_over(session, adopt)

    def _take_over(self, session: Session, adopt: str) -> int:
        session.run("START TRANSACTION")
        rows = self._locked_checkpoint(session)
        if not rows:
            self._insert_checkpoint(session)
            rows = self._locked_checkpoint(session)
        lineage, epoch, through = rows[0]
        if lineage not in (self._identity.lineage, adopt):
            session.run("ROLLBACK")
            raise self._foreign_lineage()
        self._epoch = int(epoch) + 1
        lineage = quote_text(self._identity.lineage)
        self._where_ours = f"WHERE {self._own_row()} AND lineage = {lineage} AND epoch = {self._epoch}"
        session.run(
            f"UPDATE {self._checkpoint} SET epoch = {self._epoch}, lineage = {lineage},"
            f" updated_at = UTC_TIMESTAMP(6) WHERE {self._own_row()}"
        )
        session.run("COMMIT")
        return int(through)

    def _locked_checkpoint(self, session: Session) -> Sequence[tuple[str, int, int]]:
        return session.run(
            f"SELECT lineage, epoch, batch_through FROM {self._checkpoint} WHERE {self._own_row()} FOR UPDATE"
        ).rows

    def _insert_checkpoint(self, session: Session) -> None:
        identity = self._identity
        values = ", ".join(map(quote_text, (identity.daemon, identity.system, identity.lineage)))
        try:
            session.run(
                f"INSERT INTO {self._checkpoint} (daemon, `system`, lineage, epoch, batch_after, batch_through, updated_at)"
                f" VALUES ({values}, 0, 0, 0, UTC_TIMESTAMP(6))"
            )
        except pymysql.IntegrityError as error:
            if error_number(error) != DUPLICATE_KEY:  # else another one made it this moment
                raise

    def _own_row(self) -> str:
        return f"daemon = {quote_text(self._identity.daemon)} AND `system` = {quote_text(self._identity.system)}"

    def _foreign_lineage(self) -> NeedsOperator:
        return NeedsOperator(
            f"the checkpoint in {self._options.database} was written by other state of daemon {self._identity.daemon!r}",
            cause="this daemon's state directory is new or another one: what the target has of it is not known",
            remedy="start with the state directory that wrote it; if it is lost, 'cdcd recover' takes the systems over",
            code="other-lineage",
        )

    # ---- applying -------------------------------------------------------------------------------------------------------------

    def apply(self, writes: Iterable[TableWrite], batch: Batch) -> Applied:
        """See the contract."""
        session, server = self._session, self._server
        if session is None or server is None:
            raise Unavailable("the target is not open", cause="apply without open")
        self._forget_old_descriptions()
        writer = BatchWriter(session, server, self._described, self._learnt)
        try:
            writer.begin(self._checkpoint_sql(batch), self._check_fence)
            writer.write_all(writes)
        except BaseException:
            self._roll_back(session)
            raise
        return Applied(tuple(writer.missing))

    def _checkpoint_sql(self, batch: Batch) -> str:
        stored = batch.progress and self._has_progress
        progress = f" progress = {quote_text(batch.progress)}," if stored else ""
        return (
            f"UPDATE {self._checkpoint} SET batch_after = {int(batch.after)}, batch_through = {int(batch.through)},"
            f"{progress} updated_at = UTC_TIMESTAMP(6) {self._where_ours}"
        )

    def _check_fence(self, result: Result) -> None:
        if result.affected != 1:
            raise Fenced(
                f"another daemon took over the target {self._options.database}",
                cause=f"the checkpoint of {self._identity.daemon}/{self._identity.system} has another epoch than ours",
                remedy="stop one of the two daemons, then start the other again",
            )

    def _roll_back(self, session: Session) -> None:
        """Leave the session ready for the next attempt; if that fails it is lost, and the next use says so."""
        try:
            session.pass_over()
            session.run("ROLLBACK")
        except (pymysql.Error, OSError) as error:
            core_error(error, "roll back")
            session.close()

    def close(self) -> None:
        """See the contract."""
        if self._session is not None:
            self._session.close()
            self._session = None
