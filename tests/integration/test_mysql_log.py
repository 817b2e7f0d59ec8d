"""What a log can hold beside plain rows: read where it can be, else the source stops before it with a remedy."""

import contextlib
import threading

import msgspec
import pytest

from cdcd.adapter import TableNeed
from cdcd.errors import DecodeError, NotReady, PositionLost
from cdcd.model import ABSENT, Commit, Op, Rows
from cdcd.testing.stream import named_rows
from cdcd_mysql.positions import parse_position
from contract.mysql_harness import OnMySql
from integration.mysql_reading import NUMBERS, harness, opened, read_changes, read_error, server  # noqa: F401 (fixtures)

DOUBLINGS = ("START TRANSACTION", *["INSERT INTO t SELECT id + (SELECT count(*) FROM t), v, n FROM t"] * 16, "COMMIT")


@contextlib.contextmanager
def compressed(harness):
    """The statements that a session needs for it; MariaDB has only a global switch."""
    if "MariaDB" not in harness.sql("SELECT version()")[0][0]:
        yield ["SET SESSION binlog_transaction_compression = ON"]
        return
    harness.sql("SET GLOBAL log_bin_compress = ON")
    try:
        yield []
    finally:
        harness.sql("SET GLOBAL log_bin_compress = OFF")


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
        "INSERT INTO t VALUES (1, 'k', 'x', 'long'), (2, 'k', 'x', 'long')",
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


def test_an_insert_without_all_its_values_in_the_log_stops_before_it(harness, opened):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(100) DEFAULT 'x', unread int DEFAULT 7)")
    reader = opened(harness)
    harness.sql("SET SESSION binlog_row_image = MINIMAL", "INSERT INTO t (id, v) VALUES (1, 'a')")
    assert read_error(reader).code == "insert-incomplete"
    reader.source.close()
    some = opened(harness, reader.position, needs=[TableNeed("t", ("id",), ("v",))])
    assert [row["id"] for _, row in read_changes(some, 1)] == [1]


def test_compressed_rows_of_mariadb_are_read(mariadb_only, harness, opened):
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


def test_prepared_rows_are_read_when_they_are_committed(harness, opened):
    harness.sql(NUMBERS, "CREATE TABLE u (id int PRIMARY KEY)")
    reader = opened(harness)
    harness.prepare("t", "INSERT INTO t VALUES (1, 'v', 0), (2, 'v', 0)", "UPDATE t SET n = 5 WHERE id = 2")
    harness.prepare("u", "INSERT INTO u VALUES (1)")
    harness.prepare("never", "INSERT INTO t VALUES (9, 'v', 0)")
    harness.sql("INSERT INTO t VALUES (3, 'v', 0)", "XA COMMIT 'u'", "XA ROLLBACK 'never'")
    harness.sql("XA COMMIT 't'", "INSERT INTO t VALUES (4, 'v', 0)")
    harness.sql("XA START 'o'", "INSERT INTO t VALUES (5, 'v', 0)", "XA END 'o'", "XA COMMIT 'o' ONE PHASE")
    assert [(op, row["id"], row["n"]) for op, row in read_changes(reader, 6)] == [
        (Op.INSERT, 3, 0),
        (Op.INSERT, 1, 0),
        (Op.INSERT, 2, 0),
        (Op.UPDATE, 2, 5),
        (Op.INSERT, 4, 0),
        (Op.INSERT, 5, 0),
    ]
    assert len(reader.transactions) == 4


