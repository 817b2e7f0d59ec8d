"""Golden records and the crosswalk: read through a step's cache, written back in the step's one commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from cdcd.model import ABSENT
from cdcd.resolve.keys import after_prefix
from cdcd.resolve.ownership import NOBODY
from cdcd.resolve.renaming import Renames
from cdcd.state import State

CACHE_RECORDS: Final = 20_000
CACHE_BYTES: Final = 16 * 2**20
"""What may be kept between steps: so many records, of so many bytes as they are stored."""
_RECORD_BYTES: Final = 1_000
"""Of a record that somebody may hold: a guess. There are few between steps."""
PAGE_BYTES: Final = 4 * 2**20
_LOOKUP_KEYS: Final = 400


class Record(msgspec.Struct, array_like=True, gc=False):
    """The one true state of a record. `values` by slot; ABSENT is a value that nobody has told.

    `present` and `sent` are systems as bits: it was seen in that system's log; it was sent there (of a deleted record:
    its delete was sent and not yet read back). `existence_by` is the system that last created or deleted it.

    Where ownership moves with the record's state, two more things are kept. `origins`: for each slot the system that
    last changed it, which has the value although no outbox unit ever carried it there. `shadows`: what each system's
    own log last showed, because a row image also holds values that its transaction did not touch, and writes on their
    way there make those differ from `values`.

    `told` holds for each system the units on their way to it, each with the slots (as bits) that no later one carries:
    a slot is on its way exactly as long as its own unit has not been read back.

    Where several systems share fields, `origins` and `shadows` are kept too, and: `changed`, when the last writer's change
    was made (microseconds, by slot); `adding`, what units on their way to a system add to totals: (unit, slot, difference).
    """

    values: list[Any]
    present: int
    sent: int
    alive: bool
    existence_by: int
    changed_seq: int
    changed_at_us: int
    origins: list[int] | None = None
    shadows: dict[int, list[Any]] | None = None
    told: dict[int, list[tuple[int, int]]] = {}
    changed: dict[int, int] = {}
    adding: dict[int, list[tuple[int, int, Any]]] = {}


_VALUES_AT: Final = 1
"""Of a stored record: behind the header of an array of at most 15."""
_ONE_BYTE_MAX: Final = 0x7F
_SYSTEM_BITS: Final = 7
_TRUE: Final = 0xC3
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Record, ext_hook=lambda _code, _data: ABSENT).decode


class GoldenRecords:
    """Golden records by (entity number, key). A changed record must be `put`, or the change is not stored."""

    def __init__(self, state: State, widths: Mapping[int, int], renames: Renames | None = None) -> None:
        """`widths` are the numbers of slots by entity: records stored before a field was added are shorter.

        References to records that `renames` knows are read by their present keys.
        """
        self._connection = state.connection
        self._renames = renames
        self._widths = widths
        self._cache: dict[tuple[int, bytes], Record | bytes | None] = {}
        self._dirty: dict[tuple[int, bytes], Record | bytes] = {}
        """Records as somebody may hold and change them, or as they are stored: those need a third of the memory."""
        self._cached_bytes = 0

    def preload(self, entity: int, keys: Iterable[bytes]) -> None:
        """Read many records with few statements, for a run of changes."""
        cache = self._cache
        wanted = [key for key in dict.fromkeys(keys) if (entity, key) not in cache]
        for start in range(0, len(wanted), _LOOKUP_KEYS):
            part = wanted[start : start + _LOOKUP_KEYS]
            cache.update(dict.fromkeys([(entity, key) for key in part]))
            marks = ",".join("?" * len(part))
            for key, body in self._connection.execute(
                f"SELECT key, body FROM golden WHERE entity=? AND key IN ({marks})", (entity, *part)
            ):
                cache[entity, key] = body
                self._cached_bytes += len(body)

    def _decoded(self, entity: int, body: bytes) -> Record:
        record: Record = _decode(body)
        if len(record.values) < self._widths[entity]:
            _widen(record, self._widths[entity])
        if self._renames is not None:
            self._renames.follow_references(entity, record.values)
        return record

    def get(self, entity: int, key: bytes) -> Record | None:
        """The record, also a deleted one; None when it never was."""
        found = self._found(entity, key)
        if type(found) is bytes:
            found = self._cache[entity, key] = self._decoded(entity, found)
        return found  # type: ignore[return-value]

    def _found(self, entity: int, key: bytes) -> Record | bytes | None:
        try:
            return self._cache[entity, key]
        except KeyError:
            pass
        row = self._connection.execute("SELECT body FROM golden WHERE entity=? AND key=?", (entity, key)).fetchone()
        body = self._cache[entity, key] = None if row is None else row[0]
        self._cached_bytes += 0 if body is None else len(body)
        return body

    def show(self, entity: int, key: bytes, values: bytes, system: int) -> bool:
        """Note that `system` has shown the record with just these values (packed), and say so; False where it is not so.

        False, too, where that cannot be told from how the record is stored: `get` it then.
        """
        body = self._found(entity, key)
        if type(body) is not bytes or not body.startswith(values, _VALUES_AT):
            return False
        at = _VALUES_AT + len(values)  # here begin `present`, `sent` and `alive`
        present = body[at]
        if present > _ONE_BYTE_MAX or body[at + 1] > _ONE_BYTE_MAX or body[at + 2] != _TRUE or system >= _SYSTEM_BITS:
            return False
        if not present >> system & 1:
            shown = b"%b%c%b" % (body[:at], present | 1 << system, body[at + 1 :])
            self._cache[entity, key] = self._dirty[entity, key] = shown
        return True

    def put(self, entity: int, key: bytes, record: Record) -> None:
        """Store a new or changed record with the step's commit."""
        self._cache[entity, key] = self._dirty[entity, key] = record

    def put_all(self, entity: int, keys: Sequence[bytes], records: Iterable[Record]) -> None:
        """Store new records, which nobody holds any more: they may share what they are made of."""
        named = {(entity, key): _encode(record) for key, record in zip(keys, records, strict=True)}
        self._cache.update(named)
        self._dirty.update(named)

    def with_prefix(self, entity: int, prefix: bytes) -> Iterator[tuple[bytes, Record]]:
        """All records of a child entity under one parent key."""
        self.flush()
        rows = self._connection.execute(
            "SELECT key FROM golden WHERE entity=? AND key>=? AND key<?", (entity, prefix, after_prefix(prefix))
        ).fetchall()
        for (key,) in rows:
            record = self.get(entity, key)
            assert record is not None
            yield key, record

    def page(self, entity: int, after: bytes, limit: int) -> list[tuple[bytes, Record]]:
        """Records of an entity in key order, a page at a time: at most `limit`, and about `PAGE_BYTES`."""
        self.flush()
        cursor = self._connection.execute(
            "SELECT key, body FROM golden WHERE entity=? AND key>? ORDER BY key LIMIT ?", (entity, after, limit)
        )
        rows = taken_to(cursor, PAGE_BYTES, 1)
        cached = ((key, self._cache.get((entity, key)), body) for key, body in rows)
        return [(key, it if isinstance(it, Record) else self._decoded(entity, body)) for key, it, body in cached]

    def flush(self) -> None:
        """Write changed records into the state's open transaction."""
        if self._dirty:
            rows = [(*at, it if type(it) is bytes else _encode(it)) for at, it in self._dirty.items()]
            self._connection.executemany("INSERT OR REPLACE INTO golden VALUES (?,?,?)", rows)
            self._cached_bytes += sum([len(body) for _, _, body in rows])
            self._dirty.clear()
        if len(self._cache) > CACHE_RECORDS or self._cached_bytes > CACHE_BYTES:
            self._forget_older()

    def put_away(self) -> None:
        """The same, when nobody holds a record any more: they stay known as they are stored."""
        held = {at: _encode(it) for at, it in self._dirty.items() if type(it) is not bytes}
        self._dirty.update(held)
        self._cache.update(held)
        self.flush()

    def _forget_older(self) -> None:
        """What was told last stays: it is soon read back."""
        kept = min(len(self._cache), CACHE_RECORDS) // 2
        for at in [*islice(self._cache, len(self._cache) - kept)]:
            del self._cache[at]
        self._cached_bytes = sum([len(it) if type(it) is bytes else _RECORD_BYTES for it in self._cache.values()])
        if self._cached_bytes > CACHE_BYTES:
            self._forget()

    def _forget(self) -> None:
        self._cache.clear()
        self._cached_bytes = 0

    def present_key(self, entity: int, key: bytes) -> bytes:
        """The key by which the record goes now that had this one: the same, unless it was renamed."""
        return key if self._renames is None else self._renames.followed(entity, key)

    def former_key(self, entity: int, key: bytes) -> bytes | None:
        """The key that a renamed record had before, as far as it is remembered."""
        return None if self._renames is None else self._renames.former(entity, key)

    def reread(self) -> None:
        """A record was renamed: read anew what may refer to it."""
        self.flush()
        self._forget()

    def discard(self) -> None:
        """Forget everything cached, after a step that failed."""
        self._forget()
        self._dirty.clear()


