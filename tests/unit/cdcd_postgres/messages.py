"""Hand-made messages of a replication stream (PostgreSQL documentation, "Logical Replication Message Formats")."""

import struct

ABSENT_TEXT = object()
"""Stands for an unchanged TOAST value in a tuple."""


def string(text: str) -> bytes:
    return text.encode() + b"\0"


def wal(body: bytes, lsn: int = 0) -> bytes:
    return b"w" + struct.pack(">QQq", lsn, lsn, 0) + body


def keepalive(lsn: int, *, reply: bool = False) -> bytes:
    return b"k" + struct.pack(">QqB", lsn, 0, reply)


def begin(commit_lsn: int, xid: int = 7) -> bytes:
    return wal(b"B" + struct.pack(">QqI", commit_lsn, 0, xid))


def commit(end_lsn: int, at_us: int = 0) -> bytes:
    return wal(b"C" + struct.pack(">BQQq", 0, end_lsn - 8, end_lsn, at_us))


def relation(
    oid: int, name: str, *columns: tuple[str, int, int, bool], schema: str = "public", replica: str = "d"
) -> bytes:
    """Columns are name, type OID, modifier, whether in the identity."""
    parts = [struct.pack(">I", oid), string(schema), string(name), replica.encode(), struct.pack(">H", len(columns))]
    parts += [
        bytes([flag]) + string(column) + struct.pack(">Ii", kind, modifier) for column, kind, modifier, flag in columns
    ]
    return wal(b"R" + b"".join(parts))


def tuple_data(*values: object) -> bytes:
    parts = [struct.pack(">H", len(values))]
    for value in values:
        if value is None:
            parts.append(b"n")
        elif value is ABSENT_TEXT:
            parts.append(b"u")
        else:
            data = value if isinstance(value, bytes) else str(value).encode()
            parts.append(b"t" + struct.pack(">I", len(data)) + data)
    return b"".join(parts)


def insert(oid: int, *values: object) -> bytes:
    return wal(b"I" + struct.pack(">I", oid) + b"N" + tuple_data(*values))


def update(oid: int, *values: object, key: tuple = (), old: tuple = ()) -> bytes:
    """`key` and `old` are old tuples of kinds K and O."""
    before = b"K" + tuple_data(*key) if key else b"O" + tuple_data(*old) if old else b""
    return wal(b"U" + struct.pack(">I", oid) + before + b"N" + tuple_data(*values))


def delete(oid: int, *, key: tuple = (), old: tuple = ()) -> bytes:
    return wal(b"D" + struct.pack(">I", oid) + (b"K" + tuple_data(*key) if key else b"O" + tuple_data(*old)))


def truncate(*oids: int) -> bytes:
    return wal(b"T" + struct.pack(">IB", len(oids), 0) + b"".join(struct.pack(">I", oid) for oid in oids))


def message(prefix: str, content: str, *, transactional: bool = True) -> bytes:
    data = content.encode()
    return wal(b"M" + struct.pack(">BQ", transactional, 0) + string(prefix) + struct.pack(">I", len(data)) + data)
