"""Our own writes read back, where owners are fixed: nothing loops, nothing of the target's own is lost."""

from __future__ import annotations

import pytest

from unit.small_line import Told, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": "n", "body": "w"}


@pytest.fixture
def line(products):
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    products.told("shop")
    return products


def test_a_new_rows_echo_with_a_default_of_the_target_in_its_own_field_is_a_change(line):
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW | {"body": "w, by the shop"}))
    line.resolve()
    assert line.told("erp") == [Told("product", "UPDATE", ("A",), {"body": "w, by the shop"})]
    assert line.told("shop") == []


def test_the_row_that_was_there_already_keeps_its_own_fields_and_tells_them(line):
    """A FULL upsert met an existing row: initial values were not written there."""
    line.apps["shop"].echo(update("products", 70, **SHOP_ROW | {"body": "older than us"}))
    line.resolve()
    assert line.values("product", "A")["body"] == "older than us"
    assert line.told("erp") == [Told("product", "UPDATE", ("A",), {"body": "older than us"})]


def test_a_trigger_in_a_foreign_field_that_we_wrote_is_reported(line):
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW | {"title": "ONE"}))
    line.resolve()
    assert line.conflicts() == [("product", ("A",), "shop", "trigger", "name", "ONE")]
    assert line.told("shop") == []
    assert line.values("product", "A")["name"] == "one"


def test_a_trigger_in_a_field_of_its_own_system_is_a_change(line):
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(update("products", 70, title="two", body="slug two"))
    line.resolve()
    assert line.told("erp") == [Told("product", "UPDATE", ("A",), {"body": "slug two"})]
    assert line.counted("shop", "product")["answered"] == 1


def test_an_echo_of_an_older_write_is_no_change(line):
    first = line.newest_unit("shop")
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW), through=first)
    line.resolve()
    assert line.told("shop") == line.told("erp") == line.conflicts() == []
    assert line.values("product", "A")["name"] == "two"


def test_the_target_counts_as_holding_the_record_once_its_log_shows_it(line):
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.resolve()
    present, sent = line.record("product", "A")[1:3]
    assert (present, sent) == (0b11, 0b10)


def test_an_echo_of_what_is_no_record_is_nothing(line):
    line.apps["shop"].echo(insert("products", id=71, sku="Z", title="z"))
    line.resolve()
    assert line.record("product", "Z") is None
    assert line.told("shop") == line.told("erp") == []
