"""Tables that change while they are captured: what the log shows, and what only the catalog does."""

import psycopg
import pytest

from cdcd.errors import DecodeError, NotReady, Unavailable
from cdcd.model import ABSENT, Op, Rows
from cdcd.testing.servers import PostgresServer
from contract.postgres_harness import PostgresHarness
from integration.postgres_reading import Reading, harness, own_server, reading, slot, wait_until  # noqa: F401 (fixtures)

LONG = "0123456789" * 900


def ops(session: Reading) -> list[tuple[str, str]]:
    return [(change.op.name, change.table) for change in session.changes()]


# ---- columns ---------------------------------------------------------------------------------------------------------


def test_the_relation_of_rows_follows_the_log_whatever_the_table_is_now(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int, w text)")
    session = reading("public.a")
    harness.sql(
        "INSERT INTO a VALUES (1, 1, 'x'); ALTER TABLE a ADD n int DEFAULT 7; INSERT INTO a VALUES (2, 2, 'y', 8)"
    )
    harness.sql("ALTER TABLE a RENAME v TO u; INSERT INTO a VALUES (3, 3, 'z', 9)")
    harness.sql("ALTER TABLE a DROP w; ALTER TABLE a ADD w bytea; INSERT INTO a VALUES (4, 4, 10, '\\x00')")
    harness.sql("ALTER TABLE a ALTER u TYPE text; ALTER TABLE a DROP n; INSERT INTO a VALUES (5, 'five', '\\x01')")
    assert [change.row for change in session.changes()] == [
        {"id": 1, "v": 1, "w": "x"},
        {"id": 2, "v": 2, "w": "y", "n": 8},
        {"id": 3, "u": 3, "w": "z", "n": 9},
        {"id": 4, "u": 4, "n": 10, "w": b"\0"},
        {"id": 5, "u": "five", "w": b"\1"},
    ]
    assert session.reader.read_chunk("public.a", None, 1).rows.relation.columns == ("id", "u", "w")


def test_a_truncate_is_told_for_every_captured_table_it_empties(harness, reading):
    harness.sql("CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (id serial PRIMARY KEY, a int REFERENCES a)")
    harness.sql("CREATE TABLE c (a int REFERENCES a)")
    session = reading("public.a", "public.b")
    harness.sql("INSERT INTO a DEFAULT VALUES; INSERT INTO b (a) VALUES (1); INSERT INTO c VALUES (1)")
    harness.sql("TRUNCATE a RESTART IDENTITY CASCADE")
    assert sorted(ops(session)[2:]) == [("TRUNCATE", "public.a"), ("TRUNCATE", "public.b")]


