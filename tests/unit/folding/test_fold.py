"""Folding records: one write each, with what its last change left, in an order that references allow."""

from __future__ import annotations

import itertools

import pytest

from cdcd.folding.fold import Folder
from cdcd.folding.folded import Grouped
from cdcd.model import ColumnShape, Lookup, TableShape, WriteKind
from cdcd.outbox import RecordWrite, Unit
from cdcd.resolve.keys import encode_key
from cdcd.resolve.masks import mask_of
from unit.small_line import plan_of

FULL, UPDATE, DELETE = RecordWrite.FULL, RecordWrite.UPDATE, RecordWrite.DELETE
TEXT = """
[entities.product]
key = ["sku"]
[entities.product.fields]
sku = { type = "text(20)" , owner = "erp" }
name = { type = "text", owner = "erp" }
price = { type = "decimal(12,4)", owner = "erp" }
body = { type = "text", owner = "shop" }
status = { type = "text", owner = "erp" }
[entities.product.in.erp]
table = "item"
columns = { sku = "code", name = "name", price = "price", body = "web", status = "status" }
[entities.product.in.shop]
table = "products"
columns.sku = "sku"
columns.name = "title"
columns.body = "body"
columns.status = "status"
[entities.product.in.shop.columns.price]
column = "cents"
scale = 100
[entities.order]
key = ["number"]
[entities.order.fields]
number = { type = "text" , owner = "erp" }
product = { type = "ref(product)", owner = "erp" }
[entities.order.children.lines]
key = ["line_no", "product"]
fields = { line_no = { type = "integer", owner = "erp" }, product = { type = "ref(product)", owner = "erp" }, quantity = { type = "integer", owner = "erp" } }
[entities.order.in.erp]
table = "o"
columns = { number = "n", product = "p" }
[entities.order.in.erp.children.lines]
table = "ol"
parent = "o_id"
columns = { line_no = "l", product = "p", quantity = "q" }
[entities.order.in.shop]
table = "orders"
columns = { number = "number", product = "product_id" }
[entities.order.in.shop.children.lines]
table = "items"
parent = "order_id"
columns = { line_no = "line_no", product = "product_id", quantity = "quantity" }
"""


def shape(table, *columns, key=("id",)):
    return TableShape(table, tuple(ColumnShape(name, kind) for name, kind in columns), key, (key,))


ID = ("id", "integer")
SHAPES = {
    found.table: found
    for found in (
        shape(
            "products",
            ID,
            ("sku", "text(20)"),
            ("title", "text(10)"),
            ("cents", "integer"),
            ("body", "text"),
            ("status", "text"),
        ),
        shape("orders", ID, ("number", "text"), ("product_id", "integer")),
        shape(
            "items",
            ID,
            ("order_id", "integer"),
            ("line_no", "integer"),
            ("product_id", "integer"),
            ("quantity", "integer"),
        ),
    )
}
SLOTS = {"sku": 0, "name": 1, "price": 2, "body": 3, "status": 4}
DEFAULTS = {"sku": "A", "name": "n", "price": "1.0000", "body": "b", "status": "s"}


def folder(text=TEXT, shapes=SHAPES):
    return Folder(plan_of(text), "shop", shapes, lambda _number: None)


def product(kind, key="A", initial=(), **fields):
    """An item of a product; a FULL without fields tells them all, `initial` names those only for a new row."""
    if kind == FULL and not fields:
        fields = {name: value for name, value in (DEFAULTS | {"sku": key}).items() if name not in initial}
    new = dict(initial) if isinstance(initial, dict) else {name: DEFAULTS[name] for name in initial}
    return [0, int(kind), encode_key([key]), *packed(fields), *packed(new)]


def packed(fields):
    slots = sorted(SLOTS[name] for name in fields)
    names = {slot: name for name, slot in SLOTS.items()}
    return mask_of(slots), [fields[names[slot]] for slot in slots]


def unit(*items, number=1):
    return Unit(number, 0, list(items))


