"""`pause`, `resume` and `rewind` against a running daemon, and against the state it has left."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

CUSTOMER = """
[entities.customer]
key = ["number"]
create = ["shop"]
[entities.customer.fields]
number = { type = "text(32)" }
name = { type = "text(200)", owner = "shop" }
[entities.customer.in.erp]
table = "partner"
columns = { number = "no", name = "name" }
[entities.customer.in.shop]
table = "customers"
columns = { number = "no", name = "name" }
"""


class TwoEntities(Line):
    """Products from the ERP, customers from the shop."""

    def __init__(self, directory: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> None:
        super().__init__(directory, postgres, mariadb, more=CUSTOMER)
        self.erp("CREATE TABLE partner (id bigserial PRIMARY KEY, no text NOT NULL UNIQUE, name text)")
        self.shop("CREATE TABLE customers (id bigint AUTO_INCREMENT PRIMARY KEY, no varchar(32) UNIQUE, name text)")
        self.erp("INSERT INTO item (code, name, list_price) SELECT 'P' || n, 'first', n FROM generate_series(1, 50) n")

    def answer(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        done = self.cli(*arguments, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def titles(self) -> set[str]:
        return {title for (title,) in self.shop("SELECT DISTINCT title FROM products")}


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[TwoEntities]:
    made = TwoEntities(tmp_path, postgres, mariadb)
    try:
        made.start()
        made.wait_in_step()
        yield made
    finally:
        made.dispose()


def owed(line: TwoEntities) -> int:
    """Records that are told later, of all entities and in all systems."""
    delivers = [system.deliver for system in line.status().systems.values() if system.deliver is not None]
    return sum(later.records for deliver in delivers for later in deliver.later)


def test_a_paused_entity_waits_while_others_flow_and_is_told_once_when_it_is_resumed(line: TwoEntities):
    assert "would be held back" in line.answer("pause", "product", "--dry-run")["summary"]
    assert line.answer("pause", "product")["result"]["systems"] == ["erp", "shop"]
    for name in ("second", "third"):
        line.erp(f"UPDATE item SET name = '{name}'")
    line.shop("INSERT INTO customers (no, name) VALUES ('C1', 'Ada')")
    wait_until(lambda: line.erp("SELECT name FROM partner") == [("Ada",)], "the customer arrived")
    wait_until(lambda: owed(line) == 50, "all products are owed")
    assert line.titles() == {"first"}
    assert line.end() == 0
    assert line.answer("resume", "product")["result"]["was_paused"], "also while no daemon runs"
    line.start()
    wait_until(lambda: line.titles() == {"third"}, "products are told what they are by now")
    line.wait_in_step()


def test_a_paused_system_is_let_go_of_and_goes_on_from_where_it_was(line: TwoEntities):
    assert line.answer("pause", "shop")["result"] == {"system": "shop", "paused": True}
    line.erp("UPDATE item SET name = 'second'")
    wait_until(lambda: line.answer("pause", "shop", "--dry-run")["result"]["waiting_writes"] >= 50, "writes wait")
    assert line.titles() == {"first"}
    assert line.answer("resume", "shop")["result"]["was_paused"]
    line.wait_in_step()
    assert line.titles() == {"second"}


def test_a_rewind_says_what_it_would_do_asks_does_it_and_can_be_undone(line: TwoEntities):
    line.erp("UPDATE item SET name = 'second'")
    line.wait_in_step()
    line.shop("SET SESSION sql_log_bin = 0; UPDATE products SET title = 'spoilt behind our back'")
    assert line.titles() == {"spoilt behind our back"}
    planned = line.answer("rewind", "shop", "--to", "1h ago", "--dry-run")["result"]
    assert planned["records"] == {"product": 50, "customer": 0}
    assert line.answer("rewind", "shop", "--to", "1h ago", code=1)["error"]["code"] == "confirmation"
    assert line.titles() == {"spoilt behind our back"}
    line.answer("pause", "product", "--system", "shop")
    line.answer("rewind", "shop", "--to", "seq:1", "--yes")
    wait_until(lambda: owed(line) == 50, "all are owed")
    assert line.answer("rewind", "shop", "--undo")["result"]["owed_records"] == 50
    wait_until(lambda: owed(line) == 0, "nothing is owed any more")
    line.answer("resume", "product")
    line.answer("rewind", "shop", "--to", "1h ago", "--yes")
    wait_until(lambda: line.titles() == {"second"}, "the present value is back")
    line.wait_in_step()
