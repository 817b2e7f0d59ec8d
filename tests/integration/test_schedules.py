"""What is told later: by schedule, on demand, within a rate; on real servers, with everything written counted there."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdcd.report import now_us
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

PRODUCTS = 3000
ORDERS = """
[entities.order]
key = ["number"]
create = ["shop"]
delete = ["shop"]
[entities.order.fields]
number = { type = "text(32)" , owner = "shop" }
total = { type = "decimal(14,2)", owner = "shop" }
[entities.order.in.shop]
table = "orders"
columns = { number = "number", total = "total" }
[entities.order.in.erp]
table = "sale"
columns = { number = "number", total = "total" }
[entities.product.in.shop.deliver]
schedule = "on-demand"
"""
AUDIT = (
    """CREATE TRIGGER {event}_audit AFTER {event} ON products FOR EACH ROW INSERT INTO audit (sku) VALUES (NEW.sku)"""
)


class Shop(Line):
    """A line with orders, and a shop that counts every row that is written to its products."""

    def __init__(self, directory: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> None:
        super().__init__(directory, postgres, mariadb, more=ORDERS)
        self.shop(
            "CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, number varchar(32) UNIQUE, total decimal(14,2))"
        )
        self.erp("CREATE TABLE sale (id bigserial PRIMARY KEY, number text UNIQUE, total numeric(14,2))")
        self.shop("CREATE TABLE audit (id bigint AUTO_INCREMENT PRIMARY KEY, sku varchar(64))")
        for event in ("INSERT", "UPDATE"):
            self.shop(AUDIT.format(event=event))
        self.numbers = 0

    def make_products(self, count: int = PRODUCTS) -> None:
        self.erp(
            f"INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', 0 FROM generate_series(1, {count}) g"
        )

    def order_arrives(self) -> None:
        """Somebody buys, and the ERP knows at once."""
        self.numbers += 1
        self.shop(f"INSERT INTO orders (number, total) VALUES ('O{self.numbers}', 9.50)")
        wait_until(lambda: self.erp(f"SELECT 1 FROM sale WHERE number = 'O{self.numbers}'"), "the order arrived")

    def writes(self) -> int:
        return int(self.shop("SELECT count(*) FROM audit")[0][0])

    def written_more_than_once(self) -> list[tuple[object, ...]]:
        return self.shop("SELECT sku, count(*) FROM audit GROUP BY sku HAVING count(*) > 1")

    def forget_writes(self) -> None:
        self.shop("DELETE FROM audit")

    def owed(self) -> int:
        status = self.try_status()
        deliver = status.systems["shop"].deliver if status is not None else None
        later = deliver.later if deliver is not None else ()
        return next((one.records for one in later if one.entity == "product"), 0)

    def deliver(self, *arguments: str) -> dict[str, object]:
        done = self.cli("deliver", "product", "--system", "shop", "--json", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, object] = json.loads(done.stdout)["result"]
        return result


@pytest.fixture
def shop(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Shop]:
    made = Shop(tmp_path, postgres, mariadb)
    try:
        yield made
    finally:
        made.dispose()
        made.drop_slot()


@contextmanager
def counted(shop: Shop, every_seconds: float = 0.05) -> Iterator[list[tuple[float, int]]]:
    """Counts what is written in the shop while something goes on: (seconds, writes)."""
    found: list[tuple[float, int]] = []
    over = threading.Event()
    began_at = time.monotonic()

    def count() -> None:
        while not over.wait(every_seconds):
            asked_at = time.monotonic() - began_at
            found.append((asked_at, shop.writes()))

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_products_touched_many_times_are_written_once_each_while_orders_flow(shop: Shop):
    shop.make_products()
    shop.start()
    shop.order_arrives()
    wait_until(lambda: shop.owed() == PRODUCTS, "the first copy is owed")
    assert shop.writes() == 0
    assert shop.deliver("--dry-run")["deliveries"][0]["records"] == PRODUCTS  # type: ignore[index]
    assert shop.deliver("--wait")["arrived"]
    assert shop.differences() == []
    shop.forget_writes()
    for touched in range(1, 6):
        shop.erp(f"UPDATE item SET list_price = {touched}")
        shop.order_arrives()
    shop.erp("UPDATE item SET name = 'again' WHERE code < 'S2'; DELETE FROM item WHERE code = 'S7'")
    shop.order_arrives()
    wait_until(lambda: shop.owed() == PRODUCTS, "all is owed")
    assert shop.writes() == 0
    shown = " ".join(shop.cli("status").stdout.split())
    assert f"product to shop (on-demand): {PRODUCTS:,} records owed" in shown
    assert "told on demand" in shown
    assert shop.cli("status").returncode == 0
    assert shop.deliver("--wait", "--timeout", "60s")["arrived"]
    assert shop.differences() == []
    assert (shop.writes(), shop.written_more_than_once()) == (PRODUCTS - 1, [])
    assert shop.deliver()["deliveries"][0]["state"] == "nothing"  # type: ignore[index]
    assert shop.end() == 0


def test_a_pause_is_not_overruled_and_what_is_asked_for_without_a_daemon_is_told_by_the_next(shop: Shop):
    shop.make_products(10)
    shop.start()
    wait_until(lambda: shop.owed() == 10, "all is owed")
    assert shop.cli("pause", "product").returncode == 0
    refused = shop.cli("deliver", "product")
    assert refused.returncode == 2
    assert "[delivery-paused]" in refused.stderr
    assert "'cdcd resume product' first" in refused.stderr
    assert shop.cli("resume", "product").returncode == 0
    assert shop.end() == 0
    told = shop.cli("deliver", "product", "--wait")
    assert told.returncode == 0, told.stderr
    assert "are told when the daemon is started" in told.stdout
    shop.start()
    shop.wait_in_step()
    assert shop.writes() == 10
    assert shop.end() == 0


def test_by_an_interval_runs_come_by_themselves_and_fold_what_happened_between(shop: Shop):
    text = shop.config.read_text()
    shop.config.write_text(text.replace('"on-demand"', '"every 2s"'))
    shop.make_products(200)
    shop.start()
    shop.wait_in_step()
    shop.forget_writes()
    began_at = time.monotonic()
    touched = 0
    while time.monotonic() - began_at < 4:
        touched += 1
        shop.erp(f"UPDATE item SET list_price = {touched}")
    shop.wait_in_step()
    runs = 2 + (time.monotonic() - began_at) / 2
    assert touched > 20
    assert shop.writes() <= 200 * runs
    deliver = shop.status().systems["shop"].deliver
    assert deliver is not None
    (later,) = deliver.later
    assert (later.schedule, later.records) == ("every 2s", 0)
    assert later.next_run_us is not None
    assert shop.end() == 0


def test_a_supervisor_that_is_killed_in_the_middle_of_a_run_goes_on_with_it(shop: Shop):
    text = shop.config.read_text().replace("[systems.shop]", "[systems.shop]\nrows-per-second = 200\nburst-rows = 100")
    shop.config.write_text(text.replace('"on-demand"', '"0 2 29 2 *"'))  # the next moment is years ahead
    shop.make_products(1000)
    shop.start()
    wait_until(lambda: shop.owed() == 1000, "all is owed")
    waited = shop.cli("deliver", "product", "--wait", "--timeout", "500ms")
    assert waited.returncode == 1
    assert "has not arrived" in waited.stdout
    wait_until(lambda: shop.writes() >= 200, "the run is under way")
    shop.end(signal.SIGKILL)
    assert shop.writes() < 1000
    shop.start()
    shop.wait_in_step()
    assert (shop.writes(), shop.written_more_than_once()) == (1000, [])
    assert shop.end() == 0


def test_a_target_is_given_no_more_rows_than_its_rate_allows(shop: Shop):
    rate, burst = 400, 100
    text = shop.config.read_text().replace('"on-demand"', '"realtime"')
    limited = f"[systems.shop]\nrows-per-second = {rate}\nburst-rows = {burst}"
    shop.config.write_text(text.replace("[systems.shop]", limited))
    shop.start()
    shop.wait_for_states()
    with counted(shop) as found:
        for first in range(0, 2000, 20):
            shop.erp(
                f"INSERT INTO item (code, name) SELECT 'R' || g, 'n' FROM generate_series({first}, {first + 19}) g"
            )
        shop.wait_in_step()
    assert found[-1][1] > 1000
    assert max(writes - burst - rate * seconds for seconds, writes in found) <= rate // 2, (
        "half a second's worth is not ours"
    )
    shop.erp(
        "INSERT INTO item (code, name) SELECT 'M' || g, 'much more than the budget' FROM generate_series(1, 12000) g"
    )
    wait_until(lambda: shop.writes() == 14_000, "one transaction arrives as a whole")
    shop.erp("UPDATE item SET list_price = 1 WHERE code = 'R1'")
    status = shop.wait_for(lambda s: s.workers()["deliver:shop"].figures.limited_until_us > s.at_us, "it is paid back")
    assert status.workers()["deliver:shop"].state == "running"
    assert shop.end() == 0
    assert now_us() < status.workers()["deliver:shop"].figures.limited_until_us, "it did not wait for that to end"
