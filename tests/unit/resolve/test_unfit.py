"""Values that a column cannot hold, where a policy puts something in their place: what it puts there is no change."""

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
released = {{ type = "date", owner = "{owner}" }}
[entities.item.in.erp]
table = "item"
columns = {{ sku = "sku", name = "name", released = "released" }}
[entities.item.in.shop]
table = "products"
[entities.item.in.shop.columns]
sku = "sku"
name = "name"
released = {{ column = "released_on", unfit = {unfit} }}
"""
TABLES = {
    "erp": {"item": {"id": "integer", "sku": "text(20)", "name": "text", "released": "date"}},
    "shop": {"products": {"id": "integer", "sku": "text(20)", "name": "text", "released_on": "date(0001,9999)"}},
}
POLICIES = [('"null"', None), ('{ value = "1000-01-01" }', "1000-01-01")]


@pytest.fixture(params=["erp", "shop"])
def owner(request) -> str:
    return request.param


@pytest.fixture(params=POLICIES, ids=["null", "value"])
def policy(request) -> tuple:
    return request.param


@pytest.fixture
def line(make_line, owner, policy):
    """The ERP has an item of the date infinity; the shop was told of it, and holds what the policy put there."""
    line = make_line(ITEM.format(owner=owner, unfit=policy[0]), TABLES)
    line.apps["erp"].write(insert("item", id=1, sku="A", name="one", released="infinity"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(insert("products", id=70, sku="A", name="one", released_on=policy[1]))
    line.resolve()
    return line


def test_its_echo_is_no_change_whoever_owns_the_field(line):
    assert line.told("shop") == line.told("erp") == line.conflicts() == []
    assert line.values("item", "A")["released"] == "infinity"


def test_a_later_image_of_the_row_tells_only_what_else_has_changed(line):
    line.apps["shop"].write(update("products", 70, name="two"))
    line.resolve()
    assert line.told("erp") == [Told("item", "UPDATE", ("A",), {"name": "two"})]
    assert line.told("shop") == line.conflicts() == []
    assert line.values("item", "A")["released"] == "infinity"


def test_another_value_in_its_place_is_a_change(line, owner):
    line.apps["shop"].write(update("products", 70, released_on="2026-11-21"))
    line.resolve()
    if owner == "shop":
        assert line.told("erp") == [Told("item", "UPDATE", ("A",), {"released": "2026-11-21"})]
    else:
        assert line.told("shop") == [Told("item", "UPDATE", ("A",), {"released": "infinity"})]


def test_where_the_true_value_fits_the_same_value_is_a_change(line, owner, policy):
    line.apps["erp" if owner == "erp" else "shop"].write(
        update("item", 1, released="2026-11-21") if owner == "erp" else update("products", 70, released_on="2026-11-21")
    )
    line.resolve()
    line.apps["shop"].echo(update("products", 70, released_on="2026-11-21"))
    line.resolve()
    line.told("shop"), line.told("erp")
    line.apps["shop"].write(update("products", 70, released_on=policy[1]))
    line.resolve()
    if owner == "shop":
        assert line.told("erp") == [Told("item", "UPDATE", ("A",), {"released": policy[1]})]
    else:
        assert line.told("shop") == [Told("item", "UPDATE", ("A",), {"released": "2026-11-21"})]


@pytest.mark.parametrize(("unfit", "stand_in"), POLICIES)
def test_a_zero_date_is_read_as_what_stands_in_for_it(make_line, unfit, stand_in):
    line = make_line(ITEM.format(owner="shop", unfit=unfit), TABLES)
    line.apps["erp"].write(insert("item", id=1, sku="A", name="one", released="2026-11-21"))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, sku="A", name="one", released_on="2026-11-21"))
    line.apps["shop"].write(update("products", 70, released_on="0000-00-00"))
    line.resolve()
    assert line.held() == []
    assert line.told("erp") == [Told("item", "UPDATE", ("A",), {"released": stand_in})]


def test_without_a_policy_a_zero_date_is_held(make_line):
    line = make_line(ITEM.format(owner="shop", unfit='"park"'), TABLES)
    line.apps["erp"].write(insert("item", id=1, sku="A", name="one", released="2026-11-21"))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, sku="A", name="one", released_on="2026-11-21"))
    line.apps["shop"].write(update("products", 70, released_on="0000-00-00"))
    line.resolve()
    assert line.held() == ["value-refused"]
    assert line.values("item", "A")["released"] == "2026-11-21"
