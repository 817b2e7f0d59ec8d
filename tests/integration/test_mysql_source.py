"""The source on real servers: resuming, other servers, lost logs, and what the log can hold that is not plain rows."""

import contextlib
import copy
import select
import threading
import time

import msgspec
import pymysql
import pytest

from cdcd.adapter import Identity, TableNeed
from cdcd.errors import CdcdError, DecodeError, NeedsOperator, NotReady, PositionLost, Unavailable
from cdcd.model import ABSENT, Commit, Idle, Op, Rows
from cdcd.testing.servers import MariaDBServer
from cdcd.testing.stream import StreamReader, named_rows
from cdcd_mysql.positions import parse_position
from contract.mysql_harness import MariaDbHarness, OnMySql

NUMBERS = "CREATE TABLE t (id int PRIMARY KEY, v varchar(100), n int)"


@pytest.fixture(scope="module")
def server():
    """A server that tests may restart, kill and reconfigure, if they put it back."""
    with MariaDBServer(settings={"max-allowed-packet": "256M"}) as server:
        yield server


@pytest.fixture
def harness(server):
    harness = MariaDbHarness(server)
    yield harness
    harness.dispose()


@pytest.fixture
def opened():
    """Opens sources, and closes them at the end."""
    with contextlib.ExitStack() as stack:

        def open_source(harness, after=None, tables=("t",), **options):
            chosen = msgspec.structs.replace(harness.options, **options)
            needs = [TableNeed(table) for table in tables]
            source = harness.adapter.open_source(harness.identity, chosen, needs)
            stack.callback(source.close)
            return StreamReader(source, after)

        yield open_source


def read_changes(reader, count):
    reader.read_until(lambda: sum(len(entry.changes) for entry in reader.transactions) >= count)
    return [(change.op, change.row) for entry in reader.transactions for change in entry.changes]


def read_error(reader):
    with pytest.raises(CdcdError) as caught:
        reader.read_until(lambda: False)
    return caught.value


# ---- resuming -------------------------------------------------------------------------------------------------------------


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


# ---- what a log can hold ----------------------------------------------------------------------------------------------------


def test_a_log_without_checksums_is_read_and_resumed(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("SET GLOBAL binlog_checksum = 'NONE'")
    try:
        harness.sql("INSERT INTO t VALUES (1, 'v', 0)", "INSERT INTO t VALUES (2, 'v', 0)")
        assert [row["id"] for _, row in read_changes(reader, 2)] == [1, 2]
        again = opened(harness, reader.transactions[0].position)
        assert [row["id"] for _, row in read_changes(again, 1)] == [2]
    finally:
        harness.sql("SET GLOBAL binlog_checksum = 'CRC32'")
    harness.sql("INSERT INTO t VALUES (3, 'v', 0)")
    assert [row["id"] for _, row in read_changes(again, 2)] == [2, 3]


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_values_that_the_row_image_leaves_out_are_absent(harness, opened, image):
    harness.sql("CREATE TABLE t (a int, b varchar(10), v varchar(100), n text, PRIMARY KEY (b, a))")
    reader = opened(harness)
    harness.sql(
        f"SET SESSION binlog_row_image = {image}",
        "INSERT INTO t (a, b, v) VALUES (1, 'k', 'x'), (2, 'k', 'x')",
        "UPDATE t SET v = 'y'",
        "UPDATE t SET a = 3 WHERE a = 1",
        "UPDATE t SET n = NULL, v = NULL",
        "DELETE FROM t WHERE a = 2",
    )
    changes = [change for entry in (read_changes(reader, 8), reader.transactions)[1] for change in entry.changes]
    key = [(change.op, change.row["a"], change.row["b"]) for change in changes]
    assert key == [
        (Op.INSERT, 1, "k"),
        (Op.INSERT, 2, "k"),
        (Op.UPDATE, 1, "k"),
        (Op.UPDATE, 2, "k"),
        (Op.UPDATE, 3, "k"),
        (Op.UPDATE, 2, "k"),
        (Op.UPDATE, 3, "k"),
        (Op.DELETE, 2, "k"),
    ]
    absent = ABSENT if image == "MINIMAL" else "y"
    assert [change.row["v"] for change in changes[2:5]] == ["y", "y", absent]
    assert changes[2].row["n"] is ABSENT
    moved = [change.old for change in changes if change.old is not None]
    assert [(old["a"], old["b"]) for old in moved] == [(1, "k")]
    assert changes[5].row["v"] is None


def test_compressed_rows_of_mariadb_are_read(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("SET GLOBAL log_bin_compress = ON")
    try:
        harness.sql("INSERT INTO t VALUES (1, repeat('abc', 30), 0), (2, repeat('d', 100), 5)")
        harness.sql("UPDATE t SET n = n + 1, id = id + 10")
        harness.sql("DELETE FROM t")
        harness.sql("TRUNCATE TABLE /*" + "x" * 300 + "*/ t")
    finally:
        harness.sql("SET GLOBAL log_bin_compress = OFF")
    changes = read_changes(reader, 7)
    assert [(op, row.get("id")) for op, row in changes] == [
        (Op.INSERT, 1),
        (Op.INSERT, 2),
        (Op.UPDATE, 11),
        (Op.UPDATE, 12),
        (Op.DELETE, 11),
        (Op.DELETE, 12),
        (Op.TRUNCATE, None),
    ]
    assert changes[3][1] == {"id": 12, "v": "d" * 100, "n": 6}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (9, 'v', 0)",
        "UPDATE t SET n = 1",
        "/* c */ DELETE FROM t",
        "REPLACE INTO t VALUES (1, 'w', 1)",
    ],
)
def test_a_change_logged_as_a_statement_stops_before_it(harness, opened, statement):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (1, 'v', 0)")
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (2, 'v', 0)")
    harness.sql("SET SESSION binlog_format = STATEMENT", statement)
    error = read_error(reader)
    assert (error.code, isinstance(error, DecodeError)) == ("binlog-format", True)
    assert "binlog_format" in error.remedy
    assert [(op, row["id"]) for op, row in read_changes(reader, 1)] == [(Op.INSERT, 2)]
    assert "'w'" not in str(error)