def fold(*items, parked=None):
    folded, waiting = folder().fold([unit(item, number=n) for n, item in enumerate(items, 1)], parked or set())
    assert waiting == []
    return folded


def written(folded, deletes_first=False):
    """(kind, columns, insert_only, rows) of each write."""
    return [
        (g.write.kind.name, g.write.columns, g.write.insert_only, g.write.rows)
        for g in folded.ordered(deletes_first=deletes_first).between(0)
    ]


# ---- one record ------------------------------------------------------------------------------------------------


def test_a_record_is_written_with_its_key_first_and_columns_by_name():
    assert written(fold(product(FULL, initial=["body"]))) == [
        ("UPSERT", ("sku", "title", "cents", "status", "body"), ("body",), [["A", "n", 100, "s", "b"]])
    ]


def test_an_update_writes_what_it_changes():
    assert written(fold(product(UPDATE, name="two"))) == [("UPDATE", ("sku", "title"), (), [["A", "two"]])]


def test_updates_of_one_record_are_one_write_with_the_newest_values():
    folded = fold(product(UPDATE, name="two", status="x"), product(UPDATE, name="three"), product(UPDATE, body="b"))
    assert written(folded) == [("UPDATE", ("sku", "title", "body", "status"), (), [["A", "three", "b", "x"]])]


def test_an_update_after_a_whole_record_changes_it_also_where_it_was_only_for_a_new_row():
    folded = fold(product(FULL, initial=["body"]), product(UPDATE, body="told", name="two"))
    assert written(folded) == [
        ("UPSERT", ("sku", "title", "cents", "body", "status"), (), [["A", "two", 100, "told", "s"]])
    ]


def test_what_an_update_was_to_change_is_changed_with_its_newest_value_though_the_target_owns_it_now():
    folded = fold(product(UPDATE, body="told"), product(FULL, initial={"body": "newest"}))
    ((kind, columns, only_new, rows),) = written(folded)
    assert (kind, only_new) == ("UPSERT", ())
    assert dict(zip(columns, rows[0], strict=True))["body"] == "newest"


def test_two_whole_records_are_the_last_and_no_column_is_named_twice():
    first, second = product(FULL), product(FULL, initial={"body": "newest"}, sku="A", name="two")
    ((kind, columns, only_new, rows),) = written(fold(first, second))
    assert (kind, only_new) == ("UPSERT", ())
    assert len(columns) == len(set(columns))
    assert dict(zip(columns, rows[0], strict=True)) == {
        "sku": "A",
        "title": "two",
        "cents": 100,
        "body": "newest",
        "status": "s",
    }


def test_a_delete_takes_everything_back_and_a_whole_record_after_it_counts():
    assert written(fold(product(FULL), product(UPDATE, name="x"), product(DELETE))) == [
        ("DELETE", ("sku",), (), [["A"]])
    ]
    assert [kind for kind, *_ in written(fold(product(DELETE), product(FULL)))] == ["UPSERT"]
    assert [kind for kind, *_ in written(fold(product(DELETE), product(UPDATE, name="x")))] == ["DELETE"]


@pytest.mark.parametrize("kinds", list(itertools.product([FULL, UPDATE, DELETE], repeat=3)))
def test_folding_in_one_batch_leaves_the_row_that_one_write_after_another_would_leave(kinds):
    """A model: rows are dicts, FULL inserts or updates, and `initial` counts only for a new row.

    Of a field that its target owns by the end, a batch may write a newer value than one write after another: it is not
    compared where a FULL follows something.
    """
    items = []
    for number, kind in enumerate(kinds):
        if kind == FULL:
            items.append(product(FULL, initial={"body": f"b{number}"}, sku="A", name=f"n{number}", status=f"s{number}"))
        elif kind == UPDATE:
            items.append(product(UPDATE, name=f"n{number}") if number % 2 else product(UPDATE, body=f"b{number}"))
        else:
            items.append(product(DELETE))
    for start in (None, {"sku": "A", "title": "old", "status": "old", "body": "own"}):
        one_by_one = start and dict(start)
        for item in items:
            one_by_one = applied(one_by_one, written(fold(item)))
        at_once = applied(start and dict(start), written(fold(*items)))
        if lost_update(kinds, start):
            continue
        if FULL in kinds[1:] and one_by_one and at_once:
            one_by_one["body"] = at_once["body"]
        assert at_once == one_by_one, kinds


