"""What `check` finds on real servers, with accounts that lack privileges and settings that are wrong."""

import copy

import msgspec
import pytest

from cdcd.adapter import TableNeed
from cdcd.config import Secret
from cdcd.testing.servers import MariaDBServer
from contract.mysql_harness import MariaDbHarness


@pytest.fixture(scope="module")
def server():
    with MariaDBServer(settings={"binlog-expire-logs-seconds": "604800"}) as server:
        yield server


@pytest.fixture
def harness(server):
    harness = MariaDbHarness(server)
    yield harness
    harness.dispose()


def check_source(harness, *tables):
    needs = [TableNeed(table) if isinstance(table, str) else table for table in tables]
    source = harness.adapter.open_source(harness.identity, harness.options, needs)
    try:
        return list(source.check(needs))
    finally:
        source.close()


def check_target(harness, *needs):
    target = harness.open_target()
    try:
        return list(target.check([msgspec.structs.replace(need, captured=False, written=True) for need in needs]))
    finally:
        target.close()


def codes(findings):
    return {(finding.severity, finding.code) for finding in findings}


def test_a_server_and_tables_that_fit_have_no_findings(harness):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY)")
    assert check_source(harness, "t") == []
    assert check_target(harness, TableNeed("t", ("id",))) == []


@pytest.mark.parametrize(
    ("setting", "wrong", "right", "finding"),
    [
        ("binlog_format", "'MIXED'", "'ROW'", ("error", "binlog-format")),
        ("binlog_row_metadata", "'MINIMAL'", "'FULL'", ("error", "binlog-row-metadata")),
        ("binlog_row_image", "'MINIMAL'", "'FULL'", ("warning", "binlog-row-image")),
        ("binlog_expire_logs_seconds", "3600", "604800", ("warning", "binlog-expiry")),
    ],
)
def test_a_wrong_setting_is_found_and_its_remedy_mends_it(harness, setting, wrong, right, finding):
    harness.sql(f"SET GLOBAL {setting} = {wrong}")
    try:
        findings = check_source(harness)
        assert codes(findings) == {finding}
        harness.sql(findings[0].remedy.partition(";")[0])
        assert check_source(harness) == []
    finally:
        harness.sql(f"SET GLOBAL {setting} = {right}")


@pytest.mark.parametrize("settings", [{"binlog-ignore-db": "shop"}, {"binlog-do-db": "other"}])
def test_a_log_that_leaves_out_our_database_is_found(settings):
    with MariaDBServer(settings=settings) as server:
        harness = MariaDbHarness(server)
        server.execute("CREATE DATABASE shop")
        harness.options = msgspec.structs.replace(harness.options, database="shop")
        assert ("error", "binlog-filter") in codes(check_source(harness))


def test_a_server_without_a_log_is_found():
    with MariaDBServer() as server:
        del server.settings["log-bin"]
        server.restart()
        harness = MariaDbHarness(server)
        assert ("error", "no-binlog") in codes(check_source(harness))


def test_every_missing_privilege_is_found_and_its_remedy_grants_it(harness, server, monkeypatch):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY)")
    server.execute("CREATE OR REPLACE USER 'weak'@'127.0.0.1' IDENTIFIED BY 'pw'")
    server.execute(f"GRANT SHOW VIEW ON `{harness.database}`.* TO 'weak'@'127.0.0.1'")
    monkeypatch.setenv("WEAK_PASSWORD", "pw")
    harness = copy.copy(harness)
    harness.options = msgspec.structs.replace(harness.options, user="weak", password=Secret(env="WEAK_PASSWORD"))
    needs = [TableNeed("t", ("id",))]
    for check in (check_source, check_target):
        for _ in range(12):
            findings = [finding for finding in check(harness, *needs) if finding.code == "privilege"]
            if not findings:
                break
            server.execute(findings[0].remedy.replace("'…'", "'127.0.0.1'"))
        assert [finding for finding in check(harness, *needs) if finding.severity == "error"] == []
    grants = server.execute("SHOW GRANTS FOR 'weak'@'127.0.0.1'")
    assert "SUPER" not in str(grants)
    source = harness.adapter.open_source(harness.identity, harness.options, needs)
    source.start(None)
    source.request_chunk("t", None, 10)
    source.status()
    source.close()
    target = harness.open_target()
    assert target.open() == 0
    target.close()