def test_a_statement_logged_in_another_database_is_none_of_our_business(harness, server, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    server.execute("CREATE DATABASE IF NOT EXISTS elsewhere; CREATE TABLE IF NOT EXISTS elsewhere.t (id int)")
    server.execute("SET SESSION binlog_format = STATEMENT; INSERT INTO t VALUES (1)", "elsewhere")
    harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    assert [row["id"] for _, row in read_changes(reader, 1)] == [1]
    server.execute(f"SET SESSION binlog_format = STATEMENT; UPDATE `{harness.database}`.t SET n = 1", "elsewhere")
    assert read_error(reader).code == "binlog-format"


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE t",
        "truncate table `t`",
        "TRUNCATE /* why */ TABLE t",
        "-- note\nTRUNCATE TABLE `{database}`.`t`",
        "TRUNCATE t;",
    ],
)
def test_truncates_are_read_however_they_are_written(harness, opened, statement):
    harness.sql(NUMBERS, "CREATE TABLE u (id int PRIMARY KEY)")
    reader = opened(harness)
    harness.sql("TRUNCATE TABLE u")
    harness.sql(statement.format(database=harness.database))
    assert [op for op, _ in read_changes(reader, 1)] == [Op.TRUNCATE]


def test_two_phase_transactions_of_captured_tables_stop_the_source(harness, opened):
    harness.sql(NUMBERS, "CREATE TABLE u (id int PRIMARY KEY)")
    reader = opened(harness)
    harness.sql("XA START 'u'", "INSERT INTO u VALUES (1)", "XA END 'u'", "XA PREPARE 'u'", "XA COMMIT 'u'")
    harness.sql("XA START 'o'", "INSERT INTO t VALUES (1, 'v', 0)", "XA END 'o'", "XA COMMIT 'o' ONE PHASE")
    assert [row["id"] for _, row in read_changes(reader, 1)] == [1]
    harness.sql("XA START 't'", "INSERT INTO t VALUES (2, 'v', 0)", "XA END 't'", "XA PREPARE 't'", "XA COMMIT 't'")
    assert read_error(reader).code == "xa-transaction"


