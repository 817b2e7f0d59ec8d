"""Positions on servers that are not what they were: set back, promoted, with a slot that is not the one that was read."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.errors import PositionLost
from cdcd.testing.server_process import ServerProcess, run_as
from cdcd.testing.servers import PostgresBinaries, PostgresServer, _quoted_value, find_postgres
from cdcd_postgres.position import parse_position
from contract.postgres_harness import PostgresHarness
from integration.postgres_reading import Reading, harness, own_server, reading, slot, wait_until  # noqa: F401 (fixtures)

FAILOVER_MAJOR_MIN = 17


class Standby(PostgresServer):
    """A physical standby of `primary`, which is stopped for a moment, to be copied when this starts."""

    def __init__(self, primary: PostgresServer, database: str) -> None:
        super().__init__(primary.binaries.path)
        self._primary = primary
        self.settings["primary_conninfo"] = primary.dsn(database)
        self.settings["primary_slot_name"] = "standby"
        self.settings["hot_standby_feedback"] = "on"

    def _initialise(self) -> None:
        data = self.directory / "data"
        self._primary.stop()
        subprocess.run(["cp", "-a", str(self._primary.directory / "data"), str(data)], check=True)
        self._primary.start()
        for directory in (data / "pg_replslot").iterdir():
            shutil.rmtree(directory)
        self._configure(data)

    def _configure(self, data: Path) -> None:
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = {_quoted_value(value)}\n" for key, value in self.settings.items())
        run_as(self.account, ["touch", str(data / "standby.signal")], self.environment)

    def start(self) -> None:
        ServerProcess.start(self)

    def promote(self) -> None:
        self.execute("postgres", "SELECT pg_promote()")


class SynchronisingStandby(Standby):
    """A standby that takes over slots, made by pg_basebackup while the primary is read."""

    def __init__(self, primary: PostgresServer, database: str) -> None:
        super().__init__(primary, database)
        self.settings["sync_replication_slots"] = "on"

    def _initialise(self) -> None:
        data = self.directory / "data"
        options = ["-X", "stream", "--checkpoint=fast", "--no-sync", "-D", str(data), "-d", self._primary.dsn()]
        run_as(self.account, [str(self.binaries.path / "pg_basebackup"), *options], self.environment)
        self._configure(data)


def on(server: PostgresServer, harness: PostgresHarness) -> PostgresHarness:
    """The same database and identity on another server."""
    other = PostgresHarness.__new__(PostgresHarness)
    other.__dict__ = {**harness.__dict__, "server": server}
    other.options = type(harness.options)(dsn=server.dsn(harness.database))
    return other


# ---- set back --------------------------------------------------------------------------------------------------------


@pytest.fixture
def set_back(own_server: PostgresServer) -> Iterator:
    """Keeps the server's files now, and later puts them back: a snapshot of the machine, a restored backup."""
    data = own_server.directory / "data"
    kept = own_server.directory / "kept"

    def keep() -> None:
        own_server.kill()
        subprocess.run(["cp", "-a", str(data), str(kept)], check=True)
        own_server.start()

    def put_back() -> None:
        own_server.kill()
        shutil.rmtree(data)
        kept.rename(data)
        own_server.start()

    return keep, put_back


def test_a_server_that_was_set_back_before_our_position_is_recognised(own_server, set_back):
    keep, put_back = set_back
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = Reading(harness, "public.a")
    session.done()
    session.source.close()
    keep()
    session = Reading(harness, "public.a", after=session.reader.position)
    harness.sql("INSERT INTO a SELECT generate_series(1, 1000)")
    session.done()
    session.source.close()
    put_back()
    with pytest.raises(PositionLost, match="restored from a backup"):
        Reading(harness, "public.a", after=session.reader.position)


