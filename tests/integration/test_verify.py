"""`cdcd verify` on a running daemon between real servers: what it finds, what it leaves alone, and how it is put right."""

import itertools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line
from integration.parts_line import PartsLine

UNSEEN = "SET sql_log_bin = 0; {}; SET sql_log_bin = 1"
"""What the shop's log does not tell."""


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mariadb: MySqlFamilyServer
) -> Iterator[Line]:
    """Products in step. Each test leaves it so."""
    made = Line(tmp_path_factory.mktemp("line"), postgres, mariadb)
    try:
        made.erp("INSERT INTO item (code, name, list_price) SELECT 'S' || g, 'n', g FROM generate_series(1, 300) g")
        made.start()
        made.wait_in_step()
        made.wait_for(lambda s: not s.copying() and s.resolve.phases == {"product": "live"}, "the first copy is over")
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def verify(line: Line | PartsLine, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return line.cli("verify", *arguments, "--json")
    except subprocess.TimeoutExpired as error:
        raise AssertionError(line.log.read_text()[-3000:]) from error


def found(line: Line | PartsLine, *arguments: str) -> dict[str, Any]:
    """What is not in step, by system; and the whole answer under "result"."""
    done = verify(line, *arguments)
    answer = json.loads(done.stdout)
    assert answer["result"] is not None, answer
    result = answer["result"]
    differences = {(d["system"], d["kind"], *d["key"]): d["fields"] for d in result["differences"]}
    assert done.returncode == (1 if differences else 0), (answer, line.log.read_text()[-3000:])
    return differences


def unheard(line: Line | PartsLine, sql: str) -> None:
    """What the ERP's log does not tell: within the transaction its publication has nothing of it."""
    ((name,),) = line.erp("SELECT pubname::text FROM pg_publication LIMIT 1")
    publish = f"ALTER PUBLICATION \"{name}\" SET (publish = '{{}}')"
    line.erp(f"{publish.format('truncate')}; {sql}; {publish.format('insert, update, delete, truncate')}")


def test_two_systems_that_are_in_step_are_found_so(line: Line):
    assert found(line) == {}
    (standing,) = [s for s in line.status().drift if s.system == "shop"]
    assert standing.in_step_at_us == standing.verified_at_us > 0


def test_what_was_done_behind_the_back_of_the_log_is_found_and_put_right(line: Line):
    line.shop(UNSEEN.format("UPDATE products SET title = 'forged' WHERE sku = 'S1'"))
    line.shop(UNSEEN.format("UPDATE products SET body = 'unheard' WHERE sku = 'S2'"))
    line.shop(UNSEEN.format("DELETE FROM products WHERE sku = 'S3'"))
    line.shop(UNSEEN.format("INSERT INTO products (sku, title) VALUES ('X1', 'nobody knows')"))
    unheard(line, "UPDATE item SET name = 'unheard' WHERE code = 'S4'")
    differences = found(line)
    assert differences == {
        ("shop", "different", "S1"): ["name"],
        ("shop", "different", "S2"): ["description"],
        ("shop", "missing", "S3"): [],
        ("shop", "surplus", "X1"): [],
        ("erp", "different", "S4"): ["name"],
    }
    by_system = {s.system: (s.missing, s.different, s.surplus) for s in line.status().drift}
    assert by_system == {"shop": (1, 2, 1), "erp": (0, 1, 0)}
    assert found(line, "product", "--system", "shop", "--where", "sku LIKE 'S1%'") == {
        ("shop", "different", "S1"): ["name"]
    }
    named = found(line, "product", "--key", "S2", "--key", "S3", "--key", "S5")
    assert set(named) == {("shop", "different", "S2"), ("shop", "missing", "S3")}
    shown = json.loads(verify(line, "product", "--key", "S1", "--key", "S2", "--values").stdout)["result"][
        "differences"
    ]
    assert [one["values"] for one in shown] == [{"name": ["forged", "n"]}, {"description": ["unheard", None]}]
    dry = verify(line, "--repair", "--dry-run")
    assert json.loads(dry.stdout)["summary"] == "nothing was done", dry.stdout
    assert verify(line, "--repair", "--yes").returncode == 0
    line.wait_for(lambda s: not s.copying() and s.resolve.lag_events == 0, "all is read again")
    wait_until(
        lambda: line.erp("SELECT web_text FROM item WHERE code = 'S2'") == [("unheard",)], "the shop's word counts"
    )
    wait_until(lambda: line.shop("SELECT title FROM products WHERE sku IN ('S1', 'S3', 'S4') ORDER BY sku") ==
               [("n",), ("n",), ("unheard",)], "the shop has what the ERP owns")  # fmt: skip
    assert found(line) == {}
    conflicts = line.cli("conflicts", "list", "--json")
    kinds = {conflict["kind"] for conflict in json.loads(conflicts.stdout)["result"]}
    assert kinds == {"unmatched"}
    line.shop("DELETE FROM products WHERE sku = 'X1'")
    line.wait_in_step()


def test_busy_systems_are_found_in_step_and_what_is_not_is_found_among_them(line: Line):
    with busy(line) as writers:
        for _ in range(2):
            before = [writer.written for writer in writers]
            assert found(line) == {}
            assert all(writer.written > count for writer, count in zip(writers, before, strict=True)), "nobody wrote"
        line.shop(UNSEEN.format("UPDATE products SET title = 'forged' WHERE sku = 'S300'"))
        assert found(line) == {("shop", "different", "S300"): ["name"]}
    line.erp("UPDATE item SET name = 'm' WHERE code = 'S300'")
    line.wait_in_step()


class Writer(threading.Thread):
    """Writes one statement after the other until it is told to stop."""

    def __init__(self, write: Callable[[str], object], statements: Iterator[str]) -> None:
        super().__init__(daemon=True)
        self.written = 0
        self.stop = threading.Event()
        self._write = write
        self._statements = statements

    def run(self) -> None:
        for statement in self._statements:
            self._write(statement)
            self.written += 1
            if self.stop.is_set():
                return


@contextmanager
def busy(line: Line) -> Iterator[list[Writer]]:
    """Both sides change, create, delete and contradict each other all the time, in the first 250 products and new ones."""
    writers = [Writer(line.erp, erp_writes(Random(1))), Writer(line.shop, shop_writes(Random(2)))]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join(30)


def erp_writes(random: Random) -> Iterator[str]:
    for number in itertools.count(1):
        one = random.randint(1, 250)
        yield f"UPDATE item SET name = 'n{number}', list_price = {number} WHERE code IN ('S{one}', 'S{one % 250 + 1}')"
        yield f"UPDATE item SET web_text = 'not mine {number}' WHERE code = 'S{random.randint(1, 250)}'"
        yield f"INSERT INTO item (code, name, list_price) VALUES ('N{number}', 'new', 1)"
        if number > 5:
            yield f"DELETE FROM item WHERE code = 'N{number - random.randint(1, 5)}'"


def shop_writes(random: Random) -> Iterator[str]:
    for number in itertools.count(1):
        yield f"UPDATE products SET body = 'text {number}' WHERE sku = 'S{random.randint(1, 250)}'"
        yield f"UPDATE products SET title = 'not mine {number}' WHERE sku = 'S{random.randint(1, 250)}'"
        yield f"DELETE FROM products WHERE sku = 'S{random.randint(1, 250)}'"


def test_what_is_told_later_is_no_drift(line: Line):
    assert line.cli("pause", "product").returncode == 0, line.cli("pause", "--help").stdout
    line.erp("UPDATE item SET name = 'later' WHERE code IN ('S1', 'S2')")
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('L1', 'later', 1)")
    done = json.loads(verify(line, "product").stdout)["result"]
    (shop,) = [one for one in done["comparisons"] if one["system"] == "shop"]
    assert (done["drift"], shop["known"]) == (0, {"owed": 3})
    assert line.cli("resume", "product").returncode == 0
    line.wait_in_step()


def test_a_verification_is_paused_cancelled_and_survives_the_daemon(line: Line):
    reconfigured(line, "\n[verify]\nrows-per-second = 30\n")
    run = json.loads(verify(line, "--detach").stdout)["result"]["run"]
    wait_until(lambda: standing(line, run)["comparisons"][0]["rows"] > 0, "it reads")
    assert line.cli("verify", "--pause").returncode == 0
    assert standing(line, run)["state"] == "paused"
    assert line.end() == 0
    line.start()
    line.wait_for_states()
    assert standing(line, run)["state"] == "paused"
    reconfigured(line, "\n[verify]\nrows-per-second = 30000\n")
    assert line.cli("verify", "--resume").returncode == 0
    wait_until(lambda: standing(line, run)["state"] == "done", "it went on")
    assert standing(line, run)["drift"] == 0
    reconfigured(line, "\n[verify]\nrows-per-second = 30\n")
    run = json.loads(verify(line, "--detach").stdout)["result"]["run"]
    assert line.cli("verify", "--cancel").returncode == 0
    assert standing(line, run)["state"] == "cancelled"
    assert line.cli("verify", "--cancel").returncode == 2
    reconfigured(line, "")


def test_a_schedule_begins_verifications_by_itself(line: Line):
    last = max((run["run"] for run in listed(line)), default=0)
    reconfigured(line, '\n[verify.entities.product]\nschedule = "every 1s"\n')
    wait_until(
        lambda: any(run["run"] > last + 1 and run["scheduled"] and run["state"] == "done" for run in listed(line)),
        "verified twice",
    )
    reconfigured(line, "")


def test_records_in_several_tables_are_put_together_and_compared(
    tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer
):
    line = PartsLine(tmp_path, postgres, mariadb)
    try:
        for number in range(8):
            line.add_product(f"P{number}", f"product {number}", f"{number}.50")
        line.erp("INSERT INTO note (number, body, product_id) SELECT 'T' || id, 'a note', id FROM product WHERE id < 5")
        line.shop("INSERT INTO users (email, name) VALUES ('a@x', 'A'), ('b@x', 'B')")
        line.shop("INSERT INTO orders (number, user_id) SELECT 'N1', id FROM users WHERE email = 'b@x'")
        line.start()
        line.wait_in_step()
        line.wait_for(lambda s: set(s.resolve.phases.values()) == {"live"}, "the first copy is over")
        assert found(line) == {}
        forged = [
            "UPDATE meta SET content = '77.00' WHERE name = '_price' AND content = '1.50'",
            "DELETE FROM meta WHERE name = '_unit' AND post_id = (SELECT id FROM post WHERE title = 'product 2')",
            "DELETE FROM post WHERE title = 'product 3'",
            "UPDATE remark SET body = 'forged' ORDER BY id LIMIT 1",
            "INSERT INTO remark (body) VALUES ('without a key: no record')",
        ]
        line.shop(UNSEEN.format("; ".join(forged)))
        unheard(line, "UPDATE party SET name = 'forged' WHERE name = 'B'")
        differences = found(line)
        assert differences == {
            ("shop", "different", "P1"): ["price"],
            ("shop", "different", "P2"): ["unit"],
            ("shop", "missing", "P3"): [],
            ("shop", "different", "T1"): ["body"],
            ("erp", "different", "b@x"): ["name"],
        }
        assert set(found(line, "product", "--key", "P2", "--key", "P3", "--key", "P4")) == {
            ("shop", "different", "P2"),
            ("shop", "missing", "P3"),
        }
        assert set(found(line, "product", "--system", "shop", "--where", "title LIKE 'product 1%'")) == {
            ("shop", "different", "P1")
        }
        assert json.loads(verify(line, "--repair", "--yes").stdout)["result"]["left"] == 1
        assert line.cli("resync", "product", "--system", "shop").returncode == 0
        line.wait_for(lambda s: not s.copying() and s.resolve.lag_events == 0, "all tables are read")
        line.wait_in_step()
        assert found(line) == {}
    finally:
        line.dispose()
        line.drop_slot()


def listed(line: Line | PartsLine) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(verify(line, "--list").stdout)["result"]["runs"]
    return runs


def standing(line: Line | PartsLine, run: int) -> dict[str, Any]:
    return next(one for one in listed(line) if one["run"] == run)


def reconfigured(line: Line, more: str) -> None:
    """Have the daemon run with a configuration that ends so."""
    text = line.config.read_text().partition("\n[verify")[0]
    line.config.write_text(text + more)
    done = line.cli("reload")
    assert done.returncode == 0, done.stderr
    line.wait_for_states()