def taken_to(cursor: Iterable[Sequence[Any]], size_bytes: int, body: int) -> list[Sequence[Any]]:
    """Rows until their column number `body` has come to that many bytes; one at least where there is one."""
    taken: list[Sequence[Any]] = []
    left = size_bytes
    for row in cursor:
        taken.append(row)
        left -= len(row[body])
        if left <= 0:
            break
    return taken


def widened(values: list[Any], width: int) -> list[Any]:
    """Stored values with slots of fields that were added since: nobody has told them yet."""
    return values + [ABSENT] * (width - len(values))


def _widen(record: Record, width: int) -> None:
    record.values = widened(record.values, width)
    if record.origins is not None:
        record.origins += [NOBODY] * (width - len(record.origins))
    if record.shadows is not None:
        record.shadows = {system: widened(shown, width) for system, shown in record.shadows.items()}


class Crosswalk:
    """A row's id in one system -> its record's key, learned from the log and from copies."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection
        self._cache: dict[tuple[int, bytes], bytes | None] = {}
        self._dirty: dict[tuple[int, bytes], bytes] = {}

    def key_of(self, binding: int, row_id: bytes) -> bytes | None:
        """The key of the record that row `row_id` was last seen to hold."""
        try:
            return self._cache[binding, row_id]
        except KeyError:
            pass
        row = self._connection.execute(
            "SELECT key FROM crosswalk WHERE binding=? AND id=?", (binding, row_id)
        ).fetchone()
        key = None if row is None else bytes(row[0])
        self._cache[binding, row_id] = key
        return key

    def preload(self, binding: int, row_ids: Sequence[bytes]) -> None:
        """Read many ids with few statements."""
        cache = self._cache
        wanted = [row_id for row_id in dict.fromkeys(row_ids) if (binding, row_id) not in cache]
        for start in range(0, len(wanted), _LOOKUP_KEYS):
            part = wanted[start : start + _LOOKUP_KEYS]
            cache.update(dict.fromkeys([(binding, row_id) for row_id in part]))
            marks = ",".join("?" * len(part))
            for row_id, key in self._connection.execute(
                f"SELECT id, key FROM crosswalk WHERE binding=? AND id IN ({marks})", (binding, *part)
            ):
                cache[binding, row_id] = key

    def rekey(self, entity: int, old: bytes, new: bytes) -> None:
        """Rows of an entity, in all systems, that hold the record `old`, or a child of it, hold that of `new`."""
        self.flush()
        self._connection.execute(
            "UPDATE crosswalk SET key = CAST(? || substr(key, ?) AS BLOB) WHERE binding>=? AND binding<? AND key>=? AND key<?",
            (new, len(old) + 1, entity << 8, entity + 1 << 8, old, after_prefix(old)),
        )
        self._cache.clear()

    def forget(self, bindings: Iterable[int]) -> None:
        """Rows of these bindings mean nothing any more: they are gone, and new ones have other ids."""
        self.flush()
        self._connection.executemany("DELETE FROM crosswalk WHERE binding=?", [(binding,) for binding in bindings])
        self._cache.clear()

    def learn(self, binding: int, row_id: bytes, key: bytes) -> None:
        """Remember which record a row holds. A deleted row is remembered too: its children's deletes come later."""
        if self._cache.get((binding, row_id)) != key:
            self._cache[binding, row_id] = self._dirty[binding, row_id] = key

    def flush(self) -> None:
        """Write what was learned into the state's open transaction."""
        if self._dirty:
            self._connection.executemany(
                "INSERT OR REPLACE INTO crosswalk VALUES (?,?,?)",
                [(binding, row_id, key) for (binding, row_id), key in self._dirty.items()],
            )
            self._dirty.clear()
        if len(self._cache) > CACHE_RECORDS:
            self._cache.clear()

    def discard(self) -> None:
        """Forget everything cached, after a step that failed."""
        self._cache.clear()
        self._dirty.clear()
