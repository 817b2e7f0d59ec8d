"""An adapter for tests of the daemon itself: servers that hold nothing, and are down or broken when a file says so.

`directory` is where a test switches a server: a file `down` makes everything Unavailable, `broken` NeedsOperator, and
`slow` has every call wait.
"""

# ruff: noqa: ARG002 - the contract names the arguments

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from cdcd.adapter import Applied, Checkpoint, Finding, Identity, LogKeeping, RowFilter, SourceStatus, TableNeed
from cdcd.errors import NotReady, Unavailable
from cdcd.model import Batch, Chunk, ColumnShape, Event, Op, Relation, Row, Rows, TableShape, TableWrite


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    directory: str


class Server:
    def __init__(self, options: msgspec.Struct) -> None:
        assert isinstance(options, Options)
        self.directory = Path(options.directory)

    def reach(self) -> None:
        while (self.directory / "slow").exists():
            time.sleep(0.05)
        if (self.directory / "down").exists():
            raise Unavailable("the server did not answer", cause="a test says so")
        if (self.directory / "broken").exists():
            raise NotReady("the server lacks something", cause="a test says so", remedy="remove the file")


class IdleSource:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._read, self._write = os.pipe()
        self._requested: str | None = None

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        self._server.reach()
        if (self._server.directory / "finding").exists():
            return [Finding("error", "idle-finding", "a", "item", "something is missing", "remove the file")]
        return []

    def start(self, after: str | None) -> str:
        self._server.reach()
        return after or "0"

    def earliest(self) -> str | None:
        return None

    def fileno(self) -> int:
        return self._read

    def poll(self) -> Sequence[Event]:
        self._server.reach()
        if self._requested is None:
            return []
        os.read(self._read, 1)
        relation = Relation(self._requested, ("id", "name"), ("integer", "text"), (0,))
        self._requested = None
        return [Chunk(Rows(relation, Op.READ, []), None, done=True)]

    def confirm(self, position: str) -> None:
        pass

    def estimate(self, table: str) -> int:
        return 0

    def request_chunk(
        self, table: str, after_key: Row | None, row_limit: int, row_filter: RowFilter | None = None
    ) -> None:
        self._requested = table
        os.write(self._write, b"x")

    def status(self) -> SourceStatus:
        self._server.reach()
        return SourceStatus("0", 0, 0)

    def log_keeping(self) -> LogKeeping:
        self._server.reach()
        return LogKeeping()

    def reached(self, position: str) -> bool:
        return int(position) <= 0

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class IdleTarget:
    def __init__(self, server: Server) -> None:
        self._server = server

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        self._server.reach()
        return []

    def describe(self, tables: Sequence[str]) -> Mapping[str, TableShape]:
        columns = (ColumnShape("id", "integer"), ColumnShape("name", "text"))
        return {table: TableShape(table, columns, ("id",), (("id",),)) for table in tables}

    def checkpoint(self) -> Checkpoint | None:
        self._server.reach()
        return None

    def open(self, *, xref_table: str = "", adopt: str = "") -> int:
        self._server.reach()
        return 0

    def apply(self, writes: Sequence[TableWrite], batch: Batch) -> Applied:
        self._server.reach()
        return Applied()

    def close(self) -> None:
        pass


def _note_descriptors(directory: Path) -> None:
    """What this process has open, for a test that has made the directory: others may not look (see `core_dumps`)."""
    if directory.exists():
        opened = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        (directory / str(os.getpid())).write_text("\n".join(map(str, opened)))


class IdleAdapter:
    options = Options

    def table_name(self, bare: str) -> str:
        return bare

    def open_source(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> IdleSource:
        assert {thread.name for thread in threading.enumerate()} <= {"MainThread", "sign-of-life"}
        _note_descriptors(Server(options).directory / "descriptors")
        return IdleSource(Server(options))

    def open_target(self, identity: Identity, options: msgspec.Struct) -> IdleTarget:
        return IdleTarget(Server(options))


adapter = IdleAdapter()
