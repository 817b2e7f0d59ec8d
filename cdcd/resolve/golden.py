"""Golden records and the crosswalk: read through a step's cache, written back in the step's one commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import msgspec
from msgspec import structs

from cdcd.model import ABSENT
from cdcd.resolve.keys import after_prefix
from cdcd.resolve.masks import Pick
from cdcd.resolve.ownership import NOBODY
from cdcd.resolve.renaming import Renames
from cdcd.resolve.shown import FOUND, Shown
from cdcd.state import State

CACHE_RECORDS: Final = 20_000
CACHE_BYTES: Final = 16 * 2**20
"""What may be kept between steps: so many records, of so many bytes as they are stored."""
_RECORD_BYTES: Final = 1_000
"""Of a record that somebody may hold: a guess. There are few between steps."""
PAGE_BYTES: Final = 4 * 2**20
_LOOKUP_KEYS: Final = 400
_DENSE_KEYS: Final = 50
"""So many keys that lie next to one another are read and written together: measured, 0.5 and 0.4 µs a record less."""


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
_NO_VALUES: Final = b"\xc1"
"""What MessagePack never uses: no stored record begins with it."""
_REPLACE: Final = "INSERT OR REPLACE INTO golden VALUES"
_REPLACE_MANY: Final = f"{_REPLACE} {','.join(['(?,?,?)'] * _DENSE_KEYS)}"
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
        self._cache: defaultdict[int, dict[bytes, Record | bytes | None]] = defaultdict(dict)
        self._dirty: defaultdict[int, dict[bytes, Record | bytes]] = defaultdict(dict)
        """By entity and key, records as somebody may hold and change them, or as they are stored, in a third of the memory."""
        self._cached_bytes = 0
        self._shown = Shown(state.connection)

    def preload(self, entity: int, keys: Sequence[bytes]) -> None:
        """Read many records with few statements, for a run of changes."""
        cache = self._cache[entity]
        if all(map(cache.__contains__, keys)):
            return
        wanted = [key for key in keys if key not in cache]
        for start in range(0, len(wanted), _LOOKUP_KEYS):
            part = wanted[start : start + _LOOKUP_KEYS]
            found = dict(self._read(entity, part))
            cache.update(zip(part, map(found.get, part), strict=True))
            self._cached_bytes += sum(map(len, found.values()))

    def _read(self, entity: int, keys: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
        """What is stored under these keys, and maybe under some between them."""
        if are_dense(keys):
            query = f"SELECT {FOUND} WHERE entity=? AND key>=? AND key<=? LIMIT +?"
            limit = 2 * len(keys)
            found = self._connection.execute(query, (entity, min(keys), max(keys), limit)).fetchall()
            if len(found) < limit:  # else longer keys lie between these, and who knows how many
                return self._shown.merged(entity, found)
        marks = ",".join("?" * len(keys))
        rows = self._connection.execute(f"SELECT {FOUND} WHERE entity=? AND key IN ({marks})", (entity, *keys))
        return self._shown.merged(entity, rows)

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
            found = self._cache[entity][key] = self._decoded(entity, found)
        return found  # type: ignore[return-value]

    def _found(self, entity: int, key: bytes) -> Record | bytes | None:
        try:
            return self._cache[entity][key]
        except KeyError:
            pass
        rows = self._connection.execute(f"SELECT {FOUND} WHERE entity=? AND key=?", (entity, key))
        found = self._shown.merged(entity, rows)
        body = self._cache[entity][key] = found[0][1] if found else None
        self._cached_bytes += 0 if body is None else len(body)
        return body

    def kept(self, entity: int) -> Mapping[bytes, Record | bytes | None]:
        """What is in memory of an entity, now and later: who finds a `Record` here need not `get` it."""
        return self._cache[entity]

    def changing(self, entity: int) -> dict[bytes, Record | bytes]:
        """What of an entity is stored with the step's commit, now and later: a record that was got and changed may be put here."""
        return self._dirty[entity]

    def are_new(self, entity: int, keys: Sequence[bytes]) -> bool:
        """Whether none of these records, which were preloaded, ever was."""
        return not any(map(self._cache[entity].get, keys))

    def show(self, entity: int, keys: Sequence[bytes], rows: Sequence[bytes], system: int, start: int = 0) -> int:
        """Note from place `start` on that `system` has shown records with just these values (packed), as far as it is so.

        Return the place of the first of which that is not so, or cannot be told from how it is stored: `get` it then.
        """
        if system >= _SYSTEM_BITS:
            return start
        cache, dirty, shown = self._cache[entity], self._dirty[entity], self._shown.new(entity)
        for at in range(start, len(keys)):
            key, values = keys[at], rows[at]
            body = cache[key] if key in cache else self._found(entity, key)
            if type(body) is not bytes or not body.startswith(values, _VALUES_AT):
                return at
            end = _VALUES_AT + len(values)  # here begin `present`, `sent` and `alive`
            present = body[end]
            if present > _ONE_BYTE_MAX or body[end + 1] > _ONE_BYTE_MAX or body[end + 2] != _TRUE:
                return at
            if not present >> system & 1:
                present |= 1 << system
                cache[key] = body = b"%b%c%b" % (body[:end], present, body[end + 1 :])
                if key in dirty:
                    dirty[key] = body
                else:
                    shown[key] = end, present
        return len(keys)

    def packed(self, entity: int, keys: Sequence[bytes], rows: Sequence[list[Any]], pick: Pick) -> list[bytes]:
        """For `show`, of rows that hold some of a record's values, those picked: the record's values, where these are the same.

        Records that must be read for that stay known as they are stored.
        """
        cache, found = self._cache[entity], []
        for key, values in zip(keys, rows, strict=True):
            body = cache.get(key)
            known = _decode(body).values if type(body) is bytes else []
            is_same = len(known) == len(values) and pick(known) == pick(values)
            found.append(_encode(known) if is_same else _NO_VALUES)
        return found

    def put(self, entity: int, key: bytes, record: Record) -> None:
        """Store a new or changed record with the step's commit."""
        if key not in self._cache[entity]:
            self._shown.may_be_of(entity, (key,))
        self._cache[entity][key] = self._dirty[entity][key] = record

    def put_all(self, entity: int, keys: Sequence[bytes], rows: Iterable[list[Any]], like: Record) -> None:
        """Store records of these values, each otherwise `like` this one."""
        packed = _encode(structs.replace(like, values=[]))
        head, tail = packed[:_VALUES_AT], packed[_VALUES_AT + len(_encode([])) :]
        named = {key: head + _encode(values) + tail for key, values in zip(keys, rows, strict=True)}
        cache = self._cache[entity]
        if not all(map(cache.__contains__, keys)):
            self._shown.may_be_of(entity, [key for key in keys if key not in cache])
        cache.update(named)
        self._dirty[entity].update(named)

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
            f"SELECT {FOUND} WHERE entity=? AND key>? ORDER BY key LIMIT ?", (entity, after, limit)
        )
        rows = self._shown.merged(entity, taken_to(cursor, PAGE_BYTES, 1))
        cache = self._cache[entity]
        cached = ((key, cache.get(key), body) for key, body in rows)
        return [(key, it if isinstance(it, Record) else self._decoded(entity, body)) for key, it, body in cached]

    def flush(self) -> None:
        """Write changed records into the state's open transaction."""
        for entity, dirty in self._dirty.items():
            if dirty:
                # In order of key, pages are found and filled one after another: a fifth less than in any other.
                rows = [(entity, key, it if type(it) is bytes else _encode(it)) for key, it in sorted(dirty.items())]
                self._shown.superseded(entity, dirty.keys())
                dirty.clear()
                self._cached_bytes += sum([len(body) for _, _, body in rows])
                self._write(rows)
        self._shown.flush()
        if self.is_full:
            self._forget_older()

    def _write(self, rows: list[tuple[int, bytes, bytes]]) -> None:
        whole = len(rows) - len(rows) % _DENSE_KEYS if are_dense([key for _, key, _ in rows]) else 0
        for start in range(0, whole, _DENSE_KEYS):  # of others SQLite would keep each page aside, in case one row fails
            self._connection.execute(_REPLACE_MANY, [*chain.from_iterable(rows[start : start + _DENSE_KEYS])])
        self._connection.executemany(f"{_REPLACE} (?,?,?)", rows[whole:])

    @property
    def changed(self) -> int:
        """How many changed records are not written yet."""
        return sum(map(len, self._dirty.values())) + self._shown.changed

    @property
    def is_full(self) -> bool:
        """Whether more is in memory than stays there between steps."""
        return self._cached_bytes > CACHE_BYTES or sum(map(len, self._cache.values())) > CACHE_RECORDS

    def put_away(self) -> None:
        """The same, when nobody holds a record any more: they stay known as they are stored."""
        self.pack()
        self.flush()

    def pack(self) -> int:
        """Keep changed records as they are stored, when nobody holds any; return how many bytes these are."""
        size_bytes = 0
        for entity, dirty in self._dirty.items():
            held = {key: _encode(it) for key, it in dirty.items() if type(it) is not bytes}
            dirty.update(held)
            self._cache[entity].update(held)
            size_bytes += sum(map(len, dirty.values()))  # type: ignore[arg-type]
        return size_bytes

    def _forget_older(self) -> None:
        """What was told last stays: it is soon read back."""
        left_bytes = 0
        for entity, cache in self._cache.items():
            kept = min(len(cache), CACHE_RECORDS) // 2
            newest = dict(islice(cache.items(), len(cache) - kept, None))
            cache.clear()
            cache.update(newest)
            self._shown.keep_only(entity, newest.keys())
            left_bytes += sum([len(it) if type(it) is bytes else _RECORD_BYTES for it in newest.values()])
        self._cached_bytes = left_bytes
        if left_bytes > CACHE_BYTES:
            self._forget()

    def _forget(self) -> None:
        for cache in self._cache.values():
            cache.clear()
        self._shown.forget()
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
        self._shown.discard()
        for dirty in self._dirty.values():
            dirty.clear()


def are_dense(keys: Sequence[bytes]) -> bool:
    """Whether these are many keys, and hardly any others of their length lie between them: numbers in a row."""
    if len(keys) < _DENSE_KEYS:
        return False
    first, last = min(keys), max(keys)
    return len(first) == len(last) and int.from_bytes(last, "big") - int.from_bytes(first, "big") < 2 * len(keys)


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
