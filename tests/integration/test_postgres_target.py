"""What is particular to PostgreSQL as a target, on a real server. What all targets share is in the contract suite."""

import threading
from collections.abc import Iterator, Sequence

import msgspec
import psycopg
import pytest

from cdcd.adapter import Checkpoint
from cdcd.errors import Fenced, NotReady, Refused, Unavailable
from cdcd.model import Batch, Lookup, Row, TableWrite, WriteKind
from cdcd.testing.servers import PostgresServer
from cdcd_postgres import adapter, transaction
from contract.postgres_harness import PostgresHarness
from integration.daemon_process import wait_until
from integration.postgres_writing import OpenTarget

UPSERT, UPDATE, DELETE = WriteKind.UPSERT, WriteKind.UPDATE, WriteKind.DELETE


@pytest.fixture
def harness(postgres: PostgresServer) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(postgres)
    yield harness
    harness.dispose()


class Writing(OpenTarget):
    """An open target, and the words to write with."""

    def __call__(
        self, kind: WriteKind, table: str, columns: str, *rows: Row, key: int = 1, **extra
    ) -> Sequence[tuple[int, int]]:
        """Write to a table in schema public; the first `key` columns are the key."""
        names = tuple(columns.split())
        write = TableWrite(f"public.{table}", kind, names[:key], names, list(rows), **extra)
        return self.apply(write)


@pytest.fixture
def write(harness) -> Iterator[Writing]:
    writing = Writing(harness)
    yield writing
    writing.target.close()


# ---- strategies ------------------------------------------------------------------------------------------------------


def test_a_key_without_a_unique_index_is_updated_and_inserted_all_the_same(harness, write):
    harness.sql("CREATE TABLE a (k text, v int); INSERT INTO a VALUES ('x', 1)")
    for _ in range(2):
        write(UPSERT, "a", "k v", ["x", 2], ["y", 3])
        assert harness.sql("SELECT * FROM a ORDER BY k") == [("x", 2), ("y", 3)]
    harness.sql("CREATE TABLE b (k text UNIQUE DEFERRABLE, v int)")
    write(UPSERT, "b", "k v", ["x", 1])
    write(UPSERT, "b", "k v", ["x", 2], ["y", 3])
    assert harness.sql("SELECT * FROM b ORDER BY k") == [("x", 2), ("y", 3)]


@pytest.mark.parametrize("column", ["id serial", "id int GENERATED ALWAYS AS IDENTITY"])
def test_rows_that_exist_draw_no_numbers_and_new_ones_draw_them_in_order(harness, write, column):
    harness.sql(f"CREATE TABLE a ({column} PRIMARY KEY, sku text UNIQUE, v int)")
    for version in range(50):
        write(UPSERT, "a", "sku v", ["z", version], ["a", version])
    write(UPSERT, "a", "sku v", *([f"{1000 - number}", 0] for number in range(300)))
    assert harness.sql("SELECT id, sku FROM a ORDER BY id LIMIT 4") == [(1, "z"), (2, "a"), (3, "1000"), (4, "999")]
    assert harness.sql("SELECT max(id) FROM a") == [(302,)]


def test_an_equal_row_makes_no_new_version_and_runs_no_trigger(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text, j json, p point, updates int DEFAULT 0)")
    harness.sql(
        "CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.updates := OLD.updates + 1; RETURN NEW; END$$"
    )
    harness.sql("CREATE TRIGGER counting BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION count_up()")
    rows: list[Row] = [[1, "x", '{"a": 1}', "(1,2)"], [2, None, None, None]]
    for _ in range(3):
        write(UPSERT, "a", "id v j p", *rows)
        assert write(UPDATE, "a", "id v j p", *rows) == ()
    assert harness.sql("SELECT updates FROM a ORDER BY id") == [(0,), (0,)]
    write(UPDATE, "a", "id v j p", [1, "x", '{"a":1}', "(1,2)"], [2, None, None, "(0,0)"])
    assert harness.sql("SELECT updates FROM a ORDER BY id") == [(1,), (1,)]


