"""The source on real servers: resuming, other servers, lost logs, dead connections."""

import contextlib
import copy
import socket
import threading
import time

import msgspec
import pytest

from cdcd.adapter import Identity
from cdcd.errors import NeedsOperator, PositionLost, Unavailable
from cdcd.model import Idle
from cdcd.testing.servers import mysql_family_server
from cdcd_mysql.positions import parse_position
from contract.mysql_harness import OnMySql, PrivateHarness
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
    file, _ = harness.log_end()
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
    assert "bring the server back" in caught.value.remedy


def test_logs_that_were_reset_are_a_lost_position(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    position = reader.transactions[0].position
    reader.source.close()
    harness.reset_log()
    while parse_position(position).offset > harness.log_end()[1]:
        harness.sql("UPDATE t SET n = n + 1")
    for place in (reader.started_at, position):
        with pytest.raises(PositionLost):
            opened(harness, place)


def test_another_server_with_the_same_id_is_a_lost_position(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    with mysql_family_server() as other_server:
        other = PrivateHarness(other_server)
        other.sql(NUMBERS)
        while other.log_end()[1] < parse_position(reader.position).offset:
            other.sql("REPLACE INTO t SELECT 1, 'v', rand() * 1e9")
        for place in (reader.started_at, reader.transactions[0].position):
            with pytest.raises(PositionLost):
                opened(other, place)


def test_another_server_that_never_had_our_transactions_is_a_lost_position(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    with mysql_family_server(server_id=77) as other_server:
        other = PrivateHarness(other_server)
        other.sql(NUMBERS)
        with pytest.raises(PositionLost):
            opened(other, reader.transactions[0].position)


def replicate(replica, server, database):
    """Let one server follow another from now on, by GTIDs."""
    if replica.is_mariadb:
        gtids = server.execute("SELECT @@gtid_binlog_pos")[0][0]
        begin = f"SET GLOBAL gtid_slave_pos = '{gtids}'"
        follow = "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', MASTER_USE_GTID=slave_pos; START SLAVE"
    else:
        gtids = server.execute("SELECT @@global.gtid_executed")[0][0]
        begin = f"SET GLOBAL gtid_purged = '{gtids}'"
        follow = "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_AUTO_POSITION=1; START REPLICA"
    replica.execute(f"SET sql_log_bin = 0; CREATE DATABASE `{database}`; {begin}; {follow.format(server.port)}")


def promote(replica, server):
    """Wait until a replica has everything, and make it a server of its own."""
    if replica.is_mariadb:
        last = server.execute("SELECT @@gtid_binlog_pos")[0][0]
        assert replica.execute(f"SELECT MASTER_GTID_WAIT('{last}', 20)") == [(0,)]
        replica.execute("STOP SLAVE; RESET SLAVE ALL")
    else:
        last = server.execute("SELECT @@global.gtid_executed")[0][0]
        assert replica.execute(f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{last}', 20)") == [(0,)]
        replica.execute("STOP REPLICA; RESET REPLICA ALL")


def test_a_promoted_replica_is_read_on_by_gtid(harness, server, opened):
    """The replica's files and offsets are its own; GTIDs say where to go on."""
    logs_all = "log-slave-updates" if server.is_mariadb else "log-replica-updates"
    with mysql_family_server(server_id=78, settings={logs_all: "ON"}) as replica_server:
        replicate(replica_server, server, harness.database)
        replica = copy.copy(harness)
        replica.server = replica_server
        replica.options = msgspec.structs.replace(harness.options, port=replica_server.port)
        reader = opened(harness)
        harness.sql(NUMBERS)
        harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
        read_changes(reader, 1)
        reader.source.close()
        promote(replica_server, server)
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


class Proxy:
    """Forwards TCP connections, until it swallows everything and keeps them open: as a firewall that forgot them."""

    def __init__(self, port):
        self._target = port
        self._swallows = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._sockets = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self):
        self._swallows.set()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._swallows.is_set():
                    target.sendall(data)

    def close(self):
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def test_a_connection_that_swallows_everything_is_noticed_and_read_on_elsewhere(harness, opened):
    proxy = Proxy(harness.options.port)
    harness.sql(NUMBERS)
    reader = opened(harness, port=proxy.port, heartbeat_seconds=1)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    proxy.swallow()
    harness.sql("INSERT INTO t VALUES (2, 'v', 0)")
    started = time.monotonic()
    error = read_error(reader)
    assert (type(error), "heartbeat" in error.cause) == (Unavailable, True)
    assert time.monotonic() - started < 10
    again = opened(harness, reader.position)
    assert [row["id"] for _, row in read_changes(again, 1)] == [2]
    proxy.close()


def test_an_idle_source_has_no_lag(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness, heartbeat_seconds=1)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)", "CREATE TABLE elsewhere (id int)", "FLUSH BINARY LOGS")
    # Once is enough: MariaDB may add its checkpoint's event to the new file a moment later, which is read, too.
    reader.read_until(lambda: reader.transactions and reader.source.status().lag_bytes == 0)


def test_a_domain_that_the_server_never_had_is_a_lost_position(harness, opened, mariadb_only):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    read_changes(reader, 1)
    position = parse_position(reader.position)
    for gtids in (f"{position.gtids},7-99-5", position.gtids.rpartition("-")[0] + "-999999"):
        with pytest.raises(PositionLost):
            opened(harness, str(msgspec.structs.replace(position, server="99", gtids=gtids)))


def test_a_second_replica_with_our_server_id_is_told_apart_or_kicked_out(harness, opened):
    """MariaDB ends the older of two dumps with one id: that one says why."""
    reader = opened(harness)
    second = opened(harness)
    error = read_error(reader)
    assert isinstance(error, NeedsOperator | Unavailable)
    second.poll()


class TestMySql(OnMySql):
    def test_a_server_that_lacks_what_was_read_is_a_lost_position(self, harness, opened):
        """It was restored from a backup: its uuid and file are the same, its transactions are not all there."""
        harness.sql(NUMBERS)
        reader = opened(harness)
        harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
        read_changes(reader, 1)
        position = parse_position(reader.position)
        server_uuid = harness.sql("SELECT @@server_uuid")[0][0]
        ahead = msgspec.structs.replace(position, gtids=f"{server_uuid}:1-99999999")
        with pytest.raises(PositionLost) as caught:
            opened(harness, str(ahead), lock_timeout_seconds=1)
        assert caught.value.code == "position-ahead"

    def test_of_two_replicas_with_one_server_id_the_older_says_so(self, harness, opened):
        reader = opened(harness)
        second = opened(harness)
        error = read_error(reader)
        assert (error.code, "server-id" in error.remedy) == ("server-id-in-use", True)
        second.poll()

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