def applied(row, writes):
    for kind, columns, only_new, rows in writes:
        values = dict(zip(columns, rows[0], strict=True))
        if kind == "DELETE":
            row = None
        elif row is not None:
            row = row | {name: value for name, value in values.items() if name not in only_new}
        elif kind == "UPSERT":
            row = values
    return row


def lost_update(kinds, start):
    """An UPDATE of a row that is not there is reported as missing: nothing to compare."""
    there = start is not None
    for kind in kinds:
        if kind == UPDATE and not there:
            return True
        there = kind != DELETE and (there or kind == FULL)
    return False


def test_a_null_stays_a_null():
    assert written(fold(product(UPDATE, price=None, name=None)))[0][3] == [["A", None, None]]


def test_slots_without_a_column_here_are_left_out():
    less = TEXT.replace('columns.body = "body"\n', "")
    folded, _ = folder(less).fold([unit(product(FULL))], set())
    assert written(folded)[0][1] == ("sku", "title", "cents", "status")


# ---- archive ---------------------------------------------------------------------------------------------------

ARCHIVE = TEXT.replace(
    'table = "products"\n', 'table = "products"\non-delete = { archive = { status = "gone", price = 0 } }\n'
)


def test_a_delete_may_be_an_update_that_archives_and_may_miss_its_row():
    folded, _ = folder(ARCHIVE).fold([unit(product(FULL), product(DELETE))], set())
    (group,) = folded.ordered(deletes_first=False).between(0)
    assert written(folded) == [("UPDATE", ("sku", "status", "cents"), (), [["A", "gone", 0]])]
    assert group.missing_is_fine


# ---- groups, order, lookups --------------------------------------------------------------------------------------


def order(kind, key="O1", **fields):
    values = [fields[name] for name in ("number", "product") if name in fields]
    mask = ("number" in fields) | ("product" in fields) << 1
    return [1, int(kind), encode_key([key]), mask, values, 0, []]


def order_line(kind, key, quantity=None):
    full = [key[1], key[2], quantity] if kind == FULL else [quantity] if kind == UPDATE else []
    return [2, int(kind), encode_key(list(key)), {FULL: 7, UPDATE: 4, DELETE: 0}[kind], full, 0, []]


def test_records_of_one_shape_are_one_write_with_a_subject_per_row():
    folded = fold(product(UPDATE, "A", name="x"), product(UPDATE, "B", status="y"), product(UPDATE, "C", name="z"))
    assert [(g.write.columns, [*g.subjects]) for g in folded.changes] == [
        (("sku", "title"), [(0, encode_key(["A"])), (0, encode_key(["C"]))]),
        (("sku", "status"), [(0, encode_key(["B"]))]),
    ]


def test_what_is_referred_to_is_written_first_and_deleted_last():
    folded = fold(
        order_line(DELETE, ("O2", 1, "A")),
        order(DELETE, "O2"),
        product(DELETE, "Z"),
        order_line(FULL, ("O1", 1, "A"), 5),
        order(FULL, "O1", number="O1", product="A"),
        product(FULL, "A"),
    )
    tables = [(g.write.kind.name, g.write.table) for g in folded.ordered(deletes_first=False).between(0)]
    assert tables == [
        ("UPSERT", "products"),
        ("UPSERT", "orders"),
        ("UPSERT", "items"),
        ("DELETE", "items"),
        ("DELETE", "orders"),
        ("DELETE", "products"),
    ]
    assert [(g.write.kind.name) for g in folded.ordered(deletes_first=True).between(0)] == ["DELETE"] * 3 + [
        "UPSERT"
    ] * 3