def test_a_row_that_is_equal_only_before_somebody_elses_commit_is_waited_for(harness, write):
    """The log tells a commit a moment before others see it; putting right what it changed must not find it unchanged."""
    harness.sql("CREATE TABLE a (k int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'ours')")
    with psycopg.connect(harness.server.dsn(harness.database)) as other:
        other.execute("UPDATE a SET v = 'theirs'")
        writing = threading.Thread(target=write, args=(UPDATE, "a", "k v", [1, "ours"]))
        writing.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: harness.sql(waiting) == [(1,)], "our write waits for theirs")
    writing.join(30)
    assert harness.sql("SELECT v FROM a") == [("ours",)]


def test_a_row_that_is_seen_only_after_somebody_elses_commit_is_deleted(harness, write, monkeypatch):
    monkeypatch.setattr(transaction, "WRITERS_SECONDS", 30.0)
    harness.sql("CREATE TABLE a (k int PRIMARY KEY, v text)")
    with psycopg.connect(harness.server.dsn(harness.database)) as other:
        other.execute("INSERT INTO a VALUES (1, 'without the right to'), (2, 'stays')")
        writing = threading.Thread(target=write, args=(DELETE, "a", "k", [1]))
        writing.start()
        looking = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%virtualtransaction%' AND pid <> pg_backend_pid()"
        )
        wait_until(lambda: harness.sql(looking) == [(1,)], "it has found nothing to delete")
    writing.join(30)
    assert harness.sql("SELECT k FROM a") == [(2,)]


def test_what_the_same_batch_makes_again_is_not_deleted_with_what_was_not_there(harness, write):
    harness.sql("CREATE TABLE a (k int PRIMARY KEY, v text)")
    gone = TableWrite("public.a", DELETE, ("k",), ("k",), [[1]])
    made = TableWrite("public.a", UPSERT, ("k",), ("k", "v"), [[1, "anew"]])
    write.target.apply([gone, made], Batch(write.through, write.through + 1))
    assert harness.sql("SELECT k, v FROM a") == [(1, "anew")]


def test_values_that_compare_equal_but_differ_are_written(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, f float8, n numeric, i interval)")
    write(UPSERT, "a", "id f n i", [1, 0.0, "1.0", "24:00:00"])
    write(UPSERT, "a", "id f n i", [1, -0.0, "1.00", "1 day"])
    assert harness.sql("SELECT f::text, n::text, i::text FROM a") == [("-0", "1.00", "1 day")]


def test_texts_that_differ_in_case_alone_are_written_also_where_case_does_not_count(harness, write):
    try:
        harness.sql("CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server was built without ICU")
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, l text COLLATE loose)")
    for text in ("abc", "ABC"):
        write(UPSERT, "a", "id l", [1, text])
    assert harness.sql("SELECT l FROM a") == [("ABC",)]


def test_types_of_all_kinds_are_written_from_canonical_values(harness, write):
    harness.sql("CREATE SCHEMA own; CREATE TYPE own.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN own.code AS varchar(3)")
    harness.sql("CREATE DOMAIN own.codes AS own.code CHECK (VALUE <> 'no')")
    columns = {
        "m": "own.mood",
        "d": "own.codes",
        "c": "char(4)",
        "j": "json",
        "b": "bit(3)",
        "n": "name",
        "t": "text[]",
        "q": '"char"',
    }
    defined = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    harness.sql(f"CREATE TABLE a (id int PRIMARY KEY, {defined})")
    value = [1, "ok", "abc", "ab", "[1, 2]", "101", "nm", '{"a b",NULL,"\\""}', "z"]
    for kind in (UPSERT, UPSERT, UPDATE):
        assert write(kind, "a", f"id {' '.join(columns)}", value) == ()
    assert harness.sql("SELECT m::text, d::text, c::text, j::text, b::text, n::text, t, q::text FROM a") == [
        ("ok", "abc", "ab", "[1, 2]", "101", "nm", ["a b", None, '"'], "z")
    ]
    for column, bad in {"m": "glad", "d": "abcd", "c": "abcde", "b": "1011"}.items():
        with pytest.raises(Refused):
            write(UPSERT, "a", f"id {column}", [1, bad])
    with pytest.raises(Refused, match="codes_check"):
        write(UPSERT, "a", "id d", [1, "no"])