def test_tables_without_transactions_are_read_at_their_commit(harness, opened):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY, v int) ENGINE=MyISAM")
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 1)", "UPDATE t SET v = 2")
    assert read_changes(reader, 2) == [(Op.INSERT, {"id": 1, "v": 1}), (Op.UPDATE, {"id": 1, "v": 2})]
    assert len(reader.transactions) == 2


def test_rows_of_create_table_as_select_are_read(harness, opened):
    reader = opened(harness)
    harness.sql("CREATE TABLE t (id int PRIMARY KEY) SELECT 5 AS id")
    assert read_changes(reader, 1) == [(Op.INSERT, {"id": 5})]


def test_savepoints_that_were_rolled_back_are_not_seen(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql(
        "START TRANSACTION",
        "INSERT INTO t VALUES (1, 'v', 0)",
        "SAVEPOINT s",
        "INSERT INTO t VALUES (2, 'v', 0)",
        "ROLLBACK TO SAVEPOINT s",
        "INSERT INTO t VALUES (3, 'v', 0)",
        "COMMIT",
    )
    assert [row["id"] for _, row in read_changes(reader, 2)] == [1, 3]


def test_a_row_larger_than_a_packet_of_16_mib_is_read(harness, opened):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY, v longtext)")
    reader = opened(harness)
    size = 40 << 20
    harness.sql(f"INSERT INTO t VALUES (1, repeat('x', {size})), (2, 'small')")
    harness.sql("INSERT INTO t VALUES (3, 'after')")
    rows = [row for _, row in read_changes(reader, 3)]
    assert [(row["id"], len(row["v"])) for row in rows] == [(1, size), (2, 5), (3, 5)]


def test_metadata_that_is_not_full_needs_the_operator(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("SET GLOBAL binlog_row_metadata = MINIMAL")
    try:
        harness.sql("INSERT INTO t VALUES (1, 'v', 0)")
    finally:
        harness.sql("SET GLOBAL binlog_row_metadata = FULL")
    error = read_error(reader)
    assert isinstance(error, NotReady)
    assert "binlog_row_metadata = FULL" in error.remedy


def test_a_table_without_a_key_is_identified_by_its_whole_row(harness, opened):
    harness.sql("CREATE TABLE t (a int, b varchar(10))")
    reader = opened(harness)
    harness.sql("INSERT INTO t VALUES (1, 'x')", "UPDATE t SET b = 'y'", "DELETE FROM t")
    read_changes(reader, 3)
    changes = [change for entry in reader.transactions for change in entry.changes]
    assert [change.row for change in changes] == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 1, "b": "y"}]
    assert changes[1].old == {"a": 1, "b": "x"}
    with pytest.raises(NotReady):
        reader.source.request_chunk("t", None, 10)


def test_a_table_of_another_database_is_read_when_it_is_named_so(harness, server, opened):
    server.execute("CREATE DATABASE IF NOT EXISTS elsewhere; CREATE OR REPLACE TABLE elsewhere.x (id int PRIMARY KEY)")
    reader = opened(harness, tables=("elsewhere.x",))
    server.execute("INSERT INTO elsewhere.x VALUES (1)")
    read_changes(reader, 1)
    assert [change.table for change in reader.transactions[0].changes] == ["elsewhere.x"]
    assert len(named_rows(reader.read_chunk("elsewhere.x", None, 10).rows)) == 1


