"""Journals for tests: entries of one table, written in a line, and damaged on purpose."""

from pathlib import Path
from typing import Any

from cdcd.journal import ChunkNote, Draft, Journal, Kind, encode_note
from cdcd.model import Op, Relation, Row, Rows
from cdcd.sqlite_driver import sqlite

ITEM = Relation("public.item", ("id", "name"), ("integer", "text"), (0,))
OTHER = Relation("public.other", ("id", "name"), ("integer", "text"), (0,))


def rows(*names: Any, op: Op = Op.INSERT, relation: Relation = ITEM) -> Rows:
    made: list[Row] = [[number, name] for number, name in enumerate(names)]
    return Rows(relation, op, made, [None] * len(made) if op is Op.UPDATE else None)


def add(journal: Journal, source: str, *runs: Rows, position: str = "p", at_us: int = 1, **more: Any) -> int:
    """Append one transaction; return its seq."""
    body = journal.encode(source, runs) if runs else b""
    draft = Draft(Kind.LOG, position, at_us, sum(run.count or 1 for run in runs), body)
    for name, value in more.items():
        setattr(draft, name, value)
    journal.append(source, [draft], position)
    return journal.last_seq()


def add_chunk(journal: Journal, source: str, run: Rows, *, done: bool = False) -> int:
    note = encode_note(ChunkNote(run.relation.table, 0, done))
    draft = Draft(Kind.CHUNK, "", 1, run.count, journal.encode(source, [run]), note=note)
    journal.append(source, [draft], None)
    return journal.last_seq()


def add_staged(journal: Journal, source: str, *parts: Rows, position: str = "p") -> int:
    """A large transaction, all of it in parts."""
    stage = None
    for number, part in enumerate(parts):
        stage = journal.stage(source, stage, number, journal.encode(source, [part]))
    changes = sum(len(part.rows) for part in parts)
    journal.append(source, [Draft(Kind.LOG, position, 1, changes, stage=stage)], position)
    return journal.last_seq()


def damage(path: Path, sql: str, *parameters: Any) -> None:
    """Change the file behind everybody's back."""
    connection = sqlite.connect(path, isolation_level=None)
    connection.create_function("flipped", 1, _flipped)
    changed = connection.execute(sql, parameters).rowcount
    connection.close()
    assert changed, "nothing was damaged"


def _flipped(value: Any) -> Any:
    """One bit of it is another."""
    if isinstance(value, int):
        return value ^ 4
    encoded = bytearray(value if isinstance(value, bytes) else value.encode())
    encoded[len(encoded) // 2] ^= 1
    return bytes(encoded) if isinstance(value, bytes) else encoded.decode("utf-8", "replace")
