"""What is particular to PostgreSQL as a source, on a real server. What all sources share is in the contract suite."""

import os
import select
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psycopg
import pytest

from cdcd.config import Secret
from cdcd.errors import ConfigError, NotReady, PositionLost, Unavailable
from cdcd.model import ABSENT, Commit, Idle, Op, Rows
from cdcd.testing.stream import Change, named_rows
from cdcd_postgres import Options, adapter
from cdcd_postgres import stream as stream_module
from cdcd_postgres.position import parse_position
from contract.postgres_harness import PostgresHarness
from integration.postgres_reading import Reading, harness, own_server, reading, slot, wait_until  # noqa: F401 (fixtures)

LONG = "".join(chr(33 + number * 7919 % 90) for number in range(9000))
"""Too long to stay in the row, and not compressible enough to get there."""


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_an_unchanged_long_value_is_absent_and_a_full_identity_brings_it(harness, reading):
    harness.sql(
        "CREATE TABLE doc (id int PRIMARY KEY, body text, n int); ALTER TABLE doc ALTER body SET STORAGE EXTERNAL"
    )
    harness.sql(f"INSERT INTO doc VALUES (1, $${LONG}$$, 1)")
    session = reading("public.doc")
    harness.sql("UPDATE doc SET n = 2")
    harness.sql("ALTER TABLE doc REPLICA IDENTITY FULL")
    harness.sql("UPDATE doc SET n = 3; UPDATE doc SET id = 5; DELETE FROM doc")
    absent, filled, moved, deleted = session.changes()
    assert absent.row == {"id": 1, "body": ABSENT, "n": 2}
    assert (filled.row, filled.old) == ({"id": 1, "body": LONG, "n": 3}, None)
    assert (moved.row["id"], moved.old) == (5, {"id": 1, "body": LONG, "n": 3})
    assert deleted.row == {"id": 5, "body": LONG, "n": 3}


def test_a_full_identity_is_named_by_the_primary_key_or_by_all_columns(harness, reading):
    harness.sql("CREATE TABLE a (x int, id int PRIMARY KEY); ALTER TABLE a REPLICA IDENTITY FULL")
    harness.sql("CREATE TABLE b (x int, y int); ALTER TABLE b REPLICA IDENTITY FULL")
    session = reading("public.a", "public.b")
    harness.sql("INSERT INTO a VALUES (1, 2); INSERT INTO b VALUES (1, 2); UPDATE b SET x = 3")
    (_, _, update) = session.changes()
    identities = {
        event.relation.table: event.relation.identity for event in session.reader.events if isinstance(event, Rows)
    }
    assert (identities["public.a"], identities["public.b"]) == ((1,), (0, 1))
    assert update.old == {"x": 1, "y": 2}


def test_an_index_may_be_the_identity(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, code text NOT NULL, n int); CREATE UNIQUE INDEX code ON a (code)")
    harness.sql("ALTER TABLE a REPLICA IDENTITY USING INDEX code; INSERT INTO a VALUES (1, 'x', 1), (2, 'y', 1)")
    session = reading("public.a")
    harness.sql("UPDATE a SET code = 'z' WHERE id = 1; DELETE FROM a WHERE id = 2")
    moved, deleted = session.changes()
    assert moved.old == {"id": ABSENT, "code": "x", "n": ABSENT}
    assert deleted.row == {"id": ABSENT, "code": "y", "n": ABSENT}
    chunk = session.reader.read_chunk("public.a", ["a"], 10)
    assert (chunk.rows.rows, chunk.last_key, chunk.rows.relation.identity) == ([[1, "z", 1]], ["z"], (1,))


def test_rows_of_partitions_come_under_the_name_of_their_root(harness, reading):
    harness.sql("CREATE TABLE sale (id int, year int, note text, PRIMARY KEY (year, id)) PARTITION BY LIST (year)")
    harness.sql("CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1)")
    harness.sql("CREATE TABLE sale_2 (note text, year int NOT NULL, id int NOT NULL, PRIMARY KEY (year, id))")
    harness.sql("ALTER TABLE sale ATTACH PARTITION sale_2 FOR VALUES IN (2); INSERT INTO sale VALUES (1, 1, 'old')")
    session = reading("public.sale")
    harness.sql("INSERT INTO sale VALUES (2, 2, 'new'); UPDATE sale SET year = 2 WHERE id = 1; TRUNCATE sale_2")
    harness.sql("INSERT INTO sale_2 VALUES ('direct', 2, 9)")
    changes = session.changes()
    assert {change.table for change in changes} == {"public.sale"}
    assert [(change.op, change.row["id"], change.row["year"]) for change in changes] == [
        (Op.INSERT, 2, 2),
        (Op.DELETE, 1, 1),
        (Op.INSERT, 1, 2),
        (Op.INSERT, 9, 2),
    ]
    chunk = session.reader.read_chunk("public.sale", None, 10)
    assert chunk.rows.rows == [[9, 2, "direct"]]