def test_columns_are_those_of_the_time_of_the_change(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql(
        "INSERT INTO t VALUES (1, 'v', 5)",
        "ALTER TABLE t DROP COLUMN v, ADD COLUMN w bigint UNSIGNED FIRST",
        "INSERT INTO t VALUES (18446744073709551615, 2, 6)",
        "RENAME TABLE t TO old_t",
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (7)",
    )
    rows = [row for _, row in read_changes(reader, 3)]
    assert rows == [{"id": 1, "v": "v", "n": 5}, {"w": 2**64 - 1, "id": 2, "n": 6}, {"id": 7}]


def test_rows_of_one_kind_are_gathered_into_events_of_bounded_size(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    values = ", ".join(f"({number}, 'v', 0)" for number in range(5000))
    harness.sql("START TRANSACTION", f"INSERT INTO t VALUES {values}", "UPDATE t SET n = 1 WHERE id < 10", "COMMIT")
    read_changes(reader, 5010)
    events = [event for event in reader.events if isinstance(event, Rows)]
    assert sum(len(event.rows) for event in events) == 5010
    assert len(events) < 20
    assert max(len(event.rows) for event in events) < 2500
    assert sum(isinstance(event, Commit) for event in reader.events) == 1


# ---- chunks -------------------------------------------------------------------------------------------------------------------


def test_a_chunk_on_an_idle_server_comes_at_once(harness, opened):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (1, 'v', 0)")
    reader = opened(harness, heartbeat_seconds=60)
    while reader.poll() or reader.wait(0):
        pass
    started = time.monotonic()
    chunk = reader.read_chunk("t", None, 10)
    assert time.monotonic() - started < 0.5
    assert [change.row["id"] for change in named_rows(chunk.rows)] == [1]


@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        ("enum('z','m','a')", ["'m'", "'a'", "'z'"]),
        ("set('b','a')", ["'a'", "'b'", "'b,a'", "''"]),
        ("decimal(20,10)", ["-1.5", "0", "0.0000000001", "12345.5"]),
        ("float", ["0.1", "-0.1", "3e38", "1e-40"]),
        ("double", ["0.1", "-0.1", "1e300"]),
        ("binary(3)", ["x'00'", "x'ff27'", "x'275c00'"]),
        ("varbinary(5)", ["x'00'", "''", "x'275c'"]),
        ("datetime(3)", ["'2026-01-01 00:00:00.005'", "'2026-01-01 00:00:00'"]),
        ("timestamp(6)", ["'2026-01-01 00:00:00.000005'", "'1970-01-01 00:00:01'"]),
        ("time(2)", ["'-00:00:01.5'", "'-10:00:00'", "'00:00:00'", "'10:00:00'"]),
        ("year", ["1999", "2026"]),
        ("bit(10)", ["1", "1023", "512"]),
        ("bigint unsigned", ["0", "18446744073709551615"]),
        ("varchar(10) character set latin1", ["'ä'", "'a'", "'Z'", "''''"]),
        ("uuid", ["'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "'123e4567-e89b-42d3-a456-426614174000'"]),
        ("inet6", ["'::1'", "'2001:db8::'"]),
        ("date", ["'2026-01-01'", "'1999-12-31'"]),
    ],
)
def test_chunks_of_one_row_walk_over_keys_of_every_type(harness, opened, definition, keys):
    harness.sql(f"CREATE TABLE t (k {definition} PRIMARY KEY, v int)")
    harness.sql("INSERT INTO t VALUES " + ", ".join(f"({key}, {place})" for place, key in enumerate(keys)))
    reader = opened(harness)
    seen, after = [], None
    for _ in range(len(keys) + 1):
        chunk = reader.read_chunk("t", after, 1)
        seen += [change.row["v"] for change in named_rows(chunk.rows)]
        if chunk.done:
            break
        after = chunk.last_key
    assert chunk.done
    assert sorted(seen) == list(range(len(keys)))


def test_a_chunk_requested_inside_a_large_transaction_waits_for_its_end(harness, opened):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (-1, 'before', 0)")
    reader = opened(harness)
    values = ", ".join(f"({number}, repeat('x', 100), 0)" for number in range(30000))
    harness.sql(f"INSERT INTO t VALUES {values}", "INSERT INTO t VALUES (-2, 'after', 0)")
    while not any(isinstance(event, Rows) for event in reader.poll()):
        reader.wait(0.05)
    assert not reader.transactions
    chunk = reader.read_chunk("t", None, 5)
    assert [change.row["id"] for change in named_rows(chunk.rows)] == [-2, -1, 0, 1, 2]
    assert len(reader.transactions) == 2


def test_the_descriptor_wakes_a_waiting_core_for_a_chunk_and_for_what_one_poll_left(harness, opened):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (1, 'v', 0)")
    reader = opened(harness, heartbeat_seconds=60)
    while reader.poll() or reader.wait(0):
        pass
    reader.source.request_chunk("t", None, 10)
    assert select.select([reader.source.fileno()], [], [], 5)[0]
    values = ", ".join(f"({number}, repeat('x', 100), 0)" for number in range(2, 60000))
    harness.sql(f"INSERT INTO t VALUES {values}")
    while not reader.transactions:
        assert select.select([reader.source.fileno()], [], [], 10)[0]
        reader.poll()
    assert len(reader.transactions[0].changes) == 59998


def test_chunks_beside_writers_end_with_the_tables_own_state(harness, opened):
    """Many writers, many chunks: what core would have at the end is what the table has."""
    harness.sql(NUMBERS)
    values = ", ".join(f"({number}, 'v', 0)" for number in range(300))
    harness.sql(f"INSERT INTO t VALUES {values}")
    reader = opened(harness)
    threads = [threading.Thread(target=update_randomly, args=(harness, seed)) for seed in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        after = None
        while True:
            chunk = reader.read_chunk("t", after, 37)
            after = chunk.last_key
            if chunk.done:
                break
    harness.sql("INSERT INTO t VALUES (1000000, 'end', 0)")
    reader.read_until(lambda: any(c.row.get("id") == 1000000 for e in reader.transactions[-3:] for c in e.changes))
    assert replay(reader) == as_numbers(harness.sql("SELECT id, v, n FROM t"))


def update_randomly(harness, seed):
    with contextlib.closing(
        pymysql.connect(unix_socket=str(harness.server.socket), user="root", database=harness.database)
    ) as c:
        cursor = c.cursor()
        for number in range(150):
            key = (number * 7919 + seed * 104729) % 300
            cursor.execute("UPDATE t SET n = n + 1, v = %s WHERE id = %s", (f"{seed}-{number}", key))
            if number % 10 == seed:
                cursor.execute("DELETE FROM t WHERE id = %s", (key,))
            if number % 10 == seed + 1:
                cursor.execute("REPLACE INTO t VALUES (%s, 'new', %s)", (key, number))
            c.commit()


def replay(reader):
    replica = {}
    for event in reader.events:
        if isinstance(event, Rows):
            for row in event.rows:
                if event.op is Op.DELETE:
                    replica.pop(row[0], None)
                else:
                    replica[row[0]] = row
        elif hasattr(event, "last_key"):
            for row in event.rows.rows:
                replica[row[0]] = row
    return replica


def as_numbers(rows):
    return {int(row[0]): [int(row[0]), row[1], None if row[2] is None else int(row[2])] for row in rows}


# ---- real MySQL, where one is named -----------------------------------------------------------------------------------------


class TestMySql(OnMySql):
    def test_compressed_transactions_stop_the_source(self, harness, opened):
        harness.sql(NUMBERS)
        reader = opened(harness)
        harness.sql("SET SESSION binlog_transaction_compression = ON", "INSERT INTO t VALUES (1, 'v', 0)")
        assert read_error(reader).code == "binlog-compression"

    def test_partial_json_updates_stop_the_source(self, harness, opened):
        harness.sql("CREATE TABLE t (id int PRIMARY KEY, j json)", 'INSERT INTO t VALUES (1, \'{"a": 1, "b": 2}\')')
        reader = opened(harness)
        harness.sql("SET SESSION binlog_row_value_options = PARTIAL_JSON", "UPDATE t SET j = JSON_SET(j, '$.a', 5)")
        assert read_error(reader).code == "binlog-partial-json"

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

    def test_chunks_without_gtids_cross_a_barrier_of_our_own(self, harness, opened):
        harness.sql(NUMBERS, "INSERT INTO t VALUES (1, 'v', 0)")
        reader = opened(harness)
        server = msgspec.structs.replace(reader.source._server, has_gtids=False)
        reader.source._server = server
        harness.sql("INSERT INTO t VALUES (2, 'v', 0)")
        chunk = reader.read_chunk("t", None, 10)
        assert {change.row["id"] for change in named_rows(chunk.rows)} | {
            change.row["id"] for entry in reader.transactions for change in entry.changes
        } == {1, 2}
        assert harness.sql("SELECT crossed FROM cdcd_barrier") == [("1",)]


def test_the_identity_of_the_daemon_makes_the_server_id(harness):
    first = harness.options.replica_id(Identity("a", "b", "x"))
    assert first == harness.options.replica_id(Identity("a", "b", "y"))
    assert first != harness.options.replica_id(Identity("a", "c", "x"))
    assert 1 << 20 <= first < 1 << 31
