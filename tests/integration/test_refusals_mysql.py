"""What MariaDB and MySQL refuse for good parks rows, and what passes is tried again: a real server with little room."""

import threading
from collections.abc import Iterator

import pytest

from cdcd.adapter import Identity
from cdcd.errors import Refused, Unavailable
from cdcd.model import Batch, TableWrite, WriteKind
from cdcd.testing.servers import MySqlFamilyServer, mysql_family_server
from cdcd_mysql import Options, adapter
from cdcd_mysql.target import MySqlTarget
from integration.daemon_process import wait_until

SCHEMA = """
CREATE USER writer@'127.0.0.1';
CREATE TABLE t (id int PRIMARY KEY, v varchar(5), w varchar(9) NOT NULL DEFAULT '', n int CHECK (n > 0), u int UNIQUE);
CREATE TABLE child (id int PRIMARY KEY, t int, FOREIGN KEY (t) REFERENCES t (id));
INSERT INTO t (id, v, n, u) VALUES (1, 'old', 1, 1), (5, 'five', 1, 5), (6, 'six', 1, 6);
INSERT INTO child VALUES (1, 1);
CREATE TABLE partly (id int PRIMARY KEY, v varchar(9), w varchar(9));
CREATE TABLE secret (id int PRIMARY KEY, v varchar(9));
CREATE TABLE watched (id int PRIMARY KEY, v varchar(9));
CREATE TABLE large (id int PRIMARY KEY, v longtext);
"""
GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.t TO writer@'127.0.0.1';
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.child TO writer@'127.0.0.1';
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.watched TO writer@'127.0.0.1';
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.large TO writer@'127.0.0.1';
GRANT SELECT, INSERT (id, v), UPDATE (id, v) ON shop.partly TO writer@'127.0.0.1';
GRANT SELECT ON shop.secret TO writer@'127.0.0.1';
GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON shop.cdcd_checkpoint TO writer@'127.0.0.1';
"""
WATCH = """CREATE TRIGGER watch BEFORE INSERT ON watched FOR EACH ROW BEGIN
    IF new.v = 'raise' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no s3cret'; END IF;
    IF new.v = 'odd' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no s3cret', MYSQL_ERRNO = 30001; END IF;
    IF new.v = 'gone' THEN INSERT INTO nothing VALUES (1); END IF; END"""
IDENTITY = Identity("line", "shop", "lineage")
UPSERT, UPDATE, DELETE = WriteKind.UPSERT, WriteKind.UPDATE, WriteKind.DELETE
SMALL = {"innodb-data-file-path": "ibdata1:12M", "innodb-file-per-table": "OFF"}


@pytest.fixture(scope="module")
def server() -> Iterator[MySqlFamilyServer]:
    """MariaDB, or what CDCD_MYSQL_BIN names. All its tables have 12 MB together."""
    with mysql_family_server(settings=SMALL) as made:
        made.create_database("shop")
        for sql in (SCHEMA, GRANTS, WATCH):
            made.execute(sql, "shop")
        yield made


class Writer:
    """An open target, as a user with few rights."""

    def __init__(self, server: MySqlFamilyServer, **options: int) -> None:
        known = Options(
            database="shop",
            user="writer",
            host="127.0.0.1",
            port=server.port,
            tls="off",
            **options,
        )
        self.target: MySqlTarget = adapter.open_target(IDENTITY, known)
        self.through = self.target.open()

    def write(self, kind: WriteKind, table: str, columns: str, *rows: list[object]) -> None:
        names = tuple(columns.split())
        self.apply(TableWrite(table, kind, names[:1], names, list(rows)))

    def apply(self, *writes: TableWrite) -> None:
        self.target.apply(writes, Batch(self.through, self.through + 1))
        self.through += 1

    def refused(self, *arguments: object) -> str:
        with pytest.raises(Refused) as caught:
            self.write(*arguments)
        assert "s3cret" not in str(caught.value)
        return caught.value.code

    def unavailable(self, *arguments: object) -> None:
        with pytest.raises(Unavailable):
            self.write(*arguments)


@pytest.fixture
def writer(server: MySqlFamilyServer) -> Iterator[Writer]:
    made = Writer(server, lock_timeout_seconds=1)
    yield made
    made.target.close()


def test_what_is_refused_for_good_is_refused_with_a_code(writer: Writer):
    found = {
        "check": writer.refused(UPSERT, "t", "id n", [2, 0]),
        "not-null": writer.refused(UPSERT, "t", "id w", [2, None]),
        "duplicate-key": writer.refused(UPSERT, "t", "id u", [2, 1]),
        "reference-missing": writer.refused(UPSERT, "child", "id t", [2, 99]),
        "still-referenced": writer.refused(DELETE, "t", "id", [1]),
        "too-long": writer.refused(UPSERT, "t", "id v", [2, "too long"]),
        "out-of-range": writer.refused(UPSERT, "t", "id n", [2, 2**40]),
    }
    assert list(found) == list(found.values())


def test_a_privilege_that_lacks_for_some_rows_stops_nothing_else(writer: Writer):
    assert writer.refused(UPDATE, "partly", "id w", [1, "w"]) == "permission"
    assert writer.refused(UPSERT, "secret", "id v", [1, "v"]) == "permission"
    writer.write(UPDATE, "partly", "id v", [1, "v"])


@pytest.mark.parametrize("value", ["raise", "odd", "gone"])
def test_what_a_trigger_raises_is_about_its_row_whatever_it_is(writer: Writer, value: str):
    number = 100 + len(value)
    assert writer.refused(UPSERT, "watched", "id v", [number, value]) == "trigger"
    writer.write(UPSERT, "watched", "id v", [number, "fine"])


# ---- what passes -----------------------------------------------------------------------------------------------


def test_a_row_that_somebody_locks_is_waited_for_and_then_tried_again(server: MySqlFamilyServer, writer: Writer):
    with server.connect("shop") as other:
        other.begin()
        other.cursor().execute("UPDATE t SET v = 'x' WHERE id = 1")
        writer.unavailable(UPDATE, "t", "id v", [1, "new"])
        other.rollback()
    writer.write(UPDATE, "t", "id v", [1, "new"])


def test_a_deadlock_is_tried_again(server: MySqlFamilyServer):
    writer = Writer(server, lock_timeout_seconds=30)
    with server.connect("shop") as other:
        other.begin()
        for number in range(50):  # the one with more changes survives
            other.cursor().execute(f"INSERT INTO secret VALUES ({100 + number}, 'x')")
        other.cursor().execute("UPDATE t SET w = 'x' WHERE id = 6")
        failed: list[BaseException] = []

        def write() -> None:
            try:
                writer.apply(*(TableWrite("t", UPDATE, ("id",), ("id", "w"), [[number, "y"]]) for number in (5, 6)))
            except Unavailable as error:
                failed.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        while not server.execute("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"):
            assert thread.is_alive()
        other.cursor().execute("UPDATE t SET w = 'x' WHERE id = 5")
        thread.join()
        other.rollback()
    writer.target.close()
    assert failed


def test_a_server_that_only_reads_is_waited_for(server: MySqlFamilyServer, writer: Writer):
    switches = ["read_only"] if server.is_mariadb else ["read_only", "super_read_only"]
    for switch in switches:
        server.execute(f"SET GLOBAL {switch} = 1")
        try:
            writer.unavailable(UPDATE, "t", "id v", [1, switch[:4]])
        finally:
            server.execute(f"SET GLOBAL {switch} = 0; SET GLOBAL read_only = 0")
    writer.write(UPDATE, "t", "id v", [1, "again"])


def test_a_lost_connection_is_opened_anew(server: MySqlFamilyServer, writer: Writer):
    for (number,) in server.execute("SELECT id FROM information_schema.processlist WHERE user = 'writer'"):
        server.execute(f"KILL {number}")
    writer.unavailable(UPDATE, "t", "id v", [1, "new"])


def test_too_many_connections_are_waited_for(server: MySqlFamilyServer):
    server.execute("ALTER USER writer@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")
    holder = Writer(server)
    try:
        with pytest.raises(Unavailable):
            Writer(server)
    finally:
        server.execute("ALTER USER writer@'127.0.0.1' WITH MAX_USER_CONNECTIONS 0")
        holder.target.close()


def test_a_server_that_goes_down_is_waited_for(server: MySqlFamilyServer, writer: Writer):
    server.stop()
    try:
        writer.unavailable(UPDATE, "t", "id v", [1, "new"])
        with pytest.raises(Unavailable):
            Writer(server)
    finally:
        server.start()
    Writer(server).target.close()


def fill(writer: Writer) -> None:
    """Write row after row, far more than there is room for."""
    for number in range(100):
        writer.write(UPSERT, "large", "id v", [number, "x" * 400_000])


def test_a_full_disk_is_waited_for_and_no_record_is_parked(server: MySqlFamilyServer, writer: Writer):
    with pytest.raises(Unavailable) as caught:
        fill(writer)
    if "full" not in str(caught.value):
        wait_until(lambda: not server.running, "MariaDB 11.8.9 itself has crashed of it")