def test_types_that_a_database_made_itself_have_canonical_ones(harness, reading):
    harness.sql("CREATE SCHEMA own; CREATE TYPE own.mood AS ENUM ('sad', 'o''k')")
    harness.sql("CREATE DOMAIN own.amount AS numeric(12,4) CHECK (VALUE > 0); CREATE DOMAIN own.price AS own.amount")
    columns = (
        "id int PRIMARY KEY, m own.mood, p own.price, c char(5), v varchar, a own.mood[], t timestamp(0), i interval"
    )
    harness.sql(f"CREATE TABLE odd ({columns})")
    session = reading("public.odd")
    harness.sql("INSERT INTO odd VALUES (1, 'o''k', 1.5, 'ab', 'x ', '{sad,NULL}', '2026-11-21 10:00', '1 day 02:00')")
    (change,) = session.changes()
    row = {"id": 1, "m": "o'k", "p": "1.5000", "c": "ab", "v": "x ", "a": "{sad,NULL}"}
    assert change.row == {**row, "t": "2026-11-21 10:00:00", "i": "1 day 02:00:00"}
    relation = session.reader.events[0].relation
    assert relation.types[1:] == (
        "text",
        "decimal(12,4)",
        "text(5,padded)",
        "text",
        "native(mood[])",
        "datetime(0)",
        "native(interval)",
    )
    assert session.reader.read_chunk("public.odd", None, 5).rows.relation == relation


def test_values_without_a_canonical_form_pass_as_they_are_printed(harness, reading):
    harness.sql("CREATE TABLE odd (id int PRIMARY KEY, n numeric(8,2), d date, t timestamptz)")
    session = reading("public.odd")
    harness.sql(
        "INSERT INTO odd VALUES (1, 'NaN', 'infinity', '0044-03-15 12:00:00+00 BC'), (2, NULL, '0044-03-15 BC', '-infinity')"
    )
    assert [list(change.row.values()) for change in session.changes()] == [
        [1, "NaN", "infinity", "0044-03-15 12:00:00Z BC"],
        [2, None, "0044-03-15 BC", "-infinity"],
    ]


def test_the_settings_of_database_and_role_do_not_change_values(harness, reading):
    database = '"' + harness.database + '"'
    for setting in (
        "datestyle = 'German'",
        "timezone = 'Asia/Tokyo'",
        "intervalstyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
    ):
        harness.sql(f"ALTER DATABASE {database} SET {setting}")
    harness.sql("CREATE TABLE odd (id int PRIMARY KEY, t timestamptz, i interval, b bytea, f float8)")
    session = reading("public.odd")
    harness.sql("INSERT INTO odd VALUES (1, '2026-11-21 10:00:00+00', '1 day', 'a', 0.1::float8 + 0.2)")
    expected = {"id": 1, "t": "2026-11-21 10:00:00Z", "i": "1 day", "b": b"a", "f": 0.1 + 0.2}
    assert session.changes()[0].row == expected
    assert named_rows(session.reader.read_chunk("public.odd", None, 5).rows)[0].row == expected


def test_a_quoted_name_with_a_dot_is_spelled_as_configured(harness, reading):
    harness.sql('CREATE TABLE "we""ird.table" (id int PRIMARY KEY, "a.b" int)')
    spelled = 'public."we""ird.table"'
    assert adapter.table_name(spelled) == spelled
    session = reading(spelled)
    harness.sql('INSERT INTO "we""ird.table" VALUES (1, 2)')
    assert session.changes() == [Change(spelled, Op.INSERT, {"id": 1, "a.b": 2})]
    assert session.reader.read_chunk(spelled, [0], 5).rows.rows == [[1, 2]]


