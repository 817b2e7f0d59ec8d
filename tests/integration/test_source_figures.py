"""Lag, headroom and clocks of real servers, as the capture's stage reports them and status shows them."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdcd import blueprint
from cdcd.config_rules import load
from cdcd.errors import PositionLost, Unavailable
from cdcd.report import CaptureFigures, now_us
from cdcd.stages.capture import CaptureStage
from cdcd.state_directory import StateDirectory
from cdcd.status import SourceLogStatus, WorkerStatus, capture_lag_seconds, source_log_status
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from cdcd.wake import wait
from integration.daemon_process import wait_until
from integration.mysql_reading import server  # noqa: F401 (fixture)

CONFIG = """
[daemon]
name = "{name}"
state-dir = "{state}"
[systems.erp]
{system}
[systems.copy]
adapter = "postgres"
dsn = "host=nowhere"
[[replicate]]
from = "erp"
to = "copy"
tables = ["item"]
"""
POSTGRES = 'adapter = "postgres"\ndsn = "{dsn}"'
MYSQL = 'adapter = "mysql"\nhost = "127.0.0.1"\nport = {port}\nuser = "root"\ndatabase = "{database}"\nheartbeat-seconds = 1'


class Captured:
    """One source, captured in this process as a worker does it."""

    def __init__(self, directory: Path, name: str, system: str) -> None:
        file = directory / "cdcd.toml"
        file.write_text(CONFIG.format(name=name, state=directory / "state", system=system))
        state = StateDirectory(directory / "state")
        state.prepare()
        self.stage = CaptureStage("erp", blueprint.draw(load(file), str(file)), state)
        self.name = name

    def open(self) -> None:
        self.stage.open()

    def run(self, seconds: float) -> Iterator[CaptureFigures]:
        """The figures after every turn of a worker's loop."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            worked = self.stage.step()
            self.stage.news()
            self.stage.tick()
            yield self.stage.figures()
            ready = wait(self.stage.filenos(), 0.0 if worked else 0.1)
            if ready:
                self.stage.arrived()

    def lags(self, seconds: float) -> list[float]:
        worker = WorkerStatus(state="running")
        return [capture_lag_seconds(worker, f, f.captured_at_us, now_us()) for f in self.run(seconds)]

    def settle(self) -> None:
        """Until the log is read to where it ends."""
        for figures in self.run(30):
            if figures.received_at_us and not figures.lag_bytes and figures.kept_at_us:
                return
        raise AssertionError("the end of the log was not reached")

    @property
    def log(self) -> SourceLogStatus:
        figures = self.stage.figures()
        return source_log_status(figures, figures.captured_at_us, now_us())

    def keep(self) -> None:
        """Ask at once how the log is kept."""
        self.stage._asked_at = float("-inf")
        self.stage.tick()

    def dispose(self) -> None:
        self.stage.close()
        self.stage._journal.close()


def drop_slot(postgres: PostgresServer, database: str) -> None:
    slots = f"FROM pg_replication_slots WHERE database = '{database}'"
    wait_until(lambda: not postgres.execute(database, f"SELECT 1 {slots} AND active"), "the slot is free")
    postgres.execute(database, f"SELECT pg_drop_replication_slot(slot_name) {slots}")


@pytest.fixture
def erp(tmp_path: Path, postgres: PostgresServer) -> Iterator[Captured]:
    name = f"figures_{uuid.uuid4().hex[:8]}"
    postgres.create_database(name)
    postgres.execute(name, "CREATE TABLE item (id int PRIMARY KEY, name text)")
    captured = Captured(tmp_path, name, POSTGRES.format(dsn=postgres.dsn(name)))
    yield captured
    captured.dispose()
    drop_slot(postgres, name)


@pytest.fixture
def shop(tmp_path: Path, server: MySqlFamilyServer) -> Iterator[Captured]:
    name = f"figures_{uuid.uuid4().hex[:8]}"
    server.create_database(name)
    server.execute("CREATE TABLE item (id int PRIMARY KEY, name varchar(50))", name)
    before = server.execute("SELECT @@global.binlog_expire_logs_seconds")[0][0]
    captured = Captured(tmp_path, name, MYSQL.format(port=server.port, database=name))
    yield captured
    captured.dispose()
    server.execute(f"SET GLOBAL binlog_expire_logs_seconds = {before}")


@contextmanager
def busy(write: Callable[[], object]) -> Iterator[None]:
    """Something else writes all the time."""
    end = threading.Event()

    def go_on() -> None:
        while not end.is_set():
            write()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


# ---- lag -------------------------------------------------------------------------------------------------------------


def test_a_postgres_whose_other_databases_are_written_to_does_not_lag(erp: Captured, postgres: PostgresServer):
    erp.open()
    erp.settle()
    other = f"other_{uuid.uuid4().hex[:8]}"
    postgres.create_database(other)
    postgres.execute(other, "CREATE TABLE noise (id int, text text)")
    noise = """DO $$ BEGIN FOR i IN 1..200 LOOP
        INSERT INTO noise SELECT g, repeat('x', 500) FROM generate_series(1, 20) g; COMMIT; END LOOP; END $$"""
    with busy(lambda: postgres.execute(other, noise)):
        assert set(erp.lags(3)) == {0.0}


