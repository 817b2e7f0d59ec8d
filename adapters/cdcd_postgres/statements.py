"""SQL text: of slot, publication, stream, chunks and checkpoint. Names are quoted in `names`, values are parameters.

The SQL of writes to a target is built in `writes`, that of the catalog stands in `catalog`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cdcd.adapter import RowFilter
from cdcd_postgres.catalog import CatalogTable
from cdcd_postgres.names import TableName, quote_identifier, quote_literal
from cdcd_postgres.position import format_lsn

LOCK_OURS: Final = "SELECT pg_catalog.pg_advisory_xact_lock(7161127613022400871)"
"""Whoever creates our objects in a database holds this: source and target begin at the same time."""

SERVER: Final = """
SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('wal_level'),
  current_setting('server_encoding'), current_database(), current_user::text
"""
FLUSH_LSN: Final = "SELECT pg_catalog.pg_current_wal_flush_lsn()::text"
STATUS: Final = """
SELECT here.lsn::text, greatest(pg_wal_lsn_diff(here.lsn, $1::pg_lsn), 0)::bigint,
  greatest(pg_wal_lsn_diff(here.lsn, slot.restart_lsn), 0)::bigint
FROM (SELECT pg_catalog.pg_current_wal_flush_lsn() AS lsn) AS here
LEFT JOIN pg_catalog.pg_replication_slots AS slot ON slot.slot_name = $2
"""

PUBLICATION: Final = """
SELECT pg_get_userbyid(p.pubowner)::text, pg_has_role(p.pubowner, 'USAGE'), p.puballtables,
  p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot,
  EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS r WHERE r.prpubid = p.oid
    AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL)),
  obj_description(p.oid, 'pg_publication')
FROM pg_catalog.pg_publication AS p WHERE p.pubname = $1
"""
PUBLICATION_TABLES: Final = """
SELECT schemaname::text, tablename::text FROM pg_catalog.pg_publication_tables WHERE pubname = $1
"""
PUBLISH: Final = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true"

BEGIN_CHUNK: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
SNAPSHOT: Final = "SELECT pg_catalog.pg_current_snapshot()::text"
EMIT_MESSAGE: Final = "SELECT pg_catalog.pg_logical_emit_message(true, $1, $2)"


def create_publication(name: str, tables: Sequence[CatalogTable]) -> str:
    """A publication of exactly `tables`."""
    listed = f" FOR TABLE {_published(tables)}" if tables else ""
    return f"CREATE PUBLICATION {quote_identifier(name)}{listed} WITH ({PUBLISH})"


def set_publication_tables(name: str, tables: Sequence[CatalogTable]) -> str:
    """Make a publication list exactly `tables`."""
    return f"ALTER PUBLICATION {quote_identifier(name)} SET TABLE {_published(tables)}"


def add_publication_tables(name: str, tables: Sequence[CatalogTable]) -> str:
    """Add `tables` to a publication."""
    return f"ALTER PUBLICATION {quote_identifier(name)} ADD TABLE {_published(tables)}"


def set_publication_options(name: str) -> str:
    """Make a publication carry all operations, those of partitions under their root's name."""
    return f"ALTER PUBLICATION {quote_identifier(name)} SET ({PUBLISH})"


def _published(tables: Sequence[CatalogTable]) -> str:
    return ", ".join(only(table) for table in tables)


def only(table: CatalogTable) -> str:
    """A table without those that inherit from it; the partitions of a partitioned one belong to it."""
    return table.table_name.sql if table.kind == "p" else f"ONLY {table.table_name.sql}"


def start_replication(slot: str, lsn: int, publication: str) -> str:
    """The replication command (PostgreSQL documentation, "Streaming Replication Protocol"; options of pgoutput: 55.5)."""
    names = quote_literal(quote_identifier(publication))
    return (
        f"START_REPLICATION SLOT {quote_identifier(slot)} LOGICAL {format_lsn(lsn)} "
        f"(proto_version '1', publication_names {names}, messages 'true')"
    )


def lock_against_ddl(table: CatalogTable) -> str:
    """The weakest lock: it waits for, and keeps off, only what would drop or rewrite the table."""
    return f"LOCK TABLE {only(table)} IN ACCESS SHARE MODE"


def select_chunk(
    table: CatalogTable,
    columns: Sequence[str],
    key: Sequence[str],
    *,
    after: bool,
    row_limit: int,
    row_filter: RowFilter | None = None,
) -> str:
    """Rows in key order, those after the key given as parameters if `after`; those of a filter's keys come behind it."""
    ordered = ", ".join(quote_identifier(name) for name in key)
    places = ", ".join(f"${number}" for number in range(1, len(key) + 1))
    conditions = [f"({ordered}) > ({places})"] if after else []
    if row_filter is not None:
        conditions.append(f"({_chosen(row_filter, len(key) if after else 0)}\n)")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    listed = ", ".join(quote_identifier(name) for name in columns)
    return f"SELECT {listed} FROM {only(table)}{where} ORDER BY {ordered} LIMIT {row_limit:d}"


def select_rows(table: CatalogTable, columns: Sequence[str], key: Sequence[str], *, row_count: int) -> str:
    """Rows by key: parameters are `row_count` keys, one after the other. As comparisons, so that they take their types."""
    listed = ", ".join(quote_identifier(name) for name in columns)
    return f"SELECT {listed} FROM {only(table)} WHERE {_one_of(key, row_count)}"


