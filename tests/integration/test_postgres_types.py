"""Types of PostgreSQL that change while a source reads and a target writes. What each type is: tests/types."""

import pytest

from cdcd.model import Batch, TableWrite, WriteKind
from cdcd_postgres import adapter
from integration.postgres_reading import harness, own_server, reading  # noqa: F401 (fixtures)


def write(target, through: int, *rows: list) -> None:
    target.apply(
        [TableWrite("public.copy", WriteKind.UPSERT, ("id",), ("id", "v"), [*rows])], Batch(through, through + 1)
    )


@pytest.fixture
def target(harness):
    target = adapter.open_target(harness.identity, harness.options)
    yield target
    target.close()


def test_a_label_that_an_enum_is_given_while_running_is_read_and_written(harness, reading, target):
    harness.sql("CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (id int PRIMARY KEY, v mood, l mood[])")
    harness.sql("CREATE TABLE copy (id int PRIMARY KEY, v mood)")
    session = reading("public.t")
    through = target.open()
    harness.sql("INSERT INTO t VALUES (1, 'sad', '{sad}')")
    write(target, through, [1, "sad"])
    harness.sql("ALTER TYPE mood ADD VALUE 'it''s, \"ok\" 😀' BEFORE 'sad'")
    harness.sql("INSERT INTO t VALUES (2, 'it''s, \"ok\" 😀', NULL)")
    assert [change.row["v"] for change in session.changes() if change.table == "public.t"] == ["sad", 'it\'s, "ok" 😀']
    write(target, through + 1, [2, 'it\'s, "ok" 😀'])
    assert harness.sql("SELECT id, v::text FROM copy ORDER BY id") == [(1, "sad"), (2, 'it\'s, "ok" 😀')]


def test_a_type_in_another_schema_has_the_same_canonical_name(harness, reading, target):
    harness.sql("CREATE SCHEMA extensions; CREATE EXTENSION hstore SCHEMA extensions")
    harness.sql('CREATE SCHEMA "Own"; CREATE TYPE "Own"."Pair" AS (a int, b text)')
    harness.sql('CREATE TABLE t (id int PRIMARY KEY, h extensions.hstore, p "Own"."Pair", l "Own"."Pair"[])')
    session = reading("public.t")
    harness.sql("INSERT INTO t VALUES (1, 'a=>1', '(1,x)', '{\"(1,x)\"}')")
    (change,) = session.changes()
    assert change.row == {"id": 1, "h": '"a"=>"1"', "p": "(1,x)", "l": '{"(1,x)"}'}
    types = session.reader.events[0].relation.types
    assert types[1:] == ("native(hstore)", 'native("Pair")', 'native("Pair"[])')
    shape = target.describe(["public.t"])["public.t"]
    assert [column.type for column in shape.columns][1:] == list(types[1:])
