"""What must fit together where ownership is configured."""

import pytest

from cdcd.errors import ConfigError
from unit.small_line import load, plan_of

ITEM = """
[entities.item]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
[entities.item.fields]
sku = { type = "text(20)", owner = "erp" }
name = { type = "text(20)", owner = "erp" }
phone = { type = "text(20)", owner = "latest" }
stock = { type = "integer", owner = "sum" }
[entities.item.in.erp]
table = "item"
columns = { sku = "code", name = "name", phone = "phone", stock = "stock" }
[entities.item.in.shop]
table = "goods"
columns = { sku = "sku", name = "title", phone = "phone", stock = "quantity" }
[entities.item.in.till]
table = "things"
columns = { sku = "sku", name = "title" }
"""
SYSTEMS = ("erp", "shop", "till")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('create = ["erp"]', 'create = ["erp"]\nrestore = ["pos"]', "item.restore: 'pos' is no system of this entity"),
        ('create = ["erp"]', 'create = ["erp"]\npublish = ["pos"]', "item.publish: 'pos' is no system of this entity"),
        ('create = ["erp"]', 'create = ["erp"]\nsubscribe = []', "item.subscribe: empty; name the systems"),
        ('create = ["erp"]', 'create = ["erp"]\npublish = ["shop"]', "item.create: 'erp' is not heard; add it to"),
        ('create = ["erp"]', 'create = ["erp"]\npublish = ["shop"]', "item.fields.name: 'erp' is not heard; add it to"),
        ('owner = "latest"', 'owner = "latest", between = ["till"]', "phone: 'till' has no column for it; known: erp"),
        ('owner = "sum"', 'owner = "sum", initial = "till"', "stock: 'till' has no column for it"),
        ('sku = { type = "text(20)", owner = "erp" }', 'sku = { type = "text(20)", owner = "latest" }', "a key field"),
        ('"integer", owner = "sum"', '"text", owner = "sum"', "stock.type: only integer and decimal fields add up"),
        ('name = { type = "text(20)", owner = "erp" }', 'name = { type = "text(20)", owner = "erp", between = ["erp"] }',
         "name: between and initial belong to owner"),
        ('stock = "quantity"', 'stock = { column = "quantity", map = { 1 = "2" } }', "stock: a total is written as a diff"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_with_the_way_out(old, new, said):
    assert ITEM.count(old) >= 1
    with pytest.raises(ConfigError) as caught:
        load(ITEM.replace(old, new, 1), SYSTEMS)
    assert said in str(caught.value)


def test_a_system_cannot_have_the_name_of_a_way_to_share():
    with pytest.raises(ConfigError, match=r"systems\.latest: a system cannot be called so"):
        load(ITEM, (*SYSTEMS, "latest"))


def test_a_total_is_not_kept_in_a_part():
    text = ITEM.replace('stock = "quantity"', 'stock = "own.quantity"')
    text += '[entities.item.in.shop.parts.own]\ntable = "stock"\nparent = "goods_id"\n'
    with pytest.raises(ConfigError, match="a total must be in the main table, not in a part"):
        load(text, SYSTEMS)


def test_by_default_all_share_a_field_that_have_it_and_all_are_heard_and_told():
    item = plan_of(ITEM, SYSTEMS).entities["item"]
    phone, stock = item.fields[2], item.fields[3]
    assert (phone.between, stock.between) == (("erp", "shop"), ("erp", "shop"))
    assert (phone.initial, stock.initial) == ("erp", "erp")
    assert item.publish == item.subscribe == frozenset(SYSTEMS)
    assert item.restore == frozenset({"erp"})


def test_the_order_in_which_systems_are_named_is_kept():
    text = ITEM.replace('owner = "latest"', 'owner = "latest", between = ["shop", "erp"]')
    phone = plan_of(text, SYSTEMS).entities["item"].fields[2]
    assert (phone.between, phone.initial) == (("shop", "erp"), "shop")
