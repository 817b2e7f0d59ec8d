"""From rows to records: by name, converted, references resolved, keys found even where the rest cannot be read."""

from __future__ import annotations

import pytest

from cdcd.errors import NeedsOperator
from cdcd.model import ABSENT, Relation
from cdcd.resolve.keys import encode_key
from cdcd.resolve.mapping import RowMapper, UnresolvedReference, binding_number
from cdcd.values import ValueRefused
from unit.small_line import plan_of

TEXT = """
[entities.product]
key = ["sku"]
[entities.product.fields]
sku = { type = "text(10)" , owner = "erp" }
price = { type = "decimal(12,2)", owner = "erp" }
live = { type = "boolean", owner = "erp" }
body = { type = "text", owner = "shop" }
attrs = { type = "json", owner = "erp" }
[entities.product.in.erp]
table = "item"
columns = { sku = "code", price = "price", live = "active", attrs = "attrs" }
[entities.product.in.shop]
table = "products"
id = "local"
[entities.product.in.shop.columns]
sku = "sku"
body = "body"
[entities.product.in.shop.columns.price]
column = "cents"
scale = 100
[entities.product.in.shop.columns.live]
column = "state"
map = { on = "true", off = "false" }
[entities.order]
key = ["number"]
[entities.order.fields]
number = { type = "integer", owner = "shop" }
product = { type = "ref(product)", owner = "shop" }
[entities.order.in.erp]
table = "o"
columns = { number = "n", product = { column = "item_code", reference = "key" } }
[entities.order.in.shop]
table = "orders"
columns = { number = "id", product = "product_id" }
[entities.order.children.lines]
key = ["line_no"]
fields = { line_no = { type = "integer", owner = "shop" } }
[entities.order.in.shop.children.lines]
table = "items"
parent = "order_id"
columns = { line_no = "no" }
"""
PLAN = plan_of(TEXT)
ITEM = Relation(
    "item",
    ("id", "code", "price", "active", "attrs"),
    ("integer", "text(20)", "decimal(12,4)", "integer(0,1)", "json"),
    (0,),
)
PRODUCTS = Relation(
    "products",
    ("pk", "body", "state", "sku", "cents", "local"),
    ("integer", "text", "text", "text", "integer", "integer"),
    (0,),
)
ORDERS = Relation("orders", ("id", "product_id"), ("integer", "integer"), (0,))
ITEMS = Relation("items", ("id", "order_id", "no"), ("integer", "integer", "integer"), (0,))


def mapper(entity, system, relation, known=None, plan=PLAN):
    known = known or {}
    return RowMapper(
        plan, plan.entities[entity], plan.entities[entity].bindings[system], relation, lambda *at: known.get(at)
    )


def number(entity, system):
    return binding_number(PLAN, PLAN.entities[entity], system)


def test_columns_become_fields_by_name_with_their_types_and_the_rest_is_absent():
    mapped = mapper("product", "erp", ITEM).map([1, "A", "12.5000", 1, '{"b": 1, "a": 2}'])
    assert mapped.key == encode_key(["A"])
    assert mapped.values == ["A", "12.50", True, ABSENT, '{"a":2,"b":1}']


def test_transforms_are_applied():
    mapped = mapper("product", "shop", PRODUCTS).map([9, "text", "off", "A", 1250, 7])
    assert mapped.values == ["A", "12.50", False, "text", ABSENT]


def test_nulls_and_values_that_the_log_left_out_are_not_converted():
    mapped = mapper("product", "erp", ITEM).map([1, "A", None, ABSENT, ABSENT])
    assert mapped.values == ["A", None, ABSENT, ABSENT, ABSENT]


@pytest.mark.parametrize(
    "row", [[1, "much too long a key", "1.0000", 1, None], [1, "A", "1.2345", 1, None], [1, "A", "1.0000", 7, None]]
)
def test_a_value_without_a_faithful_form_is_refused(row):
    with pytest.raises(ValueRefused):
        mapper("product", "erp", ITEM).map(row)


@pytest.mark.parametrize("missing", [None, ABSENT])
def test_a_row_without_its_key_is_refused(missing):
    with pytest.raises(ValueRefused, match="has no key"):
        mapper("product", "erp", ITEM).map([1, missing, "1.0000", 1, None])


