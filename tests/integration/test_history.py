"""`cdcd history` of records of a real PostgreSQL and a real MariaDB, while the daemon runs and after it has stopped."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line


@pytest.fixture
def line(tmp_path: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> Iterator[Line]:
    made = Line(tmp_path, postgres, mariadb)
    try:
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def history(line: Line, *words: str) -> list[dict[str, Any]]:
    """The changes of a product."""
    done = line.cli("history", "product", *words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    changes: list[dict[str, Any]] = json.loads(done.stdout)["result"]["changes"]
    return changes


def outcomes(change: dict[str, Any]) -> dict[str, str]:
    return {effect["system"]: effect["outcome"] for effect in change["effects"]}


def told(change: dict[str, Any]) -> list[tuple[str, Any, Any, str]]:
    return [(f["field"], f["old"], f["new"], f["decision"]) for f in change["fields"]]


def test_a_value_is_followed_from_the_first_copy_to_the_targets_commit(line: Line):
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('S1', 'one', 1.50), ('S2', 'two', 2)")
    line.shop("INSERT INTO products (sku, title, cents, body) VALUES ('S1', 'old', 1, 'text')")
    line.start()
    line.wait_in_step()
    line.erp("UPDATE item SET list_price = 9.99 WHERE code = 'S1'")
    line.wait_in_step()
    line.shop("UPDATE products SET cents = 1, body = 'nice' WHERE sku = 'S1'")
    line.wait_in_step()
    wait_until(lambda: all({*outcomes(c).values()} == {"committed"} for c in history(line, "S1")), "all is read back")

    copied, priced, edited = history(line, "S1")
    assert (copied["decision"], copied["held_by"], set(outcomes(copied))) == (
        "settled",
        ["erp", "shop"],
        {"erp", "shop"},
    )
    assert told(priced) == [("price", "1.50", "9.99", "written")]
    assert priced["fields"][0]["rule"] == "erp owns it"
    assert re.search(r"\b[0-9A-F]+/[0-9A-F]+\b", priced["position"]), "the log's own word for the place"
    assert told(edited) == [("price", "9.99", "0.01", "revert"), ("description", "text", "nice", "written")]
    assert [(e["system"], e["fields"]) for e in edited["effects"]] == [("erp", ["description"]), ("shop", ["price"])]
    assert all(e["committed_at_us"] >= priced["at_us"] - 1_000_000 for e in edited["effects"])

    assert line.end() == 0
    assert history(line, "S1") == [copied, priced, edited]
    assert [told(change) for change in history(line, "S1", "description")] == [
        [("description", None, "text", "revert")],
        [("description", "text", "nice", "written")],
    ]
    shown = line.cli("history", "product", "S1")
    assert "price  9.99 -> 0.01  reverted: erp owns it" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "product S1 is in erp, shop; 3 changes shown"
    unknown = line.cli("history", "product", "s2")
    assert (unknown.returncode, "product S2: written otherwise" in unknown.stdout) == (1, True)


def test_what_a_target_refuses_is_seen_as_parked_and_later_as_told_anew(line: Line):
    line.erp("INSERT INTO item (code, name) VALUES ('S1', 'one')")
    line.start()
    line.wait_in_step()
    line.shop("ALTER TABLE products ADD CONSTRAINT no_bad_title CHECK (title <> 'bad')")
    line.erp("UPDATE item SET name = 'bad' WHERE code = 'S1'")
    wait_until(lambda: "parked" in outcomes(history(line, "S1")[-1]).values(), "parked")
    (effect,) = history(line, "S1")[-1]["effects"]
    assert "no_bad_title" in effect["reason"]
    line.shop("ALTER TABLE products DROP CONSTRAINT no_bad_title")
    assert line.cli("resume", "shop").returncode == 0
    line.wait_in_step()

    def arrived() -> bool:
        return history(line, "S1")[-1]["decision"] == "redelivered" and outcomes(history(line, "S1")[-1]) == {
            "shop": "committed"
        }

    wait_until(arrived, "told anew")
    kinds = [(c["decision"], c["kind"], outcomes(c)) for c in history(line, "S1")]
    assert kinds[-1] == ("redelivered", "command retry", {"shop": "committed"})
    assert ("written", "transaction", {"shop": "parked"}) in kinds
