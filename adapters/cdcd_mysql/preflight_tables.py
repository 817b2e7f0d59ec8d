"""Whether tables are what the configuration takes them for, and the log and we can do them justice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from cdcd.adapter import Finding, TableNeed
from cdcd.model import CHECKPOINT_TABLE, XREF_TABLE
from cdcd_mysql.captured import TableName
from cdcd_mysql.definition import foreign_keys
from cdcd_mysql.preflight_context import CheckContext
from cdcd_mysql.schema import LiveColumn, LiveTable, definition_of, read_table
from cdcd_mysql.statements import quote_name, quote_table, quote_text

_CASCADING: Final = ("CASCADE", "SET NULL", "SET DEFAULT")
_ENGINES_WITH_ROWS_ELSEWHERE: Final = frozenset({"MRG_MYISAM", "FEDERATED", "CONNECT", "SPIDER", "NDBCLUSTER", "S3"})
"""Their rows are changed by other names or other servers, without a word in this server's log."""
_BLOB_TYPES: Final = frozenset({
    "json", "vector", "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
})  # fmt: skip
_LOGGED_CASCADES_FROM: Final = (9, 6, 0)


def check_table(context: CheckContext, need: TableNeed, table: LiveTable | None) -> Iterator[Finding]:
    """Existence, kind, columns."""
    if table is None:
        if context.name(need).table != XREF_TABLE:
            yield _missing_table(context, need)
        return
    name = quote_table(table.name)
    for column in dict.fromkeys((*need.key, *need.columns)):
        if table.column(column) is None:
            yield context.error(
                "column-missing", need.table, f"table {need.table} has no column {column}",
                f"ALTER TABLE {name} ADD COLUMN {quote_name(column)} …, or correct the configuration",
            )  # fmt: skip
    if not table.is_base:
        yield context.error(
            "table-kind", need.table, f"{need.table} is no plain table but a {table.kind.lower()}",
            "name plain tables in the configuration; ALTER TABLE … DROP SYSTEM VERSIONING makes one of a versioned table",
        )  # fmt: skip
        return
    engine = table.engine.upper()
    if engine in _ENGINES_WITH_ROWS_ELSEWHERE:
        yield context.error(
            "engine", need.table, f"{need.table} has engine {table.engine}: its rows change without a word in this server's log",
            "name the table that holds the rows, on the server that holds it",
        )  # fmt: skip
    elif engine not in ("INNODB", "ROCKSDB"):
        yield context.warning(
            "engine", need.table,
            f"{need.table} has engine {table.engine}, without transactions: what is written stays although the rest is rolled back",
            f"ALTER TABLE {name} ENGINE = InnoDB",
        )  # fmt: skip


def _missing_table(context: CheckContext, need: TableNeed) -> Finding:
    """Where names are told apart by case, the one meant may be spelled otherwise."""
    name = context.name(need)
    rows = context.ask(
        f"SELECT table_name FROM information_schema.tables WHERE lower(table_schema) = lower({quote_text(name.database)})"
        f" AND lower(table_name) = lower({quote_text(name.table)})"
    )
    others = " or ".join(str(row[0]) for row in rows)
    remedy = (
        f"write {others}: this server tells names apart by case"
        if others
        else "create it, or correct the configuration"
    )
    return context.error("table-missing", need.table, f"table {need.table} does not exist", remedy)


def check_checkpoint_table(context: CheckContext) -> Iterator[Finding]:
    """The checkpoint must be committed and rolled back with the rows."""
    name = TableName(context.options.database, CHECKPOINT_TABLE)
    table = read_table(context.session, context.server, name.table, name.database)
    if table is not None and (not table.is_base or table.engine.upper() != "INNODB"):
        yield context.error(
            "checkpoint-engine", CHECKPOINT_TABLE, f"{CHECKPOINT_TABLE} has engine {table.engine or table.kind}, without transactions",
            f"ALTER TABLE {quote_table(name)} ENGINE = InnoDB",
        )  # fmt: skip


# ---- captured ------------------------------------------------------------------------------------------------------