def test_generated_columns_are_not_in_rows_or_chunks(harness, reading):
    harness.sql("CREATE TABLE g (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, b int)")
    session = reading("public.g")
    harness.sql("INSERT INTO g (id, a, b) VALUES (1, 2, 3)")
    assert session.changes()[0].row == {"id": 1, "a": 2, "b": 3}
    chunk = session.reader.read_chunk("public.g", None, 5)
    assert chunk.rows.rows == [[1, 2, 3]]


def test_a_changed_type_shows_in_the_relation_of_the_rows_after_it(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v int)")
    session = reading("public.a")
    harness.sql("INSERT INTO a VALUES (1, 7); ALTER TABLE a ALTER v TYPE text; INSERT INTO a VALUES (2, 'x')")
    assert [change.row["v"] for change in session.changes()] == [7, "x"]


# ---- positions and slots ---------------------------------------------------------------------------------------------


def test_an_idle_slot_moves_on_while_others_write(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE unrelated (v text)")
    session = reading("public.a")
    start = slot(harness, "confirmed_flush_lsn")
    harness.sql("INSERT INTO unrelated SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    behind = harness.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
    wait_until(
        lambda: (
            any(isinstance(entry, Idle) for entry in session.reader.log)
            and parse_position(session.reader.position).lsn >= lsn(behind)
        ),
        lambda: session.reader.poll() or session.reader.wait(0.05),
    )
    session.source.confirm(session.reader.position)
    wait_until(lambda: lsn(slot(harness, "confirmed_flush_lsn")) >= lsn(behind))
    assert lsn(start) < lsn(behind)
    assert session.reader.transactions == []


def lsn(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def test_a_killed_server_is_unavailable_and_then_read_on_without_a_gap(own_server):
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = Reading(harness, "public.a")
    harness.sql("INSERT INTO a SELECT generate_series(1, 100)")
    session.done()
    harness.sql("INSERT INTO a SELECT generate_series(101, 200)")
    own_server.kill()
    with pytest.raises(Unavailable):
        session.reader.read_until(lambda: False)
    with pytest.raises(Unavailable):
        adapter.open_source(harness.identity, harness.options, session.needs).start(session.reader.position)
    session.source.close()
    own_server.start()
    resumed = Reading(harness, "public.a", after=session.reader.position)
    resumed.done()
    resumed.source.close()
    changes = [
        change for entry in (*session.reader.transactions, *resumed.reader.transactions) for change in entry.changes
    ]
    assert [change.row["id"] for change in changes if change.table == "public.a"] == list(range(1, 201))


def test_a_server_that_hangs_is_unavailable(own_server, monkeypatch):
    monkeypatch.setattr(stream_module, "STATUS_INTERVAL_SECONDS", 0.1)
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = Reading(harness, "public.a", silence_seconds=1)
    session.done()
    own_server.suspend()
    with pytest.raises(Unavailable, match="silent"):
        session.reader.read_until(lambda: False)
    own_server.resume()
    session.source.close()


def test_a_pause_without_polls_is_not_taken_for_silence(harness, reading, monkeypatch):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    session.done()
    later = time.monotonic() + 1000
    monkeypatch.setattr(stream_module, "time", SimpleNamespace(monotonic=lambda: later, time_ns=time.time_ns))
    for _ in range(3):
        session.source.poll()


def test_after_a_promotion_positions_read_the_same_and_reading_goes_on(own_server):
    """Archive recovery with nothing to restore ends at once, on a new timeline."""
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    harness.sql("ALTER SYSTEM SET restore_command = '/bin/false'")
    session = Reading(harness, "public.a")
    harness.sql("INSERT INTO a VALUES (1)")
    before = session.done()
    session.source.close()
    own_server.stop()
    signal_file = own_server.directory / "data" / "recovery.signal"
    signal_file.touch()
    os.chown(signal_file, own_server.account.pw_uid, own_server.account.pw_gid)
    own_server.start()
    wait_until(lambda: harness.sql("SELECT pg_is_in_recovery()") == [(False,)])
    resumed = Reading(harness, "public.a", after=session.reader.started_at)
    harness.sql("INSERT INTO a VALUES (2)")
    old, new = resumed.done()
    resumed.source.close()
    assert [old] == before
    assert [parse_position(entry.position).timeline for entry in (old, new)] == [1, 2]
    system, _, place, *_ = new.position.split(":")
    with pytest.raises(PositionLost, match="branches off"):
        Reading(harness, "public.a", after=f"{system}:1:{place}")


def test_an_orderly_shutdown_does_not_wait_for_us_to_confirm(own_server):
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = Reading(harness, "public.a")
    harness.sql("INSERT INTO a VALUES (1)")
    session.done()
    stopping = threading.Thread(target=own_server.stop)
    began = time.monotonic()
    stopping.start()
    with pytest.raises(Unavailable):
        session.reader.read_until(lambda: False)
    stopping.join()
    session.source.close()
    assert time.monotonic() - began < 20  # wal_sender_timeout is 60 seconds


def test_a_slot_in_use_is_unavailable_and_names_the_process(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    first = reading("public.a")
    with pytest.raises(Unavailable, match=f"server process {slot(harness, 'active_pid')}"):
        reading("public.a", after=first.reader.started_at, slot_wait_seconds=1)
    harness.sql("INSERT INTO a VALUES (1)")
    assert len(first.changes()) == 1


def test_a_slot_that_was_made_anew_is_a_lost_position(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    harness.sql("INSERT INTO a VALUES (1)")
    session.source.close()
    harness.lose_log()
    name = harness.options.slot_name(harness.identity)
    harness.sql(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    with pytest.raises(PositionLost, match=name) as caught:
        reading("public.a", after=session.reader.started_at)
    assert caught.value.remedy


def test_a_position_of_another_server_or_beyond_the_log_is_lost(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    session.source.close()
    system, timeline, place = session.reader.started_at.split(":")
    for token in (
        f"{int(system) + 1}:{timeline}:{place}",
        f"{system}:{int(timeline) + 1}:{place}",
        f"{system}:{timeline}:FF/0",
        "binlog.1:4",
    ):
        with pytest.raises(PositionLost):
            reading("public.a", after=token)
    assert reading("public.a", after=session.reader.started_at).changes() == []


def test_an_invalidated_slot_is_a_lost_position_and_is_replaced_when_starting_anew(own_server):
    harness = PostgresHarness(own_server)
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = Reading(harness, "public.a")
    session.source.close()
    harness.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    harness.sql("SELECT pg_reload_conf()")
    wait_until(lambda: slot(harness, "active_pid") is None)

    def write_log() -> None:
        harness.sql("INSERT INTO a VALUES (0); DELETE FROM a; SELECT pg_switch_wal()")
        harness.sql("CHECKPOINT")

    wait_until(lambda: slot(harness, "wal_status") == "lost", write_log)
    findings = session.source.check(session.needs)
    assert "slot-lost" in {finding.code for finding in findings}
    with pytest.raises(PositionLost, match="invalidated"):
        Reading(harness, "public.a", after=session.reader.started_at)
    anew = Reading(harness, "public.a")
    harness.sql("INSERT INTO a VALUES (1)")
    assert [change.row["id"] for change in anew.changes()] == [1]
    anew.source.close()


@pytest.mark.parametrize("plugin", ["test_decoding", "pgoutput"])
def test_a_slot_of_another_plugin_or_database_is_not_touched(harness, reading, plugin):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    name = harness.options.slot_name(harness.identity)
    database = harness.database if plugin == "test_decoding" else "postgres"
    harness.server.execute(database, f"SELECT pg_create_logical_replication_slot('{name}', '{plugin}')")
    with pytest.raises(NotReady, match=name):
        reading("public.a")
    assert (slot(harness, "plugin"), slot(harness, "database")) == (plugin, database)


def test_a_slot_waits_for_running_transactions_and_says_so(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    with psycopg.connect(harness.server.dsn(harness.database)) as busy:
        busy.execute("INSERT INTO a VALUES (1)")
        with pytest.raises(Unavailable, match=str(busy.info.backend_pid)):
            reading("public.a", statement_timeout_seconds=1)
    assert reading("public.a").changes() == []


# ---- connections -----------------------------------------------------------------------------------------------------


def test_the_password_comes_from_a_secret(harness, tmp_path: Path):
    role = harness.identity.system
    harness.server.create_user(role, "pass word'\"", attributes="REPLICATION SUPERUSER")
    secret = tmp_path / "secret"
    secret.write_text("pass word'\"\n")
    secret.chmod(0o600)
    options = Options(dsn=harness.server.dsn(harness.database, role), password=Secret(file=str(secret)))
    source = adapter.open_source(harness.identity, options, [])
    assert source.check([]) == []
    source.close()
    secret.write_text("wrong-pass\n")
    with pytest.raises(NotReady) as caught:
        adapter.open_source(harness.identity, options, []).start(None)
    assert "wrong-pass" not in str(caught.value)
    harness.sql(f'DROP ROLE "{role}"')


def test_a_dsn_that_is_none_is_a_configuration_error_that_does_not_show_it(harness):
    options = msgspec.structs.replace(harness.options, dsn="host=x password=s3cret nonsense")
    with pytest.raises(ConfigError) as caught:
        adapter.open_source(harness.identity, options, []).start(None)
    assert "s3cret" not in str(caught.value)


def test_a_database_that_does_not_exist_needs_the_operator(harness):
    options = msgspec.structs.replace(harness.options, dsn=harness.server.dsn("no such database"))
    with pytest.raises(NotReady):
        adapter.open_source(harness.identity, options, []).start(None)


def test_a_lost_ordinary_connection_is_unavailable(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY)")
    session = reading("public.a")
    session.done()
    harness.sql(f"SELECT pg_terminate_backend({session.source._connection.info.backend_pid})")
    with pytest.raises(Unavailable):
        session.source.status()
    with pytest.raises(Unavailable):
        session.source.request_chunk("public.a", None, 1)


def test_status_tells_what_the_slot_retains(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
    session = reading("public.a")
    harness.sql("INSERT INTO a SELECT n, repeat('x', 1000) FROM generate_series(1, 1000) n")
    status = session.source.status()
    assert status.retained_bytes >= status.lag_bytes > 1_000_000
    session.done()
    assert session.source.status().lag_bytes < 100_000


def test_a_backlog_is_read_in_bounded_polls_whatever_is_confirmed(harness, reading):
    harness.sql("CREATE TABLE a (id int PRIMARY KEY, v text)")
    session = reading("public.a")
    for first in range(0, 2000, 100):
        harness.sql(f"INSERT INTO a SELECT n, repeat('x', 5000) FROM generate_series({first}, {first + 99}) n")
    positions = []
    while len(positions) < 20:
        for event in session.source.poll():
            if isinstance(event, Commit):
                positions.append(event.position)
                session.source.confirm(event.position)
        select.select([session.source.fileno()], [], [], 1)
    assert [parse_position(token).lsn for token in positions] == sorted(
        parse_position(token).lsn for token in positions
    )


def confirm_each(harness, session, monkeypatch, count):
    """Commit and confirm so many transactions; what was sent of it, and the last position."""
    sent = []
    send = stream_module.Stream._send
    monkeypatch.setattr(stream_module.Stream, "_send", lambda self, **what: (sent.append(what), send(self, **what)))
    for _ in range(count):
        harness.sql("INSERT INTO marker DEFAULT VALUES")
    position, found = None, 0
    while found < count:
        for event in session.source.poll():
            if isinstance(event, Commit):
                found, position = found + 1, event.position
                session.source.confirm(position)
        session.reader.wait(0.05)
    return [what["flushed_lsn"] for what in sent if what["flushed_lsn"]], parse_position(position).lsn


def test_confirmations_close_together_are_few_messages_and_the_last_comes_by_itself(harness, reading, monkeypatch):
    monkeypatch.setattr(stream_module, "CONFIRM_INTERVAL_SECONDS", 5.0)
    session = reading("public.marker")
    sent, last_lsn = confirm_each(harness, session, monkeypatch, 50)
    assert len(sent) == 1
    monkeypatch.setattr(stream_module, "CONFIRM_INTERVAL_SECONDS", 0.02)
    wait_until(
        lambda: lsn(slot(harness, "confirmed_flush_lsn")) >= last_lsn,
        lambda: session.source.poll() or session.reader.wait(0.05),
    )


def test_who_ends_tells_the_server_what_was_still_to_be_confirmed(harness, reading, monkeypatch):
    monkeypatch.setattr(stream_module, "CONFIRM_INTERVAL_SECONDS", 1e6)
    session = reading("public.marker")
    _, last_lsn = confirm_each(harness, session, monkeypatch, 5)
    assert lsn(slot(harness, "confirmed_flush_lsn")) < last_lsn
    session.source.close()
    wait_until(lambda: lsn(slot(harness, "confirmed_flush_lsn")) >= last_lsn)
