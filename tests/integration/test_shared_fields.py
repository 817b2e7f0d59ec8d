"""Stock that adds up, phones of which the last counts, and a verdict, between a real PostgreSQL and a real MariaDB."""

import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import DaemonProcess, wait_until
from integration.least_privilege import grant_in_mysql, grant_in_postgres

PASSWORD = "shop-s3cret"
CONFIG = """
[daemon]
name = "{name}"
state-dir = "{state}"
[systems.erp]
adapter = "postgres"
dsn = "{dsn}"
[systems.shop]
adapter = "mysql"
host = "127.0.0.1"
port = {port}
user = "{name}"
password = {{ env = "SHOP_PASSWORD" }}
database = "{name}"
[entities.item]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
not-owner = {{ fields = {{ name = "hold" }} }}
[entities.item.fields]
sku = {{ type = "text(20)", owner = "erp" }}
stock = {{ type = "integer", owner = "sum" }}
weight = {{ type = "decimal(12,3)", owner = "sum" }}
phone = {{ type = "text(20)", owner = "latest" }}
name = {{ type = "text(40)", owner = "erp" }}
[entities.item.in.erp]
table = "item"
columns = {{ sku = "code", stock = "on_hand", weight = "kilos", phone = "phone", name = "name" }}
[entities.item.in.shop]
table = "goods"
new = {{ state = "live" }}
[entities.item.in.shop.columns]
sku = "sku"
stock = "quantity"
phone = "phone"
name = "title"
weight = {{ column = "grams", scale = 1000 }}
"""
ITEMS = 5


class SharedLine(DaemonProcess):
    """Items in both systems, and the daemon between them."""

    def __init__(self, directory: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> None:
        self.name = f"shared_{uuid.uuid4().hex[:12]}"
        self.postgres, self.mariadb = postgres, mariadb
        postgres.create_database(self.name)
        mariadb.create_database(self.name)
        self.erp(
            "CREATE TABLE item (id serial PRIMARY KEY, code text NOT NULL UNIQUE, on_hand integer, kilos numeric(12,3),"
            " phone text, name text)"
        )
        self.shop(
            "CREATE TABLE goods (id bigint AUTO_INCREMENT PRIMARY KEY, sku varchar(20) NOT NULL UNIQUE,"
            " quantity int unsigned, grams bigint unsigned, phone varchar(20), title varchar(40), state varchar(9) NOT NULL)"
        )
        self.erp(
            f"INSERT INTO item (code, on_hand, kilos, phone, name) SELECT 'I' || n, 1000, 10.500, '0', 'n' FROM generate_series(1, {ITEMS}) n"
        )
        config, state = directory / "cdcd.toml", directory / "state"
        dsn = postgres.dsn(self.name, self.name)
        config.write_text(CONFIG.format(name=self.name, state=state, dsn=dsn, port=mariadb.port))
        super().__init__(config, state)
        self.environment["SHOP_PASSWORD"] = PASSWORD
        grant_in_postgres(postgres, self.name, config, "erp")
        grant_in_mysql(mariadb, config, "shop", PASSWORD)

    def erp(self, sql: str) -> list[tuple[Any, ...]]:
        return self.postgres.execute(self.name, sql)

    def shop(self, sql: str) -> list[tuple[Any, ...]]:
        return self.mariadb.execute(sql, self.name)

    def rows(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        return (
            self.erp("SELECT code, on_hand, (kilos * 1000)::bigint, phone FROM item ORDER BY code"),
            self.shop("SELECT sku, quantity, grams, phone FROM goods ORDER BY sku"),
        )

    def wait_in_step(self) -> list[tuple[Any, ...]]:
        def reached() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            erp, shop = self.rows()
            return erp == shop

        try:
            wait_until(reached, "in step")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.rows()}\n{self.log.read_text()[-3000:]}") from error
        return self.rows()[0]

    def drop_slot(self) -> None:
        slots = "FROM pg_replication_slots WHERE database = current_database()"
        wait_until(lambda: not self.erp(f"SELECT 1 {slots} AND active"), "the slot is free")
        self.erp(f"SELECT pg_drop_replication_slot(slot_name) {slots}")


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[SharedLine]:
    made = SharedLine(tmp_path, postgres, mariadb)
    try:
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def test_sales_and_bookings_add_up_through_kills_and_a_verdict_is_carried_out(line: SharedLine):
    random = Random(7)
    line.start()
    line.wait_in_step()
    stock, grams = dict.fromkeys(range(1, ITEMS + 1), 1000), dict.fromkeys(range(1, ITEMS + 1), 10_500)
    for step in range(120):
        item, pieces = random.randint(1, ITEMS), random.choice([-7, -1, 1, 20])
        stock[item] += pieces
        grams[item] -= 250
        if random.random() < 0.5:
            line.erp(f"UPDATE item SET on_hand = on_hand + {pieces}, kilos = kilos - 0.25 WHERE code = 'I{item}'")
        else:
            line.shop(f"UPDATE goods SET quantity = quantity + {pieces}, grams = grams - 250 WHERE sku = 'I{item}'")
        if step in (40, 80):
            line.end(signal.SIGKILL)
            line.start()
    line.erp("UPDATE item SET phone = '1'")
    line.wait_in_step()
    line.shop("UPDATE goods SET phone = '2'")
    found = line.wait_in_step()

    def settled() -> bool:
        return [row[1:3] for row in line.wait_in_step()] == [(stock[n], grams[n]) for n in sorted(stock)]

    wait_until(settled, "every difference counts once")
    assert {row[3] for row in found} == {"2"}
    line.shop("UPDATE goods SET title = 'better' WHERE sku = 'I1'")
    line.wait_for(lambda status: status.resolve.conflicts == 1, "the conflict is known")
    accepted = line.cli("conflicts", "accept", "item", "I1", "name", "--json")
    assert json.loads(accepted.stdout)["result"]["settled"] == 1, accepted
    wait_until(lambda: line.erp("SELECT name FROM item WHERE code = 'I1'") == [("better",)], "the owner was told")
    line.wait_for(lambda status: status.resolve.conflicts == 0, "the conflict is no more")
    counters = {(counter.name, counter.labels) for counter in line.status().counters}
    assert ("record_events", ("shop", "item", "updated")) in counters
    assert line.end() == 0
