"""`cdcd history` over a state directory without a daemon: what people read, what programs read, what is near."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from cdcd import cli
from cdcd.cli.history import _shown, _without_bytes, view
from cdcd.history import Reader
from cdcd.model import ABSENT
from cdcd.resolve.keys import encode_key
from cdcd.state_directory import StateDirectory
from unit.resolve.conftest import ORDER, ORDER_TABLES, PRODUCT, PRODUCT_TABLES
from unit.small_line import SmallLine, delete, insert, update

SYSTEMS = '[systems.erp]\nadapter = "none"\n[systems.shop]\nadapter = "none"\n'
TABLES = {system: PRODUCT_TABLES[system] | ORDER_TABLES[system] for system in ("erp", "shop")}
ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
NOON_US = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, and a state that two products and two orders have left."""
    directory: Path = tmp_path_factory.mktemp("history")
    (directory / "state").mkdir()
    head = f'[daemon]\nname = "acme"\nstate-dir = "{directory}/state"\n'
    (directory / "cdcd.toml").write_text(head + SYSTEMS + PRODUCT + ORDER)
    line = SmallLine(directory / "state", PRODUCT + ORDER, TABLES)
    line.now_us = NOON_US
    erp, shop = line.apps["erp"], line.apps["shop"]
    erp.write(insert("item", id=1, **ROW), insert("item", id=2, **ROW | {"code": "Bolt 08"}))
    line.resolve()
    shop.echo(
        insert("products", id=70, sku="A", title="one", status="active", stock=5, note="n", body="w"),
        insert("products", id=71, sku="Bolt 08", title="one", status="active", stock=5, note="n", body="w"),
    )
    shop.write(update("products", 70, title="\x1b[31m", body="x" * 3_000))
    erp.write(delete("item", 2))
    shop.write(insert("customers", id=1, number="C1", name="c"))
    shop.write(insert("orders", id=1, number="O1", customer_id=1, status="new", total="1.00"))
    shop.write(insert("order_items", id=1, order_id=1, position=1, quantity=2))
    shop.write(insert("orders", id=2, number="O2", customer_id=9, status="new", total="1.00"))
    shop.write(insert("order_items", id=2, order_id=2, position=1, quantity=2))
    line.resolve()
    line.close()
    return directory


def run(directory: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(cli.cdcd, ["history", *arguments, "--config", str(directory / "cdcd.toml")])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_a_history_is_read_from_top_to_bottom_and_ends_with_what_is_now(directory):
    done = run(directory, "product", "A")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert "erp  created (create = erp)  transaction, entry " in lines[0]
    assert lines[1] == "    as sku A, name one, status active, stock 5, note n, body w"
    assert "-> shop  whole record: sku, name, status, stock, note (where new: body)  committed" in lines[2]
    assert "1.000 s later" in lines[2]
    assert lines[4] == r"    name  one -> \x1b[31m  reverted: erp owns it"
    assert lines[5].endswith("… (3,000 characters)  accepted: shop owns it")
    assert "    name  one  erp owns it" in lines
    assert lines[-1] == "product A is in erp, shop; 2 changes shown"
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in done.stdout


def test_programs_get_the_same_as_one_object(directory):
    envelope = json.loads(run(directory, "product", "A", "--json").stdout)
    assert (envelope["command"], envelope["ok"], envelope["error"]) == ("history", True, None)
    result = envelope["result"]
    assert (result["entity"], result["key"], result["alive"], result["systems"]) == (
        "product",
        ["A"],
        True,
        ["erp", "shop"],
    )
    created, changed = result["changes"]
    assert created["effects"][0]["committed_at_us"] - created["at_us"] == 1_000_000
    assert changed["fields"][0]["old"] == "one"
    assert changed["fields"][1]["new"] == {"head": "x" * 200, "length": 3_000}


def test_values_that_json_has_no_word_for_are_hexadecimal_or_null():
    assert _without_bytes({"a": [b"\x01", (b"", 1)]}) == {"a": ["01", ["", 1]]}


@pytest.mark.parametrize("words", [("O1/1",), ("O1", "1"), ("O1/1", "quantity"), ("O1", "1", "quantity")])
def test_a_key_of_several_parts_is_one_word_or_several(directory, words):
    done = run(directory, "order.lines", *words)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].startswith("order.lines O1/1 is in shop; 1 change shown")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("order.lines", "O1"), "write NUMBER LINE_NO, or NUMBER/LINE_NO"),
        (("order.lines", "O1/x"), "'x' is no key of it"),
        (("produkt", "A"), "did you mean 'product'?"),
        (("product", "A", "nme"), "did you mean 'name'?"),
        (("product", "A", "name", "stock"), "is no key of it"),
        (("product", "A", "--since", "yesterday-ish"), "--since: 'yesterday-ish' is no moment"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake_of_the_command_line(directory, words, said):
    done = run(directory, *words)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("product", " a"), "product A: written otherwise"),
        (("product", "bolt 8"), "product Bolt 08: similar"),
        (("order", "A"), "product A: there is one of another entity"),
        (("order.lines", "O2/1"), "order.lines 1: a row of shop waits for its order, since journal entry "),
    ],
)
def test_of_a_record_that_is_unknown_it_is_said_what_is_near(directory, words, near):
    done = run(directory, *words)
    assert done.exit_code == 1
    assert near in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"nothing is known of {words[0]} ")
    envelope = json.loads(run(directory, *words, "--json").stdout)
    assert (envelope["ok"], bool(envelope["result"]["near"])) == (False, True)