def test_references_are_looked_up_in_the_target():
    folded = fold(order(FULL, number="O1", product="A"))
    (group,) = folded.changes
    assert group.write.rows == [["O1", "A"]]
    assert group.write.lookups == (Lookup("product_id", "products", ("sku",), "id"),)


def test_a_child_is_found_by_its_parent_and_its_own_key_with_lookups_for_both():
    folded = fold(order_line(UPDATE, ("O1", 1, "A"), 7))
    (group,) = folded.changes
    assert (group.write.key, group.write.columns) == (
        ("order_id", "line_no", "product_id"),
        ("order_id", "line_no", "product_id", "quantity"),
    )
    assert group.write.rows == [["O1", 1, "A", 7]]
    assert group.write.lookups == (
        Lookup("order_id", "orders", ("number",), "id"),
        Lookup("product_id", "products", ("sku",), "id"),
    )


def test_the_parts_of_a_composite_key_are_looked_up_together():
    text = (
        TEXT.replace('key = ["number"]', 'key = ["number", "year"]')
        .replace(
            'number = { type = "text" , owner = "erp" }',
            'number = { type = "text" , owner = "erp" }\nyear = { type = "integer", owner = "erp" }',
        )
        .replace('number = "n"', 'number = "n", year = "y"')
        .replace('number = "number"', 'number = "number", year = "year"')
    )
    shapes = SHAPES | {
        "orders": shape("orders", ID, ("number", "text"), ("year", "text(4)"), ("product_id", "integer"))
    }
    item = order_line(DELETE, ("O1", 1, "A"))
    item[2] = encode_key(["O1", 2026, 1, "A"])
    folded, _ = folder(text, shapes).fold([unit(item)], set())
    (group,) = folded.deletes
    assert group.write.rows == [[["O1", "2026"], 1, "A"]], "as the parent's columns hold it"
    assert group.write.lookups[0] == Lookup("order_id", "orders", ("number", "year"), "id")


def test_a_lookups_value_is_what_the_other_tables_key_column_holds():
    shapes = SHAPES | {
        "products": shape(
            "products", ID, ("sku", "integer"), *[(c.name, c.type) for c in SHAPES["products"].columns[2:]]
        )
    }
    folded, _ = folder(shapes=shapes).fold(
        [unit(order(FULL, number="O1", product="17"), order(FULL, "O2", number="O2", product="x"))], set()
    )
    assert folded.changes[0].write.rows == [["O1", 17]]
    assert [u.subject for u in folded.unwritable] == [(1, encode_key(["O2"]))]


def test_a_column_that_holds_the_other_key_is_written_as_it_is():
    text = TEXT.replace(
        'product = "product_id" }\n[entities.order.in.shop.children',
        'product = { column = "product_id", reference = "key" } }\n[entities.order.in.shop.children',
    )
    shapes = SHAPES | {"orders": shape("orders", ID, ("number", "text"), ("product_id", "text(2)"))}
    items = [order(FULL, number="O1", product="A"), order(FULL, "O2", number="O2", product="AAA")]
    folded, _ = folder(text, shapes).fold([unit(*items)], set())
    assert folded.changes[0].write.lookups == ()
    assert folded.changes[0].write.rows == [["O1", "A"]]
    assert len(folded.unwritable) == 1


def test_items_of_entities_that_do_not_live_here_are_passed_over():
    folded = fold([99, 1, b"k", 0, [], 0, []], product(UPDATE, name="x"))
    assert len(folded.changes) == 1


# ---- what cannot be written --------------------------------------------------------------------------------------


def test_a_value_that_does_not_fit_refuses_its_record_alone():
    folded = fold(
        product(UPDATE, "A", name="too long a title"),
        product(UPDATE, "B", name="fits"),
        product(FULL, "C", sku="C", price="1.2345"),
    )
    assert written(folded) == [("UPDATE", ("sku", "title"), (), [["B", "fits"]])]
    assert [(u.subject, u.kept) for u in folded.unwritable] == [
        ((0, encode_key(["A"])), None),
        ((0, encode_key(["C"])), None),
    ]


