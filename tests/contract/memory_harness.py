"""The memory adapter's harness."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cdcd.adapter import Adapter, Identity
from cdcd.model import ColumnShape, Row
from cdcd.testing.harness import Column, Harness, Table
from cdcd_memory import MemoryOptions, MemoryServer
from cdcd_memory import adapter as memory_adapter
from cdcd_memory.server import Operation


class Buffer:
    """Operations of a transaction that is not committed yet."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def insert(self, table: Table, *rows) -> None:
        self.operations += [("insert", table.name, row) for row in rows]

    def update(self, table: Table, key, changes) -> None:
        self.operations.append(("update", table.name, key, changes))

    def delete(self, table: Table, key) -> None:
        self.operations.append(("delete", table.name, key))


class MemoryHarness(Harness):
    can_restart = True
    can_lose_log = True
    enforces_references = False
    speaks_sql = False
    values: Mapping = {
        "boolean": (True, False),
        "integer": (-(2**63), 0, 2**64 - 1),
        "integer(-32768,32767)": (-32768, 32767),
        "decimal(12,4)": ("-99999999.9999", "0.0000", "99999999.9999"),
        "float": (-1.7976931348623157e308, 5e-324, -0.0, 0.1),
        "text": ("", "日本語", "a\0b"),
        "bytes": (b"", bytes(range(256))),
        "date": ("0001-01-01", "9999-12-31"),
        "time": ("-838:59:59", "23:59:59.999999"),
        "datetime": ("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"),
        "instant": ("1970-01-01 00:00:00Z", "2038-01-19 03:14:07.5Z"),
        "uuid": ("00000000-0000-0000-0000-000000000000",),
        "json": ('{"a": [1, null]}',),
        "enum(new,paid)": ("new", "paid"),
        "native(point)": ("(1,2)",),
    }

    def __init__(self, *, prune: bool = False, adapter: Adapter = memory_adapter) -> None:
        self.adapter = adapter
        self.server = MemoryServer("contract", prune=prune)
        self.options = MemoryOptions(server="contract")
        self.identity = Identity("daemon", "erp", "lineage")
        self.confirm_discards = prune

    def create_table(self, table: Table) -> None:
        columns = [ColumnShape(c.name, c.type, c.nullable, has_default=c.automatic) for c in table.columns]
        self.server.create_table(table.name, columns, table.primary_key, *table.unique_keys)

    def add_column(self, table: Table, column: Column) -> None:
        self.server.add_column(table.name, ColumnShape(column.name, column.type))

    @contextmanager
    def transaction(self) -> Iterator[Buffer]:
        buffer = Buffer()
        yield buffer
        self.server.transaction(buffer.operations)

    def rows(self, table: Table) -> list[Row]:
        return [row for _, row in sorted(self.server.tables[table.name].rows.items())]

    def truncate(self, table: Table) -> None:
        with self.server.begin() as transaction:
            transaction.truncate(table.name)

    def restart(self) -> None:
        self.server.restart()

    def lose_log(self) -> None:
        self.server.lose_log()
