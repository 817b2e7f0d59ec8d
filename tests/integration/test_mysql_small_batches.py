"""What a small transaction costs a MySQL target in round trips, and what becomes of it where rows are not as presumed."""

import contextlib

import pytest

from cdcd.errors import Fenced, Refused
from cdcd.model import WriteKind
from contract.mysql_harness import OnMySql, PrivateHarness
from integration.mysql_writing import Desk, write

UPSERT, UPDATE, DELETE, REKEY = WriteKind.UPSERT, WriteKind.UPDATE, WriteKind.DELETE, WriteKind.REKEY
PRODUCT = "CREATE TABLE t (id int PRIMARY KEY, sku varchar(9) NOT NULL UNIQUE, v varchar(3))"
ORDERS = "CREATE TABLE o (id int PRIMARY KEY, t_id int NOT NULL, FOREIGN KEY (t_id) REFERENCES t (id))"
ROWS = "INSERT INTO t VALUES (1, 's1', 'a'), (2, 's2', 'b'), (3, 's3', 'c')"


def products(*rows, kind=UPSERT):
    return write(kind, ("id", "sku", "v"), rows)


def order(number, product):
    return write(UPSERT, ("id", "t_id"), [[number, product]], table="o", likely_new=True)


class SmallBatches:
    """The tests; they run on MariaDB, and on MySQL where one is named."""

    one_exchange: int
    """In how many round trips a batch is written and committed of which nothing is to be known in between."""

    @pytest.fixture
    def at(self, harness):
        desk = Desk(harness, PRODUCT, ORDERS, ROWS)
        with contextlib.closing(desk.target):
            yield desk

    def words(self, sent):
        """The statements that were sent, each by its first word."""
        return [statement.strip().split(" ", 1)[0] for sql in sent for statement in sql.split(";") if statement.strip()]

    def test_a_small_transaction_in_several_tables_is_one_round_trip(self, at, monkeypatch):
        at.apply(products([1, "s1", "x"]))
        sent = at.exchanges(monkeypatch)
        renamed = write(REKEY, ("id", "id"), [[3, 4]])
        at.apply(
            products([1, "s1", "y"], [2, "s2", "z"]), renamed, order(7, 1), write(DELETE, ("id",), [[99]], table="o")
        )
        assert len(sent) == self.one_exchange
        assert not {"SAVEPOINT", "START"} & {*self.words(sent)}
        assert at.rows("id, v") == [("1", "y"), ("2", "z"), ("4", "c")]
        assert at.rows(table="o") == [("7", "1")]

    def test_between_batches_no_transaction_is_open(self, at):
        """One that was would keep the server from purging, and others from changing tables."""
        open_ones = "SELECT count(*) FROM information_schema.innodb_trx"
        assert at.harness.sql(open_ones) == [("0",)]
        for number in (1, 8):
            at.apply(products([number, f"s{number}", "x"]))
            assert at.harness.sql(open_ones) == [("0",)]
        with pytest.raises(Refused):
            at.apply(products([9, "s1", "x"]))
        assert at.harness.sql(open_ones) == [("0",)]

    def test_many_rows_of_a_small_transaction_are_one_round_trip(self, at, monkeypatch):
        at.harness.sql(
            "INSERT INTO t SELECT seq, seq, 'a' FROM ("
            + " UNION ALL ".join(f"SELECT {number} seq" for number in range(10, 60))
            + ") s"
        )
        at.apply()
        sent = at.exchanges(monkeypatch)
        at.apply(products(*([number, str(number), "b"] for number in range(10, 60))))
        assert len(sent) == self.one_exchange
        assert len(at.rows()) == 53
        assert at.rows("DISTINCT v", order="v")[:2] == [("a",), ("b",)]

    def test_a_row_that_is_not_there_although_presumed_is_inserted_before_what_refers_to_it(self, at, monkeypatch):
        sent = at.exchanges(monkeypatch)
        assert at.apply(products([1, "s1", "x"], [8, "s8", "new"]), order(7, 8)) == ()
        assert self.words(sent).count("ROLLBACK") == 1
        assert at.rows("id, v") == [("1", "x"), ("2", "b"), ("3", "c"), ("8", "new")]
        assert at.rows(table="o") == [("7", "8")]

    def test_after_that_nothing_is_presumed_of_the_table_for_a_while(self, at, monkeypatch):
        at.apply(products([8, "s8", "new"]))
        sent = at.exchanges(monkeypatch)
        at.apply(products([9, "s9", "new"]))
        assert "ROLLBACK" not in self.words(sent)
        for _ in range(100):
            at.apply()
        sent.clear()
        at.apply(products([9, "s9", "now"]))
        assert len(sent) == self.one_exchange
        assert at.rows("v")[-2:] == [("new",), ("now",)]

    def test_rows_that_are_missing_are_told_and_the_others_written(self, at):
        missing = at.apply(
            products([1, "s1", "x"], kind=UPDATE),
            products([2, "s2", "y"], [50, "s50", "y"], kind=UPDATE),
            write(REKEY, ("id", "id"), [[60, 61], [3, 4]]),
        )
        assert missing == ((1, 1), (2, 0))
        assert at.rows("id, v") == [("1", "x"), ("2", "y"), ("4", "c")]

    @pytest.mark.parametrize("value", ["abc ", "abcd"], ids=["a warning", "an error"])
    def test_what_is_refused_among_others_is_named_and_nothing_is_written(self, at, value):
        before = at.rows()
        error = at.refuse(products([1, "s1", "x"]), products([2, "s2", "y"], [3, "s3", value]), order(7, 1))
        assert error.rows == ((1, 1),)
        assert (at.rows(), at.rows(table="o")) == (before, [])
        at.apply(products([1, "s1", "x"]), order(7, 1))
        assert len(at.rows(table="o")) == 1

    def test_a_fenced_writer_writes_nothing(self, at):
        successor = at.harness.open_target()
        with contextlib.closing(successor):
            successor.open()
            with pytest.raises(Fenced):
                at.apply(products([1, "s1", "x"]), order(7, 1))
        assert (at.rows("v")[0], at.rows(table="o")) == (("a",), [])

    def test_differences_are_added_once_also_in_a_batch_that_is_begun_again(self, at):
        at.harness.sql("CREATE TABLE s (id int PRIMARY KEY, n int)", "INSERT INTO s VALUES (1, 10), (2, 20)")
        added = write(UPDATE, ("id", "n"), [[1, 5], [2, 5]], table="s", added=("n",))
        at.apply(added, products([8, "s8", "new"]))
        at.apply(added)
        assert at.rows(table="s") == [("1", "20"), ("2", "30")]

    def test_a_row_is_named_also_after_thousands_that_are_not_gone_back_to(self, at):
        at.harness.sql("CREATE TABLE n (id int PRIMARY KEY, v varchar(3))")
        many = write(UPSERT, ("id", "v"), [[number, "a"] for number in range(5000)], table="n")
        error = at.refuse(many, products([1, "s1", "x"], [2, "s2", "abc "]))
        assert (error.rows, error.code) == (((1, 1),), "value-changed")
        assert at.apply(many, products([1, "s1", "x"], [8, "s8", "new"])) == ()
        assert [tuple(map(int, at.rows("count(*)", "n", "1")[0])), len(at.rows())] == [(5000,), 4]


class TestMariaDb(SmallBatches):
    one_exchange = 1

    @pytest.fixture
    def harness(self, mariadb):
        if not mariadb.is_mariadb:
            pytest.skip("CDCD_MYSQL_BIN names a MySQL")
        harness = PrivateHarness(mariadb)
        yield harness
        harness.dispose()


class TestMySql(OnMySql, SmallBatches):
    one_exchange = 2