def test_a_prepared_transaction_comes_when_it_is_committed_and_not_when_it_is_undone():
    with PostgresServer(settings={"max_prepared_transactions": "5"}) as server:
        harness = PostgresHarness(server)
        harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
        session = Reading(harness, "public.a")
        for number in (1, 2):
            harness.sql(f"BEGIN; INSERT INTO a VALUES ({number}); PREPARE TRANSACTION 'p{number}'")
        harness.sql("INSERT INTO a VALUES (3)")
        assert [change.row["id"] for change in session.changes()] == [3]
        for statement in ("COMMIT PREPARED 'p1'", "ROLLBACK PREPARED 'p2'", "INSERT INTO a VALUES (4)"):
            harness.sql(statement)
        assert [change.row["id"] for change in session.changes()] == [3, 1, 4]
        session.source.close()


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_renamed_table_is_gone_in_the_transaction_of_its_next_row(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    harness.sql(
        "INSERT INTO a VALUES (1); ALTER TABLE a RENAME TO b; INSERT INTO b VALUES (2); INSERT INTO b VALUES (3)"
    )
    assert ops(session) == [("INSERT", "public.a"), ("TABLE_GONE", "public.a")]
    session.source.status()


def test_a_dropped_table_is_gone_and_stays_so_over_a_restart_until_it_is_there_again(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
    session = reading("public.a", "public.other")
    harness.sql("DROP TABLE a; INSERT INTO other VALUES (1)")
    session.source.status()
    session.source.status()
    assert ops(session) == [("INSERT", "public.other"), ("TABLE_GONE", "public.a")]
    session.source.close()
    resumed = reading("public.a", "public.other", after=session.reader.position)
    harness.sql("INSERT INTO other VALUES (2)")
    assert ops(resumed) == [("INSERT", "public.other")]
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
    with pytest.raises(Unavailable):
        resumed.source.status()
    resumed.source.close()
    again = reading("public.a", "public.other", after=resumed.reader.position)
    harness.sql("INSERT INTO a VALUES (2)")
    assert ops(again) == [("ROWS_LOST", "public.a"), ("INSERT", "public.a")]


def test_a_table_that_was_dropped_while_nobody_read_is_gone(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
    session = reading("public.a", "public.other")
    harness.sql("INSERT INTO other VALUES (1)")
    session.done()
    session.source.close()
    harness.sql("DROP TABLE a")
    resumed = reading("public.a", "public.other", after=session.reader.position)
    harness.sql("INSERT INTO other VALUES (2)")
    assert ops(resumed) == [("TABLE_GONE", "public.a"), ("INSERT", "public.other")]


@pytest.mark.parametrize("down", [False, True], ids=["while it is read", "while nobody reads"])
@pytest.mark.parametrize(
    "replace",
    [
        "CREATE TABLE t_new (id int PRIMARY KEY); ALTER TABLE a RENAME TO a_old; ALTER TABLE t_new RENAME TO a",
        "DROP TABLE a; CREATE TABLE a (id int PRIMARY KEY)",
    ],
    ids=["swapped", "dropped and created"],
)
def test_a_table_that_was_replaced_has_lost_rows_when_the_source_is_opened_again(harness, reading, replace, down):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
    session = reading("public.a", "public.other")
    harness.sql("INSERT INTO a VALUES (1); INSERT INTO other VALUES (1)")
    session.done()
    if down:
        session.source.close()
    harness.sql(f"{replace}; INSERT INTO a VALUES (2)")
    if not down:
        with pytest.raises(Unavailable) as caught:
            session.source.status()
        assert (caught.value.code, "public.a" in caught.value.what) == ("publication-mended", True)
        session.source.close()
    resumed = reading("public.a", "public.other", after=session.reader.position)
    harness.sql("INSERT INTO a VALUES (3)")
    assert ops(resumed) == [("ROWS_LOST", "public.a"), ("INSERT", "public.a")]
    resumed.source.status()
    assert ops(resumed) == [("ROWS_LOST", "public.a"), ("INSERT", "public.a")]


def test_a_publication_of_all_tables_that_swaps_one_tells_it(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE a_new (id int PRIMARY KEY)")
    harness.sql("CREATE PUBLICATION everything FOR ALL TABLES WITH (publish_via_partition_root = true)")
    session = reading("public.a", publication="everything")
    harness.sql("INSERT INTO a VALUES (1); ALTER TABLE a RENAME TO a_old; ALTER TABLE a_new RENAME TO a")
    harness.sql("INSERT INTO a VALUES (2)")
    assert ops(session) == [("INSERT", "public.a"), ("ROWS_LOST", "public.a"), ("INSERT", "public.a")]


def test_a_publication_that_was_narrowed_while_nobody_read_is_mended_and_its_tables_have_lost_rows(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    session.done()
    session.source.close()
    name = harness.options.publication_name(harness.identity)
    harness.sql(f"ALTER PUBLICATION \"{name}\" SET (publish = 'insert')")
    resumed = reading("public.a", after=session.reader.position)
    assert ("ROWS_LOST", "public.a") in ops(resumed)


def test_a_publication_that_was_narrowed_while_it_is_read_ends_the_source_for_a_new_one_to_mend_it(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    name = harness.options.publication_name(harness.identity)
    harness.sql(f"ALTER PUBLICATION \"{name}\" SET (publish = 'insert, update')")
    with pytest.raises(Unavailable) as caught:
        session.source.status()
    assert caught.value.code == "publication-mended"


def test_a_publication_that_was_made_anew_ends_the_source_for_a_new_one_to_mend_it(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    name = harness.options.publication_name(harness.identity)
    harness.sql(f'DROP PUBLICATION "{name}"')
    harness.sql(f'CREATE PUBLICATION "{name}" FOR TABLE a, marker WITH (publish_via_partition_root = true)')
    with pytest.raises(Unavailable) as caught:
        session.source.status()
    assert caught.value.code == "publication-mended"


# ---- what is not logged, or not identified ---------------------------------------------------------------------------


def test_a_captured_table_cannot_be_made_unlogged_but_a_partition_can_and_stops_the_source(harness, reading):
    harness.sql("CREATE TABLE sale (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE a (id int PRIMARY KEY)")
    harness.sql("CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1)")
    session = reading("public.sale", "public.a")
    with pytest.raises(psycopg.errors.Error):
        harness.sql("ALTER TABLE a SET UNLOGGED")
    harness.sql("ALTER TABLE sale_1 SET UNLOGGED")
    with pytest.raises(NotReady, match="sale_1") as caught:
        session.source.status()
    assert caught.value.code == "not-logged"
    session.source.close()
    with pytest.raises(NotReady, match="sale_1"):
        reading("public.sale", after=session.reader.started_at)


@pytest.mark.parametrize("change", ["REPLICA IDENTITY NOTHING", "DROP CONSTRAINT a_pkey"])
def test_a_table_that_loses_its_identity_stops_the_source(harness, reading, change):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    harness.sql(f"ALTER TABLE a {change}")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        harness.sql("INSERT INTO a VALUES (1); UPDATE a SET id = 2")
    with pytest.raises(NotReady) as caught:
        session.source.status()
    assert caught.value.code == "replica-identity"


# ---- partitions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sale(harness):
    harness.sql("CREATE TABLE sale (id int, year int, PRIMARY KEY (id, year)) PARTITION BY LIST (year)")
    for year in (1, 2):
        harness.sql(f"CREATE TABLE sale_{year} PARTITION OF sale FOR VALUES IN ({year})")
    harness.sql("INSERT INTO sale VALUES (1, 1), (2, 2)")
    return harness


ATTACH = """CREATE TABLE sale_3 (id int NOT NULL, year int NOT NULL); INSERT INTO sale_3 VALUES (3, 3); ALTER TABLE sale ATTACH PARTITION sale_3 FOR VALUES IN (3)"""


@pytest.mark.parametrize("down", [False, True], ids=["while it is read", "while nobody reads"])
@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (ATTACH, [("ROWS_LOST", "public.sale")]),
        ("ALTER TABLE sale DETACH PARTITION sale_1", [("ROWS_LOST", "public.sale")]),
        ("DROP TABLE sale_1", [("ROWS_LOST", "public.sale")]),
        ("TRUNCATE sale_1", [("ROWS_LOST", "public.sale")]),
        ("TRUNCATE sale", [("TRUNCATE", "public.sale")]),
        ("CREATE TABLE sale_3 PARTITION OF sale FOR VALUES IN (3)", []),
    ],
    ids=["attached", "detached", "dropped", "truncated alone", "truncated as a whole", "made"],
)
def test_rows_that_come_or_go_with_a_partition_are_told(sale, reading, sql, told, down):
    session = reading("public.sale")
    session.done()
    if down:
        session.source.close()
    for statement in sql.split("; "):
        sale.sql(statement)
    if down:
        session = reading("public.sale", after=session.reader.position)
    for _ in range(3):
        session.source.status()
        session.done()
    sale.sql("INSERT INTO sale VALUES (9, 2)")
    assert ops(session) == [*told, ("INSERT", "public.sale")]


def test_a_full_identity_of_the_root_alone_does_not_make_values_null(harness, reading):
    """REPLICA IDENTITY does not descend to partitions: their old rows have the key alone, in a tuple that says it is whole."""
    harness.sql("CREATE TABLE doc (id int PRIMARY KEY, body text, n int) PARTITION BY RANGE (id)")
    harness.sql("CREATE TABLE doc_1 PARTITION OF doc FOR VALUES FROM (0) TO (100)")
    harness.sql("ALTER TABLE doc ALTER body SET STORAGE EXTERNAL; ALTER TABLE doc_1 ALTER body SET STORAGE EXTERNAL")
    harness.sql(f"ALTER TABLE doc REPLICA IDENTITY FULL; INSERT INTO doc VALUES (1, '{LONG}', 1)")
    session = reading("public.doc")
    harness.sql("UPDATE doc SET id = 2; UPDATE doc SET n = 2; DELETE FROM doc")
    moved, updated, deleted = session.changes()
    assert (moved.row, moved.old) == ({"id": 2, "body": ABSENT, "n": 1}, {"id": 1, "body": ABSENT, "n": ABSENT})
    assert updated.row == {"id": 2, "body": ABSENT, "n": 2}
    assert deleted.row == {"id": 2, "body": ABSENT, "n": ABSENT}
    assert session.reader.events[0].relation.identity == (0,)


def test_a_partition_with_another_identity_than_its_root_stops_the_source_before_a_key_is_lost(harness, reading):
    harness.sql("CREATE TABLE doc (id int PRIMARY KEY, code int NOT NULL) PARTITION BY RANGE (id)")
    harness.sql("CREATE TABLE doc_1 PARTITION OF doc FOR VALUES FROM (0) TO (100)")
    harness.sql("CREATE UNIQUE INDEX code ON doc_1 (code); ALTER TABLE doc_1 REPLICA IDENTITY USING INDEX code")
    session = reading("public.doc")
    harness.sql("INSERT INTO doc VALUES (1, 1); DELETE FROM doc")
    with pytest.raises(DecodeError, match="another replica identity"):
        session.done()
    assert all(isinstance(event, Rows) and event.op is Op.INSERT for event in session.reader.events[:1])
