"""Queues are bounded in bytes: a target that is away costs names and journal space, and then everything waits in the source."""

from pathlib import Path

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

COPY = """
[[replicate]]
from = "erp"
to = "shop"
tables = ["note"]
"""


def test_what_waits_for_a_paused_target_stops_resolve_and_then_capture_and_nothing_is_lost(
    tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer
):
    line = Line(tmp_path, postgres, mariadb, keep="1s", max_size="2MiB", more=COPY)
    line.erp("CREATE TABLE note (id int PRIMARY KEY, text text)")
    line.shop("CREATE TABLE note (id int PRIMARY KEY, text text)")
    try:
        line.start()
        line.wait_for_states()
        assert line.cli("pause", "shop").returncode == 0
        rows = 0

        def more_is_written() -> bool:
            """Until nobody takes any more."""
            nonlocal rows
            line.erp(f"INSERT INTO note SELECT {rows} + g, repeat('x', 1000) FROM generate_series(1, 500) g")
            rows += 500
            workers = line.status().workers()
            return workers["resolve"].state == "outbox-full" and workers["capture:erp"].state == "journal-full"

        wait_until(more_is_written, "resolve and capture wait")
        assert "see which target is away" in line.log.read_text()
        assert line.cli("resume", "shop").returncode == 0
        wait_until(lambda: line.shop("SELECT count(*) FROM note") == [(rows,)], "all has arrived")
        line.wait_for_states()
        assert line.end() == 0
    finally:
        line.dispose()
        line.drop_slot()