def check_captured(context: CheckContext, need: TableNeed, table: LiveTable) -> Iterator[Finding]:
    """Whether rows can be told apart, and every value be read."""
    name = quote_table(table.name)
    if not table.primary_key:
        yield context.error(
            "no-primary-key", table.spelled, f"table {table.spelled} has no primary key",
            f"ALTER TABLE {name} ADD PRIMARY KEY (…)",
        )  # fmt: skip
    for column in table.columns:
        if column.charset is not None and column.charset.decode is None:
            yield context.error(
                "charset", table.spelled,
                f"column {column.name} has character set {column.charset.name}, which is not supported",
                f"ALTER TABLE {name} CONVERT TO CHARACTER SET utf8mb4",
            )  # fmt: skip
    blobs = [column.name for column in table.columns if _is_blob(column) and _is_needed(column, need)]
    if blobs and context.settings.get("binlog_row_image", "").upper() == "NOBLOB":
        yield context.error(
            "binlog-row-image", table.spelled,
            f"binlog_row_image is NOBLOB: what is filled in by default in {', '.join(blobs)} is not logged",
            "SET GLOBAL binlog_row_image = FULL; and the same in the server's configuration; sessions keep what they began with",
        )  # fmt: skip


def _is_blob(column: LiveColumn) -> bool:
    return column.data_type.endswith(("text", "blob")) or column.data_type in _BLOB_TYPES


def _is_needed(column: LiveColumn, need: TableNeed) -> bool:
    return not need.columns or column.name in (*need.key, *need.columns)


def check_cascades(context: CheckContext, tables: Sequence[TableNeed]) -> Iterator[Finding]:
    """Foreign keys that change captured rows inside the storage engine: not logged (MySQL bug 32506).

    MySQL 9.6 and later do it above the engine and log it, unless innodb_native_foreign_keys is on.
    """
    native = context.settings.get("innodb_native_foreign_keys") == "ON"
    if not context.server.is_mariadb and context.server.version >= _LOGGED_CASCADES_FROM and not native:
        return
    needs = {context.name(need): need for need in tables}
    for key in _foreign_keys(context, needs):
        need = needs[key.child]
        if key.on_delete != "CASCADE" and need.columns and not {*key.columns} & {*need.key, *need.columns}:
            continue  # it changes columns that nobody reads
        make = context.warning if context.options.accept_cascades else context.error
        yield make(
            "cascade", need.table,
            f"foreign key {key.name} to {key.parent.table} (ON DELETE {key.on_delete}, ON UPDATE {key.on_update}) changes"
            f" rows of {need.table} that the log does not show",
            f"{_NATIVE if native else key.remedy()}; or accept-cascades = true in [systems.{context.identity.system}]"
            " where nothing depends on such rows",
        )  # fmt: skip


_NATIVE: Final = "set innodb_native_foreign_keys = OFF in the server's configuration, and restart it"


class ForeignKey:
    """A foreign key with an action, of rows (name, parent's database and table, actions, column and parent's column)."""

    def __init__(self, child: TableName, rows: Sequence[tuple[Any, ...]]) -> None:
        self.child = child
        self.name, parent_database, parent_table, self.on_delete, self.on_update = map(str, rows[0][:5])
        self.parent = TableName(parent_database, parent_table)
        self.pairs = [(str(column), str(parents)) for *_, column, parents in rows]
        self.columns = [column for column, _ in self.pairs]

    def remedy(self) -> str:
        """The same key without actions; a trigger does what ON DELETE did, and what triggers change is logged."""
        child, parent, name = quote_table(self.child), quote_table(self.parent), quote_name(self.name)
        columns = ", ".join(quote_name(column) for column, _ in self.pairs)
        parents = ", ".join(quote_name(column) for _, column in self.pairs)
        statements = [
            f"ALTER TABLE {child} DROP FOREIGN KEY {name}",
            f"ALTER TABLE {child} ADD CONSTRAINT {name} FOREIGN KEY ({columns}) REFERENCES {parent} ({parents})",
        ]
        if self.on_delete in _CASCADING:
            trigger = quote_table(TableName(self.parent.database, f"{self.name}_deleted"[:64]))
            condition = " AND ".join(
                f"{quote_name(column)} = OLD.{quote_name(parents)}" for column, parents in self.pairs
            )
            nulls = ", ".join(f"{quote_name(column)} = NULL" for column in self.columns)
            action = f"DELETE FROM {child}" if self.on_delete == "CASCADE" else f"UPDATE {child} SET {nulls}"
            statements.append(
                f"CREATE TRIGGER {trigger} BEFORE DELETE ON {parent} FOR EACH ROW {action} WHERE {condition}"
            )
        return "; ".join(statements)