def test_generated_columns_are_left_out_and_given_numbers_kept(harness, write):
    harness.sql(
        "CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED)"
    )
    write(UPSERT, "a", "id v twice", [7, 1, 999], [8, 2, 999])
    write(UPDATE, "a", "id v twice", [7, 5, 999])
    assert harness.sql("SELECT * FROM a ORDER BY id") == [(7, 5, 10), (8, 2, 4)]


def test_partitioned_tables_are_written_through_their_root(harness, write):
    harness.sql("CREATE TABLE sale (year int, id int, v int, PRIMARY KEY (year, id)) PARTITION BY LIST (year)")
    harness.sql(
        "CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1); CREATE TABLE sale_2 PARTITION OF sale FOR VALUES IN (2)"
    )
    for version in (1, 2):
        write(UPSERT, "sale", "year id v", [1, 1, version], [2, 1, version], key=2)
    assert write(UPDATE, "sale", "year id v", [1, 1, 9], [2, 9, 9], key=2) == ((0, 1),)
    write(DELETE, "sale", "year id", [2, 1], key=2)
    assert harness.sql("SELECT * FROM sale") == [(1, 1, 9)]
    with pytest.raises(Refused):
        write(UPSERT, "sale", "year id v", [3, 1, 1], key=2)


def test_a_large_write_is_cut_into_bounded_statements(harness, write, monkeypatch):
    monkeypatch.setattr(transaction, "STATEMENT_ROWS_MAX", 7)
    monkeypatch.setattr(transaction, "STATEMENT_CHARACTERS_MAX", 500)
    monkeypatch.setattr(transaction, "PIPELINE_CHARACTERS_MAX", 2000)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
    write(UPSERT, "a", "id v", *([number, "x" * (number % 400)] for number in range(100)))
    missing = write(UPDATE, "a", "id v", *([number, "y" * 300] for number in range(0, 200, 10)))
    assert list(missing) == [(0, place) for place in range(10, 20)]
    assert harness.sql("SELECT count(*), count(*) FILTER (WHERE v = repeat('y', 300)) FROM a") == [(100, 10)]


def test_lookups_find_thousands_of_keys_and_ids_of_any_type(harness, write):
    harness.sql("CREATE TABLE ref (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), code text UNIQUE, n int)")
    harness.sql("INSERT INTO ref (code, n) SELECT 'c' || n, n FROM generate_series(1, 3000) n")
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, ref uuid REFERENCES ref)")
    lookup = Lookup("ref", "public.ref", ("code",), "id")
    write(UPSERT, "a", "id ref", *([number, f"c{number}"] for number in range(1, 3001)), lookups=(lookup,))
    assert harness.sql("SELECT count(*) FROM a JOIN ref ON ref.id = a.ref AND ref.n = a.id") == [(3000,)]


def test_an_ambiguous_reference_is_refused(harness, write):
    harness.sql("CREATE TABLE ref (id int PRIMARY KEY, code text); INSERT INTO ref VALUES (1, 'x'), (2, 'x')")
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, ref int)")
    with pytest.raises(Refused) as caught:
        write(UPSERT, "a", "id ref", [1, "x"], lookups=(Lookup("ref", "public.ref", ("code",), "id"),))
    assert caught.value.code == "reference-ambiguous"


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_a_trigger_that_refuses_is_refused_without_its_words(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
    harness.sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not %', NEW.v; END$$")
    harness.sql("CREATE TRIGGER no BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION no()")
    with pytest.raises(Refused) as caught:
        write(UPSERT, "a", "id v", [1, "s3cret"])
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_division_by_zero_of_the_target_itself_is_no_fence(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int CHECK (1 / v > 0))")
    with pytest.raises(Refused, match="DivisionByZero"):
        write(UPSERT, "a", "id v", [1, 0])
    assert write(UPSERT, "a", "id v", [1, 1]) == ()


@pytest.mark.parametrize("text", ["half a \ud800 pair", "nul \0"])
def test_a_text_that_cannot_be_stored_is_refused_quietly(harness, write, text, caplog):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
    with pytest.raises(Refused):
        write(UPSERT, "a", "id v", [1, text])
    assert write(UPSERT, "a", "id v", [1, "fine"]) == ()
    assert caplog.records == []


def test_a_refusal_leaves_no_words_in_the_log(harness, write, caplog):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v varchar(3))")
    with pytest.raises(Refused, match=r"StringDataRightTruncation \(22001\)"):
        write(UPSERT, "a", "id v", [1, "s3cret"])
    assert caplog.records == []


