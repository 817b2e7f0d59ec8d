"""What a transform loses on its way is no change when it is read back, in whichever direction, and whoever owns the field."""

from __future__ import annotations

import pytest

from unit.small_line import Told, insert, update

ITEM = """
[entities.item]
key = ["sku"]
create = ["erp"]
[entities.item.fields]
sku = {{ type = "text(20)", owner = "erp" }}
name = {{ type = "text", owner = "shop" }}
value = {{ type = "{field}", owner = "{owner}" }}
[entities.item.in.erp]
table = "item"
columns = {{ sku = "sku", name = "name", value = "value" }}
[entities.item.in.shop]
table = "products"
[entities.item.in.shop.columns]
sku = "sku"
name = "name"
value = {{ column = "value", {transform} }}
"""
LOSSY = {
    "round": ("round = { digits = 2 }", "decimal(12,4)", "1.2345", "1.2300", "7.0000"),
    "unit": ("steps = [{ round = { digits = 2 } }, { unit = '0.3048' }]", "decimal", "1", "3.2800", "0.6096"),
    "trim": ("trim = true", "text", " a ", "a", "b"),
    "case": ("case = 'lower'", "text", "Ab", "ab", "b"),
    "truncate": ("truncate = 3", "text", "abcdef", "abc", "b"),
    "normalise": ("normalise = 'NFC'", "text", "e\u0301", "\u00e9", "b"),
    "nulls": ("nulls = ['']", "text", "", "", "b"),
    "null-means": ("null-means = 'x'", "text", None, None, "b"),
    "map": ("map = { 1 = 'a' }, write-default = '9', default = 'z'", "text", "q", "9", "a"),
    "zone": ("time-zone = 'Europe/Berlin', doubled-hour = 'earlier'", "instant", "2026-10-25 01:30:00Z", "2026-10-25 02:30:00", "2026-01-01 11:00:00Z"),
}  # fmt: skip
COLUMNS = {"decimal(12,4)": "decimal(12,4)", "decimal": "decimal(12,4)", "text": "text", "instant": "datetime"}


@pytest.fixture(params=LOSSY)
def case(request):
    return LOSSY[request.param]


@pytest.fixture(params=["erp", "shop"])
def owner(request) -> str:
    return request.param


@pytest.fixture
def line(make_line, case, owner):
    """The ERP has a value that the shop's column shows otherwise, and the shop was told of it."""
    transform, field, true, shown, _ = case
    tables = {
        "erp": {"item": {"id": "integer", "sku": "text(20)", "name": "text", "value": field}},
        "shop": {"products": {"id": "integer", "sku": "text(20)", "name": "text", "value": COLUMNS[field]}},
    }
    line = make_line(ITEM.format(transform=transform, field=field, owner=owner), tables)
    line.apps["erp"].write(insert("item", id=1, sku="A", name="one", value=true))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(insert("products", id=70, sku="A", name="one", value=shown))
    line.resolve()
    return line


def test_the_echo_is_no_change(line, case):
    assert line.told("shop") == line.told("erp") == line.conflicts() == []
    assert line.values("item", "A")["value"] == case[2]


def test_a_later_image_of_the_row_tells_only_what_else_has_changed(line, case):
    line.apps["shop"].write(update("products", 70, name="two"))
    line.resolve()
    assert line.told("erp") == [Told("item", "UPDATE", ("A",), {"name": "two"})]
    assert line.told("shop") == line.conflicts() == []
    assert line.values("item", "A")["value"] == case[2]


def test_another_true_value_is_told(line, case):
    line.apps["erp"].write(update("item", 1, value=case[4]))
    line.resolve()
    told = [*line.told("shop"), *line.told("erp")]
    assert [item.fields for item in told] in ([{"value": case[4]}], [{"value": case[2]}])


NAMED = """
[entities.item]
key = ["sku"]
create = ["erp"]
[entities.item.fields]
sku = { type = "text(20)", owner = "erp" }
first = { type = "text", owner = "erp" }
last = { type = "text", owner = "erp" }
other = { type = "text", owner = "erp" }
[entities.item.in.erp]
table = "item"
columns = { sku = "sku", first = "first", last = "last", other = "other" }
[entities.item.in.shop]
table = "products"
[entities.item.in.shop.columns]
sku = "sku"
other = "other"
first = { column = "name", split = { by = " ", take = "before-last" } }
last = { column = "name", split = { by = " ", take = "after-last" } }
"""
NAMED_TABLES = {
    "erp": {"item": {"id": "integer", "sku": "text(20)", "first": "text", "last": "text", "other": "text"}},
    "shop": {"products": {"id": "integer", "sku": "text(20)", "name": "text", "other": "text"}},
}


@pytest.fixture
def named(make_line):
    line = make_line(NAMED, NAMED_TABLES)
    line.apps["erp"].write(insert("item", id=1, sku="A", first="Ada", last="King", other="x"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(insert("products", id=70, sku="A", name="Ada King", other="x"))
    line.resolve()
    return line


def test_a_part_of_a_column_is_told_with_its_other_part(named):
    named.apps["erp"].write(update("item", 1, last="Lovelace"))
    named.resolve()
    assert named.told("shop") == [Told("item", "UPDATE", ("A",), {"first": "Ada", "last": "Lovelace"})]
    named.apps["erp"].write(update("item", 1, other="y"))
    named.resolve()
    assert named.told("shop") == [Told("item", "UPDATE", ("A",), {"other": "y"})]


def test_a_change_of_a_part_by_somebody_else_puts_the_whole_column_back(named):
    named.apps["shop"].write(update("products", 70, name="Ada Byron"))
    named.resolve()
    assert named.told("shop") == [Told("item", "UPDATE", ("A",), {"first": "Ada", "last": "King"})]
    assert named.told("erp") == []
