"""The target on real servers: what is refused and which row is named, collisions, keys, triggers, limits."""

import contextlib

import msgspec
import pymysql
import pytest

from cdcd.adapter import Checkpoint
from cdcd.errors import NotReady, Unavailable
from cdcd.model import Batch, Lookup, WriteKind
from cdcd.testing.servers import mysql_family_server
from contract.mysql_harness import OnMySql, PrivateHarness
from integration.mysql_writing import Desk, write

OLD_TABLE = """CREATE TABLE cdcd_checkpoint (daemon VARCHAR(64), `system` VARCHAR(64), lineage VARCHAR(64) NOT NULL,
    epoch BIGINT NOT NULL, batch_after BIGINT NOT NULL, batch_through BIGINT NOT NULL, updated_at DATETIME(6) NOT NULL,
    PRIMARY KEY (daemon, `system`))"""
TWICE_UNIQUE = "CREATE TABLE t (id int PRIMARY KEY, sku varchar(20) NOT NULL UNIQUE, v int)"
UPSERT, UPDATE, DELETE = WriteKind.UPSERT, WriteKind.UPDATE, WriteKind.DELETE


class Targets:
    """The tests; they run on MariaDB, and on MySQL where one is named."""

    @pytest.fixture
    def desk(self, harness):
        with contextlib.ExitStack() as stack:

            def make(*definitions):
                desk = Desk(harness, *definitions)
                stack.callback(desk.target.close)
                return desk

            yield make

    # ---- the checkpoint ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("may_alter", [True, False])
    def test_a_checkpoint_table_of_an_earlier_version_gets_its_column_if_we_may(self, harness, may_alter):
        user, identity = f"u{harness.database[-20:]}", harness.identity
        rights = "SELECT, INSERT, UPDATE, ALTER" if may_alter else "SELECT, INSERT, UPDATE"
        harness.sql(
            OLD_TABLE,
            f"INSERT INTO cdcd_checkpoint VALUES ('{identity.daemon}', '{identity.system}', 'lineage', 4, 2, 7, now())",
            f"CREATE USER {user}@'127.0.0.1'",
            f"GRANT {rights} ON cdcd_checkpoint TO {user}@'127.0.0.1'",
        )
        target = harness.adapter.open_target(identity, msgspec.structs.replace(harness.options, user=user, tls="off"))
        try:
            assert target.checkpoint() == Checkpoint("lineage", 4, 7)
            assert target.open() == 7
            target.apply([], Batch(7, 8, "progress"))
            assert target.checkpoint() == Checkpoint("lineage", 5, 8, "progress" if may_alter else "")
        finally:
            target.close()
            harness.sql(f"DROP USER {user}@'127.0.0.1'")

    # ---- refusals name the row ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("definition", "good", "bad", "code"),
        [
            ("tinyint unsigned", 255, 256, "out-of-range"),
            ("tinyint unsigned", 0, -1, "out-of-range"),
            ("varchar(3)", "abc", "abcd", "too-long"),
            ("varchar(3)", "abc", "abc ", "value-changed"),
            ("char(3)", "abc", "ab ", "trailing-space"),
            ("varchar(9) character set latin1", "é", "日本", "bad-value"),
            ("varchar(9) character set ascii", "e", "é", "bad-value"),
            ("decimal(6,2)", "9999.99", "10000.00", "out-of-range"),
            ("decimal(6,2)", "1.50", "1.505", "too-precise"),
            ("decimal(6,2)", "1.500", "1e3", "wrong-type"),
            ("datetime(3)", "2026-01-01 00:00:00.123", "2026-01-01 00:00:00.1234", "too-precise"),
            ("datetime", "2026-02-31 00:00:00", "2026-02-32 00:00:00", "bad-value"),
            ("date", "0000-00-00", "2026-13-01", "bad-value"),
            ("timestamp null", "2038-01-19 03:14:07Z", "1960-01-01 00:00:00Z", "out-of-range"),
            ("time", "838:59:59", "839:00:00", "bad-value"),
            ("enum('a','b')", "b", "c", "bad-value"),
            ("set('a','b')", "a,b", "a,c", "bad-value"),
            ("binary(4)", b"1234", b"12", "too-short"),
            ("varbinary(4)", b"1234", b"12345", "too-long"),
            ("int not null", 5, None, "not-null"),
            ("int", 5, "5; DROP TABLE t", "wrong-type"),
            ("int", True, 5.5, "wrong-type"),
            ("double", 1.5, float("nan"), "wrong-type"),
            ("json", "{}", "{", "bad-json"),
            ("bit(3)", 7, 8, "too-long"),
            ("blob", b"x", "w0rds", "wrong-type"),
            ("text", "t", b"bytes", "wrong-type"),
        ],
    )
    @pytest.mark.parametrize("count", [3, 40], ids=["few rows", "many rows"])
    def test_one_bad_row_is_named_and_nothing_is_written(self, desk, definition, good, bad, code, count):
        at = desk(f"CREATE TABLE t (id int PRIMARY KEY, v {definition})")
        rows = [[number, good] for number in range(count)]
        rows[count // 2][1] = bad
        error = at.refuse(write(UPSERT, ("id", "v"), rows[:1]), write(UPSERT, ("id", "v"), rows))
        assert error.rows == ((1, count // 2),)
        assert error.code == code or (code, error.code) in {
            ("bad-json", "check"),
            ("too-long", "bad-value"),
            ("too-long", "out-of-range"),
        }
        assert str(bad) not in str(error) or len(str(bad)) < 3
        assert at.rows() == []
        rows[count // 2][1] = good
        assert at.apply(write(UPSERT, ("id", "v"), rows)) == ()
        rows[count // 2][1] = bad
        error = at.refuse(write(UPDATE, ("id", "v"), rows))
        assert error.rows == ((0, count // 2),)
        assert len(at.rows()) == count

    def test_a_collision_with_another_unique_key_names_its_row_and_touches_no_other(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, ean varchar(20) UNIQUE, v int)")
        at.apply(write(UPSERT, ("id", "ean", "v"), [[n, f"e{n}", 0] for n in range(100)]))
        before = at.rows()
        rows = [[n, f"e{n}", 1] for n in range(50, 150)]
        rows[70][1] = "E3"  # new row 120 would take the number of row 3, in the server's eyes
        assert at.refuse(write(UPSERT, ("id", "ean", "v"), rows)).rows == ((0, 70),)
        rows[70][1], rows[10][1] = "e120", "e3"  # now row 60, which exists
        error = at.refuse(write(UPSERT, ("id", "ean", "v"), rows))
        assert (error.rows, error.code) == (((0, 10),), "duplicate-key")
        assert "e3" not in str(error)
        assert at.rows() == before

    def test_a_row_that_others_refer_to_is_not_deleted(self, desk):
        at = desk(
            "CREATE TABLE t (id int PRIMARY KEY)",
            "CREATE TABLE c (id int PRIMARY KEY, t_id int, FOREIGN KEY (t_id) REFERENCES t (id))",
            "INSERT INTO t VALUES (1), (2), (3)",
            "INSERT INTO c VALUES (1, 2)",
        )
        error = at.refuse(write(DELETE, ("id",), [[1], [2], [3]]))
        assert (error.rows, error.code) == (((0, 1),), "still-referenced")
        assert len(at.rows()) == 3

    def test_a_check_constraint_is_named(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, v int, CONSTRAINT positive_v CHECK (v > 0))")
        error = at.refuse(write(UPSERT, ("id", "v"), [[1, 1], [2, -77]]))
        assert (error.rows, error.code) == (((0, 1),), "check")
        assert "positive_v" in str(error)
        assert "77" not in str(error)

    def test_a_trigger_that_signals_refuses_without_its_text(self, desk):
        at = desk(
            "CREATE TABLE t (id int PRIMARY KEY, v varchar(20))",
            "CREATE TRIGGER guard BEFORE INSERT ON t FOR EACH ROW"
            " IF NEW.v = 's3cret' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 's3cret value'; END IF",
        )
        error = at.refuse(write(UPSERT, ("id", "v"), [[1, "fine"], [2, "s3cret"]]))
        assert (error.rows, error.code) == (((0, 1),), "trigger")
        assert "s3cret" not in str(error)

    def test_a_fault_inside_a_trigger_is_put_down_to_the_row_that_fired_it(self, desk):
        at = desk(
            "CREATE TABLE log (v varchar(3))",
            "CREATE TABLE t (id int PRIMARY KEY, v varchar(20))",
            "CREATE TRIGGER copy_it AFTER INSERT ON t FOR EACH ROW INSERT INTO log VALUES (NEW.v)",
        )
        rows = [[n, "abc"] for n in range(30)]
        rows[20][1] = "abcd"
        assert at.refuse(write(UPSERT, ("id", "v"), rows)).rows == ((0, 20),)

    def test_a_unique_key_that_is_added_while_we_run_is_minded_before_long(self, desk, monkeypatch):
        monkeypatch.setattr("cdcd_mysql.target._DESCRIPTION_AGE_MAX_SECONDS", 0)
        at = desk("CREATE TABLE t (id int PRIMARY KEY, ean varchar(9))")
        at.apply(write(UPSERT, ("id", "ean"), [[1, "a"]]))
        at.harness.sql("ALTER TABLE t ADD UNIQUE (ean)")
        assert at.refuse(write(UPSERT, ("id", "ean"), [[2, "a"]])).rows == ((0, 0),)
        assert at.rows() == [("1", "a")]

    def test_a_row_larger_than_the_servers_packet_is_refused_before_it_is_sent(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, v longtext)")
        size = int(at.harness.sql("SELECT @@global.max_allowed_packet")[0][0])
        error = at.refuse(write(UPSERT, ("id", "v"), [[1, "small"], [2, "x" * size]]))
        assert (error.rows, error.code) == (((0, 1),), "too-large")
        at.apply(write(UPSERT, ("id", "v"), [[1, "small"], [2, "x" * (size // 2)]]))

    def test_a_null_key_is_refused_and_a_delete_by_one_does_nothing(self, desk):
        at = desk(
            "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, sku varchar(20) UNIQUE)",
            "INSERT INTO t VALUES (1, NULL)",
        )
        error = at.refuse(write(UPSERT, ("sku",), [["a"], [None]], key=("sku",)))
        assert (error.rows, error.code) == (((0, 1),), "key-null")
        at.apply(write(DELETE, ("sku",), [[None]], key=("sku",)))
        assert len(at.rows()) == 1

    def test_half_a_surrogate_pair_is_put_down_to_its_row_among_few(self, desk):
        at = desk(TWICE_UNIQUE, "INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0)")
        rows = [[1, "fine", 1], [2, "\ud800", 1]]
        error = at.refuse(write(UPSERT, ("id", "sku", "v"), rows, likely_new=True))
        assert (error.rows, error.code) == (((0, 1),), "bad-text")

    def test_half_a_surrogate_pair_is_refused(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))")
        error = at.refuse(write(UPSERT, ("id", "v"), [[1, "fine"], [2, "\ud800"]]))
        assert (error.rows, error.code) == (((0, 1),), "bad-text")

    # ---- keys and order ----------------------------------------------------------------------------------------------------

    def test_keys_that_the_server_holds_equal_are_one_row(self, desk):
        at = desk(
            "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, sku varchar(20) UNIQUE, v int)"
            " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
        )
        at.apply(write(UPSERT, ("sku", "v"), [[f"SKU{n}", n] for n in range(50)], key=("sku",)))
        missing = at.apply(write(UPDATE, ("sku", "v"), [[f"sku{n}", n + 100] for n in range(51)], key=("sku",)))
        assert missing == ((0, 50),)
        at.apply(write(UPSERT, ("sku", "v"), [[f"Sku{n}", n + 200] for n in range(60)], key=("sku",)))
        assert [int(row[0]) for row in at.rows("v", order="id")] == [n + 200 for n in range(60)]
        at.apply(write(DELETE, ("sku",), [[f"sku{n}"] for n in range(60)], key=("sku",)))
        assert at.rows() == []

    def test_a_key_that_comes_twice_in_a_write_has_its_last_values(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, sku varchar(20) UNIQUE, v int, first int)")
        rows = [[f"s{n % 30}", n, n] for n in range(90)]
        at.apply(write(UPSERT, ("sku", "v", "first"), rows, key=("sku",), insert_only=("first",)))
        assert [tuple(map(int, row)) for row in at.rows("v, first", order="v")] == [(n + 60, n) for n in range(30)]

    def test_values_of_a_unique_column_may_be_passed_on_within_a_batch(self, desk):
        at = desk(
            "CREATE TABLE t (id int PRIMARY KEY, ean varchar(20) UNIQUE)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')"
        )
        at.apply(write(UPSERT, ("id", "ean"), [[1, "c"], [2, "a"], [1, "b"]]))
        assert at.rows("ean") == [("b",), ("a",)]
        many = [[n, f"x{n}"] for n in range(3, 60)]
        at.apply(write(UPSERT, ("id", "ean"), many))
        at.apply(write(UPDATE, ("id", "ean"), [[n, f"x{n - 1}" if n > 3 else "free"] for n in range(3, 60)]))
        assert at.rows("ean")[-1] == ("x58",)

    def test_automatic_numbers_do_not_run_away(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, sku varchar(20) UNIQUE, v int)")
        for turn in range(5):
            at.apply(write(UPSERT, ("sku", "v"), [[f"s{n}", turn] for n in range(100)], key=("sku",)))
        at.apply(write(UPSERT, ("sku", "v"), [["new", 1]], key=("sku",)))
        assert int(at.rows("max(id)", order="1")[0][0]) < 260

    def test_a_zero_stays_a_zero_in_an_automatic_column(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v int)")
        at.apply(write(UPSERT, ("id", "v"), [[0, 1], [5, 2]]))
        assert [int(row[0]) for row in at.rows("id")] == [0, 5]

    @pytest.mark.parametrize(
        ("definition", "keys"),
        [
            ("decimal(20,4)", [f"{n}.5000" for n in range(40)]),
            ("varchar(20) character set latin1", [f"é{n}" for n in range(40)]),
            ("varchar(20) collate utf8mb4_bin", [f"k{n}'\\\"" for n in range(40)]),
            ("char(5)", [f"c{n}" for n in range(40)]),
            ("varbinary(5)", [bytes([n, 39, 92, 0]) for n in range(40)]),
            ("binary(2)", [bytes([n, 0]) for n in range(40)]),
            ("bigint unsigned", [2**64 - 1 - n for n in range(40)]),
            ("datetime(3)", [f"2026-01-01 00:00:{n:02d}.5" for n in range(40)]),
            ("timestamp(6)", [f"2026-01-01 00:00:{n:02d}.000005Z" for n in range(40)]),
            ("date", [f"2026-01-{n + 1:02d}" for n in range(31)]),
            ("enum('a','b')", ["b", "a"] * 1),
            ("bit(16)", list(range(40))),
            ("year", [1990 + n for n in range(40)]),
        ],
    )
    def test_rows_are_found_by_keys_of_every_type(self, desk, definition, keys):
        at = desk(f"CREATE TABLE t (k {definition} PRIMARY KEY, v int, u int, UNIQUE (u))")
        rows = [[key, 0, place] for place, key in enumerate(keys)]
        assert at.apply(write(UPSERT, ("k", "v", "u"), rows, key=("k",))) == ()
        assert at.apply(write(UPSERT, ("k", "v", "u"), rows, key=("k",))) == ()
        assert at.apply(write(UPDATE, ("k", "v"), [[key, place] for place, key in enumerate(keys)], key=("k",))) == ()
        assert sorted(int(row[0]) for row in at.rows("v", order="v")) == list(range(len(keys)))
        at.apply(write(DELETE, ("k",), [[key] for key in keys[1:]], key=("k",)))
        assert len(at.rows("v", order="v")) == 1

    @pytest.mark.parametrize("count", [1, 40])
    def test_a_key_that_its_column_cannot_hold_is_refused_and_matches_nothing(self, desk, count):
        at = desk(
            "CREATE TABLE t (k varchar(9) CHARACTER SET latin1 PRIMARY KEY, v int)", "INSERT INTO t VALUES ('??', 0)"
        )
        rows = [[f"é{n}", 1] for n in range(count)]
        at.apply(write(UPSERT, ("k", "v"), rows, key=("k",)))
        for kind in (UPDATE, UPSERT):
            assert at.refuse(write(kind, ("k", "v"), [*rows, ["日本", 2]], key=("k",))).rows == ((0, count),)
        keys = [[row[0]] for row in rows]
        assert at.refuse(write(DELETE, ("k",), [*keys, ["日本"]], key=("k",))).rows == ((0, count),)
        assert at.rows("v", order="k")[0] == ("0",)

    def test_columns_that_a_write_leaves_out_keep_their_values_in_bulk(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, a varchar(9) NOT NULL, b varchar(9) NOT NULL, u int UNIQUE)")
        at.apply(write(UPSERT, ("id", "a", "b", "u"), [[n, "a", "b", n] for n in range(100)]))
        missing = at.apply(write(UPDATE, ("id", "a"), [[n, f"n{n}"] for n in range(90, 110)]))
        assert missing == tuple((0, place) for place in range(10, 20))
        assert at.rows("a, b, u")[95] == ("n95", "b", "95")

    def test_an_upsert_in_bulk_writes_insert_only_columns_of_new_rows_only(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, sku varchar(9) UNIQUE, a int, b int)")
        for start, value in ((0, 1), (50, 2)):
            rows = [[f"s{n}", value, value] for n in range(start, start + 100)]
            at.apply(write(UPSERT, ("sku", "a", "b"), rows, key=("sku",), insert_only=("b",)))
        pairs = [tuple(map(int, row)) for row in at.rows("a, b")]
        assert pairs == [(1, 1)] * 50 + [(2, 1)] * 50 + [(2, 2)] * 50

    @pytest.mark.parametrize(("count", "inserts"), [(900, 1), (2_500, 3)])
    def test_rows_that_are_probably_new_cost_one_look_for_all_and_then_only_inserts(
        self, desk, monkeypatch, count, inserts
    ):
        at = desk(TWICE_UNIQUE)
        at.apply(write(UPSERT, ("id", "sku", "v"), [[-1, "first", 0]]))
        sent = at.exchanges(monkeypatch)
        at.apply(write(UPSERT, ("id", "sku", "v"), [[n, f"s{n}", 0] for n in range(count)], likely_new=True))
        words = [statement.split(" ", 1)[0] for sql in sent for statement in sql.split(";")]
        written = ["PREPARE", *["PARAMETERS"] * inserts] if at.takes_parameters else ["INSERT"] * inserts
        assert words == ["UPDATE", "SELECT", *written, "COMMIT"]
        assert sent[0].endswith("FOR UPDATE")
        assert len(at.rows()) == count + 1

    def test_a_record_that_comes_twice_among_probably_new_ones_is_as_it_came_last(self, desk):
        at = desk(TWICE_UNIQUE)
        rows = [[n, f"s{n}", 1] for n in range(1_200)] + [[n, f"s{n}", 2] for n in range(50)]
        at.apply(write(UPSERT, ("id", "sku", "v"), rows, likely_new=True))
        assert [int(row[0]) for row in at.rows("v")] == [2] * 50 + [1] * 1_150

    def test_rows_that_exist_although_they_are_probably_new_are_updated_and_then_not_looked_for(
        self, desk, monkeypatch
    ):
        at = desk(TWICE_UNIQUE)
        at.apply(write(UPSERT, ("id", "sku", "v"), [[n, f"s{n}", 0] for n in range(90)]))
        sent = at.exchanges(monkeypatch)
        looks = []
        for start, value in ((50, 1), (0, 2), (900, 3), (1200, 4)):
            rows = [[n, f"s{n}", value] for n in range(start, start + 100)]
            at.apply(write(UPSERT, ("id", "sku", "v"), rows, likely_new=True))
            looks.append(sum("LIMIT 1" in sql for sql in sent))
            sent.clear()
        assert looks == [1, 0, 0, 1]  # none of the third were there: it is worth looking again
        expected = {**dict.fromkeys(range(100, 150), 1), **dict.fromkeys(range(100), 2)}
        expected |= dict.fromkeys(range(900, 1000), 3) | dict.fromkeys(range(1200, 1300), 4)
        assert {int(row[0]): int(row[1]) for row in at.rows("id, v")} == expected

    @pytest.mark.parametrize("count", [3, 40])
    def test_a_collision_of_probably_new_rows_names_its_row_and_touches_no_other(self, desk, count):
        at = desk(TWICE_UNIQUE, "INSERT INTO t VALUES (900, 'taken', 0)")
        rows = [[n, f"s{n}", 1] for n in range(count)]
        rows[2][1] = "Taken"
        error = at.refuse(write(UPSERT, ("id", "sku", "v"), rows, likely_new=True))
        assert (error.rows, error.code) == (((0, 2),), "duplicate-key")
        assert at.rows() == [("900", "taken", "0")]

    def test_probably_new_rows_that_the_server_holds_equal_to_others_are_these(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, sku varchar(20) UNIQUE, v int)")
        for spelled, value in (("SKU{}", 1), ("sku{}", 2)):
            rows = [[spelled.format(n), value] for n in range(30)]
            at.apply(write(UPSERT, ("sku", "v"), rows, key=("sku",), likely_new=True))
        assert at.rows("sku, v")[29:] == [("SKU29", "2")]
        assert len(at.rows()) == 30

    def test_an_index_that_is_dropped_while_we_run_is_done_without(self, desk):
        at = desk(TWICE_UNIQUE)
        rows = [[f"s{n}", n, 0] for n in range(40)]
        at.apply(write(UPSERT, ("sku", "id", "v"), rows, key=("sku",), likely_new=True))
        at.harness.sql("ALTER TABLE t DROP INDEX sku")
        rows = [[f"s{n}", n, 1] for n in range(20, 60)]
        at.apply(write(UPSERT, ("sku", "id", "v"), rows, key=("sku",), likely_new=True))
        assert [int(row[0]) for row in at.rows("v")] == [0] * 20 + [1] * 40

    def test_rows_are_found_by_their_key_also_before_the_server_has_counted_a_table_that_grew(self, desk):
        at = desk(f"{TWICE_UNIQUE} STATS_AUTO_RECALC = 0")
        for start in range(0, 4000, 500):
            rows = [[n, f"s{n}", 0] for n in range(start, start + 500)]
            at.apply(write(UPSERT, ("id", "sku", "v"), rows, likely_new=True))
        for key, columns in ((("id",), ("id", "v")), (("sku",), ("sku", "v"))):
            rows = [[n if key == ("id",) else f"s{n}", 1] for n in range(3000, 3500)]
            before = at.rows_read()
            at.apply(write(UPDATE, columns, rows, key=key))
            assert at.rows_read() - before < 6 * len(rows)
        assert at.rows("sum(v)", order="1") == [("500",)]

    def test_triggers_of_inserts_do_not_run_for_rows_that_exist(self, desk):
        at = desk(
            "CREATE TABLE t (id int PRIMARY KEY, v int, made int DEFAULT 0)",
            "CREATE TRIGGER count_it BEFORE INSERT ON t FOR EACH ROW SET NEW.made = 7, NEW.v = NEW.v + 1000",
        )
        for value in (1, 2):
            at.apply(write(UPSERT, ("id", "v"), [[n, value] for n in range(30)]))
        assert {tuple(map(int, row)) for row in at.rows("v, made")} == {(2, 7)}

    def test_generated_columns_are_never_written(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, a int, g int AS (a * 2) STORED, h int AS (a + 1) VIRTUAL)")
        for count in (2, 40):
            at.apply(write(UPSERT, ("id", "g", "a", "h"), [[n, 99, n, 99] for n in range(count)]))
        assert tuple(map(int, at.rows()[39])) == (39, 39, 78, 40)

    # ---- lookups -----------------------------------------------------------------------------------------------------------------

    def test_a_lookup_compares_as_the_server_does(self, desk):
        at = desk(
            "CREATE TABLE c (id int PRIMARY KEY, email varchar(50) COLLATE utf8mb4_general_ci, KEY (email))",
            "CREATE TABLE t (id int PRIMARY KEY, c_id int)",
            "INSERT INTO c VALUES (1, 'A@X'), (2, 'b@x'), (3, 'twice'), (4, 'twice')",
        )
        lookups = (Lookup("c_id", "c", ("email",), "id"),)
        at.apply(write(UPSERT, ("id", "c_id"), [[1, "a@x"], [2, "b@x"], [3, None]], lookups=lookups))
        assert at.rows("c_id") == [("1",), ("2",), (None,)]
        error = at.refuse(write(UPSERT, ("id", "c_id"), [[1, "twice"]], lookups=lookups))
        assert error.code == "reference-ambiguous"
        assert at.refuse(write(UPSERT, ("id", "c_id"), [[1, "x' OR '1'='1"]], lookups=lookups)).rows == ((0, 0),)

    def test_a_lookup_of_what_its_column_cannot_hold_finds_nothing(self, desk):
        at = desk(
            "CREATE TABLE c (id int PRIMARY KEY, email varchar(50) CHARACTER SET latin1)",
            "CREATE TABLE t (id int PRIMARY KEY, c_id int)",
            "INSERT INTO c VALUES (1, '??'), (2, 'é')",
        )
        lookups = (Lookup("c_id", "c", ("email",), "id"),)
        error = at.refuse(write(UPSERT, ("id", "c_id"), [[1, "é"], [2, "日本"]], lookups=lookups))
        assert (error.rows, error.code) == (((0, 1),), "reference-missing")

    # ---- the server is not as it was ----------------------------------------------------------------------------------------------

    def test_a_lock_held_by_another_is_unavailable_and_then_goes_through(self, harness, desk):
        harness.options = msgspec.structs.replace(harness.options, lock_timeout_seconds=1)
        at = desk("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
        with harness.transaction() as writer:
            writer._cursor.execute("UPDATE t SET v = 2 WHERE id = 1")
            with pytest.raises(Unavailable):
                at.apply(write(UPSERT, ("id", "v"), [[1, 3]]))
        at.apply(write(UPSERT, ("id", "v"), [[1, 3]]))
        assert at.rows("v") == [("3",)]

    def test_a_table_or_column_that_vanished_needs_the_operator(self, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, v int)")
        at.apply(write(UPSERT, ("id", "v"), [[1, 1]]))
        at.harness.sql("ALTER TABLE t DROP COLUMN v")
        with pytest.raises(NotReady):
            at.apply(write(UPSERT, ("id", "v"), [[1, 1]]))
        at.harness.sql("DROP TABLE t")
        with pytest.raises(NotReady):
            at.apply(write(UPSERT, ("id", "v"), [[1, 1]]))
        with pytest.raises(NotReady):
            at.apply(write(UPSERT, ("id", "v"), [[1, 1]], table="never"))

    def test_a_connection_that_was_killed_is_unavailable_and_nothing_was_applied(self, harness, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, v int)")
        for (number,) in harness.sql(
            f"SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db = '{harness.database}'"
        ):
            harness.sql(f"KILL {number}")
        with pytest.raises(Unavailable):
            at.apply(write(UPSERT, ("id", "v"), [[1, 1]]))
        assert at.rows() == []


@pytest.fixture(scope="module")
def server():
    with mysql_family_server(settings={"max-allowed-packet": "4M"}) as server:
        yield server


class TestMariaDb(Targets):
    @pytest.fixture
    def harness(self, server):
        harness = PrivateHarness(server)
        yield harness
        harness.dispose()

    def test_a_server_killed_while_writing_is_unavailable_and_the_checkpoint_tells_what_it_has(
        self, harness, desk, server
    ):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, v int)")
        at.apply(write(UPSERT, ("id", "v"), [[1, 1]]))
        server.kill()
        with pytest.raises(Unavailable):
            at.apply(write(UPSERT, ("id", "v"), [[2, 1]]))
        server.start()
        target = harness.open_target()
        assert target.open() == 1
        target.close()
        assert len(at.rows()) == 1

    def test_a_deadlock_is_unavailable_for_one_of_the_two(self, harness, desk):
        at = desk("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 0), (2, 0)")
        connection = pymysql.connect(unix_socket=str(harness.server.socket), user="root", database=harness.database)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("UPDATE t SET v = 1 WHERE id = 2")
            cursor.execute("SET innodb_lock_wait_timeout = 1")
            with contextlib.suppress(pymysql.Error, Unavailable):
                at.apply(write(UPDATE, ("id", "v"), [[1, 5]]), write(UPDATE, ("id", "v"), [[2, 5]]))
            connection.rollback()
        at.apply(write(UPDATE, ("id", "v"), [[1, 6], [2, 6]]))
        assert at.rows("v") == [("6",), ("6",)]


class TestMySql(OnMySql, Targets):
    pass