def test_a_table_that_changes_under_an_open_target_is_looked_at_anew(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int)")
    write(UPSERT, "a", "id v", [1, 1])
    harness.sql("ALTER TABLE a RENAME v TO w")
    with pytest.raises(Unavailable):
        write(UPSERT, "a", "id v", [1, 2])
    write.target.close()
    again = Writing(harness)
    with pytest.raises(NotReady, match="no column v"):
        again(UPSERT, "a", "id v", [1, 2])
    harness.sql("ALTER TABLE a RENAME w TO v; ALTER TABLE a ALTER v TYPE text")
    again(UPSERT, "a", "id v", [1, "text"])
    again.target.close()
    assert harness.sql("SELECT v FROM a") == [("text",)]


def test_a_table_that_is_not_there_needs_the_operator(harness, write):
    with pytest.raises(NotReady, match="nowhere"):
        write(UPSERT, "nowhere", "id", [1])
    assert write.target.describe(["public.nowhere"]) == {}


def test_a_locked_row_is_unavailable_and_nothing_is_written(harness):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1)")
    write = Writing(harness, lock_timeout_seconds=1)
    with psycopg.connect(harness.server.dsn(harness.database)) as holder:
        holder.execute("UPDATE a SET v = 2")
        with pytest.raises(Unavailable, match="lock"):
            write(UPSERT, "a", "id v", [2, 1], [1, 3])
    write(UPSERT, "a", "id v", [2, 1], [1, 3])
    write.target.close()
    assert harness.sql("SELECT * FROM a ORDER BY id") == [(1, 3), (2, 1)]


def test_a_deadlock_is_unavailable_and_can_be_tried_again(harness):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1), (2, 1)")
    harness.sql("ALTER SYSTEM SET deadlock_timeout = '100ms'")
    harness.sql("SELECT pg_reload_conf()")
    write = Writing(harness)
    with psycopg.connect(harness.server.dsn(harness.database)) as other:
        other.execute("SET deadlock_timeout = '20s'")
        other.execute("UPDATE a SET v = 2 WHERE id = 2")
        blocked = threading.Thread(target=_update_first_when_second_is_wanted, args=(harness, other, write))
        blocked.start()
        with pytest.raises(Unavailable, match="deadlock"):
            write(UPSERT, "a", "id v", [1, 3], [2, 3])
        blocked.join()
    write(UPSERT, "a", "id v", [1, 3], [2, 3])
    write.target.close()
    assert harness.sql("SELECT v FROM a ORDER BY id") == [(3,), (3,)]
    harness.sql("ALTER SYSTEM RESET deadlock_timeout")
    harness.sql("SELECT pg_reload_conf()")


def _update_first_when_second_is_wanted(harness, other, write) -> None:
    pid = write.target._connection.info.backend_pid
    while harness.sql(f"SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted") == [(0,)]:
        pass
    other.execute("UPDATE a SET v = 2 WHERE id = 1")


def test_a_connection_that_ends_during_a_batch_leaves_the_checkpoint_to_tell(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int)")
    harness.sql(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END$$"
    )
    harness.sql("CREATE TRIGGER die BEFORE INSERT ON a FOR EACH ROW WHEN (NEW.v = 0) EXECUTE FUNCTION die()")
    write(UPSERT, "a", "id v", [1, 1])
    with pytest.raises(Unavailable):
        write(UPSERT, "a", "id v", [2, 0])
    with pytest.raises(Unavailable):
        write(UPSERT, "a", "id v", [2, 1])
    write.target.close()
    again = Writing(harness)
    assert again.through == 1
    again.target.close()


