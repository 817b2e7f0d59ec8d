"""Every finding of the preflight on a real server: it appears, and its remedy mends it."""

from collections.abc import Iterator

import msgspec
import pytest

from cdcd.adapter import Finding, TableNeed
from cdcd.testing.servers import PostgresServer
from cdcd_postgres import adapter
from contract.postgres_harness import PostgresHarness


@pytest.fixture
def harness(postgres: PostgresServer) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(postgres)
    yield harness
    harness.dispose()


@pytest.fixture
def role(harness) -> Iterator[str]:
    """A role without rights, and `harness.options` for it."""
    name = harness.identity.system
    harness.sql(f'CREATE ROLE "{name}" LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC')
    harness.options = msgspec.structs.replace(harness.options, dsn=harness.server.dsn(harness.database, name))
    yield name
    harness.sql(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def source(harness: PostgresHarness, *needs: TableNeed) -> list[Finding]:
    opened = adapter.open_source(harness.identity, harness.options, needs)
    return [finding for finding in opened.check(needs) if finding.code != "publication"]


def target(harness: PostgresHarness, *needs: TableNeed) -> list[Finding]:
    opened = adapter.open_target(harness.identity, harness.options)
    try:
        return list(opened.check(needs))
    finally:
        opened.close()


def written(table: str, key: tuple[str, ...] = (), columns: tuple[str, ...] = ()) -> TableNeed:
    return TableNeed(table, key, columns, captured=False, written=True)


def mends(harness: PostgresHarness, check, code: str, *needs: TableNeed) -> None:
    """`check` finds `code` alone, and nothing any more once the remedy was run."""
    (finding,) = check(harness, *needs)
    assert (finding.code, finding.system) == (code, harness.identity.system)
    harness.sql(finding.remedy)
    assert check(harness, *needs) == []


def test_tables_that_fit_give_no_finding(harness):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, sku text UNIQUE, v int)")
    needs = [TableNeed("public.a", ("sku",), ("v",), written=True)]
    assert source(harness, *needs) == []
    assert target(harness, *needs) == []


@pytest.mark.parametrize("check", [source, target])
@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("", "table-missing"),
        ('CREATE TABLE "A" (id int PRIMARY KEY)', "table-missing"),
        ("CREATE VIEW a AS SELECT 1 AS id", "not-a-table"),
        ("CREATE MATERIALIZED VIEW a AS SELECT 1 AS id", "not-a-table"),
    ],
)
def test_what_is_no_table_is_found(harness, check, sql, code):
    harness.sql(sql or "SELECT 1")
    (finding,) = check(harness, TableNeed("public.a", written=True))
    assert (finding.code, finding.subject, finding.severity) == (code, "public.a", "error")
    assert "public.A" in finding.remedy or '"A"' not in sql


@pytest.mark.parametrize("check", [source, target])
def test_missing_columns_are_found_each(harness, check):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    findings = check(harness, TableNeed("public.a", ("id", "x"), ("id", "y"), written=True))
    assert [(finding.code, finding.message.split()[-1]) for finding in findings] == [
        ("column-missing", "x"),
        ("column-missing", "y"),
    ]


@pytest.mark.parametrize("check", [source, target])
def test_a_key_that_is_not_unique_is_found(harness, check):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, sku text, shop int)")
    (finding,) = check(harness, TableNeed("public.a", ("sku", "shop"), written=True))
    assert finding.code == "key-not-unique"
    harness.sql("CREATE UNIQUE INDEX ON a (sku) WHERE shop = 1")
    assert len(check(harness, TableNeed("public.a", ("sku", "shop"), written=True))) == 1
    harness.sql(finding.remedy)
    assert check(harness, TableNeed("public.a", ("sku", "shop"), written=True)) == []


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("CREATE UNLOGGED TABLE a (id int PRIMARY KEY)", "not-logged"),
        ("CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE a REPLICA IDENTITY NOTHING", "replica-identity"),
    ],
)
def test_what_does_not_reach_the_log_whole_is_found_and_mended(harness, sql, code):
    harness.sql(sql)
    mends(harness, source, code, TableNeed("public.a"))


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("ALTER TABLE a_1 SET UNLOGGED", "not-logged"),
        ("CREATE UNIQUE INDEX i ON a_1 (v); ALTER TABLE a_1 REPLICA IDENTITY USING INDEX i", "replica-identity"),
        ("ALTER TABLE a_1 REPLICA IDENTITY NOTHING", "replica-identity"),
        ("ALTER TABLE a REPLICA IDENTITY FULL", "replica-identity"),
    ],
)
def test_a_partition_that_does_not_reach_the_log_as_its_table_does_is_found_and_mended(harness, sql, code):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int NOT NULL) PARTITION BY LIST (id)")
    harness.sql(f"CREATE TABLE a_1 PARTITION OF a FOR VALUES IN (1); {sql}")
    mends(harness, source, code, TableNeed("public.a"))


