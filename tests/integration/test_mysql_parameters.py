"""Many new rows are given to MariaDB as parameters: what is refused is named as ever, and a server that takes none gets literals."""

import contextlib

import pytest

from cdcd.errors import Unavailable
from cdcd.model import WriteKind
from cdcd.testing.servers import mysql_family_server
from cdcd_mysql import connection
from contract.mysql_harness import PrivateHarness
from integration.mysql_writing import Desk, write

UPSERT = WriteKind.UPSERT
PRODUCT = "CREATE TABLE t (id int PRIMARY KEY, sku varchar(20) NOT NULL UNIQUE, v int)"
COUNT = 300


@pytest.fixture(scope="module")
def server():
    made = mysql_family_server(settings={"max-allowed-packet": "4M"})
    if not made.is_mariadb:
        pytest.skip("only MariaDB takes rows as parameters")
    with made:
        yield made


@pytest.fixture
def desk(server):
    with contextlib.ExitStack() as stack:
        harness = PrivateHarness(server)
        stack.callback(harness.dispose)

        def make(*definitions):
            desk = Desk(harness, *definitions)
            stack.callback(desk.target.close)
            return desk

        yield make


def products(start=0, *, count=COUNT, value=1, **more):
    return write(UPSERT, ("id", "sku", "v"), [[n, f"s{n}", value] for n in range(start, start + count)], **more)


def given_as_parameters(sent):
    return sum(text == "PARAMETERS" for text in sent)


@pytest.mark.parametrize("is_likely_new", [True, False])
def test_new_rows_are_given_as_parameters_and_those_that_exist_are_updated(desk, monkeypatch, is_likely_new):
    at = desk(PRODUCT)
    sent = at.exchanges(monkeypatch)
    at.apply(products(likely_new=is_likely_new))
    at.apply(products(100, value=2, likely_new=is_likely_new))
    assert given_as_parameters(sent) == 2
    values = [int(row[0]) for row in at.rows("v")]
    assert values == [1] * 100 + [2] * COUNT


def test_rows_that_collide_on_the_key_alone_are_upserted_as_parameters(desk, monkeypatch):
    at = desk("CREATE TABLE t (id int PRIMARY KEY, v int, made int)")
    sent = at.exchanges(monkeypatch)
    for start, value in ((0, 1), (100, 2)):
        rows = [[n, value, value] for n in range(start, start + COUNT)]
        at.apply(write(UPSERT, ("id", "v", "made"), rows, insert_only=("made",)))
    assert given_as_parameters(sent) == 2
    pairs = [(int(v), int(made)) for v, made in at.rows("v, made")]
    assert pairs == [(1, 1)] * 100 + [(2, 1)] * 200 + [(2, 2)] * 100


def test_a_collision_names_its_row_and_touches_no_other(desk):
    at = desk(PRODUCT, "INSERT INTO t VALUES (900, 's7', 0)")
    error = at.refuse(products(likely_new=True))
    assert (error.rows, error.code) == (((0, 7),), "duplicate-key")
    assert at.rows() == [("900", "s7", "0")]


@pytest.mark.parametrize(
    ("column", "bad", "code"),
    [
        ("v int CHECK (v < 500)", 500, "check"),
        ("v int NOT NULL", None, "not-null"),
        ("v int REFERENCES o (id)", 500, "reference-missing"),
        ("v varchar(4) CHARACTER SET latin1", "日", "bad-value"),
    ],
)
def test_what_the_server_refuses_names_its_row(desk, column, bad, code):
    others = "CREATE TABLE o (id int PRIMARY KEY)"
    at = desk(others, f"CREATE TABLE t (id int PRIMARY KEY, {column})", "INSERT INTO o VALUES (1)")
    good = "1" if "varchar" in column else 1
    rows = [[n, bad if n == 123 else good] for n in range(COUNT)]
    error = at.refuse(write(UPSERT, ("id", "v"), rows))
    assert (error.rows, error.code) == (((0, 123),), code)
    assert at.rows() == []
    at.apply(write(UPSERT, ("id", "v"), [row for row in rows if row[1] == good]))
    assert len(at.rows()) == COUNT - 1


