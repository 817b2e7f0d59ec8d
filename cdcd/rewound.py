"""How many records a rewind is about, before it is asked for."""

from __future__ import annotations

import msgspec

from cdcd.config import Config
from cdcd.resolve.golden import Record
from cdcd.resolve.plan import Vocabulary, root_of
from cdcd.state import State

_PAGE_RECORDS = 2_000
_decode = msgspec.msgpack.Decoder(Record, ext_hook=lambda _code, _data: None).decode


def count_records(state: State, system: str, config: Config, since_us: int | None, since_seq: int) -> dict[str, int]:
    """By entity that `system` has, its records that were changed since then; see `operations.rewinds.Rewind`."""
    known = state.vocabulary or Vocabulary()
    found = {}
    for number, name in enumerate(known.entities):
        root = config.entities.get(root_of(name))
        if root is not None and system in root.bindings:
            found[name] = _count(state, number, since_us, since_seq)
    return found


def _count(state: State, entity: int, since_us: int | None, since_seq: int) -> int:
    count, after = 0, b""
    while rows := state.connection.execute(
        "SELECT key, body FROM golden WHERE entity=? AND key>? ORDER BY key LIMIT ?", (entity, after, _PAGE_RECORDS)
    ).fetchall():
        for _, body in rows:
            record = _decode(body)
            count += record.changed_seq >= since_seq or (since_us is not None and record.changed_at_us >= since_us)
        after = rows[-1][0]
    return count
