"""Rows that are probably new are tried by COPY. Nobody may see a difference but in the server's time."""

from collections.abc import Iterator, Sequence

import psycopg
import pytest

from cdcd.errors import Refused, Unavailable
from cdcd.model import Batch, Row, TableWrite, WriteKind
from cdcd.testing.servers import PostgresServer
from contract.postgres_harness import PostgresHarness
from integration.postgres_writing import OpenTarget

COUNT = 300
COPIED = "SELECT count(*) FROM a WHERE xmin NOT IN (SELECT xmin FROM cdcd_checkpoint)"
"""Rows that have the number of a subtransaction."""
UPSERT, UPDATE, DELETE = WriteKind.UPSERT, WriteKind.UPDATE, WriteKind.DELETE


@pytest.fixture
def harness(postgres: PostgresServer) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(postgres)
    yield harness
    harness.dispose()


class Writing(OpenTarget):
    """An open target, and a word to write with."""

    def __call__(self, columns: str, rows: Sequence[Row], *others: TableWrite, likely_new: bool = True) -> None:
        """Upsert rows of table a after `others`, in one transaction."""
        names = tuple(columns.split())
        write = TableWrite("public.a", UPSERT, names[:1], names, list(rows), likely_new=likely_new)
        self.apply(*others, write)


@pytest.fixture
def write(harness) -> Iterator[Writing]:
    writing = Writing(harness)
    yield writing
    writing.target.close()


def rows(first: int = 0, count: int = COUNT) -> list[Row]:
    return [[number, f"{number}"] for number in range(first, first + count)]


HOSTILE = ["", "\\N", "\\.", "a\tb", "a\nb", "a\r\nb", "\\", "\\t", '{"a": "\\n"}', "ünï€😀", "x\\\n\\.\ny", None]
TYPES = {
    "t": "text", "v": "varchar(40)", "c": "char(20)", "b": "bytea", "n": "numeric(20,4)", "f": "float8", "r": "real", "o": "boolean",
    "d": "date", "s": "timestamp", "z": "timestamptz", "h": "time", "u": "uuid", "j": "json", "k": "jsonb", "e": "mood", "x": "code",
}  # fmt: skip
VALUES = {
    "b": [b"", b"\\x\t\n\0\xff"], "n": ["1.5", "-0.0001"], "f": [0.1, float("inf")], "r": [0.5, -0.0], "o": [True, False],
    "d": ["2024-02-29", "0001-01-01"], "s": ["2024-02-29T23:59:59.999999", "2024-01-01 00:00:00"], "z": ["2024-02-29T23:59:59.5Z"],
    "h": ["23:59:59.000001"], "u": ["00000000-0000-0000-0000-00000000000a"], "j": ['{"a": "\\t\\\\"}', "1"], "k": ['["\\n"]', "null"],
    "e": ["sad", "o\\k\t"], "x": ["abc", "\\"],
}  # fmt: skip


def test_values_of_all_types_arrive_as_without_copying(harness, write):
    harness.sql("CREATE TYPE mood AS ENUM ('sad', 'o\\k\t'); CREATE DOMAIN code AS varchar(3)")
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, " + ", ".join(map(" ".join, TYPES.items())) + ")")
    every = {name: [*VALUES.get(name, HOSTILE), None] for name in TYPES}
    made: list[Row] = [[id_, *(values[id_ % len(values)] for values in every.values())] for id_ in range(COUNT)]
    columns = f"id {' '.join(TYPES)}"
    reading = f"SELECT id, {', '.join(f'{name}::text' for name in TYPES)} FROM a ORDER BY id"
    write(columns, made)
    assert harness.sql(COPIED) == [(COUNT,)]
    copied = harness.sql(reading)
    harness.sql("DELETE FROM a")
    write(columns, made, likely_new=False)
    assert harness.sql(COPIED) == [(0,)]
    assert harness.sql(reading) == copied


