"""`cdcd resync` on a running daemon between real servers: what is read again, and what is left alone."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
import pytest

from cdcd import control
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

COPY = """
[[replicate]]
from = "erp"
to = "shop"
tables = ["price"]
"""
UNSEEN = "SET sql_log_bin = 0; {}; SET sql_log_bin = 1"
"""What the shop's log does not tell."""


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mariadb: MySqlFamilyServer
) -> Iterator[Line]:
    """Products in step, and a plain copy of prices. Each test leaves it in step."""
    made = Line(tmp_path_factory.mktemp("line"), postgres, mariadb, more=COPY, owns_tables=True)
    try:
        made.erp("CREATE TABLE price (id integer PRIMARY KEY, amount numeric(10,2))")
        made.shop("CREATE TABLE price (id integer PRIMARY KEY, amount decimal(10,2))")
        made.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 40) g")
        made.erp("INSERT INTO price SELECT g, g FROM generate_series(1, 20) g")
        made.start()
        made.wait_in_step()
        made.wait_for(lambda s: not s.copying(), "the first copy is over")
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def asked(line: Line, *arguments: str) -> Any:
    done = line.cli("resync", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def copies(line: Line, entity: str) -> list[dict[str, Any]]:
    """As `cdcd resync --list` has them."""
    found: list[dict[str, Any]] = control.ask(line.directory.control_socket, "resyncs", {"entity": entity})["copies"]
    return found


def has_read(line: Line) -> None:
    line.wait_for(lambda s: not s.copying() and s.resolve.lag_events == 0, "everything is read and resolved")


def titles(line: Line, *skus: str) -> list[str]:
    named = ", ".join(f"'{sku}'" for sku in skus)
    return [title for (title,) in line.shop(f"SELECT title FROM products WHERE sku IN ({named}) ORDER BY id")]


def test_only_the_tables_of_a_system_are_read_again(line: Line):
    line.shop(UNSEEN.format("UPDATE products SET title = 'forged' WHERE sku = 'S1'"))
    assert asked(line, "product", "--system", "erp")["tables"] == [["erp", "public.item"]]
    has_read(line)
    assert titles(line, "S1") == ["forged"]
    assert asked(line, "product", "--system", "shop")["tables"] == [["shop", "products"]]
    line.wait_in_step()


def test_named_records_are_compared_and_nobody_else(line: Line):
    line.shop(UNSEEN.format("UPDATE products SET title = 'forged' WHERE sku IN ('S1', 'S2')"))
    line.shop(UNSEEN.format("DELETE FROM products WHERE sku IN ('S3', 'S4')"))
    shown = asked(line, "product", "--key", "S1", "--key", "S3", "--dry-run")
    assert (shown["seq"], shown["found"]) == (None, {"erp": 2, "shop": 1})
    asked(line, "product", "--key", "S1", "--key", "S3")
    wait_until(lambda: titles(line, "S1", "S3") == ["n", "n"], "the named ones are put right")
    has_read(line)
    assert titles(line, "S2", "S4") == ["forged"]
    asked(line, "product", "--key", "S2", "--key", "S4", "--system", "shop")
    line.wait_in_step()


def test_a_deleted_record_is_found_missing_by_its_name_where_its_owner_lacks_it(line: Line):
    with unpublished(line):
        line.erp("DELETE FROM item WHERE code = 'S5'")
    assert titles(line, "S5") == ["n"]
    asked(line, "product", "--key", "S5")
    line.wait_in_step()
    assert titles(line, "S5") == []


def test_rows_are_chosen_by_a_condition(line: Line):
    line.shop(UNSEEN.format("UPDATE products SET title = 'forged' WHERE sku IN ('S6', 'S7')"))
    asked(line, "product", "--system", "shop", "--where", "sku = 'S6' -- only this one")
    wait_until(lambda: titles(line, "S6") == ["n"], "the chosen one is put right")
    has_read(line)
    assert titles(line, "S7") == ["forged"]
    line.erp("UPDATE item SET name = 'm' WHERE code = 'S7'")
    line.wait_in_step()
    asked(line, "product", "--system", "erp", "--where", "code LIKE 'S1%' AND list_price > 3")
    has_read(line)
    (copy,) = asked(line, "--list", "product")["copies"][:1]
    assert (copy["state"], copy["filtered"], copy["rows"]) == ("done", True, 10)


@pytest.mark.parametrize(
    ("system", "condition"),
    [
        ("erp", "colour = 'red'"),
        ("erp", "code = "),
        ("erp", "true) OR (true"),
        ("shop", "nix = 1"),
        ("shop", "1) OR (1"),
    ],
)
def test_a_condition_that_the_server_does_not_take_is_refused_before_anything_happens(
    line: Line, system: str, condition: str
):
    before = copies(line, "product")
    refused = line.cli("resync", "product", "--system", system, "--where", condition)
    assert refused.returncode == 3
    assert "filter-refused" in refused.stderr
    assert copies(line, "product") == before


def test_a_condition_that_fails_at_work_ends_its_copy_and_nothing_else(line: Line):
    asked(line, "product", "--system", "erp", "--where", "1 / (id - id) = 1")
    wait_until(lambda: "cannot be chosen" in copies(line, "product")[0]["state"], "it was given up")
    line.erp("UPDATE item SET name = 'after' WHERE code = 'S8'")
    line.wait_in_step()


def test_rows_of_a_plain_copy_are_put_right_by_name_or_all_at_once(line: Line):
    prices = "SELECT id, amount FROM price ORDER BY id"
    line.shop("UPDATE price SET amount = 99 WHERE id IN (1, 2); INSERT INTO price VALUES (50, 1), (51, 1)")
    asked(line, "erp:price", "--key", "1", "--key", "50")
    wait_until(lambda: len(line.shop("SELECT id FROM price WHERE amount = 99 OR id > 20")) == 2, "the named rows only")
    assert line.shop("SELECT id FROM price WHERE amount = 99 OR id > 20 ORDER BY id") == [(2,), (51,)]
    asked(line, "erp:price", "--system", "erp", "--where", "id = 2")
    wait_until(lambda: not line.shop("SELECT id FROM price WHERE amount = 99"), "the chosen row")
    unasked = line.cli("resync", "erp:price")
    assert (unasked.returncode, "[confirmation]" in unasked.stderr) == (1, True)
    asked(line, "erp:price", "--yes")
    wait_until(lambda: line.shop(prices) == line.erp(prices), "all of it")


@contextmanager
def unpublished(line: Line) -> Iterator[None]:
    """What happens meanwhile is not in the log that we are sent."""
    ((name,),) = line.erp("SELECT pubname::text FROM pg_publication LIMIT 1")
    line.erp(f"ALTER PUBLICATION \"{name}\" SET (publish = 'insert, update, truncate')")
    try:
        yield
    finally:
        line.erp(f"ALTER PUBLICATION \"{name}\" SET (publish = 'insert, update, delete, truncate')")


@contextmanager
def locked(line: Line) -> Iterator[None]:
    """Chunks of items have to wait."""
    with psycopg.connect(line.postgres.dsn(line.name)) as connection:
        connection.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        yield


def states(line: Line) -> dict[str, str]:
    return {copy["system"]: copy["state"] for copy in copies(line, "product")}


def test_a_resync_is_paused_across_a_restart_and_goes_on_from_there(line: Line):
    with locked(line):
        asked(line, "product", "--system", "erp")
        assert asked(line, "product", "--pause")["tables"] == [["erp", "public.item"]]
        assert states(line)["erp"] == "paused"
        line.end(signal.SIGKILL)
    line.start()
    line.wait_for_states()
    assert states(line)["erp"] == "paused"
    line.erp("UPDATE item SET name = 'meanwhile' WHERE code = 'S9'")
    line.wait_in_step()
    asked(line, "product", "--resume")
    wait_until(lambda: states(line)["erp"] == "done", "it has been read")
    nothing = line.cli("resync", "product", "--pause")
    assert (nothing.returncode, "resync-none" in nothing.stderr) == (2, True)


def test_a_cancelled_resync_misses_nobody(line: Line):
    with unpublished(line):
        line.erp("DELETE FROM item WHERE code = 'S10'")
    with locked(line):
        asked(line, "product", "--system", "erp")
        asked(line, "product", "--cancel")
        assert states(line)["erp"] == "cancelled"
    line.erp("UPDATE item SET name = 'x' WHERE code = 'S11'")
    wait_until(lambda: titles(line, "S11") == ["x"], "changes flow")
    assert titles(line, "S10") == ["n"]
    watched = line.cli("resync", "product", "--system", "erp", "--watch")
    assert watched.returncode == 0
    assert "all tables of product are read" in watched.stdout
    line.wait_in_step()
    assert titles(line, "S10") == []


class Load:
    """Both sides write rising numbers into their own field, and what the other side shows of them must never fall."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.written = {"erp": 0, "shop": 0}
        self.fallen: list[tuple[str, str, int, int]] = []
        self._seen: dict[tuple[str, str], int] = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(system,)) for system in self.written]
        self._threads.append(threading.Thread(target=self._watch))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, system: str) -> None:
        while not self._over.is_set():
            number = self.written[system] = self.written[system] + 1
            sku = f"S{20 + number % 20}"
            if system == "erp":
                self.line.erp(f"UPDATE item SET list_price = {number} WHERE code = '{sku}'")
            else:
                self.line.shop(f"UPDATE products SET body = '{number}' WHERE sku = '{sku}'")

    def _watch(self) -> None:
        while not self._over.is_set():
            for sku, cents in self.line.shop("SELECT sku, cents FROM products"):
                self._show("shop", sku, cents)
            for sku, text in self.line.erp("SELECT code, web_text FROM item WHERE web_text IS NOT NULL"):
                self._show("erp", sku, int(text))

    def _show(self, system: str, sku: str, value: int) -> None:
        if value < self._seen.get((system, sku), 0):
            self.fallen.append((system, sku, self._seen[system, sku], value))
        self._seen[system, sku] = value

    def go_on(self, count: int = 5) -> None:
        """Wait until both have written some more."""
        before = dict(self.written)
        wait_until(lambda: all(self.written[at] > before[at] + count for at in before), "both have written")


def test_under_load_from_both_sides_no_newer_value_is_replaced_by_an_older_one(line: Line):
    line.erp("UPDATE item SET list_price = 0.01; UPDATE item SET web_text = NULL")
    line.shop("UPDATE products SET body = NULL")
    line.wait_in_step()
    with Load(line) as load:
        for arguments in (["product"], ["product", "--system", "shop"], ["product", "--key", "S25"], ["product"]):
            asked(line, *arguments)
            wait_until(lambda: set(states(line).values()) == {"done"}, "it has been read")
            load.go_on()
    line.wait_in_step()
    assert load.fallen == []
    highest = line.erp("SELECT max(list_price), max(web_text::int) FROM item")
    assert highest == [(load.written["erp"], load.written["shop"])]