def _foreign_keys(context: CheckContext, children: Iterable[TableName]) -> Iterator[ForeignKey]:
    for child in children:
        found = _defined_keys(context, child) if context.server.is_mariadb else _listed_keys(context, child)
        for key in found:
            if key.on_delete in _CASCADING or key.on_update in _CASCADING:
                yield key


def _defined_keys(context: CheckContext, child: TableName) -> Iterator[ForeignKey]:
    """MariaDB lists their actions only for accounts that may write to the table (`definition`)."""
    table = read_table(context.session, context.server, child.table, child.database)
    for key in foreign_keys(definition_of(context.session, child)) if table is not None and table.is_base else ():
        rows = [
            (key.name, key.parent_database or child.database, key.parent_table, key.on_delete, key.on_update, *pair)
            for pair in key.pairs
        ]
        yield ForeignKey(child, rows)


def _listed_keys(context: CheckContext, child: TableName) -> Iterator[ForeignKey]:
    rows = context.session.rows(
        "SELECT c.constraint_name, k.referenced_table_schema, k.referenced_table_name, c.delete_rule, c.update_rule,"
        " k.column_name, k.referenced_column_name FROM information_schema.referential_constraints c"
        " JOIN information_schema.key_column_usage k ON k.constraint_schema = c.constraint_schema"
        " AND k.constraint_name = c.constraint_name AND k.table_name = c.table_name"
        f" WHERE c.constraint_schema = {quote_text(child.database)} AND c.table_name = {quote_text(child.table)}"
        " ORDER BY 1, k.ordinal_position",
        f"list foreign keys of table {child.table}",
    )
    for name in dict.fromkeys(row[0] for row in rows):
        yield ForeignKey(child, [row for row in rows if row[0] == name])


# ---- written -------------------------------------------------------------------------------------------------------


def check_written(context: CheckContext, need: TableNeed, table: LiveTable) -> Iterator[Finding]:
    """The key, generated columns, triggers."""
    yield from _unique_key(context, need, table)
    for name in dict.fromkeys((*need.key, *need.columns)):
        column = table.column(name)
        if column is not None and column.is_generated:
            yield context.warning(
                "generated-column", need.table, f"column {name} of {need.table} is generated: it is never written",
                "remove the column from the configuration",
            )  # fmt: skip
    yield from _triggers(context, need, table)


def _unique_key(context: CheckContext, need: TableNeed, table: LiveTable) -> Iterator[Finding]:
    key = need.key or table.primary_key
    if key and any(set(unique) <= set(key) for unique in table.unique_keys):
        return
    columns = ", ".join(map(quote_name, key)) or "…"
    yield context.error(
        "key-not-unique", need.table, f"key ({', '.join(key)}) of table {need.table} is not unique",
        f"ALTER TABLE {quote_table(table.name)} ADD UNIQUE KEY ({columns})",
    )  # fmt: skip


def _triggers(context: CheckContext, need: TableNeed, table: LiveTable) -> Iterator[Finding]:
    """BEFORE triggers that set columns which we write: the row then differs from what was delivered.

    The text is only searched, so that a person looks: one who may not see triggers (TRIGGER) gets no finding.
    """
    rows = context.ask(
        "SELECT trigger_name, event_manipulation, action_statement FROM information_schema.triggers"
        f" WHERE event_object_schema = {quote_text(table.name.database)} AND action_timing = 'BEFORE'"
        f" AND event_object_table = {quote_text(table.name.table)} AND event_manipulation IN ('INSERT', 'UPDATE')"
    )
    wanted = need.columns or tuple(column.name for column in table.columns)
    for name, event, body in rows:
        changed = [column for column in wanted if re.search(assignment(column), str(body), re.IGNORECASE)]
        if changed:
            yield context.warning(
                "trigger", need.table,
                f"trigger {name} (BEFORE {event}) sets {', '.join(changed)} of {need.table}: it may undo what is delivered",
                f"DROP TRIGGER {quote_table(TableName(table.name.database, str(name)))}, or let it spare the user that we write as",
            )  # fmt: skip


def assignment(column: str) -> str:
    """A pattern that finds where a trigger's body sets a column of the row that is to be written."""
    target = rf"NEW\s*\.\s*`?{re.escape(column)}`?(?![\w$])"
    return rf"(?:\bSET|,)\s*{target}\s*:?=|\bINTO\s+{target}"
