"""SQLite as we use it: turns between processes, durable or nothing, errors that say what to do."""

import resource
from contextlib import closing
from pathlib import Path

import pytest

from cdcd.errors import NeedsOperator
from cdcd.outbox import AppliedMark
from cdcd.sqlite_driver import sqlite
from cdcd.storage import Database, DiskFailed, Schema, StorageError, translated

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


def test_the_driver_need_not_find_out_how_null_and_bytes_are_stored():
    assert {type(None), bytes} <= {kind for kind, _ in sqlite.adapters}
    with closing(sqlite.connect(":memory:")) as connection:
        stored = connection.execute("SELECT ?1, typeof(?1), ?2, typeof(?2)", (None, b"a\0b")).fetchone()
    assert stored == (None, "null", b"a\0b", "blob")


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


def test_a_disk_that_fails_is_not_a_full_one(tmp_path: Path):
    """What it holds is not known any more: who sees it must end. A limit to what we may write stands for the disk."""
    database = Database(tmp_path / "x.db", Schema("CREATE TABLE IF NOT EXISTS t (a BLOB);"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(DiskFailed, match="the disk failed under"), database.transaction() as connection:
            connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    database.close()


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


# ---- damage ----------------------------------------------------------------------------------------------------------


def damaged(path: Path) -> None:
    """A file whose table's pages are nonsense: the first one, with the list of tables, is whole."""
    database = Database(path, SCHEMA)
    with database.transaction() as connection:
        connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(10_000)])
    database.close()
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(8192)
        file.write(b"\x5a" * (size - 8192))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("journal.db", "cdcd journal verify"),
        ("state.db", "cdcd recover"),
        ("deliver-shop.db", "cdcd resync ENTITY --system shop"),
    ],
)
def test_a_damaged_page_is_named_with_its_file_and_the_way_out(tmp_path: Path, name, remedy):
    damaged(tmp_path / name)
    database = Database(tmp_path / name, SCHEMA)
    with pytest.raises(sqlite.DatabaseError) as caught:
        database.connection.execute("SELECT count(*) FROM t").fetchone()
    database.close()
    error = translated(caught.value)
    assert isinstance(error, NeedsOperator)
    assert (error.code, error.what) == ("storage-damaged", f"{tmp_path / name} is damaged")
    assert remedy in error.remedy
    assert error.exit_code == 3


def test_a_damaged_page_that_is_written_to_is_named_at_once(tmp_path: Path):
    damaged(tmp_path / "state.db")
    database = Database(tmp_path / "state.db", SCHEMA)
    with pytest.raises(NeedsOperator, match="is damaged"), database.transaction() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    database.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / "state.db").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(NeedsOperator, match="is damaged"):
        Database(tmp_path / "state.db", SCHEMA)


def test_an_error_of_another_file_is_told_without_a_name(tmp_path: Path):
    error = translated(sqlite.DatabaseError("malformed"))
    assert (error.code, error.what) == ("storage-damaged", "a file of the state directory is damaged")


@pytest.mark.parametrize("name", ["state.db", "none/state.db"])
def test_a_directory_in_which_nothing_can_be_opened_stops_with_the_way_out(tmp_path: Path, name):
    (tmp_path / "state.db.lock").mkdir()
    with pytest.raises(StorageError, match="cannot be opened or written") as caught:
        Database(tmp_path / name, SCHEMA)
    assert "goes on by itself" in caught.value.remedy


def test_a_mark_that_cannot_be_written_stops_the_same_way(tmp_path: Path):
    (tmp_path / "applied-shop").mkdir()
    with pytest.raises(StorageError, match="applied-shop cannot be opened or written"):
        AppliedMark(tmp_path, "shop")