def test_privileges_by_pattern_and_by_table_count(harness, server, monkeypatch):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY)")
    server.execute("CREATE OR REPLACE USER 'narrow'@'127.0.0.1' IDENTIFIED BY 'pw'")
    server.execute("GRANT SELECT ON `contract%`.* TO 'narrow'@'127.0.0.1'")
    server.execute(f"GRANT INSERT, UPDATE, DELETE ON `{harness.database}`.t TO 'narrow'@'127.0.0.1'")
    monkeypatch.setenv("NARROW_PASSWORD", "pw")
    harness = copy.copy(harness)
    harness.options = msgspec.structs.replace(harness.options, user="narrow", password=Secret(env="NARROW_PASSWORD"))
    subjects = {
        finding.subject for finding in check_target(harness, TableNeed("t", ("id",))) if finding.code == "privilege"
    }
    assert subjects == {f"`{harness.database}`.`cdcd_checkpoint`"}


def test_faults_of_tables_are_found(harness):
    harness.sql(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, p int, FOREIGN KEY child_parent (p) REFERENCES parent (id) ON DELETE CASCADE)",
        "CREATE TABLE loose (id int)",
        "CREATE TABLE old (id int PRIMARY KEY) ENGINE=MyISAM",
        "CREATE TABLE rare (id int PRIMARY KEY, v varchar(5) CHARACTER SET armscii8)",
        "CREATE TABLE versioned (id int PRIMARY KEY) WITH SYSTEM VERSIONING",
        "CREATE VIEW seen AS SELECT id FROM parent",
    )
    findings = check_source(
        harness, "parent", "child", "loose", "old", "rare", "seen", "versioned", "gone", TableNeed("parent", (), ("x",))
    )
    by_subject = {(finding.subject, finding.code): finding.severity for finding in findings}
    assert by_subject == {
        ("child", "cascade"): "warning",
        ("loose", "no-primary-key"): "error",
        ("old", "engine"): "warning",
        ("rare", "charset"): "error",
        ("seen", "table-kind"): "error",
        ("versioned", "table-kind"): "error",
        ("seen", "no-primary-key"): "error",
        ("gone", "table-missing"): "error",
        ("parent", "column-missing"): "error",
    }
    assert all(finding.remedy for finding in findings)
    cascade = next(finding for finding in findings if finding.code == "cascade")
    assert "child_parent" in cascade.message + cascade.remedy


def test_a_key_must_be_unique_in_the_target(harness):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY, sku varchar(9), UNIQUE (sku(3)))")
    assert codes(check_target(harness, TableNeed("t", ("sku",)))) == {("error", "key-not-unique")}
    harness.sql("ALTER TABLE t ADD UNIQUE whole (sku)")
    assert check_target(harness, TableNeed("t", ("sku",))) == []


def test_a_read_only_server_is_found_in_the_target(harness):
    harness.sql("SET GLOBAL read_only = ON")
    try:
        assert ("warning", "read-only") in codes(check_target(harness))
    finally:
        harness.sql("SET GLOBAL read_only = OFF")


def test_another_replica_with_our_server_id_is_found(harness):
    source = harness.adapter.open_source(
        msgspec.structs.replace(harness.identity, daemon="stranger"), harness.options, [TableNeed("t")]
    )
    identifier = harness.options.replica_id(msgspec.structs.replace(harness.identity, daemon="stranger"))
    source.start(None)
    harness.options = msgspec.structs.replace(harness.options, server_id=identifier)
    assert ("error", "server-id-in-use") in codes(check_source(harness))
    source.close()
    harness.options = msgspec.structs.replace(harness.options, server_id=1)
    assert ("error", "server-id-in-use") in codes(check_source(harness))