# ---- checkpoint and fence --------------------------------------------------------------------------------------------


OLD_TABLE = """CREATE TABLE cdcd_checkpoint (daemon text, system text, lineage text NOT NULL, epoch bigint NOT NULL,
    batch_after bigint NOT NULL, batch_through bigint NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (daemon, system))"""


@pytest.mark.parametrize("owned", [True, False])
def test_a_checkpoint_table_of_an_earlier_version_gets_its_column_if_we_may(harness, owned):
    role = f"r_{harness.identity.system}"
    harness.sql(f'CREATE ROLE "{role}"; {OLD_TABLE}; GRANT SELECT, INSERT, UPDATE ON cdcd_checkpoint TO "{role}"')
    identity = harness.identity
    harness.sql(
        f"INSERT INTO cdcd_checkpoint VALUES ('{identity.daemon}', '{identity.system}', 'lineage', 4, 2, 7, now())"
    )
    if owned:
        harness.sql(f'ALTER TABLE cdcd_checkpoint OWNER TO "{role}"')
    options = msgspec.structs.replace(harness.options, dsn=f"{harness.options.dsn} options='-c role={role}'")
    target = adapter.open_target(identity, options)
    try:
        assert target.checkpoint() == Checkpoint("lineage", 4, 7)
        assert target.open() == 7
        target.apply([], Batch(7, 8, "progress"))
        assert target.checkpoint() == Checkpoint("lineage", 5, 8, "progress" if owned else "")
    finally:
        target.close()
        harness.sql(f'DROP TABLE cdcd_checkpoint; DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_a_fenced_target_writes_nothing_whatever_the_size_of_the_batch(harness, write):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    other = Writing(harness)
    for count in (1, 500):
        with pytest.raises(Fenced):
            write(UPSERT, "a", "id", *([number] for number in range(count)))
    other.target.close()
    assert harness.sql("SELECT count(*) FROM a") == [(0,)]


def test_targets_that_open_at_once_make_one_table(harness):
    targets = [
        adapter.open_target(msgspec.structs.replace(harness.identity, system=f"s{number}"), harness.options)
        for number in range(6)
    ]
    threads = [threading.Thread(target=target.open) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for target in targets:
        target.close()
    assert harness.sql("SELECT count(*), min(epoch) FROM cdcd_checkpoint") == [(6, 1)]


def test_the_checkpoint_may_be_in_a_schema_of_its_own(harness):
    harness.sql("CREATE SCHEMA cdcd; CREATE TABLE a (id int PRIMARY KEY)")
    write = Writing(harness, checkpoint_schema="cdcd")
    write(UPSERT, "a", "id", [1])
    write.target.close()
    rows = harness.sql("SELECT system, lineage, epoch, batch_after, batch_through FROM cdcd.cdcd_checkpoint")
    assert rows == [(harness.identity.system, "lineage", 1, 0, 1)]


def test_what_was_applied_is_durable(harness, write):
    harness.sql(f'ALTER DATABASE "{harness.database}" SET synchronous_commit = off')
    write.target.close()
    again = Writing(harness)
    assert again.target._connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    again.target.close()


def test_describe_tells_types_defaults_and_generated_columns(harness, write):
    columns = "id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t timestamptz(3) NOT NULL DEFAULT now(), n numeric"
    harness.sql(f"CREATE TABLE a ({columns}, twice numeric GENERATED ALWAYS AS (n * 2) STORED, UNIQUE (n, t))")
    harness.sql("CREATE UNIQUE INDEX partial ON a (n) WHERE n > 0")
    shape = write.target.describe(["public.a"])["public.a"]
    assert [(c.name, c.type, c.nullable, c.generated, c.has_default) for c in shape.columns] == [
        ("id", "integer(-2147483648,2147483647)", False, False, True),
        ("t", "instant(3)", False, False, True),
        ("n", "decimal", True, False, False),
        ("twice", "decimal", True, True, True),
    ]
    assert (shape.primary_key, shape.unique_keys) == (("id",), (("id",), ("n", "t")))
