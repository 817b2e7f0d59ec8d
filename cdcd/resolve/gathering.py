"""Records that are put together from rows of several tables: kept rows in, wide rows of changed records out.

While an entry of the journal is read, its rows are kept and the records that they concern are noted; at the entry's end
each of these records is put together once, as it is after the whole transaction. What comes out is read like rows of one
table. Before every table of a binding was copied whole, nothing is said about its records; then all are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from cdcd.model import ABSENT, Op, Relation, Row, Rows
from cdcd.resolve.gathered_binding import GatheredBinding, linked_columns
from cdcd.resolve.gathered_rows import GatheredRows, GatheredTable, id_of
from cdcd.resolve.gathered_totals import Totals, share_of
from cdcd.resolve.keys import encode_key
from cdcd.resolve.mapping import binding_number
from cdcd.resolve.plan import MAIN, EntityPlan, Plan, root_of
from cdcd.state import State
from cdcd.values import ValueRefused

PENDING_IN_MEMORY: Final = 20_000
PAGE_RECORDS: Final = 500


class Gathered(msgspec.Struct, frozen=True):
    """Records of one binding that may have changed: `rows` as they are now, by what happened to them.

    `gone` are no records any more: their row ids, and whether the row is still there, but not as the binding says.

    `refused` could not be put together: their row ids, with the reason. `is_woken`: what they had waited for was seen now,
    the entry itself did not change them.
    """

    binding: GatheredBinding
    rows: dict[Op, list[Row]]
    gone: list[tuple[bytes, bool]]
    refused: list[tuple[bytes, ValueRefused]]
    is_woken: bool = False


class Gathering:
    """The gathered bindings of all systems."""

    def __init__(self, plan: Plan, state: State, pulse: Callable[[], None]) -> None:
        """`pulse` is called on the way of what takes long."""
        self._plan = plan
        self._state = state
        self._pulse = pulse
        self._order = {entity.number: place for place, entity in enumerate(plan.entities.values())}
        self._rows = GatheredRows(state)
        self._totals = Totals(state)
        self._bindings: dict[tuple[str, str], list[GatheredBinding]] = {}
        self._by_number: dict[int, GatheredBinding] = {}
        self._tables: dict[tuple[str, str], list[GatheredTable]] = {}
        self._uses: dict[int, list[tuple[GatheredBinding, str]]] = {}
        self._pending: dict[tuple[int, str], dict[bytes, None]] = {}
        self._pending_count = 0
        self._put_aside = False
        self._woken: dict[int, dict[bytes, None]] = {}
        self._waited: dict[tuple[int, bytes], Op] = {}

    # ---- at the start ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Compile the bindings, within the state's transaction: tables get their numbers, changed bindings are read anew."""
        for entity in self._plan.entities.values():
            for system, binding in entity.bindings.items():
                if binding.is_gathered:
                    self._add(entity, system)
        self.load()

    def _add(self, entity: EntityPlan, system: str) -> None:
        binding = entity.bindings[system].as_read(entity.key)
        names = {MAIN: binding.table, **{part.name: part.table for part in binding.parts}}
        tables = {name: self._table(entity.family, system, table) for name, table in names.items()}
        number = binding_number(self._plan, entity, system)
        gathered = GatheredBinding(number, entity, binding, tables, self._rows, self._totals)
        self._bindings.setdefault((entity.family, system), []).append(gathered)
        self._by_number[number] = gathered
        for name, table in tables.items():
            self._uses.setdefault(table.number, []).append((gathered, name))
        known = self._state.connection.execute(
            "SELECT compiled FROM gathered_bindings WHERE binding=?", (number,)
        ).fetchone()
        if known is None or known[0] != gathered.compiled():
            self._read_anew(gathered)

    def _read_anew(self, gathered: GatheredBinding) -> None:
        number = gathered.number
        self._totals.clear(number << 8, number + 1 << 8)
        self._state.connection.execute("DELETE FROM gathered_present WHERE binding=?", (number,))
        self._state.connection.execute(
            "INSERT OR REPLACE INTO gathered_bindings VALUES (?,?,?)",
            (number, gathered.compiled(), json.dumps(sorted(gathered.binding.tables))),
        )

    def forget(self, system: str) -> None:
        """All rows of a system are gone, and new ones will come with other ids: keep nothing of them."""
        for (at, _), tables in self._tables.items():
            for table in tables if at == system else ():
                self._rows.clear(table.number)
        for (_, at), bindings in self._bindings.items():
            for gathered in bindings if at == system else ():
                self._totals.clear(gathered.number << 8, gathered.number + 1 << 8)
                for kept in ("gathered_present", "gathered_pending"):
                    self._state.connection.execute(f"DELETE FROM {kept} WHERE binding=?", (gathered.number,))

    def _table(self, family: str, system: str, table: str) -> GatheredTable:
        """The one table of a family by that name; where other columns are kept than before, its rows are forgotten."""
        known = self._tables.setdefault((system, table), [])
        found = next((t for t in known if t.family == family), None)
        if found is not None:
            return found
        columns, linked, one_id = self._kept(family, system, table)
        stored = self._state.connection.execute(
            'SELECT number, columns, shape FROM gathered_tables WHERE family=? AND system=? AND "table"=?',
            (family, system, table),
        ).fetchone()
        number = self._next_table() if stored is None else stored[0]
        found = GatheredTable(number, family, table, columns, linked, one_id=one_id)
        if stored is not None and stored[1] == json.dumps([columns, sorted(linked)]):
            found.take_shape(stored[2])
        else:
            self._rows.clear(number)
            self._state.connection.execute(
                "INSERT OR REPLACE INTO gathered_tables VALUES (?,?,?,?,?,?)",
                (number, family, system, table, json.dumps([columns, sorted(linked)]), found.shape()),
            )
        known.append(found)
        return found

    def _next_table(self) -> int:
        return int(
            self._state.connection.execute("SELECT coalesce(max(number), 0) + 1 FROM gathered_tables").fetchone()[0]
        )

    def _kept(self, family: str, system: str, table: str) -> tuple[tuple[str, ...], frozenset[str], bool]:
        """What the bindings of a family need of a table: columns, those that link, and whether its id is asked for."""
        columns: dict[str, None] = {}
        linked: set[str | None] = set()
        for entity in self._plan.entities.values():
            binding = entity.bindings.get(system)
            if entity.family != family or binding is None or not binding.is_gathered:
                continue
            binding = binding.as_read(entity.key)
            links = linked_columns(binding)
            for name in (MAIN, *(part.name for part in binding.parts)):
                if table == (binding.table if name == MAIN else binding.part(name).table):
                    columns.update(dict.fromkeys(binding.read_from(name)))
                    linked |= links[name]
        return tuple(columns), frozenset(name for name in linked if name is not None), None in linked

    def load(self) -> None:
        """Take up what is stored: at the start, and after a step that failed."""
        self._rows.discard()
        self._pending.clear()
        self._woken.clear()
        self._waited.clear()
        self._pending_count = 0
        self._put_aside = False
        awaited = dict(self._state.connection.execute("SELECT binding, awaited FROM gathered_bindings"))
        for gathered in self._all():
            gathered.awaited = set(json.loads(awaited[gathered.number]))
        shapes = dict(self._state.connection.execute("SELECT number, shape FROM gathered_tables"))
        for table in (table for tables in self._tables.values() for table in tables):
            table.take_shape(shapes[table.number])
        for gathered in self._all():
            gathered.forget_relation()

    def _all(self) -> Iterator[GatheredBinding]:
        return (gathered for bindings in self._bindings.values() for gathered in bindings)

    def is_awaiting(self, entity: str) -> bool:
        """Whether tables of the entity must still be copied before its records can be told."""
        return any(gathered.awaited for gathered in self._all() if gathered.entity.name == entity)

    # ---- rows of the log and of copies -----------------------------------------------------------------------

    def has_use_for(self, source: str, table: str) -> bool:
        """Whether records are put together from rows of that table, among others."""
        return (source, table) in self._tables

    def take(self, source: str, rows: Rows, families: frozenset[str], seq: int) -> bool:
        """Keep rows for these families; return whether anybody needs them. Raises CannotRead."""
        needed = False
        for table in self._tables.get((source, rows.relation.table), ()):
            if table.family in families:
                needed = True
                self._take(table, rows, seq)
        return needed

    def _take(self, table: GatheredTable, rows: Rows, seq: int) -> None:
        self._learn(table, rows.relation)
        picked = table.picked(rows.relation)
        kept = [[row[at] for at in picked] for row in rows.rows]
        identity = rows.relation.identity
        ids = [id_of([row[at] for at in identity]) for row in rows.rows]
        self._rows.preload(table, ids)
        if rows.op == Op.DELETE:
            for row_id in ids:
                self._lose(table, row_id)
            return
        for old in rows.olds or ():
            if old is not None:
                self._lose(table, id_of([old[at] for at in identity]))
        changed: dict[bytes, Row] = {}
        for row_id, row in zip(ids, kept, strict=True):
            known = changed.get(row_id) or self._rows.get(table, row_id)
            if known is not None:
                row = [old if new is ABSENT else new for new, old in zip(row, known, strict=True)]  # noqa: PLW2901
            if row == known and rows.op != Op.READ:
                continue
            if known is not None and row != known:
                self._mark(table, row_id, known)
            self._mark(table, row_id, row, read=rows.op == Op.READ and row == known)
            changed[row_id] = row
        self._rows.put(table, changed, seq)

    def _learn(self, table: GatheredTable, relation: Relation) -> None:
        if table.learn(relation):
            self._state.connection.execute(
                "UPDATE gathered_tables SET shape=? WHERE number=?", (table.shape(), table.number)
            )
            for gathered, _ in self._uses[table.number]:
                gathered.forget_relation()

    def _lose(self, table: GatheredTable, row_id: bytes) -> None:
        row = self._rows.get(table, row_id)
        if row is not None:
            self._mark(table, row_id, row)
            self._rows.delete(table, row_id)

    def _mark(self, table: GatheredTable, row_id: bytes, row: Row, *, read: bool = False) -> None:
        """Note which records a row concerns. One that a copy has shown as it was concerns only the record it is the main row of."""
        for gathered, name in self._uses[table.number]:
            if gathered.awaited or (read and name != MAIN) or not gathered.is_concerned(name, row):
                continue
            for part, concerned in gathered.climb(name, row_id, row):
                self._note(gathered, part, concerned)

    def _note(self, gathered: GatheredBinding, part: str, row_id: bytes) -> None:
        found = self._pending.setdefault((gathered.number, part), {})
        if row_id not in found:
            found[row_id] = None
            self._pending_count += 1
            if self._pending_count >= PENDING_IN_MEMORY:
                self._store_pending()

    def _store_pending(self) -> None:
        """Put aside which records are to be put together (Invariant 11)."""
        for (number, part), ids in self._pending.items():
            self._state.connection.executemany(
                "INSERT OR IGNORE INTO gathered_pending VALUES (?,?,?)", [(number, part, row_id) for row_id in ids]
            )
        self._pending.clear()
        self._pending_count = 0
        self._put_aside = True

    def wake(self, number: int, row_id: bytes, op: Op, *, is_fresh: bool) -> bool:
        """Have the record put together anew whose main row the crosswalk knows as `row_id`; False for other bindings.

        `op` is what had happened to it when it began to wait. `is_fresh`: the entry that is read now has shown it, and
        what it waits for too.
        """
        gathered = self._by_number.get(number)
        if gathered is None:
            return False
        found = self._state.connection.execute(
            "SELECT id FROM gathered_present WHERE binding=? AND row_id=?", (number, row_id)
        )
        for (main_id,) in found.fetchall():
            self._waited[number, main_id] = op
            if is_fresh:
                self._note(gathered, MAIN, main_id)
            else:
                self._woken.setdefault(number, {})[main_id] = None
        return True

    def claim(self, number: int, row_id: bytes, key: bytes) -> bool:
        """Let the row be the record `key` of its system; False while another row is, which no unique index may forbid.

        A row that gives up another key leaves it to who waits for it.
        """
        execute = self._state.connection.execute
        at = (number, row_id)
        had = execute("SELECT key FROM gathered_present WHERE binding=? AND row_id=?", at).fetchone()
        if had is not None and had[0] == key:
            return True
        other = execute(
            "SELECT 1 FROM gathered_present WHERE binding=? AND key=? AND row_id<>? LIMIT 1", (number, key, row_id)
        )
        mine, wanted = (key, None) if other.fetchone() is None else (None, key)
        execute("UPDATE gathered_present SET key=?, held_for=? WHERE binding=? AND row_id=?", (mine, wanted, *at))
        if had is not None and had[0] is not None:
            self._give_up(number, had[0])
        return mine is not None

    def lose(self, number: int, key: bytes) -> None:
        """The main row of a record is not there any more, though nobody has shown that it went."""
        found = self._state.connection.execute(
            "SELECT id FROM gathered_present WHERE binding=? AND key=?", (number, key)
        )
        gathered = self._by_number[number]
        for (main_id,) in found.fetchall():
            self._lose(gathered.tables[MAIN], main_id)

    def _give_up(self, number: int, key: bytes) -> None:
        waiting = self._state.connection.execute(
            "SELECT id FROM gathered_present WHERE binding=? AND held_for=?", (number, key)
        ).fetchall()
        for (main_id,) in waiting:
            self._note(self._by_number[number], MAIN, main_id)

    # ---- records ---------------------------------------------------------------------------------------------

    def changed(self, source: str, families: frozenset[str], *, copied: bool) -> Iterator[Gathered]:
        """The records of these families that may have changed, in the plan's order; what that changes comes next.

        `copied`: a copy has shown them, and not an application changed them.
        """
        again = True
        while again and (self._pending or self._put_aside or self._woken):
            again = False
            for gathered in self._in_order(source, families):
                for ids in self._take_pending(gathered):
                    again = True
                    yield self._put_together(gathered, ids, copied=copied, is_woken=False)
                    self._pulse()
                woken = [*self._woken.pop(gathered.number, ())]
                for start in range(0, len(woken), PAGE_RECORDS):
                    again = True
                    ids = woken[start : start + PAGE_RECORDS]
                    yield self._put_together(gathered, ids, copied=copied, is_woken=True)

    def _in_order(self, source: str, families: frozenset[str]) -> list[GatheredBinding]:
        found = [g for family in families for g in self._bindings.get((family, source), ())]
        return sorted(found, key=lambda gathered: self._order[gathered.entity.number])

    def _take_pending(self, gathered: GatheredBinding) -> Iterator[list[bytes]]:
        """What is pending of one binding: first its totals are brought up to date, then its main rows come, a page at a time."""
        for part in gathered.summed:
            for ids in self._pages_of(gathered, part):
                self._add_up(gathered, part, ids)
        yield from self._pages_of(gathered, MAIN)

    def _pages_of(self, gathered: GatheredBinding, part: str) -> Iterator[list[bytes]]:
        found = list(self._pending.pop((gathered.number, part), ()))
        self._pending_count -= len(found)
        for start in range(0, len(found), PAGE_RECORDS):
            yield found[start : start + PAGE_RECORDS]
        while self._put_aside:
            execute = self._state.connection.execute
            at = (gathered.number, part)
            rows = execute(
                "SELECT id FROM gathered_pending WHERE binding=? AND part=? ORDER BY id LIMIT ?", (*at, PAGE_RECORDS)
            ).fetchall()
            if not rows:
                self._put_aside = execute("SELECT 1 FROM gathered_pending LIMIT 1").fetchone() is not None
                return
            execute("DELETE FROM gathered_pending WHERE binding=? AND part=? AND id<=?", (*at, rows[-1][0]))
            yield [row_id for (row_id,) in rows]

    def _add_up(self, gathered: GatheredBinding, part: str, ids: list[bytes]) -> None:
        """Bring the totals over a part's rows up to date, and note the records that they concern."""
        table, number = gathered.tables[part], gathered.total_number(part)
        self._rows.preload(table, ids)
        columns = [table.at[name] for name in gathered.summed[part]]
        for row_id in ids:
            row = self._rows.get(table, row_id)
            old = self._totals.share(number, row_id)
            new = None
            if row is not None and gathered.is_summed(part, row_id, row):
                new = share_of(gathered.link_value(part, row_id, row), [row[at] for at in columns])
            if new == old:
                continue
            self._totals.change(number, row_id, old, new)
            for share in (old, new):
                for _, main_id in gathered.climb_total(part, share.link) if share is not None else ():
                    self._note(gathered, MAIN, main_id)

    def _put_together(self, gathered: GatheredBinding, ids: list[bytes], *, copied: bool, is_woken: bool) -> Gathered:
        self._rows.preload(gathered.tables[MAIN], ids)
        was = self._present(gathered.number, ids)
        found = Gathered(gathered, {}, [], [], is_woken)
        new: list[tuple[int, bytes, bytes]] = []
        gone: list[tuple[int, bytes]] = []
        for main_id in ids:
            try:
                wide = gathered.wide_row(main_id)
            except ValueRefused as refused:
                row_id = was.get(main_id) or self._row_id(gathered, main_id)
                new.append((gathered.number, main_id, row_id))
                found.refused.append((row_id, refused))
                continue
            if wide is not None and gathered.has_key(wide):
                op = Op.READ if copied else Op.UPDATE if main_id in was else Op.INSERT
                op = self._waited.pop((gathered.number, main_id), op)
                found.rows.setdefault(op, []).append(wide)
                new.append((gathered.number, main_id, self._id_in(gathered, wide)))
            elif main_id in was:
                is_there = self._rows.get(gathered.tables[MAIN], main_id) is not None
                found.gone.append((was[main_id], is_there))
                gone.append((gathered.number, main_id))
        execute = self._state.connection.executemany
        execute(
            "INSERT OR REPLACE INTO gathered_present (binding, id, row_id) VALUES (?,?,?)",
            [at for at in new if was.get(at[1]) != at[2]],
        )
        for at in gone:
            (key,) = self._state.connection.execute(
                "DELETE FROM gathered_present WHERE binding=? AND id=? RETURNING key", at
            ).fetchone()
            if key is not None:
                self._give_up(gathered.number, key)
        return found

    def _present(self, number: int, ids: list[bytes]) -> dict[bytes, bytes]:
        """Which of these main rows were records when they were last looked at, with their ids in the crosswalk."""
        marks = ",".join("?" * len(ids))
        return dict(
            self._state.connection.execute(
                f"SELECT id, row_id FROM gathered_present WHERE binding=? AND id IN ({marks})", (number, *ids)
            ).fetchall()
        )

    def _id_in(self, gathered: GatheredBinding, wide: Row) -> bytes:
        """The id of a wide row in the crosswalk."""
        relation = gathered.relation()
        named = gathered.binding.id_column
        at = relation.identity if named is None else (relation.columns.index(named),)
        return encode_key([wide[place] for place in at])

    def _row_id(self, gathered: GatheredBinding, main_id: bytes) -> bytes:
        main = gathered.tables[MAIN]
        row = self._rows.get(main, main_id)
        assert row is not None, "a row that could not be put together is not there"
        named = gathered.binding.id_column
        values: list[Any] = row[len(main.columns) :] if named is None else [row[main.at[named]]]
        return encode_key(values)

    # ---- copies ----------------------------------------------------------------------------------------------

    def copied(self, source: str, table_name: str, run: int, families: frozenset[str]) -> list[GatheredBinding]:
        """A table was read whole by copy number `run`. Return the bindings that nothing more is awaited for now.

        Rows that the copy has not shown are gone. Where a binding was awaiting this table last, all its records are told.
        """
        complete: list[GatheredBinding] = []
        for table in self._tables.get((source, table_name), ()):
            if table.family not in families:
                continue
            while ids := self._rows.not_shown(table, run):
                for row_id in ids:
                    self._lose(table, row_id)
                self._pulse()
            users = dict.fromkeys(gathered for gathered, _ in self._uses[table.number])
            complete += [gathered for gathered in users if self._no_longer_awaits(gathered, table_name)]
        return complete

    def _no_longer_awaits(self, gathered: GatheredBinding, table: str) -> bool:
        """Note that a table of the binding was read; return whether that was the last one."""
        if table not in gathered.awaited:
            return False
        gathered.awaited.discard(table)
        self._state.connection.execute(
            "UPDATE gathered_bindings SET awaited=? WHERE binding=?",
            (json.dumps(sorted(gathered.awaited)), gathered.number),
        )
        if gathered.awaited:
            return False
        for part in (*gathered.summed, MAIN):
            for page in self._rows.pages(gathered.tables[part]):
                for row_id, row in page:
                    if gathered.is_concerned(part, row):
                        self._note(gathered, part, row_id)
                self._pulse()
        return True


def families_of(entities: Mapping[str, Any] | frozenset[str]) -> frozenset[str]:
    """The families of entities: a child collection ("order.lines") belongs to its parent's."""
    return frozenset(root_of(name) for name in entities)
