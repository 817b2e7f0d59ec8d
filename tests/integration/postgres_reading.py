"""A PostgreSQL source under test, as fixtures: a module imports `harness`, `own_server` and `reading` to have them."""

import time
from collections.abc import Iterator

import msgspec
import pytest

from cdcd.adapter import Source, TableNeed
from cdcd.testing.servers import PostgresServer
from cdcd.testing.stream import Change, StreamReader, Transaction
from cdcd_postgres import adapter
from contract.postgres_harness import PostgresHarness


@pytest.fixture
def harness(postgres: PostgresServer) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(postgres)
    yield harness
    harness.dispose()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """For tests that kill or configure it."""
    with PostgresServer() as server:
        yield server


class Reading:
    """A source of some tables, as `StreamReader` reads it; `done` commits a last row and reads up to it."""

    def __init__(self, harness: PostgresHarness, *tables: str, after: str | None = None, **options) -> None:
        self.harness = harness
        self.options = msgspec.structs.replace(harness.options, **options)
        harness.sql("CREATE TABLE IF NOT EXISTS marker (id serial PRIMARY KEY)")
        self.needs = [TableNeed(table) for table in (*tables, "public.marker")]
        self.source: Source = adapter.open_source(harness.identity, self.options, self.needs)
        self.reader = StreamReader(self.source, after)

    def done(self) -> list[Transaction]:
        self.harness.sql("INSERT INTO marker DEFAULT VALUES")
        before = len(self.reader.log)
        self.reader.read_until(
            lambda: any(
                change.table == "public.marker"
                for entry in self.reader.log[before:]
                if isinstance(entry, Transaction)
                for change in entry.changes
            )
        )
        return [entry for entry in self.reader.transactions if entry.changes[0].table != "public.marker"]

    def changes(self) -> list[Change]:
        return [change for entry in self.done() for change in entry.changes]


@pytest.fixture
def reading(harness) -> Iterator:
    opened: list[Reading] = []

    def start(*tables: str, **arguments) -> Reading:
        opened.append(Reading(harness, *tables, **arguments))
        return opened[-1]

    yield start
    for entry in opened:
        entry.source.close()


def slot(harness: PostgresHarness, column: str):
    name = harness.options.slot_name(harness.identity)
    return harness.sql(f"SELECT {column} FROM pg_replication_slots WHERE slot_name = '{name}'")[0][0]


WAIT_SECONDS = 120
"""A standby that finds nothing to synchronise looks again after up to 30 s (slotsync.c, MAX_SLOTSYNC_WORKER_NAPTIME_MS)."""


def wait_until(condition, poll=lambda: None) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited for {WAIT_SECONDS} seconds"
        poll()