@pytest.mark.parametrize("place", [0, 123, COUNT - 1])
def test_a_value_that_the_server_would_change_is_seen_in_any_row(desk, place):
    at = desk("CREATE TABLE t (id int PRIMARY KEY, v varchar(3))")
    rows = [[n, "abc " if n == place else "abc"] for n in range(COUNT)]
    error = at.refuse(write(UPSERT, ("id", "v"), rows))
    assert (error.rows, error.code) == (((0, place),), "value-changed")


def test_rows_that_the_server_numbers_leave_no_gaps(desk, monkeypatch):
    """Of parameters it takes up to twice as many numbers as there are rows."""
    at = desk("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, sku varchar(20) UNIQUE, v int)")
    sent = at.exchanges(monkeypatch)
    for start in (0, COUNT):
        rows = [[f"s{n}", 1] for n in range(start, start + COUNT)]
        at.apply(write(UPSERT, ("sku", "v"), rows, key=("sku",), likely_new=True))
    assert [int(row[0]) for row in at.rows("id")] == [*range(1, 2 * COUNT + 1)]
    at.apply(products(5_000, likely_new=True))
    assert given_as_parameters(sent) == 1, "numbers of ours are parameters like others"


def test_a_table_that_is_altered_between_two_batches_is_written_as_it_is_then(desk):
    at = desk(PRODUCT)
    at.apply(products(likely_new=True))
    at.harness.sql("ALTER TABLE t ADD COLUMN more int DEFAULT 5 FIRST, MODIFY v varchar(30)")
    at.apply(products(COUNT, likely_new=True))
    assert at.rows("count(*), sum(more), min(v)", order="1") == [(str(2 * COUNT), str(10 * COUNT), "1")]


def test_more_kinds_of_rows_than_statements_are_kept_are_all_written(desk, monkeypatch):
    monkeypatch.setattr(connection, "_STATEMENTS_MAX", 2)
    tables = [f"t{n}" for n in range(5)]
    at = desk(*[PRODUCT.replace("TABLE t", f"TABLE {table}") for table in tables])
    for start in (0, COUNT):
        at.apply(*[products(start, table=table, likely_new=True) for table in tables])
    assert [len(at.rows(table=table)) for table in tables] == [2 * COUNT] * 5
    ((_, closed),) = at.target._session.run("SHOW SESSION STATUS LIKE 'Com_stmt_close'").rows
    assert int(closed) == 8


@pytest.mark.parametrize("comes_late", [False, True], ids=["at the beginning", "behind a savepoint"])
def test_a_server_that_prepares_no_more_statements_gets_literals_until_the_next_connection(
    desk, monkeypatch, server, comes_late
):
    tables = ("t", "u") if comes_late else ("t",)
    at = desk(*[PRODUCT.replace("TABLE t", f"TABLE {table}") for table in tables])
    before = 6_000 if comes_late else 0
    sent = at.exchanges(monkeypatch)
    server.execute(f"SET GLOBAL max_prepared_stmt_count = {len(tables) - 1}")
    try:
        writes = [products(count=before, likely_new=True)] if comes_late else []
        at.apply(*writes, products(table=tables[-1], likely_new=True))
    finally:
        server.execute("SET GLOBAL max_prepared_stmt_count = DEFAULT")
    assert len(at.rows(table=tables[-1])) == COUNT
    assert len(at.rows()) == (before or COUNT)
    assert not at.takes_parameters
    del sent[:]
    at.apply(products(9_000, likely_new=True))
    assert given_as_parameters(sent) == 0
    another = at.harness.open_target()
    with contextlib.closing(another):
        another.open()
        assert another._session.takes_parameters


def test_a_small_batch_that_was_not_as_presumed_may_find_that_no_parameters_are_taken(desk, server):
    """The rows are presumed to exist, then written in bulk: that is where it shows."""
    at = desk(PRODUCT)
    server.execute("SET GLOBAL max_prepared_stmt_count = 0")
    try:
        at.apply(products(count=150))
    finally:
        server.execute("SET GLOBAL max_prepared_stmt_count = DEFAULT")
    assert len(at.rows()) == 150
    assert not at.takes_parameters


def test_a_connection_that_is_lost_is_unavailable_and_nothing_was_applied(desk, server):
    at = desk(PRODUCT)
    at.apply(products(likely_new=True))
    for (number,) in server.execute("SELECT id FROM information_schema.processlist WHERE db LIKE 'contract%'"):
        server.execute(f"KILL {number}")
    with pytest.raises(Unavailable):
        at.apply(products(COUNT, likely_new=True))
    assert len(at.rows()) == COUNT
