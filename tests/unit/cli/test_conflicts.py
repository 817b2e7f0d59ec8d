"""`cdcd conflicts`: what lost, shown and decided from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cdcd import cli
from cdcd.cli import conflicts, daemon
from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.small_line import SmallLine, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "old", "web": None}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": "old", "body": None}


class Desk:
    """A state directory with conflicts, and somebody at the command line."""

    def __init__(self, directory: Path) -> None:
        state = directory / "state"
        state.mkdir()
        self.line = SmallLine(state, PRODUCT, PRODUCT_TABLES)
        self.config = directory / "cdcd.toml"
        head = f'[daemon]\nname = "test"\nstate-dir = "{state}"\n'
        self.config.write_text(head + '[systems.erp]\nadapter = "none"\n[systems.shop]\nadapter = "none"\n' + PRODUCT)
        for number, sku in ((1, "A"), (2, "B")):
            self.line.apps["erp"].write(insert("item", id=number, **ROW | {"code": sku}))
            self.line.resolve()
            self.line.apps["shop"].echo(insert("products", id=70 + number, **SHOP_ROW | {"sku": sku}))
            self.line.resolve()
        self.line.apps["shop"].write(update("products", 71, note="better", title="mine"))
        self.line.apps["shop"].write(update("products", 72, note="best"))
        self.line.resolve()

    def ask(self, _config: Path, command: str, **arguments: Any) -> Any:
        """Stands in for the daemon."""
        assert command == "conflicts"
        named = [[e, bytes.fromhex(key), *rest] for e, key, *rest in arguments["conflicts"]]
        seq = self.line.command("conflicts", accept=arguments["accept"], conflicts=named)
        self.line.resolve()
        return {"seq": seq}

    def run(self, *arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(cli.cdcd, ["conflicts", *arguments, "--config", str(self.config)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[1])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    monkeypatch.setattr(daemon, "ask", desk.ask)
    yield desk
    desk.line.close()


def test_the_list_shows_what_waits_for_a_person_without_values(desk: Desk):
    code, shown, _ = desk.run("list")
    lines = shown.splitlines()
    assert code == 0
    assert lines[0].split() == ["entity", "key", "field", "system", "kind", "since"]
    assert [line.split()[:5] for line in lines[1:3]] == [
        ["product", "A", "note", "shop", "held"],
        ["product", "B", "note", "shop", "held"],
    ]
    assert lines[3] == "2 conflicts"
    assert "better" not in shown


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--kept",), [("A", "note"), ("A", "name"), ("B", "note")]),
        (("--kind", "reverted"), [("A", "name")]),
        (("--kept", "--field", "name"), [("A", "name")]),
        (("--system", "erp"), []),
        (("--entity", "product", "--limit", "1"), [("A", "note")]),
    ],
)
def test_the_list_can_be_narrowed(desk: Desk, options: tuple[str, ...], found: list[tuple[str, str]]):
    rows = desk.json("list", *options)["result"]
    assert sorted((row["key"][0], row["field"]) for row in rows) == sorted(found)


def test_show_has_both_values_and_the_owner(desk: Desk):
    code, shown, _ = desk.run("show", "product", "A", "note")
    assert code == 0
    assert 'shop wanted  "better"' in shown
    assert 'it is         "old"  (owner: erp)' in shown
    (one,) = desk.json("show", "product", "A", "note")["result"]
    assert (one["value"], one["golden"], one["owner"], one["open"]) == ("better", "old", "erp", True)


def test_accepting_one_record_leaves_the_others(desk: Desk):
    code, shown, _ = desk.run("accept", "product", "A", "note")
    assert (code, shown) == (0, "1 accepted\n")
    assert desk.line.values("product", "A")["note"] == "better"
    assert [row["key"] for row in desk.json("list")["result"]] == [["B"]]


def test_deciding_in_bulk_wants_a_confirmation(desk: Desk):
    code, _, said = desk.run("reject", "--all", "--field", "note")
    assert code == 1
    assert "add --yes" in said
    assert desk.json("reject", "--all", "--field", "note", "--yes")["result"] == {
        "settled": 2,
        "changed": 0,
        "journalled": 0,
    }
    assert desk.json("list")["result"] == []
    assert desk.line.values("product", "A")["note"] == "old"


def test_what_has_changed_meanwhile_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    def late(config: Path, command: str, **arguments: Any) -> Any:
        desk.line.apps["shop"].write(update("products", 71, note="yet another"))
        return desk.ask(config, command, **arguments)

    monkeypatch.setattr(daemon, "ask", late)
    code, shown, _ = desk.run("accept", "product", "A", "note")
    assert (code, shown) == (1, "0 accepted, 1 changed meanwhile, look again\n")
    assert desk.line.values("product", "A")["note"] == "old"


def test_many_verdicts_go_in_parts(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conflicts, "PART", 1)
    assert desk.json("accept", "--all", "--kept", "--yes")["result"]["settled"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("accept",), "accept what?"),
        (("accept", "product", "A", "--all"), "accept what?"),
        (("accept", "product", "Z"), "there is no such conflict"),
        (("list", "--system", "pos"), "unknown system 'pos'"),
        (("list", "--kind", "lost"), "unknown kind 'lost'"),
        (("show", "produkt", "A"), "there is no entity 'produkt'"),
    ],
)
def test_what_is_not_there_is_said(desk: Desk, arguments: tuple[str, ...], said: str):
    code, _, stderr = desk.run(*arguments)
    assert code == 2
    assert said in stderr


def test_a_record_of_the_first_copy_is_not_deleted_in_bulk_by_the_way(desk: Desk):
    desk.line.apps["shop"].rows["products"][99] = {"id": 99, **SHOP_ROW, "sku": "X"}
    desk.line.resync("product")
    assert desk.json("list", "--kind", "unmatched")["result"][0]["key"] == ["X"]
    assert desk.json("reject", "--all", "--yes")["result"]["settled"] == 2
    assert desk.json("reject", "--all", "--kind", "unmatched", "--yes")["result"]["settled"] == 1
