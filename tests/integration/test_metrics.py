"""The metrics of a daemon between two real servers: at work, idle, and after one of its processes was killed."""

import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.metrics.catalogue import METRICS
from cdcd.testing.server_process import free_port
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

COPY = """
[[replicate]]
from = "erp"
to = "shop"
tables = ["note"]
"""
Samples = dict[str, float]


class Measured(Line):
    """A line whose metrics can be read."""

    def listen(self) -> None:
        self.port = free_port()
        self.config.write_text(
            self.config.read_text().replace("[daemon]", f'[daemon]\nlisten = "127.0.0.1:{self.port}"')
        )

    def metrics(self) -> Samples:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def named(samples: Samples, name: str) -> Samples:
    return {key: value for key, value in samples.items() if re.split("[{ ]", key)[0] == name}


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Measured]:
    line = Measured(tmp_path, postgres, mariadb, more=COPY)
    line.erp("CREATE TABLE note (id int PRIMARY KEY, text text)")
    line.shop("CREATE TABLE note (id int PRIMARY KEY, text text)")
    line.shop("ALTER TABLE products ADD CHECK (title <> 'bad')")
    line.listen()
    yield line
    line.dispose()
    line.drop_slot()


def test_metrics_tell_what_was_done_and_that_nothing_is_to_be_done(line: Measured):
    line.erp("INSERT INTO item (code, name, list_price) SELECT 'p' || g, 'n', 1 FROM generate_series(1, 50) g")
    line.start()
    line.wait_for_states()
    line.wait_in_step()
    line.erp("UPDATE item SET name = 'new'; INSERT INTO note VALUES (1, 'a'), (2, 'b')")
    line.wait_in_step()
    line.shop("UPDATE products SET title = 'not theirs' WHERE sku = 'p1'")
    reverted = 'cdcd_events_resolved_total{decision="revert",entity="product",source="shop"}'
    wait_until(lambda: line.metrics().get(reverted) == 1, "the shop's change is reverted")
    line.wait_in_step()

    def lags() -> Samples:
        return {key: value for key, value in line.metrics().items() if re.match(r"cdcd_\w+_lag_[a-z]+[{ ]?", key)}

    assert len(lags()) == 14
    wait_until(lambda: not any(lags().values()), "no lag anywhere")
    found = line.metrics()
    for name, least in (
        ('cdcd_events_applied_total{entity="product",op="upsert",target="shop"}', 50),
        ('cdcd_events_applied_total{entity="product",op="update",target="shop"}', 51),
        ('cdcd_events_applied_total{entity="erp:public.note",op="upsert",target="shop"}', 2),
        ('cdcd_events_resolved_total{decision="echo",entity="product",source="shop"}', 50),
        ('cdcd_capture_commit_duration_seconds_count{source="erp"}', 1),
        ("cdcd_resolve_step_duration_seconds_count", 1),
        ('cdcd_apply_transaction_duration_seconds_count{target="shop"}', 2),
        ('cdcd_source_slot_state{source="erp",state="reserved"}', 1),
        ('cdcd_source_log_purge_seconds{source="shop"}', 1),
        ("cdcd_journal_entries", 3),
        ("cdcd_state_dir_size_bytes", 100_000),
        ("cdcd_state_dir_free_bytes", 1),
    ):
        assert found[name] >= least, (name, named(found, re.split("[{ ]", name)[0]))
    parked = 'cdcd_parked_events{entity="product",target="shop"}'
    assert found[parked] == found['cdcd_parked_events{entity="erp:public.note",target="shop"}'] == 0
    names = {re.sub(r"_(bucket|sum|count|total|info)$", "", re.split("[{ ]", key)[0]) for key in found}
    assert {name for name in names if name.startswith("cdcd_")} <= set(METRICS)

    line.erp("INSERT INTO item (code, name) VALUES ('p51', 'bad')")
    wait_until(lambda: line.metrics()[parked] == 1, "the refused record is counted")


def test_counters_do_not_go_back_when_a_process_was_killed(line: Measured):
    line.erp("INSERT INTO item (code, name, list_price) SELECT 'p' || g, 'n', 1 FROM generate_series(1, 50) g")
    line.start()
    line.wait_in_step()
    wait_until(lambda: sum(named(line.metrics(), "cdcd_events_applied_total").values()) >= 50, "all is counted")
    before = line.metrics()
    killed = ("resolve", "deliver:shop", "capture:erp")
    for role in killed:
        os.kill(line.status().workers()[role].pid, signal.SIGKILL)
    line.wait_for(lambda status: all(status.workers()[role].restarts for role in killed), "all were started again")
    line.wait_for_states()
    line.erp("UPDATE item SET name = 'new'")
    line.wait_in_step()
    after = line.metrics()
    counted = [key for key in before if re.match(r"cdcd_\w+_(total|bucket|sum|count)(\{|$)", key)]
    assert len(counted) > 50
    assert [key for key in counted if after.get(key, 0) < before[key]] == []