def test_the_key_of_a_row_is_found_by_its_id_also_where_nothing_else_is_carried():
    known = {(number("product", "erp"), encode_key([1])): encode_key(["A"])}
    assert mapper("product", "erp", ITEM, known).known_key([1, ABSENT, ABSENT, ABSENT, ABSENT]) == encode_key(["A"])


def test_the_key_of_a_row_is_found_in_it_though_other_values_cannot_be_read():
    assert mapper("product", "erp", ITEM).known_key([1, "A", "1.2345", 7, "{"]) == encode_key(["A"])
    assert mapper("product", "erp", ITEM).known_key([1, None, "1.0000", 1, None]) is None
    assert mapper("product", "erp", ITEM).known_key([1, "much too long a key", None, None, None]) is None


def test_the_local_id_is_the_named_column_else_the_rows_identity():
    assert mapper("product", "shop", PRODUCTS).row_id([9, "", "on", "A", 1, 7]) == encode_key([7])
    assert mapper("product", "erp", ITEM).row_id([1, "A", None, None, None]) == encode_key([1])


def test_a_reference_becomes_the_key_of_the_row_with_that_id():
    known = {(number("product", "shop"), encode_key([7])): encode_key(["A"])}
    assert mapper("order", "shop", ORDERS, known).map([1, 7]).values == [1, "A"]
    assert mapper("order", "shop", ORDERS, known).map([1, None]).values == [1, None]


def test_a_reference_to_an_unknown_row_says_which_row_it_waits_for():
    with pytest.raises(UnresolvedReference) as unresolved:
        mapper("order", "shop", ORDERS).map([1, 7])
    assert (unresolved.value.binding, unresolved.value.row_id) == (number("product", "shop"), encode_key([7]))


def test_a_column_that_holds_the_other_key_has_the_type_of_that_key():
    by_number = Relation("o", ("n", "item_code"), ("integer", "integer"), (0,))
    assert mapper("order", "erp", by_number).map([1, 77]).values == [1, "77"]
    too_long = Relation("o", ("n", "item_code"), ("integer", "text"), (0,))
    with pytest.raises(ValueRefused):
        mapper("order", "erp", too_long).map([1, "much too long a key"])


def test_a_childs_key_starts_with_its_parents():
    known = {(number("order", "shop"), encode_key([5])): encode_key([1])}
    lines = mapper("order.lines", "shop", ITEMS, known)
    assert lines.map([30, 5, 2]).key == encode_key([1, 2])
    with pytest.raises(UnresolvedReference):
        lines.map([30, 6, 2])
    assert lines.known_key([30, 6, 2]) is None


def test_ids_are_learned_only_where_they_say_something_new():
    by_key = Relation(
        "item", ("code", "price", "active", "attrs"), ("text(10)", "decimal(12,2)", "boolean", "json"), (0,)
    )
    assert mapper("order", "shop", ORDERS).learns, "its lines refer to it"
    assert mapper("product", "erp", by_key).learns, "orders refer to it"
    alone = plan_of(TEXT.split("[entities.order]", maxsplit=1)[0])
    assert not mapper("product", "erp", by_key, plan=alone).learns
    assert mapper("product", "erp", ITEM, plan=alone).learns, "its identity is not its key"


@pytest.mark.parametrize("lost", ["code", "price"])
def test_a_relation_without_a_bound_column_needs_the_operator(lost):
    columns = [(name, kind) for name, kind in zip(ITEM.columns, ITEM.types, strict=True) if name != lost]
    names, kinds = zip(*columns, strict=True)
    with pytest.raises(NeedsOperator, match="any more") as stopped:
        mapper("product", "erp", Relation("item", names, kinds, (0,)))
    assert lost in stopped.value.cause


def test_a_relation_without_the_named_id_needs_the_operator():
    less = Relation("products", PRODUCTS.columns[:-1], PRODUCTS.types[:-1], (0,))
    with pytest.raises(NeedsOperator, match="any more"):
        mapper("product", "shop", less)


def test_a_column_of_another_type_needs_the_operator():
    other = Relation("item", ITEM.columns, ("integer", "text(20)", "bytes", "integer(0,1)", "json"), (0,))
    with pytest.raises(NeedsOperator, match="field 'price' cannot be read from 'erp'") as stopped:
        mapper("product", "erp", other)
    assert stopped.value.code == "type-mismatch"
