"""A real Prometheus reads a real daemon: faults make the right alerts fire, their cure ends them, a pause alarms nobody.

Nobody waits a quarter of an hour here: the rules are loaded as `hastened` makes them. That they keep to their times
is what promtool's tests show (test_rules.py).
"""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cdcd.testing.server_process import free_port
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer, mysql_family_server
from integration.daemon_process import wait_until
from integration.erp_and_shop import PASSWORD, Line
from monitoring.alerting import RULES
from monitoring.dashboard import DASHBOARD_VARIABLES, panels, queries, substituted
from monitoring.programs import PrometheusServer

CONFIGURATION = """
global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}
rule_files: [cdcd.rules.yml]
scrape_configs:
  - job_name: cdcd
    scrape_timeout: 500ms
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""
MORE = """
[entities.product.not-owner]
fields = { name = "hold" }
[entities.product.in.shop.deliver]
parked-max = 3
[entities.order]
key = ["number"]
create = ["shop"]
[entities.order.fields]
number = { type = "text(32)" , owner = "shop" }
total = { type = "decimal(14,2)", owner = "shop" }
[entities.order.in.shop]
table = "orders"
columns = { number = "number", total = "total" }
[entities.order.in.erp]
table = "sale"
columns = { number = "number", total = "total" }
[entities.order.in.erp.deliver]
schedule = "on-demand"
"""


def hastened(rules: str) -> str:
    """The rules with every `for:` two seconds, every window six, lags counted from two seconds on, silence from ten.

    One restart of a worker is many. Rules that look ahead by hours stay as they are: seconds tell them nothing.
    """
    loaded = yaml.safe_load(rules)
    for rule in (rule for group in loaded["groups"] for rule in group["rules"]):
        if "predict_linear" not in rule["expr"]:
            rule["for"] = "2s"
            rule["expr"] = _hastened_expression(rule["expr"])
    return str(yaml.safe_dump(loaded))


def _hastened_expression(text: str) -> str:
    text = re.sub(r"\[\d+[mh]\]|offset \d+[mh]", lambda found: re.sub(r"\d+[mh]", "6s", found[0]), text)
    text = re.sub(r"(lag_seconds) > (?:60|900)\b", r"\1 > 2", text)
    text = text.replace("last_report_timestamp_seconds > 60", "last_report_timestamp_seconds > 10")
    return text.replace("(cdcd_worker_restarts_total[6s]) > 2.5", "(cdcd_worker_restarts_total[6s]) > 0.5")


class Watched(Line):
    """A line between an ERP and a shop, and the Prometheus that watches it."""

    def __init__(self, directory: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> None:
        super().__init__(directory, postgres, mariadb, more=MORE)
        self.shop(
            "CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, number varchar(32) UNIQUE, total decimal(14,2))"
        )
        self.erp("CREATE TABLE sale (id bigserial PRIMARY KEY, number text UNIQUE, total numeric(14,2))")
        port = free_port()
        text = self.config.read_text()
        self.config.write_text(text.replace("[journal]", f'listen = "127.0.0.1:{port}"\n[journal]'))
        rules = {"cdcd.rules.yml": hastened((RULES / "cdcd.rules.yml").read_text("utf-8"))}
        self.prometheus = PrometheusServer(CONFIGURATION.format(port=port), rules)

    def firing(self) -> set[str]:
        found = self.prometheus.alerts()
        for alert in found:
            for text in alert["annotations"].values():
                assert not re.search(r"<no value>|<error|%!|\{\{", text), text
        return {alert["labels"]["alertname"] for alert in found}

    def wait_for_alerts(self, *names: str) -> None:
        wait_until(lambda: set(names) <= self.firing(), f"{names} fire; there are {self.firing()}")

    def wait_for_quiet(self) -> None:
        """Wait until the daemon was read, and nothing fires."""
        wait_until(
            lambda: self.prometheus.query("cdcd_build_info") and not self.firing(), f"quiet; there are {self.firing()}"
        )

    def wait_for_value(self, expression: str) -> None:
        wait_until(lambda: self.prometheus.query(expression), expression)

    def do(self, *arguments: str) -> None:
        done = self.cli(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def worker(self, role: str) -> int:
        return self.status().workers()[role].pid

    def kill_worker(self, role: str) -> None:
        """Kill it, and wait for the next one."""
        killed = self.worker(role)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: self.worker(role) not in (0, killed), f"{role} is started again")

    def dispose(self) -> None:
        self.prometheus.dispose()
        super().dispose()


@pytest.fixture(scope="module")
def server() -> Iterator[MySqlFamilyServer]:
    """A MariaDB of our own, that may be stopped."""
    with mysql_family_server() as found:
        yield found


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, server: MySqlFamilyServer
) -> Iterator[Watched]:
    made = Watched(tmp_path_factory.mktemp("watched"), postgres, server)
    try:
        made.erp("INSERT INTO item (code, name, list_price) VALUES ('A', 'Hammer', 5), ('B', 'Saw', 7)")
        made.start()
        made.prometheus.start()
        made.wait_for_states()
        made.wait_in_step()
        yield made
    finally:
        made.dispose()
        made.drop_slot()


@pytest.fixture(autouse=True)
def quiet(line: Watched) -> None:
    """Every test begins with nothing that fires."""
    line.wait_for_quiet()


def test_a_server_that_is_away_is_told_as_source_and_as_target(line: Watched, server: MySqlFamilyServer):
    server.stop()
    line.erp("UPDATE item SET list_price = 6 WHERE code = 'A'")
    line.wait_for_alerts(
        "CdcdSourceDisconnected", "CdcdTargetAway", "CdcdCaptureLag", "CdcdApplyLag", "CdcdEndToEndLag"
    )
    server.start()
    line.do("resume", "shop")
    line.wait_in_step()
    line.wait_for_quiet()


def test_what_an_operator_has_paused_alarms_nobody(line: Watched):
    line.do("pause", "shop")
    line.do("pause", "order")
    line.erp("UPDATE item SET list_price = 8 WHERE code = 'A'")
    line.wait_for_value('min_over_time(cdcd_apply_lag_seconds{target="shop"}[2s]) > 3')
    assert line.firing() == set()
    line.do("resume", "shop")
    line.do("resume", "order")
    line.wait_in_step()


def test_a_refused_record_a_conflict_and_their_ends(line: Watched):
    line.erp("UPDATE item SET list_price = 99999999999 WHERE code = 'B'")
    line.shop("UPDATE products SET title = 'Pick' WHERE sku = 'A'")
    line.wait_for_alerts("CdcdParked", "CdcdConflictsWaiting")
    line.erp("UPDATE item SET list_price = 9 WHERE code = 'B'")
    line.do("conflicts", "reject", "product", "A", "name", "--yes")
    line.wait_in_step()
    line.wait_for_quiet()


def test_an_entity_of_which_too_much_is_refused(line: Watched):
    line.erp("INSERT INTO item (code, list_price) SELECT 'X' || g, 99999999999 FROM generate_series(1, 4) g")
    line.wait_for_alerts("CdcdEntityPausedByLimit", "CdcdParked")
    line.erp("UPDATE item SET list_price = 1 WHERE code LIKE 'X%'")
    line.do("resume", "product", "--system", "shop")
    line.wait_in_step()
    line.wait_for_quiet()


def test_a_frozen_worker_and_one_that_ends(line: Watched):
    frozen = line.worker("resolve")
    os.kill(frozen, signal.SIGSTOP)
    line.kill_worker("deliver:erp")
    line.wait_for_alerts("CdcdWorkerRestarts")
    line.wait_for_alerts("CdcdWorkerSilent")
    os.kill(frozen, signal.SIGCONT)
    line.wait_for_quiet()


def test_a_worker_that_needs_a_person(line: Watched, server: MySqlFamilyServer):
    server.execute(f"ALTER USER {line.name}@'127.0.0.1' IDENTIFIED BY 'another'")
    server.execute(f"KILL USER {line.name}")
    line.erp("UPDATE item SET list_price = 4 WHERE code = 'A'")
    line.wait_for_alerts("CdcdWorkerStopped")
    server.execute(f"ALTER USER {line.name}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
    line.do("resume", "shop")
    line.wait_in_step()
    line.wait_for_quiet()


def test_an_altered_table(line: Watched):
    line.erp("ALTER TABLE item RENAME COLUMN name TO label")
    line.erp("UPDATE item SET label = 'Axe' WHERE code = 'A'")
    line.wait_for_alerts("CdcdEntitySuspended")
    line.erp("ALTER TABLE item RENAME COLUMN label TO name")
    line.do("resync", "product", "--yes")
    line.wait_in_step()
    line.wait_for_quiet()


def test_triggers_that_answer_each_other(line: Watched):
    line.erp(
        "CREATE FUNCTION dearer() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN NEW.list_price := 10 + (OLD.list_price + 1) % 80; RETURN NEW; END$$"
    )
    line.shop("CREATE TRIGGER renewed BEFORE UPDATE ON products FOR EACH ROW SET NEW.body = CAST(UUID() AS CHAR)")
    line.erp("CREATE TRIGGER dearer BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION dearer()")
    line.erp("UPDATE item SET web_text = web_text WHERE code = 'A'")
    line.wait_for_alerts("CdcdEchoLoop")
    line.shop("DROP TRIGGER renewed")
    line.erp("DROP TRIGGER dearer ON item")
    line.wait_in_step()
    line.wait_for_quiet()


def test_every_query_of_the_dashboard_is_answered(line: Watched):
    """With what has happened by now; what cannot have happened here is named."""
    line.shop("INSERT INTO orders (number, total) VALUES ('O1', 9.5)")
    line.wait_for_value("cdcd_owed_records == 1")
    for value in (1, 2):  # of a counter's first appearance nobody can tell a rate
        line.shop(f"UPDATE products SET cents = {value} WHERE sku = 'A'")
        line.wait_for_value(f'cdcd_events_resolved_total{{decision="revert"}} >= {value}')
    line.wait_for_value('rate(cdcd_events_resolved_total{decision="revert"}[1m]) > 0')
    for name in ("daemon", "instance", "system"):
        assert line.prometheus.query(DASHBOARD_VARIABLES[name]), name
    empty = {
        panel["title"]
        for panel in panels()
        if queries(panel) and not any(line.prometheus.query(substituted(query)) for query in queries(panel))
    }
    assert empty <= {"What fires", "Log headroom", "Last verification", "Drift", "Notifications", "Age of the oldest"}


def test_a_daemon_that_is_down_and_comes_again(line: Watched):
    assert line.end() == 0
    line.wait_for_alerts("CdcdDown")
    line.start()
    line.wait_for_states()
    line.wait_for_quiet()
    assert time.time() - float(line.prometheus.query("cdcd_start_timestamp_seconds")[0]["value"][1]) < 60