def test_a_foreign_partition_is_found(harness):
    harness.sql("CREATE TABLE a (id int, v int) PARTITION BY LIST (id); ALTER TABLE a REPLICA IDENTITY FULL")
    harness.sql("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w")
    harness.sql("CREATE FOREIGN TABLE a_1 PARTITION OF a FOR VALUES IN (1) SERVER s")
    assert "not-logged" in [finding.code for finding in source(harness, TableNeed("public.a"))]


@pytest.mark.parametrize(
    ("sql", "lacks"),
    [
        ("FOR TABLE b WITH (publish_via_partition_root = true)", "does not list public.a"),
        ("FOR TABLE a WHERE (id > 5) WITH (publish_via_partition_root = true)", "row filter"),
        ("FOR TABLE a (id) WITH (publish_via_partition_root = true)", "column list"),
        ("FOR TABLE a WITH (publish_via_partition_root = true, publish = 'insert, update, delete')", "truncate"),
        ("FOR TABLE a", "partitions"),
    ],
)
def test_a_publication_of_somebody_else_that_leaves_something_out_is_found_and_mended(harness, role, sql, lacks):
    if harness.server.binaries.major < 15 and lacks in ("row filter", "column list"):
        pytest.skip("row filters and column lists came with PostgreSQL 15")
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY)")
    harness.sql(f'GRANT SELECT ON a TO "{role}"; ALTER ROLE "{role}" REPLICATION; CREATE PUBLICATION theirs {sql}')
    harness.options = msgspec.structs.replace(harness.options, publication="theirs")
    needs = [TableNeed("public.a")]
    (finding,) = adapter.open_source(harness.identity, harness.options, needs).check(needs)
    assert (finding.code, lacks in finding.message) == ("publication", True)
    harness.sql(finding.remedy)
    assert adapter.open_source(harness.identity, harness.options, needs).check(needs) == []


def test_a_server_that_keeps_its_log_for_less_than_an_outage_is_found_and_mended():
    settings = {"max_slot_wal_keep_size": "1MB", "wal_sender_timeout": "1s"}
    with PostgresServer(settings=settings) as server:
        harness = PostgresHarness(server)
        findings = source(harness)
        assert [(finding.code, finding.severity) for finding in findings] == [
            ("slot-retention", "warning"),
            ("sender-timeout", "warning"),
        ]
        if server.binaries.major >= 18:
            server.execute("postgres", "ALTER SYSTEM SET idle_replication_slot_timeout = '1h'")
            server.execute("postgres", "SELECT pg_reload_conf()")
            (found,) = [finding for finding in source(harness) if finding.code == "slot-idle-timeout"]
            for statement in found.remedy.split("; "):
                server.execute("postgres", statement)
            assert "slot-idle-timeout" not in [finding.code for finding in source(harness)]


def test_a_table_without_a_key_is_found(harness):
    harness.sql("CREATE TABLE a (x int); CREATE TABLE b (x int); ALTER TABLE b REPLICA IDENTITY FULL")
    assert [finding.code for finding in source(harness, TableNeed("public.a", ("x",)))] == [
        "replica-identity",
        "key-not-unique",
    ]
    assert [finding.code for finding in source(harness, TableNeed("public.b", ("x",)))] == [
        "no-primary-key",
        "key-not-unique",
    ]
    assert [finding.code for finding in target(harness, written("public.a"))] == ["no-primary-key"]


def test_a_generated_column_cannot_be_captured_and_is_not_written(harness):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)")
    (finding,) = source(harness, TableNeed("public.a", (), ("twice",)))
    assert (finding.code, finding.severity) == ("generated-column", "error")
    (finding,) = target(harness, written("public.a", (), ("twice",)))
    assert (finding.code, finding.severity) == ("generated-column", "warning")


