"""What `check` finds on real servers: settings that lose changes, with the remedy that mends each."""

import contextlib
import time

import msgspec
import pytest

from cdcd.adapter import TableNeed
from cdcd.errors import NotReady
from cdcd.testing.servers import mysql_family_server
from cdcd_mysql import preflight
from contract.mysql_harness import PrivateHarness
from integration.mysql_checking import check_source, check_target, codes, harness, server  # noqa: F401 (fixtures)
from integration.mysql_reading import NUMBERS, opened, read_changes, read_error  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def other_server():
    """A server whose settings a test changes at will, and puts back."""
    with mysql_family_server(durable=True, settings={"binlog-expire-logs-seconds": "0"}) as server:
        yield server


@contextlib.contextmanager
def started_with(other_server, settings, without=()):
    """The server, restarted with other options."""
    usual = dict(other_server.settings)
    other_server.settings.update(settings)
    for name in without:
        del other_server.settings[name]
    other_server.restart()
    harness = PrivateHarness(other_server)
    try:
        yield harness
    finally:
        harness.dispose()
        other_server.settings = usual
        other_server.restart()


def test_a_server_and_tables_that_fit_have_no_findings(harness):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY)")
    assert check_source(harness, "t") == []
    assert check_target(harness, TableNeed("t", ("id",))) == []


@pytest.mark.parametrize(
    ("setting", "wrong", "finding"),
    [
        ("binlog_format", "'MIXED'", ("error", "binlog-format")),
        ("binlog_format", "'STATEMENT'", ("error", "binlog-format")),
        ("binlog_row_metadata", "'MINIMAL'", ("error", "binlog-row-metadata")),
        ("binlog_row_image", "'MINIMAL'", ("error", "binlog-row-image")),
        ("binlog_expire_logs_seconds", "3600", ("error", "binlog-expiry")),
        ("sync_binlog", "0", ("warning", "sync-binlog")),
        ("innodb_flush_log_at_trx_commit", "2", ("warning", "innodb-flush-log-at-trx-commit")),
    ],
)
def test_a_wrong_setting_is_found_and_its_remedy_mends_it(harness, setting, wrong, finding):
    before = harness.sql(f"SELECT @@global.{setting}")[0][0]
    harness.sql(f"SET GLOBAL {setting} = {wrong}")
    try:
        findings = check_source(harness)
        assert codes(findings) == {finding}
        harness.sql(findings[0].remedy.partition(";")[0])
        assert check_source(harness) == []
    finally:
        harness.sql(f"SET GLOBAL {setting} = {before if str(before).isdigit() else repr(before)}")


def test_a_log_that_is_kept_as_long_as_the_outage_may_last_is_enough(harness):
    harness.sql("SET GLOBAL binlog_expire_logs_seconds = 7200")
    try:
        harness.options = msgspec.structs.replace(harness.options, outage="2h")
        assert check_source(harness) == []
        harness.options = msgspec.structs.replace(harness.options, outage="3h")
        (finding,) = check_source(harness)
        assert "2 hours" in finding.message
        assert "10800" in finding.remedy
    finally:
        harness.sql("SET GLOBAL binlog_expire_logs_seconds = 0")


def test_a_log_that_is_kept_by_size_is_reported(harness, server):
    if not server.execute("SHOW GLOBAL VARIABLES LIKE 'max_binlog_total_size'"):
        pytest.skip("only MariaDB from 11.4 on keeps logs by size")
    harness.sql("SET GLOBAL max_binlog_total_size = 1000000000")
    try:
        (finding,) = check_source(harness)
        assert (finding.severity, finding.code) == ("warning", "binlog-size")
        harness.sql(finding.remedy.partition(";")[0])
        assert check_source(harness) == []
    finally:
        harness.sql("SET GLOBAL max_binlog_total_size = 0")


def test_a_row_image_without_blobs_matters_to_tables_whose_blobs_are_read(harness):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY, v int, remark text)", "CREATE TABLE plain (id int PRIMARY KEY)")
    harness.sql("SET GLOBAL binlog_row_image = 'NOBLOB'")
    try:
        assert check_source(harness, "plain", TableNeed("t", ("id",), ("v",))) == []
        (finding,) = check_source(harness, "plain", "t")
        assert (finding.severity, finding.code, finding.subject) == ("error", "binlog-row-image", "t")
        assert "remark" in finding.message
        harness.sql(finding.remedy.partition(";")[0])
        assert check_source(harness, "t") == []
    finally:
        harness.sql("SET GLOBAL binlog_row_image = 'FULL'")


