"""The publication of a PostgreSQL source, on a real server."""

import msgspec
import pytest

from cdcd.adapter import TableNeed
from cdcd.errors import NotReady, PositionLost, Unavailable
from cdcd.model import CHECKPOINT_TABLE, Op
from cdcd_postgres import adapter
from integration.postgres_reading import Reading, harness, own_server, reading, slot, wait_until  # noqa: F401 (fixtures)

LONG = "".join(chr(33 + number * 7919 % 90) for number in range(9000))
"""Too long to stay in the row, and not compressible enough to get there."""


# ---- publication -----------------------------------------------------------------------------------------------------


def test_the_publication_lists_exactly_what_is_captured_and_the_checkpoint(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    target = harness.open_target()
    target.open()
    target.close()
    reading("public.a", "public.b").source.close()
    session = reading("public.b")
    name = harness.options.publication_name(harness.identity)
    listed = harness.sql(f"SELECT tablename FROM pg_publication_tables WHERE pubname = '{name}' ORDER BY 1")
    assert [table for (table,) in listed] == ["b", CHECKPOINT_TABLE, "marker"]
    harness.sql("INSERT INTO a VALUES (1); INSERT INTO b VALUES (2)")
    assert [change.row["id"] for change in session.changes()] == [2]


def test_a_table_is_captured_from_the_moment_it_is_configured(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    session = reading("public.a")
    session.done()
    session.source.close()
    harness.sql("INSERT INTO b VALUES (1)")
    session = reading("public.a", "public.b", after=session.reader.position)
    harness.sql("INSERT INTO b VALUES (2)")
    assert [change.row["id"] for change in session.changes()] == [2]


def test_without_the_rights_the_publication_is_asked_for_and_then_used(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE marker (id serial PRIMARY KEY)")
    role = harness.identity.system
    harness.sql(f'CREATE ROLE "{role}" LOGIN REPLICATION; GRANT SELECT ON a, marker TO "{role}"')
    dsn = harness.server.dsn(harness.database, role)
    with pytest.raises(NotReady) as caught:
        reading("public.a", dsn=dsn)
    source = adapter.open_source(
        harness.identity,
        msgspec.structs.replace(harness.options, dsn=dsn),
        [TableNeed("public.a"), TableNeed("public.marker")],
    )
    (finding,) = source.check([TableNeed("public.a"), TableNeed("public.marker")])
    assert finding.code == "publication"
    assert finding.remedy in caught.value.remedy
    harness.sql(finding.remedy)
    assert source.check([TableNeed("public.a"), TableNeed("public.marker")]) == []
    session = reading("public.a", dsn=dsn)
    harness.sql("INSERT INTO a VALUES (1)")
    assert [change.row["id"] for change in session.changes()] == [1]
    session.source.close()
    harness.sql("CREATE TABLE b (id int PRIMARY KEY)")
    with pytest.raises(NotReady) as caught:
        reading("public.b", dsn=dsn)
    assert 'ADD TABLE ONLY "public"."b"' in caught.value.remedy
    harness.sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_a_publication_with_a_filter_is_mended(harness, reading):
    if harness.server.binaries.major < 15:
        pytest.skip("row filters came with PostgreSQL 15")
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    name = harness.options.publication_name(harness.identity)
    harness.sql(f"CREATE PUBLICATION \"{name}\" FOR TABLE a WHERE (id > 100) WITH (publish = 'insert')")
    session = reading("public.a")
    harness.sql("INSERT INTO a VALUES (1); DELETE FROM a")
    assert [change.op for change in session.changes()] == [Op.INSERT, Op.DELETE]


def test_a_publication_of_all_tables_does_not_bring_rows_nobody_wants(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    harness.sql("CREATE PUBLICATION everything FOR ALL TABLES WITH (publish_via_partition_root = true)")
    session = reading("public.a", publication="everything")
    harness.sql("INSERT INTO b VALUES (1); BEGIN; INSERT INTO b VALUES (2); INSERT INTO a VALUES (3); COMMIT")
    assert [change.row["id"] for change in session.changes()] == [3]


def test_a_table_taken_out_of_the_publication_is_noticed(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    session.source.status()
    harness.sql(f'ALTER PUBLICATION "{harness.options.publication_name(harness.identity)}" DROP TABLE a')
    with pytest.raises(Unavailable, match=r"public\.a"):
        session.source.status()


def test_a_dropped_publication_is_a_lost_position(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    harness.sql("INSERT INTO a VALUES (1)")
    session.done()
    harness.sql(f'DROP PUBLICATION "{harness.options.publication_name(harness.identity)}"')
    with pytest.raises(Unavailable):
        session.source.status()
    session.source.close()
    with pytest.raises(PositionLost, match="dropped"):
        reading("public.a", after=session.reader.position)
    anew = reading("public.a")
    harness.sql("INSERT INTO a VALUES (2)")
    assert [change.row["id"] for change in anew.changes()] == [2]


def test_a_missing_table_keeps_the_source_from_starting(harness, reading):
    with pytest.raises(NotReady, match="nowhere"):
        reading("public.nowhere")