def _one_of(key: Sequence[str], count: int, after: int = 0) -> str:
    """A condition for any of `count` keys, which are parameters behind the first `after` ones."""
    return " OR ".join(
        "(" + " AND ".join(f"{quote_identifier(name)} = ${first + place}" for place, name in enumerate(key, 1)) + ")"
        for first in range(after, after + count * len(key), len(key))
    )


def _chosen(row_filter: RowFilter, after: int) -> str:
    if row_filter.columns and not row_filter.keys:
        return "false"
    if row_filter.columns:
        return _one_of(row_filter.columns, len(row_filter.keys), after)
    return row_filter.where


def try_condition(table: CatalogTable, condition: str) -> str:
    """Have the server look at an operator's condition, which stands as it is: on a line of its own, for comments."""
    return f"SELECT 1 FROM {only(table)} WHERE {condition}\n LIMIT 0"


ESTIMATE: Final = """
SELECT CASE WHEN c.relkind = 'p' THEN (
    SELECT sum(greatest(l.reltuples, 0)) FROM pg_catalog.pg_partition_tree(c.oid) AS t
    JOIN pg_catalog.pg_class AS l ON l.oid = t.relid WHERE t.isleaf)
  ELSE greatest(c.reltuples, 0) END::bigint
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2
"""


def create_checkpoint_table(table: TableName) -> tuple[str, ...]:
    """Statements that create the table of checkpoints, one row per daemon and system.

    `lineage` is the state directory that the numbers belong to. `epoch` rises with every takeover: only the daemon that
    holds the last one may write. `batch_after` and `batch_through` bound the last batch; its last unit is the last one
    that was applied.
    """
    return (
        f"""CREATE TABLE {table.sql} (
  daemon text NOT NULL,
  system text NOT NULL,
  lineage text NOT NULL,
  epoch bigint NOT NULL,
  batch_after bigint NOT NULL,
  batch_through bigint NOT NULL,
  updated_at timestamptz NOT NULL,
  progress text,
  PRIMARY KEY (daemon, system)
) WITH (fillfactor = 50)""",
        f"COMMENT ON TABLE {table.sql} IS 'cdcd: through which batch_through each daemon has written here'",
    )


def create_xref_table(table: TableName) -> tuple[str, ...]:
    """Statements that create the table of business keys (`cdcd.model.XREF_TABLE`)."""
    return (
        f"""CREATE TABLE {table.sql} (
  entity text NOT NULL,
  key text NOT NULL,
  id text NOT NULL,
  PRIMARY KEY (entity, key)
)""",
        f"COMMENT ON TABLE {table.sql} IS 'cdcd: the business keys of records whose own table has no column for them'",
    )


def add_progress(table: TableName) -> str:
    """For a table of an earlier version."""
    return f"ALTER TABLE {table.sql} ADD COLUMN progress text"


def read_checkpoint(table: TableName, *, has_progress: bool) -> str:
    """Parameters: daemon, system."""
    progress = "coalesce(progress, '')" if has_progress else "''"
    return f"SELECT lineage, epoch, batch_through, {progress} FROM {table.sql} WHERE daemon = $1 AND system = $2"


def take_over(table: TableName) -> str:
    """Parameters: daemon, system, lineage, adopted lineage. No row comes back when the row belongs to yet another."""
    return f"""
INSERT INTO {table.sql} AS c (daemon, system, lineage, epoch, batch_after, batch_through, updated_at)
VALUES ($1, $2, $3, 1, 0, 0, now())
ON CONFLICT (daemon, system) DO UPDATE SET epoch = c.epoch + 1, lineage = excluded.lineage, updated_at = now()
WHERE c.lineage IN (excluded.lineage, $4)
RETURNING epoch, batch_through"""


def move_checkpoint(table: TableName, *, has_progress: bool) -> str:
    """Parameters: after, through, daemon, system, lineage, epoch, and the progress if that has a column ('' leaves it).

    Divides by zero when we are not the writer any more: so the statements behind it in the same pipeline fail too,
    without a round trip to look at the number of rows.
    """
    progress = ", progress = coalesce(nullif($7::text, ''), progress)" if has_progress else ""
    return f"""
WITH moved AS (
  UPDATE {table.sql} SET batch_after = $1::bigint, batch_through = $2::bigint, updated_at = now(){progress}
  WHERE daemon = $3 AND system = $4 AND lineage = $5 AND epoch = $6::bigint RETURNING 1
) SELECT 1 / count(*) FROM moved"""


MAY_MOVE_CHECKPOINT: Final = "SELECT has_table_privilege($1, 'UPDATE')"
"""Parameter: the checkpoint table, quoted. Whether our role may write there."""


def holds_checkpoint(table: TableName) -> str:
    """Parameters: daemon, system, lineage, epoch. Whether we are still the writer."""
    return f"""
SELECT EXISTS (SELECT FROM {table.sql} WHERE daemon = $1 AND system = $2 AND lineage = $3 AND epoch = $4::bigint)"""


OTHER_WRITERS: Final = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""Transactions that have written to some table: they give up this lock after everybody can see what they did."""

SAVEPOINT: Final = "SAVEPOINT cdcd_copy"
RELEASE_SAVEPOINT: Final = "RELEASE SAVEPOINT cdcd_copy"
ROLL_BACK_TO_SAVEPOINT: Final = "ROLLBACK TO SAVEPOINT cdcd_copy"
