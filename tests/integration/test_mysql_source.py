"""The source on real servers: resuming, other servers, lost logs, dead connections."""

import copy
import time

import msgspec
import pytest

from cdcd.adapter import Identity
from cdcd.errors import NeedsOperator, PositionLost, Unavailable
from cdcd.model import Idle
from cdcd.testing.servers import MariaDBServer
from cdcd_mysql.positions import parse_position
from contract.mysql_harness import MariaDbHarness, OnMySql
from integration.mysql_reading import NUMBERS, harness, opened, read_changes, read_error, server  # noqa: F401 (fixtures)


def test_rotation_of_the_log_is_passed_without_gap_or_duplicate(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    for number in range(10):
        harness.sql(f"INSERT INTO t VALUES ({number}, 'v', 0)")
        harness.sql("FLUSH BINARY LOGS")
    assert [row["id"] for _, row in read_changes(reader, 10)] == list(range(10))
    files = {parse_position(entry.position).file for entry in reader.transactions}
    assert len(files) == 10
    for place, entry in enumerate(reader.transactions):
        if place < 9:
            again = opened(harness, entry.position)
            assert [row["id"] for _, row in read_changes(again, 9 - place)] == list(range(place + 1, 10))


def test_an_idle_position_follows_the_log_to_its_new_file(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("FLUSH BINARY LOGS")
    file = harness.sql("SHOW MASTER STATUS")[0][0]
    reader.read_until(lambda: any(parse_position(e.position).file == file for e in reader.log if isinstance(e, Idle)))
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    again = opened(harness, reader.position)
    assert [row["id"] for _, row in read_changes(again, 1)] == [1]


def test_a_position_at_the_end_of_a_file_that_was_purged_goes_on_in_the_next(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    position = reader.transactions[0].position
    reader.source.close()
    harness.lose_log()
    harness.sql("INSERT INTO t VALUES (2, 'v', 0)")
    again = opened(harness, position)
    assert [row["id"] for _, row in read_changes(again, 1)] == [2]


def test_a_purged_log_is_a_lost_position_with_a_remedy(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    reader.source.close()
    harness.lose_log()
    with pytest.raises(PositionLost) as caught:
        opened(harness, reader.started_at)
    assert "snapshot" in caught.value.remedy


def test_logs_that_were_reset_are_a_lost_position(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    position = reader.transactions[0].position
    reader.source.close()
    harness.sql("RESET MASTER")
    while parse_position(position).offset > int(harness.sql("SHOW MASTER STATUS")[0][1]):
        harness.sql("UPDATE t SET n = n + 1")
    for place in (reader.started_at, position):
        with pytest.raises(PositionLost):
            opened(harness, place)


def test_another_server_with_the_same_id_is_a_lost_position(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    with MariaDBServer() as other_server:
        other = MariaDbHarness(other_server)
        other.sql(NUMBERS)
        while int(other.sql("SHOW MASTER STATUS")[0][1]) < parse_position(reader.position).offset:
            other.sql("REPLACE INTO t SELECT 1, 'v', rand() * 1e9")
        for place in (reader.started_at, reader.transactions[0].position):
            with pytest.raises(PositionLost):
                opened(other, place)


def test_another_server_that_never_had_our_transactions_is_a_lost_position(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    with MariaDBServer(server_id=77) as other_server:
        other = MariaDbHarness(other_server)
        other.sql(NUMBERS)
        with pytest.raises(PositionLost):
            opened(other, reader.transactions[0].position)


def test_a_promoted_replica_is_read_on_by_gtid(harness, server, opened):
    """The replica's files and offsets are its own; GTIDs say where to go on."""
    with MariaDBServer(server_id=78, settings={"log-slave-updates": "ON"}) as replica_server:
        gtid = harness.sql("SELECT @@gtid_binlog_pos")[0][0]
        replica_server.execute(
            f"SET sql_log_bin = 0; CREATE DATABASE `{harness.database}`; SET GLOBAL gtid_slave_pos = '{gtid}'; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={server.port},"
            " MASTER_USER='root', MASTER_USE_GTID=slave_pos; START SLAVE"
        )
        replica = copy.copy(harness)
        replica.server = replica_server
        replica.options = msgspec.structs.replace(harness.options, port=replica_server.port)
        reader = opened(harness)
        harness.sql(NUMBERS)
        harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
        read_changes(reader, 1)
        last = harness.sql("SELECT @@gtid_binlog_pos")[0][0]
        reader.source.close()
        assert replica_server.execute(f"SELECT MASTER_GTID_WAIT('{last}', 20)") == [(0,)]
        replica_server.execute("STOP SLAVE; RESET SLAVE ALL")
        replica.sql("INSERT INTO t VALUES (2, 'promoted', 0)")
        again = opened(replica, reader.transactions[0].position)
        assert [row["id"] for _, row in read_changes(again, 1)] == [2]
        replica.sql("INSERT INTO t VALUES (3, 'promoted', 0)")
        third = opened(replica, again.transactions[0].position)
        assert [row["id"] for _, row in read_changes(third, 1)] == [3]


def test_a_killed_server_is_unavailable_and_then_read_on(harness, server, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    server.kill()
    assert isinstance(read_error(reader), Unavailable)
    with pytest.raises(Unavailable):
        opened(harness, reader.position)
    server.start()
    harness.sql("INSERT INTO t VALUES (2, 'v', 0)")
    again = opened(harness, reader.position)
    assert [row["id"] for _, row in read_changes(again, 1)] == [2]


def test_a_server_that_hangs_is_unavailable_after_two_heartbeats(harness, server, opened):
    reader = opened(harness, heartbeat_seconds=1, timeout_seconds=1)
    started = time.monotonic()
    server.suspend()
    try:
        assert isinstance(read_error(reader), Unavailable)
    finally:
        server.resume()
    assert time.monotonic() - started < 6


def test_heartbeats_keep_an_idle_connection_alive(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness, heartbeat_seconds=1)
    deadline = time.monotonic() + 4.5  # more than the silence that would mean a dead connection
    while time.monotonic() < deadline:
        reader.poll()
        reader.wait(0.2)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    assert [row["id"] for _, row in read_changes(reader, 1)] == [1]


def test_a_second_replica_with_our_server_id_is_told_apart_or_kicked_out(harness, opened):
    """MariaDB ends the older of two dumps with one id: that one says why."""
    reader = opened(harness)
    second = opened(harness)
    error = read_error(reader)
    assert isinstance(error, NeedsOperator | Unavailable)
    second.poll()


class TestMySql(OnMySql):
    def test_positions_carry_the_gtid_set_and_survive_rotation(self, harness, opened):
        harness.sql(NUMBERS)
        reader = opened(harness)
        harness.sql("INSERT INTO t VALUES (1, 'v', 0)", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (2, 'v', 0)")
        read_changes(reader, 2)
        executed = "".join(harness.sql("SELECT @@global.gtid_executed")[0][0].split())
        assert parse_position(reader.transactions[-1].position).gtids == executed
        again = opened(harness, reader.transactions[0].position)
        assert [row["id"] for _, row in read_changes(again, 1)] == [2]

    def test_a_position_of_another_server_goes_on_by_gtid_when_it_has_them(self, harness, opened):
        harness.sql(NUMBERS)
        reader = opened(harness)
        harness.sql("INSERT INTO t VALUES (1, 'v', 0)", "INSERT INTO t VALUES (2, 'v', 0)")
        read_changes(reader, 2)
        first = parse_position(reader.transactions[0].position)
        moved = msgspec.structs.replace(first, server="00000000-0000-0000-0000-000000000001", file="other.000009")
        again = opened(harness, str(moved))
        assert [row["id"] for _, row in read_changes(again, 1)] == [2]
        stranger = msgspec.structs.replace(moved, gtids="00000000-0000-0000-0000-000000000001:1-9")
        with pytest.raises(PositionLost):
            opened(harness, str(stranger))


def test_the_identity_of_the_daemon_makes_the_server_id(harness):
    first = harness.options.replica_id(Identity("a", "b", "x"))
    assert first == harness.options.replica_id(Identity("a", "b", "y"))
    assert first != harness.options.replica_id(Identity("a", "c", "x"))
    assert 1 << 20 <= first < 1 << 31