@pytest.mark.parametrize("settings", [{"binlog-ignore-db": "elsewhere"}, {"binlog-do-db": "other"}])
def test_a_log_that_leaves_out_a_captured_tables_database_is_found_and_stops_a_running_source(
    other_server, opened, settings
):
    other_server.execute("DROP DATABASE IF EXISTS elsewhere; CREATE DATABASE elsewhere")
    other_server.execute("CREATE TABLE elsewhere.x (id int PRIMARY KEY)")
    harness = PrivateHarness(other_server)
    reader = opened(harness, tables=("elsewhere.x",))
    assert codes(check_source(harness, "elsewhere.x")) == set()
    with started_with(other_server, settings) as filtered:
        findings = [finding for finding in check_source(filtered, "elsewhere.x") if finding.subject == "elsewhere"]
        assert codes(findings) == {("error", "binlog-filter")}
        with pytest.raises(NotReady, match="binlog-filter"):
            opened(filtered, reader.position, tables=("elsewhere.x",))
    harness.dispose()


def test_a_server_without_a_log_is_found(other_server):
    gtids = () if other_server.is_mariadb else ("gtid-mode", "enforce-gtid-consistency")
    with started_with(other_server, {"skip-log-bin": "ON"}, without=("log-bin", *gtids)) as harness:
        assert ("error", "no-binlog") in codes(check_source(harness))


def test_mysql_without_gtids_is_reported(mysql_only, other_server):
    with started_with(other_server, {"gtid-mode": "ON_PERMISSIVE"}) as harness:
        assert codes(check_source(harness)) == {("warning", "gtid-mode")}
        harness.sql("SET GLOBAL gtid_mode = ON")
        assert check_source(harness) == []


def test_a_server_that_goes_on_without_its_log_is_found(mysql_only, other_server):
    with started_with(other_server, {"binlog-error-action": "IGNORE_ERROR"}) as harness:
        assert codes(check_source(harness)) == {("error", "binlog-error-action")}


def test_a_replica_that_does_not_log_what_it_replicates_is_found(harness, other_server):
    name = "log-slave-updates" if other_server.is_mariadb else "log-replica-updates"
    with started_with(other_server, {name: "OFF"}) as replica:
        assert check_source(replica) == []
        if other_server.is_mariadb:
            replica.sql("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'nobody'")
        else:
            replica.sql(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'nobody'"
            )
        assert codes(check_source(replica)) == {("error", "replica-log")}
        replica.sql("RESET SLAVE ALL" if other_server.is_mariadb else "RESET REPLICA ALL")


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


def test_a_clock_that_differs_from_ours_is_reported(harness, monkeypatch):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 100)
    (finding,) = check_source(harness)
    assert (finding.severity, finding.code) == ("warning", "clock-offset")
    assert "100 s" in finding.message


# ---- the same conditions while the source runs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "wrong", "right", "code"),
    [
        ("binlog_format", "'MIXED'", "'ROW'", "binlog-format"),
        ("binlog_row_metadata", "'MINIMAL'", "'FULL'", "binlog-row-metadata"),
        ("binlog_row_image", "'MINIMAL'", "'FULL'", "binlog-row-image"),
    ],
)
def test_a_setting_that_is_changed_stops_a_running_source_at_its_next_look(
    harness, opened, monkeypatch, setting, wrong, right, code
):
    monkeypatch.setattr(preflight, "_WATCH_SECONDS", 0)
    harness.sql(NUMBERS)
    reader = opened(harness)
    reader.source.status()
    harness.sql(f"SET GLOBAL {setting} = {wrong}")
    try:
        with pytest.raises(NotReady) as caught:
            reader.source.status()
        assert caught.value.code == code
        assert "cdcd resync" in caught.value.remedy
    finally:
        harness.sql(f"SET GLOBAL {setting} = {right}")


def test_the_running_source_looks_once_a_minute(harness, opened):
    harness.sql(NUMBERS)
    reader = opened(harness)
    harness.sql("SET GLOBAL binlog_format = 'MIXED'")
    try:
        reader.source.status()
    finally:
        harness.sql("SET GLOBAL binlog_format = 'ROW'")


def test_a_read_only_server_is_found_in_the_target(harness):
    harness.sql("SET GLOBAL read_only = ON")
    try:
        assert ("warning", "read-only") in codes(check_target(harness))
    finally:
        harness.sql("SET GLOBAL read_only = OFF")