def test_a_mysql_that_is_idle_or_written_to_elsewhere_does_not_lag(shop: Captured, server):
    shop.open()
    shop.settle()
    assert set(shop.lags(2)) == {0.0}
    other = f"other_{uuid.uuid4().hex[:8]}"
    server.create_database(other)
    server.execute("CREATE TABLE noise (id int AUTO_INCREMENT PRIMARY KEY, text text)", other)
    noise = "INSERT INTO noise (text) VALUES " + ", ".join(["(repeat('x', 500))"] * 20)
    with busy(lambda: server.execute(noise, other)):
        assert set(shop.lags(3)) == {0.0}


def test_a_source_that_is_away_lags_by_as_long_as_it_is(shop: Captured, server):
    shop.open()
    shop.settle()
    server.stop()
    try:
        with pytest.raises(Unavailable):
            for _ in shop.run(30):
                pass
        figures = shop.stage.figures()
        shop.stage.close()
    finally:
        server.start()
    in_a_minute_us = now_us() + 60_000_000
    lag_seconds = capture_lag_seconds(WorkerStatus(state="retrying"), figures, figures.captured_at_us, in_a_minute_us)
    assert 60 <= lag_seconds < 120


# ---- the log as the server keeps it ----------------------------------------------------------------------------------


def test_a_slot_without_a_limit_is_reserved_and_is_never_purged(erp: Captured):
    erp.open()
    erp.settle()
    assert (erp.log.slot_state, erp.log.headroom_ratio) == ("reserved", None)
    assert (erp.log.never_purged, erp.log.purge_seconds) == (True, None)
    assert erp.log.clock_offset_seconds is not None
    assert abs(erp.log.clock_offset_seconds) < 1
    assert abs(erp.log.heard_at_us - now_us()) < 10_000_000


def test_headroom_shrinks_with_the_log_that_a_slot_keeps_until_it_is_lost(tmp_path: Path):
    settings = {"max_slot_wal_keep_size": "64MB", "wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "48MB"}
    with PostgresServer(settings=settings) as own:
        own.execute("postgres", "CREATE TABLE item (id int PRIMARY KEY, name text)")
        erp = Captured(tmp_path, "figures", POSTGRES.format(dsn=own.dsn()))
        erp.open()
        erp.settle()
        before = erp.log.headroom_ratio
        own.execute("postgres", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'x', 'x')")
        own.execute("postgres", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'x', 'x')")
        erp.stage.close()
        erp.open()
        after = erp.log.headroom_ratio
        assert before is not None
        assert after is not None
        assert after < before <= 1
        erp.stage.close()
        for _ in range(6):
            own.execute("postgres", "SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'x', 'x')")
        own.execute("postgres", "CHECKPOINT")
        with pytest.raises(PositionLost):
            erp.open()
        assert (erp.log.slot_state, erp.log.headroom_ratio) == ("lost", 0.0)
        erp.dispose()


def test_a_slot_that_is_missing_is_said_to_be(erp: Captured, postgres: PostgresServer):
    erp.open()
    erp.settle()
    erp.stage.close()
    drop_slot(postgres, erp.name)
    with pytest.raises(PositionLost):
        erp.open()
    assert erp.log.slot_state == "none"


def test_the_newest_file_of_a_binlog_is_as_far_from_its_end_as_can_be(shop: Captured, server):
    server.execute("SET GLOBAL binlog_expire_logs_seconds = 1000")
    shop.open()
    shop.settle()
    assert shop.log.purge_seconds == pytest.approx(1000, abs=30)
    assert shop.log.headroom_ratio == pytest.approx(1, abs=0.03)
    assert shop.log.slot_state == ""
    assert shop.log.clock_offset_seconds is not None
    assert abs(shop.log.clock_offset_seconds) < 1


def test_the_time_to_the_purge_runs_out_in_a_file_that_is_not_written_to_any_more(shop: Captured, server):
    shop.open()
    shop.settle()
    figures = shop.stage.figures()
    written_at_us = now_us()
    server.execute("FLUSH BINARY LOGS")
    server.execute("SET GLOBAL binlog_expire_logs_seconds = 1000")
    shop.keep()
    keeping = shop.stage.figures()
    in_ten_minutes = source_log_status(keeping, 0, written_at_us + 600_000_000)
    assert in_ten_minutes.purge_seconds == pytest.approx(400, abs=60)
    assert in_ten_minutes.headroom_ratio == pytest.approx(0.4, abs=0.06)
    assert figures.lag_bytes == 0


def test_a_binlog_that_was_purged_under_us_has_no_room_left(shop: Captured, server):
    shop.open()
    shop.settle()
    shop.stage.close()
    server.execute("INSERT INTO item VALUES (1, 'a')", shop.name)
    server.execute("SET GLOBAL binlog_expire_logs_seconds = 1000")

    def purged() -> bool:
        server.execute("FLUSH BINARY LOGS")
        server.execute(f"PURGE BINARY LOGS TO '{server.execute('SHOW BINARY LOGS')[-1][0]}'")
        return len(server.execute("SHOW BINARY LOGS")) == 1

    wait_until(purged, "the server has noticed that we are gone")
    with pytest.raises(PositionLost):
        shop.open()
    assert (shop.log.headroom_ratio, shop.log.purge_seconds) == (0.0, 0.0)


def test_a_binlog_that_is_never_purged_is_told_from_one_of_which_nothing_is_known(shop: Captured, server):
    assert not shop.log.never_purged
    server.execute("SET GLOBAL binlog_expire_logs_seconds = 0")
    shop.open()
    shop.settle()
    assert shop.log.never_purged
    assert (shop.log.purge_seconds, shop.log.headroom_ratio) == (None, None)
