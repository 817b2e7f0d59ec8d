"""Reads the captures that `record_pgoutput` has made, for tests and fuzzers, and decodes them without a server."""

import gzip
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cdcd.model import ABSENT, Commit, Event, Idle, Op, PrintedRows, Relation, Rows
from cdcd.printed import rows_of
from cdcd_postgres import notices
from cdcd_postgres.pgoutput import Decoder, Shape
from cdcd_postgres.position import Log
from cdcd_postgres.protocol import StreamRelation
from cdcd_postgres.streamed import Untangler
from cdcd_postgres.types import Types

FOLDER = Path(__file__).parent / "pgoutput"
TYPES = Types(lambda *_: None)


class Capture(NamedTuple):
    """One scenario on one server."""

    name: str
    protocol: int
    state: dict[str, list[dict]]
    frames: list[bytes]


def captures() -> Iterator[Capture]:
    """All that there are."""
    for path in sorted(FOLDER.glob("*/*.frames.gz")):
        name = path.name.removesuffix(".frames.gz")
        about = json.loads(gzip.decompress(path.with_name(f"{name}.json.gz").read_bytes()))
        frames = list(split(gzip.decompress(path.read_bytes())))
        yield Capture(f"{path.parent.name}/{name}", about["protocol"], about["state"], frames)


def split(packed: bytes) -> Iterator[bytes]:
    """The frames of a file; the last may be cut."""
    at = 0
    while at + 4 <= len(packed):
        (length,) = struct.unpack_from(">I", packed, at)
        yield packed[at + 4 : at + 4 + length]
        at += 4 + length


def pack(frames: Iterable[bytes]) -> bytes:
    """A file of frames."""
    return b"".join(struct.pack(">I", len(frame)) + frame for frame in frames)


def resolve(stream: StreamRelation) -> Shape | None:
    """As the catalog would; in all tables of the captures that have no flagged key, column `id` is it. Leaves are not wanted."""
    if stream.name in ("sale_1", "sale_2"):
        return None
    found = [TYPES.column(column.type_oid, column.modifier) for column in stream.columns]
    names = tuple(column.name for column in stream.columns)
    flagged = tuple(number for number, column in enumerate(stream.columns) if column.in_identity)
    identity = flagged if stream.replica_identity != "f" else tuple(n for n, name in enumerate(names) if name == "id")
    relation = Relation(f"{stream.schema}.{stream.name}", names, tuple(found), identity)
    return Shape(relation)


def decode(frames: Iterable[bytes]) -> list[Event]:
    """The events of a capture, or of what a fuzzer has made of one."""
    decoder = Decoder(Log(7, 1), 0, resolve, read_notice=read_notice)
    decoder.tracing = True
    events = decoder.feed(Untangler().feed(frames))
    events += decoder.feed([])
    found = [rows_of(event) if isinstance(event, PrintedRows) else event for event in events]
    return [event for event in found if isinstance(event, Rows | Commit | Idle)]


def read_notice(content: str) -> tuple[Op, str] | None:
    """As a source with slot "golden" does it."""
    found = notices.read_notice(content, "golden")
    return None if found is None else (found[0], found[1].spelled)


def replica(events: Iterable[Event]) -> dict[str, list[dict]]:
    """What a reader has who applies committed events to empty tables."""
    tables: dict[str, list[dict]] = {}
    pending: list[Rows] = []
    for event in events:
        if isinstance(event, Rows):
            pending.append(event)
        elif isinstance(event, Commit):
            for rows in pending:
                _apply(tables.setdefault(rows.relation.table, []), rows)
            pending = []
    assert not pending
    return tables


def _apply(table: list[dict], event: Rows) -> None:
    if event.op is Op.TRUNCATE:
        table.clear()
    key = [event.relation.columns[number] for number in event.relation.identity]
    olds = event.olds or [None] * len(event.rows)
    for row, old in zip(event.rows, olds, strict=True):
        named = dict(zip(event.relation.columns, row, strict=True))
        before = named if old is None else dict(zip(event.relation.columns, old, strict=True))
        found = [entry for entry in table if [entry.get(name) for name in key] == [before[name] for name in key]]
        if event.op is Op.INSERT:
            table.append(named)
        elif event.op is Op.DELETE:
            table.remove(found[0])
        else:
            found[0].update({name: value for name, value in named.items() if value is not ABSENT})
