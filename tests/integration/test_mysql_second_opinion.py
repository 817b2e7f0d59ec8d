"""What we read from the log is what another reader of it reads: mysql-replication, where it is known to be right."""

import datetime as dt

import pytest
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from cdcd.model import Op
from integration.mysql_reading import harness, opened, read_changes, server  # noqa: F401 (fixtures)

TABLE = """CREATE TABLE t (id bigint unsigned PRIMARY KEY, small tinyint, wide bigint unsigned, exact decimal(30,10),
    far double, day date, moment datetime(6), words varchar(100) CHARACTER SET utf8mb4, raw blob, kind enum('a','b'))"""
OPS = {WriteRowsEvent: Op.INSERT, UpdateRowsEvent: Op.UPDATE, DeleteRowsEvent: Op.DELETE}


def spelled(value):
    """The library's value in our canonical form."""
    if isinstance(value, dt.datetime):
        text = value.isoformat(" ")
        return text.rstrip("0").rstrip(".") if value.microsecond else text
    if isinstance(value, dt.date):
        return value.isoformat()
    return value if value is None or isinstance(value, int | float | bytes) else str(value)


def seen_by_the_library(harness, count):
    """(op, row) of table t as the library reads them from the beginning of the log."""
    reader = BinLogStreamReader(
        connection_settings={"host": "127.0.0.1", "port": harness.options.port, "user": "root", "password": ""},
        server_id=4711,
        only_tables=["t"],
        only_schemas=[harness.database],
        only_events=[*OPS],
        is_mariadb="MariaDB" in harness.sql("SELECT version()")[0][0],
        blocking=True,
    )
    found = []
    try:
        for event in reader:
            for row in event.rows:
                values = row.get("after_values") or row["values"]
                found.append((OPS[type(event)], {name: spelled(value) for name, value in values.items()}))
            if len(found) >= count:
                return found
    finally:
        reader.close()
    return found


@pytest.mark.filterwarnings("ignore:'(db|passwd)' is deprecated")  # the library still says so to PyMySQL
def test_both_readers_see_the_same_rows_in_the_same_order(harness, opened):
    harness.sql(TABLE)
    reader = opened(harness)
    harness.sql(
        "INSERT INTO t VALUES (1, -128, 18446744073709551615, -12345678901234567890.0123456789, 1e-300,"
        " '2026-11-22', '2026-11-22 23:59:59.000001', '名前 🛒', x'00ff00', 'b')",
        "INSERT INTO t (id) VALUES (18446744073709551615)",
        "UPDATE t SET small = 127, exact = 0.5, moment = '1000-01-01 00:00:00', words = '' WHERE id = 1",
        "UPDATE t SET kind = 'a', raw = x'01'",
        "DELETE FROM t",
    )
    assert read_changes(reader, 7) == seen_by_the_library(harness, 7)