def test_prepared_rows_survive_a_restart_and_a_new_log_file(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.prepare("p", "INSERT INTO t VALUES (1, 'v', 0)")
    harness.sql("INSERT INTO t VALUES (2, 'v', 0)", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (3, 'v', 0)")
    read_changes(reader, 2)
    reader.source.close()
    harness.sql("XA COMMIT 'p'")
    for entry, expected in zip(reader.transactions, ([3, 1], [1]), strict=True):
        again = opened(harness, entry.position)
        assert [row["id"] for _, row in read_changes(again, len(expected))] == expected
        assert "xa=" in entry.position
        assert "xa=" not in again.position
        again.source.close()


def test_a_prepared_transaction_whose_file_was_purged_is_a_lost_position(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.prepare("p", "INSERT INTO t VALUES (1, 'v', 0)")
    harness.sql("FLUSH BINARY LOGS", "INSERT INTO t VALUES (2, 'v', 0)")
    read_changes(reader, 1)
    harness.lose_log()
    harness.sql("INSERT INTO t VALUES (3, 'v', 0)", "XA COMMIT 'p'")
    assert isinstance(read_error(reader), PositionLost)
    assert [row["id"] for _, row in read_changes(reader, 2)] == [2, 3]


def test_a_start_waits_until_what_is_prepared_is_decided(harness, opened):
    harness.sql(NUMBERS)
    harness.prepare("p", "INSERT INTO t VALUES (1, 'v', 0)")
    with pytest.raises(NotReady) as caught:
        opened(harness, timeout_seconds=1)
    assert (caught.value.code, "XA RECOVER" in caught.value.remedy) == ("xa-undecided", True)
    later = threading.Timer(0.5, lambda: harness.sql("INSERT INTO t VALUES (2, 'v', 0)", "XA COMMIT 'p'"))
    later.start()
    reader = opened(harness)
    later.join()
    harness.sql("INSERT INTO t VALUES (3, 'v', 0)")
    assert [row["id"] for _, row in read_changes(reader, 1)] == [3]


def test_what_statements_take_away_is_told_by_table(harness, opened):
    harness.sql(
        NUMBERS, "CREATE TABLE u (id int PRIMARY KEY)", "CREATE TABLE t_new LIKE t", "CREATE TABLE other (id int)"
    )
    harness.sql("CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10))")
    reader = opened(harness, tables=("t", "u", "p"))
    harness.sql("RENAME TABLE t TO t_old, t_new TO t", "DROP TABLE other, u", "ALTER TABLE p TRUNCATE PARTITION a")
    harness.sql("ALTER TABLE t ADD COLUMN x int", "ALTER TABLE t RENAME TO t_gone", "CREATE TABLE u (id int)")
    read_changes(reader, 3)
    assert [(change.op, change.table) for entry in reader.transactions for change in entry.changes] == [
        (Op.TABLE_GONE, "u"),
        (Op.ROWS_LOST, "p"),
        (Op.TABLE_GONE, "t"),
    ]


def test_an_alteration_in_two_phases_counts_when_it_is_decided(harness, opened, mariadb_only):
    harness.sql(NUMBERS, "CREATE TABLE u (id int)")
    reader = opened(harness)
    harness.sql(
        "SET SESSION binlog_alter_two_phase = ON",
        "ALTER TABLE t ADD COLUMN x int, ALGORITHM = COPY",
        "INSERT INTO t VALUES (1, 'v', 0, 5)",
        "ALTER TABLE t ADD COLUMN y int, RENAME TO t_gone, ALGORITHM = COPY",
    )
    assert read_changes(reader, 2) == [(Op.INSERT, {"id": 1, "v": "v", "n": 0, "x": 5}), (Op.TABLE_GONE, {})]
    assert len(reader.transactions) == 2


def test_a_table_filled_by_a_logged_statement_stops_the_source(harness, opened):
    harness.sql("CREATE TABLE u (id int PRIMARY KEY)")
    reader = opened(harness)
    harness.sql("SET SESSION binlog_format = STATEMENT", "CREATE TABLE t SELECT * FROM u")
    assert read_error(reader).code == "binlog-format"


def test_polls_of_a_large_transaction_are_bounded(harness, opened):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (0, repeat('v', 90), 0)")
    reader = opened(harness)
    with compressed(harness) as session:
        harness.sql(*session, *DOUBLINGS)
    sizes = []
    while sum(sizes) < (1 << 16) - 1:
        reader.wait(0.1)
        sizes.append(sum(len(event.rows) for event in reader.poll() if isinstance(event, Rows)))
    assert max(sizes) < 40_000
    assert sum(sizes) == (1 << 16) - 1
    reader.read_until(lambda: reader.transactions)
    assert len(reader.transactions) == 1


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
    server.execute(
        "CREATE DATABASE IF NOT EXISTS elsewhere; CREATE TABLE IF NOT EXISTS elsewhere.x (id int PRIMARY KEY)"
    )
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
    rows = [row for op, row in read_changes(reader, 4) if op is Op.INSERT]
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


class TestMySql(OnMySql):
    def test_compressed_transactions_are_read(self, harness, opened):
        harness.sql(NUMBERS)
        reader = opened(harness)
        harness.sql(
            "SET SESSION binlog_transaction_compression = ON",
            "INSERT INTO t VALUES (1, 'v', 0), (2, 'w', 0)",
            "UPDATE t SET id = 3 WHERE id = 2",
            "SET SESSION binlog_transaction_compression = OFF",
            "DELETE FROM t WHERE id = 1",
        )
        assert [(op, row["id"]) for op, row in read_changes(reader, 4)] == [
            (Op.INSERT, 1),
            (Op.INSERT, 2),
            (Op.UPDATE, 3),
            (Op.DELETE, 1),
        ]
        for number, entry in enumerate(reader.transactions):
            again = opened(harness, entry.position)
            read_changes(again, 2 - number)
            assert [later.position for later in again.transactions] == [
                later.position for later in reader.transactions[number + 1 :]
            ]
            again.source.close()

    def test_partial_json_updates_become_whole_documents(self, harness, opened):
        harness.sql("CREATE TABLE t (id int PRIMARY KEY, j json)", 'INSERT INTO t VALUES (1, \'{"a": 1, "b": [2]}\')')
        reader = opened(harness)
        harness.sql(
            "SET SESSION binlog_row_value_options = PARTIAL_JSON", "UPDATE t SET j = JSON_SET(j, '$.b[0]', 'x')"
        )
        assert read_changes(reader, 1)[0][1]["j"] == '{"a": 1, "b": ["x"]}'
        harness.sql(
            "SET SESSION binlog_row_value_options = PARTIAL_JSON, binlog_row_image = MINIMAL",
            "UPDATE t SET j = JSON_SET(j, '$.a', 5)",
        )
        error = read_error(reader)
        assert (error.code, "binlog_row_value_options" in error.remedy) == ("binlog-partial-json", True)

    def test_tagged_gtids_are_part_of_positions(self, harness, opened):
        if tuple(map(int, harness.sql("SELECT version()")[0][0].split("-")[0].split(".")[:2])) < (8, 3):
            pytest.skip("this MySQL has no tags in GTIDs")
        harness.sql(NUMBERS)
        reader = opened(harness)
        tag = f"tag_{harness.database[-8:]}"
        harness.sql(
            f"SET gtid_next = 'AUTOMATIC:{tag}'", "INSERT INTO t VALUES (1, 'v', 0)", "SET gtid_next = 'AUTOMATIC'"
        )
        harness.sql("INSERT INTO t VALUES (2, 'v', 0)")
        read_changes(reader, 2)
        position = parse_position(reader.transactions[0].position)
        assert f":{tag}:1" in position.gtids
        stranger = msgspec.structs.replace(position, server="00000000-0000-0000-0000-000000000001", file="other.000009")
        again = opened(harness, str(stranger))
        assert [row["id"] for _, row in read_changes(again, 1)] == [2]