def test_what_comes_next_is_made_while_the_server_still_copies(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text)")
    copying: list[str] = []

    def writes():
        for table in "ab":
            yield TableWrite(f"public.{table}", UPSERT, ("id",), ("id", "v"), rows(), likely_new=True)
            copying.extend(name for (name,) in harness.sql("SELECT relid::regclass::text FROM pg_stat_progress_copy"))

    write.target.apply(writes(), Batch(write.through, write.through + 1))
    assert copying == ["a", "b"]
    assert harness.sql("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [(COUNT, COUNT)]


def test_where_one_row_exists_all_are_written_without_copying_and_so_are_the_next_writes(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (299, 'old')")
    write("id v", rows())
    assert harness.sql("SELECT count(*), max(v) FROM a WHERE v = id::text") == [(COUNT, "99")]
    assert harness.sql(COPIED) == [(0,)]
    for attempt in range(1, 4):
        write("id v", rows(attempt * COUNT))
    assert harness.sql("SELECT count(*), min(id) FROM a WHERE xmin NOT IN (SELECT xmin FROM a WHERE id < 900)") == [
        (COUNT, 3 * COUNT)
    ]
    write("id v", rows(4 * COUNT))
    assert harness.sql("SELECT count(*) FROM a WHERE v = id::text") == [(5 * COUNT,)]


@pytest.mark.parametrize(
    ("definition", "bad"),
    [
        ("v text UNIQUE", "5"),
        ("v text CHECK (v <> 'bad')", "bad"),
        ("v text NOT NULL", None),
        ("v varchar(4)", "12345"),
        ("v text", "\0"),
        ("v text", "\ud800"),
        ("v text REFERENCES b", "unknown"),
        ("v text UNIQUE DEFERRABLE INITIALLY DEFERRED", "5"),
    ],
)
def test_what_is_refused_is_refused_as_without_copying(harness, write, definition, bad):
    harness.sql("CREATE TABLE b (v text PRIMARY KEY); INSERT INTO b SELECT generate_series(0, 300)::text")
    harness.sql(f"CREATE TABLE a (id int PRIMARY KEY, {definition})")
    refusals = []
    for likely_new in (True, False):
        with pytest.raises(Refused) as refused:
            write("id v", [*rows(), [999, bad]], likely_new=likely_new)
        refusals.append((str(refused.value), refused.value.code, refused.value.rows))
    assert refusals[0] == refusals[1]
    write("id v", rows())
    assert harness.sql("SELECT count(*) FROM a WHERE v = id::text") == [(COUNT,)]


def test_a_row_that_somebody_else_is_making_is_waited_for_no_longer_than_any_lock(harness):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
    write = Writing(harness, lock_timeout_seconds=1)
    with psycopg.connect(harness.server.dsn(harness.database)) as other:
        other.execute("INSERT INTO a VALUES (7, 'theirs')")
        with pytest.raises(Unavailable, match="lock"):
            write("id v", rows())
    write("id v", rows())
    write.target.close()
    assert harness.sql("SELECT count(*) FROM a WHERE v = id::text") == [(COUNT,)]


def test_what_is_copied_is_not_deleted_with_what_was_not_there(harness, write):
    """What is deleted once more at the end spares rows by the number of our transaction, which copied ones do not have."""
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
    write("id v", rows(), TableWrite("public.a", DELETE, ("id",), ("id",), [[5]]))
    assert harness.sql("SELECT count(*) FROM a") == [(COUNT,)]
    write("id v", rows(COUNT), TableWrite("public.a", DELETE, ("id",), ("id",), [[6]]))
    assert harness.sql("SELECT count(*) FROM a") == [(2 * COUNT - 1,)]


def test_triggers_hear_copied_rows_and_given_numbers_are_kept(harness, write):
    harness.sql(
        "CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, twice text GENERATED ALWAYS AS (v || v) STORED)"
    )
    harness.sql(
        "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.v := NEW.v || '!'; RETURN NEW; END$$"
    )
    harness.sql("CREATE TRIGGER mark BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION mark()")
    write("id v twice", [[number, "v", "ignored"] for number in range(COUNT)])
    assert harness.sql("SELECT DISTINCT v, twice FROM a") == [("v!", "v!v!")]
    assert harness.sql(COPIED) == [(COUNT,)]


def test_rows_of_a_partitioned_table_are_copied_through_its_root(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    harness.sql("CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (0) TO (100); CREATE TABLE a2 PARTITION OF a DEFAULT")
    write("id v", rows())
    assert harness.sql(COPIED) == [(COUNT,)]


def test_a_statement_is_prepared_once_and_joins_only_where_the_table_is_large(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
    for number in range(3):
        write("id v", rows(0, 5), TableWrite("public.a", UPDATE, ("id",), ("id",), [[number]]), likely_new=False)
    connection = write.target._connection
    prepared = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
    assert len([text for (text,) in prepared if text.startswith('INSERT INTO "public"."a"')]) == 1
    assert not [text for (text,) in prepared if "NOT EXISTS" in text]