def test_a_role_that_may_not_replicate_or_read_is_found_and_mended(harness, role):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    replicate, read = source(harness, TableNeed("public.a"))
    assert (replicate.code, read.code) == ("privilege", "privilege")
    harness.sql(replicate.remedy)
    harness.sql(read.remedy)
    assert source(harness, TableNeed("public.a")) == []


def test_a_role_that_may_not_write_is_found_and_mended(harness, role):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    for finding in target(harness, written("public.a")):
        assert finding.code == "privilege"
        harness.sql(finding.remedy)
    assert target(harness, written("public.a")) == []
    opened = harness.open_target()
    assert opened.open() == 0
    opened.close()


def test_rights_on_columns_are_enough_where_they_are_all_that_is_written(harness, role):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int, theirs int); CREATE SCHEMA cdcd")
    harness.sql(f'GRANT ALL ON SCHEMA cdcd TO "{role}"; GRANT DELETE ON a TO "{role}"')
    harness.sql(f'GRANT SELECT (id, v), INSERT (id, v), UPDATE (id, v) ON a TO "{role}"')
    harness.options = msgspec.structs.replace(harness.options, checkpoint_schema="cdcd")
    assert target(harness, written("public.a", ("id",), ("v",))) == []
    (finding,) = target(harness, written("public.a", ("id",), ("theirs",)))
    assert "SELECT, INSERT, UPDATE on public.a" in finding.message


def test_a_checkpoint_table_that_may_not_be_written_is_found_and_mended(harness, role):
    opened = adapter.open_target(
        harness.identity, msgspec.structs.replace(harness.options, dsn=harness.server.dsn(harness.database))
    )
    opened.open()
    opened.close()
    mends(harness, target, "privilege")


def test_a_missing_schema_for_the_checkpoint_is_found_and_mended(harness):
    harness.options = msgspec.structs.replace(harness.options, checkpoint_schema="our schema")
    mends(harness, target, "schema-missing")


def test_row_security_that_would_hide_rows_is_found_and_mended(harness, role):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE a ENABLE ROW LEVEL SECURITY")
    harness.sql(
        f'GRANT ALL ON a TO "{role}"; GRANT CREATE ON SCHEMA public TO "{role}"; ALTER ROLE "{role}" REPLICATION'
    )
    mends(harness, source, "row-security", TableNeed("public.a"))
    harness.sql(f'ALTER ROLE "{role}" NOBYPASSRLS')
    mends(harness, target, "row-security", written("public.a"))


def test_a_foreign_slot_of_our_name_is_found(harness):
    name = harness.options.slot_name(harness.identity)
    harness.sql(f"SELECT pg_create_logical_replication_slot('{name}', 'test_decoding')")
    assert [finding.code for finding in source(harness)] == ["slot-foreign"]


def test_a_database_without_an_encoding_is_a_warning(harness):
    name = harness.identity.system
    harness.server.execute("postgres", f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    harness.options = msgspec.structs.replace(harness.options, dsn=harness.server.dsn(name))
    (finding,) = target(harness)
    assert (finding.code, finding.severity) == ("encoding", "warning")
    harness.server.execute("postgres", f'DROP DATABASE "{name}" WITH (FORCE)')


def test_a_server_without_logical_log_or_room_is_found():
    with PostgresServer(
        settings={"wal_level": "replica", "max_replication_slots": "1", "max_wal_senders": "0"}
    ) as server:
        harness = PostgresHarness(server)
        server.execute("postgres", "SELECT pg_create_physical_replication_slot('taken')")
        assert [finding.code for finding in source(harness)] == ["wal-level", "slots-used-up", "senders-used-up"]
        for finding in source(harness):
            server.execute("postgres", finding.remedy.split(";")[0])
        server.restart()
        assert source(harness) == []


def test_a_publication_is_no_finding_where_we_can_make_it(harness):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    needs = [TableNeed("public.a")]
    assert adapter.open_source(harness.identity, harness.options, needs).check(needs) == []
    assert harness.sql("SELECT count(*) FROM pg_publication") == [(0,)]


def test_a_check_changes_nothing(harness):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    before = harness.sql("SELECT count(*) FROM pg_class")
    source(harness, TableNeed("public.a", written=True))
    target(harness, TableNeed("public.a", written=True))
    assert harness.sql("SELECT count(*) FROM pg_class") == before
    assert harness.sql("SELECT count(*) FROM pg_publication") == [(0,)]
    name = harness.options.slot_name(harness.identity)
    assert harness.sql(f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{name}'") == [(0,)]
