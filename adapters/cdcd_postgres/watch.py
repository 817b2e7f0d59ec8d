"""What the log does not show: a look at the catalog, at the start and every few seconds, compared with the last one.

Changes are missed where a table is not published any more, was made anew under its name (as gh-ost and pt-osc do it), or is
unlogged: then the source ends, and where the publication is ours, it is mended when the source is opened again. Where
rows have come or gone without a trace, because a partition was attached, detached or truncated, or because the table was
unpublished or is gone, a notice is written into the log.

What was seen is kept as the comment of our publication, so that a change is seen that was made while nobody looked. A
publication that belongs to somebody else has no memory. A table that was made, filled and attached as a partition in one
transaction looks like a partition that was made as one, and its rows are missed: attach in a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from cdcd.errors import NotReady, Unavailable
from cdcd.model import Op
from cdcd_postgres.names import TableName, quote_identifier, quote_literal
from cdcd_postgres.notices import write_notices
from cdcd_postgres.publication import Publication, read_publication
from cdcd_postgres.session import Connection

_LOOK: Final = """
SELECT json_build_object(
  'schema', n.nspname, 'name', c.relname, 'oid', c.oid::bigint, 'persistence', c.relpersistence,
  'replica_identity', c.relreplident,
  'has_primary_key', EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
  'parts', (
    SELECT coalesce(json_agg(json_build_object(
      'oid', l.oid::bigint, 'name', l.oid::regclass, 'file', l.relfilenode::bigint, 'kind', l.relkind,
      'persistence', l.relpersistence, 'replica_identity', l.relreplident,
      'attached', EXISTS (
        SELECT FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.inhrelid AND a.attnum = -6
        WHERE i.inhrelid = l.oid AND i.xmin <> a.xmin)) ORDER BY l.oid), '[]')
    FROM pg_catalog.pg_partition_tree(c.oid) AS t JOIN pg_catalog.pg_class l ON l.oid = t.relid WHERE l.oid <> c.oid)
)::text
FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
WHERE c.relkind IN ('r', 'p')
"""
_PREFIX: Final = "cdcd: "
_PUBLICATION: Final = "publication"


class Part(msgspec.Struct, frozen=True):
    """A partition, at any depth. `file` is its storage, 0 for one that has partitions itself.

    `attached`: it was a table before it became a partition (its columns are older than its membership).
    """

    oid: int
    name: str
    file: int
    kind: str
    persistence: str
    replica_identity: str
    attached: bool


class Seen(msgspec.Struct, frozen=True):
    """A captured table as the catalog has it."""

    schema: str
    name: str
    oid: int
    persistence: str
    replica_identity: str
    has_primary_key: bool
    parts: tuple[Part, ...]

    @property
    def table_name(self) -> TableName:
        """Its name."""
        return TableName(self.schema, self.name)

    @property
    def remembered(self) -> Remembered:
        """What is kept of it."""
        return Remembered(self.oid, {part.oid: part.file for part in self.parts})


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """What was seen last of a table: its OID, 0 where there was none, and the storage of every partition."""

    oid: int
    files: dict[int, int]


Memory = dict[str, Remembered]
"""By the spelled names of tables."""
_GONE: Final = Remembered(0, {})
_decode_memory: Final = msgspec.json.Decoder(Memory).decode


class Watch:
    """Looks at the captured tables, and writes notices where they have lost rows."""

    def __init__(self, system: str, slot: str, publication: str, names: Sequence[TableName]) -> None:
        self._system = system
        self._slot = slot
        self._publication = publication
        self._names = names
        self._owned = False
        self._memory: Memory = {}
        self._doubts: dict[str, int] = {}

    def begin(self, connection: Connection, before: Publication | None) -> None:
        """The look at the start, within the transaction that corrects the publication.

        `before` is the publication as it was found, None when nothing was read before. Raises NotReady where changes are
        not in the log.
        """
        publication, seen = self._look(connection)
        self._owned = publication.owned
        memory = self._memory_of(seen)
        lost: list[TableName] = []
        known = read_memory(before.comment) if before is not None and before.owned else None
        gone = [name for name in self._names if name not in seen and (known or {}).get(name.spelled) != _GONE]
        if before is not None and before.owned:
            lost = [name for name in seen if _is_lost(known, before, seen[name])]
            memory = {**memory, **_with_old_files(known or {}, seen.values(), lost)}
        self._keep(connection, memory, lost, gone, anew=True)

    def look_again(self, connection: Connection, head_lsn: int, read_lsn: int, truncated: AbstractSet[str]) -> None:
        """A look between. Raises NotReady where changes are missed.

        `head_lsn` is the end of the log, `read_lsn` how far the stream is; it has told that `truncated` were emptied. A partition's new storage is no news where the whole table was truncated, which the stream may have to tell yet.
        """
        try:
            publication, seen = self._look(connection)
            if self._owned and read_memory(publication.comment) is None:
                raise _publication_trouble(self._system, self._names, None)
        except NotReady as problem:
            if self._owned and problem.code == _PUBLICATION:
                raise Unavailable(problem.what, cause=problem.cause, code="publication-mended") from None
            raise
        gone = [name for name in self._names if name not in seen and self._memory[name.spelled] != _GONE]
        lost: list[TableName] = []
        undecided: list[Seen] = []
        for name, table in seen.items():
            before = self._memory[name.spelled]
            if rows_came_or_went(before, table):
                lost.append(name)
            elif was_rewritten(before, table) and name.spelled not in truncated:
                if read_lsn < self._doubts.setdefault(name.spelled, head_lsn):
                    undecided.append(table)
                else:
                    lost.append(name)
        self._doubts = {table.table_name.spelled: self._doubts[table.table_name.spelled] for table in undecided}
        memory = {**self._memory_of(seen), **_with_old_files(self._memory, undecided, ())}
        if memory != self._memory:
            with connection.transaction():
                self._keep(connection, memory, lost, gone, anew=False)

    def _memory_of(self, seen: Mapping[TableName, Seen]) -> Memory:
        return {name.spelled: seen[name].remembered if name in seen else _GONE for name in self._names}

    def _look(self, connection: Connection) -> tuple[Publication, dict[TableName, Seen]]:
        publication = read_publication(connection, self._publication)
        seen = look(connection, self._names)
        problem = trouble(self._system, self._names, seen, publication)
        if problem is not None:
            raise problem
        assert publication is not None
        return publication, seen

    def _keep(
        self,
        connection: Connection,
        memory: Memory,
        lost: Iterable[TableName],
        gone: Iterable[TableName],
        *,
        anew: bool,
    ) -> None:
        write_notices(connection, self._slot, Op.ROWS_LOST, lost)
        write_notices(connection, self._slot, Op.TABLE_GONE, gone)
        if self._owned and (anew or memory != self._memory):
            connection.execute(remember(self._publication, memory))
        self._memory = memory


def _is_lost(known: Memory | None, before: Publication, table: Seen) -> bool:
    """Whether rows of a table may be missing since somebody last looked. One that was not captured then is not."""
    if known is None:
        return True
    remembered = known.get(table.table_name.spelled)
    if remembered is None:
        return False
    published = table.table_name in before.tables and before.complete and not before.filtered
    return not published or rows_came_or_went(remembered, table)


def _with_old_files(known: Memory, seen: Iterable[Seen], lost: Container[TableName]) -> Memory:
    """Tables whose partitions have other storage than before, as they were: the next look decides."""
    return {
        table.table_name.spelled: known[table.table_name.spelled]
        for table in seen
        if table.table_name not in lost
        and table.table_name.spelled in known
        and was_rewritten(known[table.table_name.spelled], table)
    }


def look(connection: Connection, names: Iterable[TableName]) -> dict[TableName, Seen]:
    """Those of the tables that exist."""
    wanted = list(names)
    rows = connection.execute(_LOOK, [[name.schema for name in wanted], [name.name for name in wanted]]).fetchall()
    found = [msgspec.json.decode(text, type=Seen) for (text,) in rows]
    return {seen.table_name: seen for seen in found}


def read_memory(comment: str | None) -> Memory | None:
    """What a publication's comment says was seen last, None when it is not ours or says nothing."""
    if comment is None or not comment.startswith(_PREFIX):
        return None
    try:
        return _decode_memory(comment[len(_PREFIX) :])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def remember(publication: str, memory: Memory) -> str:
    """The statement that keeps it."""
    text = _PREFIX + msgspec.json.encode(memory).decode()
    return f"COMMENT ON PUBLICATION {quote_identifier(publication)} IS {quote_literal(text)}"