@pytest.mark.parametrize("captured", [True, False], ids=["with rows of ours", "without rows of ours"])
def test_a_server_that_was_set_back_and_has_written_on_beyond_our_position_is_recognised(
    own_server, set_back, captured
):
    keep, put_back = set_back
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE other (v text)")
    session = Reading(harness, "public.a")
    session.done()
    session.source.confirm(session.reader.position)
    session.source.close()
    keep()
    session = Reading(harness, "public.a", after=session.reader.position)
    harness.sql("INSERT INTO a SELECT generate_series(1, 100)")
    session.done()
    session.source.confirm(session.reader.position)
    session.source.close()
    put_back()
    if captured:
        harness.sql("INSERT INTO a SELECT generate_series(1000, 3000)")
    harness.sql("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    resumed = Reading(harness, "public.a", after=session.reader.position)
    with pytest.raises(PositionLost, match="set back"):
        resumed.done()
    resumed.source.close()


def test_what_was_not_confirmed_before_a_crash_is_read_again_and_not_taken_for_another_log(own_server):
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = Reading(harness, "public.a")
    harness.sql("INSERT INTO a VALUES (1)")
    harness.sql("INSERT INTO a VALUES (2)")
    session.done()
    session.source.close()
    own_server.kill()
    own_server.start()
    for after in [entry.position for entry in session.reader.log]:
        resumed = Reading(harness, "public.a", after=after)
        resumed.done()
        resumed.source.close()
        position = parse_position(after)
        assert all(parse_position(entry.position).lsn > position.lsn for entry in resumed.reader.transactions)
        seen = [entry for entry in session.reader.transactions if parse_position(entry.position).lsn > position.lsn]
        assert resumed.reader.transactions[: len(seen)] == seen


# ---- standbys --------------------------------------------------------------------------------------------------------


def test_a_promoted_standby_without_the_slot_is_a_lost_position(own_server):
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    own_server.execute("postgres", "SELECT pg_create_physical_replication_slot('standby')")
    with Standby(own_server, harness.database) as standby:
        session = Reading(harness, "public.a")
        harness.sql("INSERT INTO a VALUES (1)")
        session.done()
        wait_until(lambda: caught_up(own_server, standby))
        session.source.close()
        own_server.stop()
        standby.promote()
        with pytest.raises(PositionLost, match="does not exist") as caught:
            Reading(on(standby, harness), "public.a", after=session.reader.position)
        assert "bring the server back" in caught.value.remedy


def test_a_standby_that_was_promoted_before_it_had_everything_is_a_lost_position(own_server):
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    own_server.execute("postgres", "SELECT pg_create_physical_replication_slot('standby')")
    session = Reading(harness, "public.a")
    session.source.close()
    with Standby(own_server, harness.database) as standby:
        standby.kill()
        session = Reading(harness, "public.a", after=session.reader.started_at)
        harness.sql("INSERT INTO a SELECT generate_series(1, 1000)")
        session.done()
        session.source.close()
        own_server.kill()
        standby.start()
        standby.promote()
        with pytest.raises(PositionLost, match="branches off"):
            Reading(on(standby, harness), "public.a", after=session.reader.position)


def test_reading_goes_on_at_a_promoted_standby_that_has_synchronised_the_slot():
    binaries = next((found for found in find_postgres() if found.major >= FAILOVER_MAJOR_MIN and can_copy(found)), None)
    if binaries is None:
        pytest.skip("slots that survive a failover came with PostgreSQL 17, and pg_basebackup is needed")
    with PostgresServer(binaries.path) as primary:
        harness = PostgresHarness(primary)
        harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
        primary.execute("postgres", "SELECT pg_create_physical_replication_slot('standby', true)")
        session = Reading(harness, "public.a")
        assert slot(harness, "failover")
        with SynchronisingStandby(primary, harness.database) as standby:
            there = on(standby, harness)
            harness.sql("INSERT INTO a VALUES (1)")
            session.done()
            session.source.confirm(session.reader.position)
            wait_until(lambda: caught_up(primary, standby) and is_synchronised(there))
            harness.sql("INSERT INTO a VALUES (2)")
            session.done()
            wait_until(lambda: caught_up(primary, standby))
            session.source.close()
            primary.kill()
            standby.promote()
            there.sql("INSERT INTO a VALUES (3)")
            resumed = Reading(there, "public.a", after=session.reader.position)
            assert [change.row["id"] for change in resumed.changes()] == [3]
            assert parse_position(resumed.reader.position).timeline == 2
            resumed.source.close()


def test_a_slot_that_was_made_without_failover_gets_it(reading, harness):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    if harness.server.binaries.major < FAILOVER_MAJOR_MIN:
        pytest.skip("slots that survive a failover came with PostgreSQL 17")
    name = harness.options.slot_name(harness.identity)
    harness.sql(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    reading("public.a")
    assert slot(harness, "failover")


def can_copy(binaries: PostgresBinaries) -> bool:
    """A server's programs may be there without the client's, or without the libraries that those need."""
    program = binaries.path / "pg_basebackup"
    return program.exists() and subprocess.run([program, "--version"], check=False, capture_output=True).returncode == 0


def caught_up(primary: PostgresServer, standby: PostgresServer) -> bool:
    """Has replayed all that the primary has written until now."""
    ((here,),) = primary.execute("postgres", "SELECT pg_current_wal_flush_lsn()")
    return bool(standby.execute("postgres", f"SELECT pg_last_wal_replay_lsn() >= '{here}'")[0][0])


def is_synchronised(harness: PostgresHarness) -> bool:
    name = harness.options.slot_name(harness.identity)
    rows = harness.sql(f"SELECT synced AND NOT temporary FROM pg_replication_slots WHERE slot_name = '{name}'")
    return rows == [(True,)]
