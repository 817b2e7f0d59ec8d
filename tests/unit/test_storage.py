"""SQLite as we use it: turns between processes, durable or nothing, errors that say what to do."""

from pathlib import Path

import pytest

from cdcd.errors import NeedsOperator
from cdcd.storage import Database, Schema, StorageError

SCHEMA = Schema("CREATE TABLE IF NOT EXISTS t (a INTEGER UNIQUE);")
SECOND = Schema(
    "CREATE TABLE IF NOT EXISTS t (a INTEGER UNIQUE, b TEXT);",
    ("ALTER TABLE t ADD COLUMN b TEXT; UPDATE t SET b = 'old'",),
)


def insert_then_fail(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        raise KeyError


def test_a_block_that_raises_leaves_nothing(tmp_path: Path):
    database = Database(tmp_path / "x.db", SCHEMA)
    with pytest.raises(KeyError):
        insert_then_fail(database)
    assert database.connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    assert database.connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    database.close()
    database.close()


def test_who_only_reads_changes_nothing_and_waits_for_nobody(tmp_path: Path):
    database = Database(tmp_path / "x.db", SCHEMA)
    with database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        reader = Database(tmp_path / "x.db", SCHEMA, read_only=True)
        assert reader.connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert reader.connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    with pytest.raises(StorageError), reader.transaction() as connection:
        connection.execute("DELETE FROM t")
    reader.close()
    database.close()
    with pytest.raises(StorageError):
        Database(tmp_path / "none.db", SCHEMA, read_only=True)
    assert not list(tmp_path.glob("none*"))


def test_who_only_reads_refuses_a_file_that_lacks_tables_and_says_how_to_get_them(tmp_path: Path):
    Database(tmp_path / "x.db", SCHEMA).close()
    with pytest.raises(NeedsOperator, match="older version") as caught:
        Database(tmp_path / "x.db", Schema(SCHEMA.tables + "CREATE TABLE IF NOT EXISTS u (a);"), read_only=True)
    assert (caught.value.code, caught.value.cause) == ("storage-older", "it has no table u")


def test_commits_are_synced_to_disk(tmp_path: Path):
    database = Database(tmp_path / "x.db", SCHEMA)
    assert database.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


def test_what_breaks_a_constraint_is_a_defect_of_ours(tmp_path: Path):
    database = Database(tmp_path / "x.db", SCHEMA)
    with database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(StorageError, match="something unexpected"), database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    database.close()


def test_a_file_that_is_no_database_needs_a_person(tmp_path: Path):
    (tmp_path / "x.db").write_bytes(b"not a database, surely" * 1000)
    with pytest.raises(NeedsOperator) as caught:
        Database(tmp_path / "x.db", SCHEMA)
    assert caught.value.code == "storage-damaged"


def test_a_file_that_cannot_be_opened_says_so(tmp_path: Path):
    (tmp_path / "x.db").mkdir()
    with pytest.raises(StorageError, match="cannot be read or written"):
        Database(tmp_path / "x.db", SCHEMA)


def test_a_full_disk_is_named_and_the_database_goes_on_when_there_is_room_again(tmp_path: Path):
    database = Database(tmp_path / "x.db", Schema("CREATE TABLE IF NOT EXISTS t (a BLOB);"))
    database.connection.execute("PRAGMA max_page_count=10")
    with pytest.raises(StorageError, match="no room"), database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    database.connection.execute("PRAGMA max_page_count=1000000")
    with database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    assert database.size_bytes() > 10**6
    database.close()


def test_a_file_of_the_format_before_is_brought_up_to_date_with_what_it_holds(tmp_path: Path):
    old = Database(tmp_path / "x.db", SCHEMA)
    with old.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    old.close()
    with pytest.raises(NeedsOperator, match="older version"):
        Database(tmp_path / "x.db", SECOND, read_only=True)
    for _ in range(2):
        database = Database(tmp_path / "x.db", SECOND)
        assert database.connection.execute("SELECT a, b FROM t").fetchall() == [(1, "old")]
        database.close()


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path):
    Database(tmp_path / "x.db", SCHEMA).close()
    with pytest.raises(StorageError):
        Database(tmp_path / "x.db", Schema(SECOND.tables, ("ALTER TABLE t ADD COLUMN b TEXT; SELECT nothing",)))
    database = Database(tmp_path / "x.db", SCHEMA)
    assert [name for _, name, *_ in database.connection.execute("PRAGMA table_info(t)")] == ["a"]
    database.close()


def test_a_file_of_a_newer_version_is_not_touched(tmp_path: Path):
    Database(tmp_path / "x.db", SECOND).close()
    for read_only in (False, True):
        with pytest.raises(NeedsOperator) as caught:
            Database(tmp_path / "x.db", SCHEMA, read_only=read_only)
        assert caught.value.code == "storage-newer"