def test_units_can_be_folded_again_after_a_batch_was_refused():
    units = [unit(product(FULL, price="2.5000", sku="A")), unit(product(UPDATE, price="3.0000"), number=2)]
    once, again = folder().fold(units, set())[0], folder().fold(units, set())[0]
    assert written(once) == written(again) == [("UPSERT", ("sku", "cents"), (), [["A", 300]])]


def test_a_change_of_a_parked_record_waits_unless_the_whole_record_is_told():
    parked = {(0, encode_key(["A"]))}
    items = [
        product(UPDATE, "A", name="x"),
        product(UPDATE, "B", name="y"),
        product(FULL, "A"),
        product(UPDATE, "A", name="z"),
        product(DELETE, "A"),
    ]
    _, waiting = folder().fold([unit(*items[:2])], parked)
    assert waiting == [(0, encode_key(["A"]))]
    folded, waiting = folder().fold([unit(*items[2:4])], parked)
    assert waiting == []
    assert folded.changes[0].write.rows[0][1] == "z"
    folded, waiting = folder().fold([unit(items[4])], parked)
    assert (len(folded.deletes), waiting) == (1, [])


# ---- tables that are not as they should be -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "code"),
    [
        ({"products": None}, "target-table-missing"),
        ({"products": shape("products", ID, ("sku", "text"))}, "target-column-missing"),
        (
            {
                "products": shape(
                    "products",
                    ID,
                    ("sku", "text"),
                    ("title", "bytes"),
                    ("cents", "integer"),
                    ("body", "text"),
                    ("status", "text"),
                )
            },
            "target-type-mismatch",
        ),
    ],
)
def test_a_table_that_does_not_fit_its_binding_parks_its_records_while_others_flow(shapes, code):
    notes = """
[entities.note]
key = ["name"]
fields = { name = { type = "text", owner = "erp" } }
in.erp = { table = "n", columns = { name = "n" } }
in.shop = { table = "notes", columns = { name = "name" } }
"""
    made = folder(TEXT + notes, SHAPES | {"notes": shape("notes", ID, ("name", "text"))})
    note = next(number for number, record in made.records.items() if record.entity.name == "note")
    found = {table: known for table, known in (SHAPES | shapes).items() if known is not None}
    made = folder(TEXT + notes, found | {"notes": shape("notes", ID, ("name", "text"))})
    folded, _ = made.fold([unit(product(FULL), [note, int(FULL), encode_key(["x"]), 1, ["x"], 0, []])], None)
    assert [(u.subject, u.refused.code) for u in folded.unwritable] == [((0, encode_key(["A"])), code)]
    assert [group.write.table for group in folded.changes] == ["notes"]


def test_records_that_refer_to_rows_without_one_id_are_parked():
    keyed = shape("products", *[(c.name, c.type) for c in SHAPES["products"].columns], key=("id", "sku"))
    made = folder(shapes=SHAPES | {"products": keyed})
    order = next(number for number, record in made.records.items() if record.entity.name == "order")
    folded, _ = made.fold([unit([order, int(FULL), encode_key(["O"]), 3, ["O", "A"], 0, []])], None)
    assert [u.refused.code for u in folded.unwritable] == ["target-id-unknown"]


def test_some_rows_of_a_group_keep_their_subjects():
    folded = fold(*[product(UPDATE, f"P{n}", name="x") for n in range(5)])
    some = folded.changes[0].only([1, 3])
    assert isinstance(some, Grouped)
    assert ([row[0] for row in some.write.rows], some.write.kind) == (["P1", "P3"], WriteKind.UPDATE)
    assert some.subjects == [folded.changes[0].subjects[1], folded.changes[0].subjects[3]]