def rows_came_or_went(before: Remembered, now: Seen) -> bool:
    """Whether the table was made anew, or a partition was attached or detached, since it was looked at."""
    parts = {part.oid for part in now.parts}
    attached = any(part.attached for part in now.parts if part.oid not in before.files)
    return before.oid != now.oid or attached or not before.files.keys() <= parts


def was_rewritten(before: Remembered, now: Seen) -> bool:
    """Whether a partition has other storage than before: it was truncated alone, or written anew (VACUUM FULL)."""
    return any(before.files.get(part.oid, part.file) != part.file for part in now.parts)


def trouble(
    system: str, names: Sequence[TableName], seen: Mapping[TableName, Seen], publication: Publication | None
) -> NotReady | None:
    """What keeps changes of the tables that exist from reaching the log whole; None when nothing does."""
    for table in seen.values():
        if problem := _table_trouble(system, table):
            return problem
    if publication is not None and publication.complete and not publication.filtered and {*seen} <= publication.tables:
        return None
    return _publication_trouble(system, [name for name in names if name in seen], publication)


def _table_trouble(system: str, table: Seen) -> NotReady | None:
    name = table.table_name
    if table.persistence != "p":
        return _not_logged(system, name.spelled, f"ALTER TABLE {name.sql} SET LOGGED;")
    for part in table.parts:
        if part.kind == "f":
            return _not_logged(system, part.name, f"detach the foreign table {part.name} from {name.spelled}")
        if part.persistence != "p":
            return _not_logged(system, part.name, f"ALTER TABLE {part.name} SET LOGGED;")
    if table.replica_identity == "n" or (table.replica_identity == "d" and not table.has_primary_key):
        return NotReady(
            f"table {name.spelled} in system '{system}' has no replica identity: its updates and deletes fail",
            cause="its primary key was dropped, or it was set to REPLICA IDENTITY NOTHING",
            remedy=f"give it a primary key and run: ALTER TABLE {name.sql} REPLICA IDENTITY DEFAULT;",
            code="replica-identity",
        )
    return None


def _not_logged(system: str, table: str, remedy: str) -> NotReady:
    return NotReady(
        f"changes of {table} in system '{system}' are not in the log",
        cause="it is unlogged, temporary or foreign",
        remedy=f"{remedy} then run 'cdcd resync' for the entities in it",
        code="not-logged",
    )


def _publication_trouble(system: str, names: Sequence[TableName], found: Publication | None) -> NotReady:
    missing = [name for name in names if found is None or name not in found.tables]
    what = ", ".join(sorted(name.spelled for name in missing)) or "all changes"
    return NotReady(
        f"system '{system}' does not publish {what} any more",
        cause="the publication was changed, or a table was made anew under its name; changes since are missed",
        remedy="start cdcd again, which publishes what is captured; then run 'cdcd resync' for the entities in it",
        code=_PUBLICATION,
    )