def test_a_row_that_waits_has_a_history_and_is_in_no_system(directory):
    lines = run(directory, "order", "O2").stdout.splitlines()
    assert "waits for a row that it refers to [reference-unknown]" in lines[0]
    assert lines[-1] == "order O2 does not exist; 1 change shown"


def test_a_deleted_record_says_so(directory):
    lines = run(directory, "product", "Bolt 08").stdout.splitlines()
    assert "erp  deleted (delete = erp)" in lines[3]
    assert lines[-1] == "product Bolt 08 does not exist; 2 changes shown"


def test_the_newest_are_shown_where_a_limit_is_asked_for(directory):
    lines = run(directory, "product", "A", "--limit", "1").stdout.splitlines()
    assert lines[0] == "older changes are left out: --limit 1"
    assert lines[-1].endswith("1 change shown")


@pytest.mark.parametrize("width", [40, 200])
def test_a_narrow_terminal_loses_nothing(directory, width):
    config_plan = SmallLine(directory / "state", PRODUCT + ORDER, TABLES, live=False)
    reader = Reader(StateDirectory(directory / "state"), config_plan.plan, "14d")
    found = reader.read(config_plan.plan.entities["product"], encode_key(["A"]))
    reader.close()
    config_plan.close()
    assert found is not None
    console = Console(width=width, highlight=False, force_terminal=True, color_system=None)
    with console.capture() as capture:
        for part in view(found):
            console.print(part)
    shown = capture.get()
    assert max(map(len, shown.splitlines())) <= width
    assert all(word in shown.replace("\n", " ") for word in ("reverted", "owns", "later", "committed"))


def test_without_a_state_the_way_on_is_named(tmp_path):
    (tmp_path / "cdcd.toml").write_text(
        f'[daemon]\nname = "acme"\nstate-dir = "{tmp_path}/state"\n' + SYSTEMS + PRODUCT
    )
    done = run(tmp_path, "product", "A")
    assert done.exit_code == 3
    assert "[no-state]" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_value_that_nobody_told_is_not_taken_for_null():
    assert [_shown(value) for value in (ABSENT, None, "", " a", True, b"\x01", 5)] == [
        "(unknown)",
        "NULL",
        '""',
        '" a"',
        "true",
        "0x01",
        "5",
    ]
