"""A target restored from an old backup, a target that is lost, a state directory that is lost: docs/recovery.md, carried out."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.sqlite_driver import sqlite
from cdcd.status import DaemonStatus
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer, mysql_family_server
from integration.daemon_process import wait_until
from integration.erp_and_shop import PRODUCTS, Line

MORE = """
[entities.customer]
key = ["number"]
create = ["shop"]
delete = ["shop"]
fields = {{ number = {{ type = "text(20)" }}, name = {{ type = "text(50)", owner = "shop" }} }}
in.erp = {{ table = "partner", columns = {{ number = "no", name = "name" }} }}
in.shop = {{ table = "customers", columns = {{ number = "number", name = "name" }} }}
[[replicate]]
from = "erp"
to = "shop"
tables = ["carrier"]
""".replace("{{", "{").replace("}}", "}")
CUSTOMERS = "CREATE TABLE customers (id bigint AUTO_INCREMENT PRIMARY KEY, number varchar(20) NOT NULL UNIQUE, name varchar(50))"
CARRIER = "CREATE TABLE carrier (id integer PRIMARY KEY, name varchar(20))"


class Shop(Line):
    """Products, customers that the shop makes, and plain copies of carriers."""

    def begin(self) -> None:
        self.erp("CREATE TABLE partner (id bigserial PRIMARY KEY, no text NOT NULL UNIQUE, name text)")
        self.erp(CARRIER)
        self.shop(CUSTOMERS)
        self.shop(CARRIER)
        self.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 9) g")
        self.erp("INSERT INTO carrier SELECT g, 'c' || g FROM generate_series(1, 3) g")
        self.shop("INSERT INTO customers (number, name) VALUES ('C1', 'one'), ('C2', 'two')")
        self.start()
        self.wait_in_step()
        self.shop("UPDATE products SET body = 'before'")
        self.wait_in_step()
        self.wait_for(lambda s: not s.copying(), "the first copy is over")

    def differences(self):
        customers = set(self.erp("SELECT no, name FROM partner")) ^ set(self.shop("SELECT number, name FROM customers"))
        carriers = set(self.erp("SELECT id, name FROM carrier")) ^ set(self.shop("SELECT id, name FROM carrier"))
        return [*super().differences(), *sorted(customers), *sorted(carriers)]

    def work(self) -> None:
        """Both sides change, make and delete something."""
        self.erp("UPDATE item SET list_price = list_price + 100 WHERE code IN ('S1', 'S2')")
        self.erp("INSERT INTO item (code, name, list_price) VALUES ('S10', 'new', 10)")
        self.erp("DELETE FROM item WHERE code = 'S3'")
        self.erp("UPDATE carrier SET name = 'renamed' WHERE id = 2")
        self.shop("UPDATE products SET body = 'after' WHERE sku IN ('S1', 'S5')")
        self.shop("INSERT INTO customers (number, name) VALUES ('C3', 'three')")
        self.shop("DELETE FROM customers WHERE number = 'C2'")

    def trimmed(self) -> int:
        with sqlite.connect(f"file:{self.directory.state}?mode=ro", uri=True) as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = 'trimmed:shop'").fetchone()
        connection.close()
        return 0 if row is None else int(row[0])

    def error(self, status: DaemonStatus, role: str):
        worker = status.workers()[role]
        assert worker.error is not None
        return worker.error


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Shop]:
    made = Shop(tmp_path, postgres, mariadb, more=MORE)
    try:
        made.begin()
        yield made
    finally:
        made.dispose()
        made.drop_slot()


# ---- a target restored from a backup ---------------------------------------------------------------------------------


def back_up(server: MySqlFamilyServer, into: Path) -> None:
    server.stop()
    shutil.copytree(server.directory, into, ignore=shutil.ignore_patterns("socket"))
    server.start()


def restore(server: MySqlFamilyServer, backup: Path) -> None:
    server.stop()
    for path in backup.rglob("*"):
        ours = server.directory / path.relative_to(backup)
        if path.is_file():
            with ours.open("r+b" if ours.exists() else "wb") as file:
                file.write(path.read_bytes())
                file.truncate()
            shutil.chown(ours, server.account.pw_uid, server.account.pw_gid)
    for path in server.directory.rglob("binlog.*"):
        if not (backup / path.relative_to(server.directory)).exists():
            path.unlink()
    server.start()


def test_a_shop_restored_from_an_old_backup_is_told_what_it_missed_and_what_it_had_itself(
    tmp_path: Path, postgres: PostgresServer
):
    with mysql_family_server() as mariadb:
        line = Shop(tmp_path, postgres, mariadb, more=MORE)
        try:
            line.begin()
            back_up(mariadb, tmp_path / "backup")
            line.wait_for_states()
            line.work()
            line.wait_in_step()
            before = line.shop("SELECT sku, title, cents, body FROM products ORDER BY sku")
            reached = line.status().systems["shop"].deliver.applied_unit  # type: ignore[union-attr]
            line.shop("UPDATE products SET body = 'last' WHERE sku = 'S6'")
            line.erp("UPDATE item SET name = 'last' WHERE code = 'S7'")

            def is_trimmed() -> bool:
                line.erp("UPDATE item SET name = name || '.' WHERE code = 'S9'")  # who trims does so when there is news
                return line.trimmed() >= reached

            wait_until(is_trimmed, "what was delivered is trimmed")
            line.wait_in_step()
            restore(mariadb, tmp_path / "backup")
            line.erp("UPDATE item SET list_price = 8 WHERE code = 'S8'")  # a deliverer at rest does not notice
            status = line.wait_for_states(capture_shop="stopped", deliver_shop="stopped")
            error = line.error(status, "deliver:shop")
            assert error.code == "target-went-back"
            assert " UTC)" in error.what
            early = line.cli("reposition", "shop", "--yes")
            assert (early.returncode, "reposition-too-early" in early.stderr) == (2, True)
            rewind = error.remedy.split("'")[1].split()[1:]
            done = line.cli(*rewind, "--yes", "--json")
            assert done.returncode == 0, done.stderr
            wait_until(lambda: line.cli("reposition", "shop", "--yes").returncode == 0, "what it lacked was told")
            line.wait_for_states()
            line.wait_in_step()
            after = {row[0]: row for row in line.shop("SELECT sku, title, cents, body FROM products")}
            same = [row for row in before if row[0] not in ("S6", "S7", "S8", "S9")]
            assert [after[row[0]] for row in same] == same
            assert (after["S6"][3], after["S7"][1]) == ("last", "last")
            line.shop("INSERT INTO customers (number, name) VALUES ('C9', 'nine')")
            line.erp("UPDATE item SET list_price = 7 WHERE code = 'S9'")
            line.wait_in_step()
        finally:
            line.dispose()
            line.drop_slot()


# ---- a target that is lost -------------------------------------------------------------------------------------------


def test_an_empty_database_is_filled_with_everything_that_is_known(line: Shop, mariadb: MySqlFamilyServer):
    line.work()
    line.wait_in_step()
    before = line.shop("SELECT sku, title, cents, body FROM products ORDER BY sku")
    mariadb.execute(f"DROP DATABASE {line.name}")
    refused = line.cli("replay", "shop", "--dry-run")
    assert refused.returncode in (1, 3)
    mariadb.create_database(line.name)
    missing = line.cli("replay", "shop", "--yes")
    assert (missing.returncode, "[table-missing]" in missing.stderr) == (3, True)
    for sql in (PRODUCTS, CUSTOMERS, CARRIER):
        line.shop(sql)
    line.grant()
    unasked = line.cli("replay", "shop")
    assert (unasked.returncode, "[confirmation]" in unasked.stderr) == (1, True)
    shown = json.loads(line.cli("replay", "shop", "--dry-run", "--json").stdout)["result"]
    assert (shown["filled"], shown["copies"]) == ([], ["erp:public.carrier"])
    assert shown["records"]["product"] >= 9
    done = line.cli("replay", "shop", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    line.wait_in_step()
    assert line.shop("SELECT sku, title, cents, body FROM products ORDER BY sku") == before
    assert line.shop("SELECT count(*) FROM customers") == [(2,)]
    line.wait_for_states()
    line.shop("UPDATE products SET body = 'again' WHERE sku = 'S1'")
    line.shop("INSERT INTO customers (number, name) VALUES ('C7', 'seven')")
    line.erp("DELETE FROM item WHERE code = 'S8'")
    line.wait_in_step()


# ---- the state directory is lost -------------------------------------------------------------------------------------


def test_systems_whose_state_is_lost_are_taken_over_with_what_happened_meanwhile(line: Shop):
    known = "SELECT count(*) FROM cdcd_checkpoint WHERE progress IS NOT NULL"
    wait_until(lambda: line.erp(known) == line.shop(known) == [(1,)], "the targets keep how far the logs have come")
    line.end()
    line.work()
    line.shop("DELETE FROM products WHERE sku = 'S4'")  # not the shop's to delete
    shutil.rmtree(line.directory.path)
    refused = line.cli("run", "--json")
    assert refused.returncode == 3
    assert {f["code"] for f in json.loads(refused.stdout)["result"]["findings"]} >= {"other-lineage"}
    assert not line.directory.path.exists()
    unasked = line.cli("recover")
    assert (unasked.returncode, "[confirmation]" in unasked.stderr) == (1, True)
    shown = json.loads(line.cli("recover", "--dry-run", "--json").stdout)["result"]
    assert {s["system"]: s["reach"] for s in shown["sources"]}["shop"] == "whole", shown
    assert [target["system"] for target in shown["targets"]] == ["erp", "shop"]
    assert not line.directory.state.exists()
    done = line.cli("recover", "--yes")
    assert done.returncode == 0, done.stderr
    again = line.cli("recover", "--yes")
    assert (again.returncode, again.stderr) == (0, ""), "before the first run it may be done again"
    line.start()
    wait_until(lambda: [row[0] for row in line.differences()] == ["S3"], f"in step but for one\n{line.log.read_text()}")
    assert line.erp("SELECT count(*) FROM item WHERE code = 'S3'") == [(0,)], (
        "its log named a row by an id nobody knows"
    )
    listed = json.loads(line.cli("conflicts", "list", "--kind", "unmatched", "--json").stdout)["result"]
    assert "S3" in json.dumps(listed)
    assert line.cli("conflicts", "reject", "product", "S3", "--yes").returncode == 0
    line.wait_in_step()
    assert line.erp("SELECT no FROM partner ORDER BY no") == [("C1",), ("C3",)]
    assert line.shop("SELECT count(*) FROM products WHERE sku = 'S4'") == [(1,)]
    assert line.shop("SELECT DISTINCT body FROM products WHERE sku IN ('S1', 'S5')") == [("after",)]
    line.wait_for_states()
    line.wait_for(lambda s: not s.copying(), "the copies are over")
    line.erp("UPDATE item SET name = 'on' WHERE code = 'S1'")
    line.shop("UPDATE products SET body = 'and on' WHERE sku = 'S2'")
    line.wait_in_step()
    assert line.cli("recover", "--dry-run").returncode == 3
