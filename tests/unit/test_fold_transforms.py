"""What is written of fields that share columns, have several or none, or are written where there is no value."""

from __future__ import annotations

import pytest

from cdcd.model import WriteKind
from cdcd.outbox import RecordWrite
from unit.folding.test_parts import Line, head, shape

FULL, UPDATE, DELETE = RecordWrite.FULL, RecordWrite.UPDATE, RecordWrite.DELETE
FIELDS = """
name = { type = "text", owner = "erp" }
first = { type = "text", owner = "erp" }
last = { type = "text", owner = "erp" }
price = { type = "decimal(12,4)", owner = "erp" }
unit = { type = "text", owner = "erp" }
note = { type = "text", owner = "erp" }
"""
COLUMNS = """
sku = { column = "sku", template = "ERP-{}" },
name = { join = { columns = ["given", "family"], missing = "empty" } },
first = { column = "contact", split = { by = " ", take = "before-last" } },
last = { column = "contact", split = { by = " ", take = "after-last" } },
price = { column = "minor", minor-units = "unit" },
unit = "currency",
note = { column = "note", nulls = [""] }
""".replace("\n", " ")
POST = shape("post", "sku", "given", "family", "contact", ("minor", "integer"), "currency", "note", unique=(("sku",),))


@pytest.fixture
def line() -> Line:
    return Line(head(FIELDS, "", COLUMNS), POST)


def row(line: Line, *items) -> dict:
    """The one row that is written, by column."""
    (write,) = line.fold(*items)
    assert (write.table, write.key) == ("post", ("sku",))
    (only,) = write.rows
    return dict(zip(write.columns, only, strict=True))


def test_a_new_record_fills_all_columns(line):
    told = {"name": "Ada Lovelace", "first": "Ada", "last": "King", "price": "1.2300", "unit": "EUR", "note": None}
    assert row(line, line.item("product", FULL, ["A"], **told)) == {
        "sku": "ERP-A",
        "given": "Ada",
        "family": "Lovelace",
        "contact": "Ada King",
        "minor": 123,
        "currency": "EUR",
        "note": "",
    }


def test_a_change_writes_only_the_columns_of_its_fields(line):
    assert row(line, line.item("product", UPDATE, ["A"], name="Plato")) == {
        "sku": "ERP-A",
        "given": "Plato",
        "family": "",
    }
    assert row(line, line.item("product", UPDATE, ["A"], first=None, last="Plato"))["contact"] == "Plato"
    assert row(line, line.item("product", UPDATE, ["A"], price="5.0000", unit="JPY")) == {
        "sku": "ERP-A",
        "minor": 5,
        "currency": "JPY",
    }
    assert row(line, line.item("product", UPDATE, ["A"], note=None)) == {"sku": "ERP-A", "note": ""}


def test_columns_that_the_target_owns_are_written_only_where_the_row_is_new(line):
    (write,) = line.fold(line.item("product", FULL, ["A"], {"name": "Ada Lovelace"}, note="x"))
    assert write.insert_only == ("given", "family")


def test_changes_that_are_folded_fill_their_column_together(line):
    items = [
        line.item("product", UPDATE, ["A"], first="Ada", last="King"),
        line.item("product", UPDATE, ["A"], note="x"),
    ]
    assert row(line, *items) == {"sku": "ERP-A", "contact": "Ada King", "note": "x"}


def test_a_value_without_a_way_into_its_columns_parks_the_record(line):
    assert line.refusals(line.item("product", UPDATE, ["A"], name=" Plato")) == ["value-refused"]
    assert line.refusals(line.item("product", UPDATE, ["A"], price="1.5000", unit="JPY")) == ["value-refused"]
    assert line.refusals(line.item("product", UPDATE, ["A"], price="1.5000", unit="?")) == ["currency-unknown"]


def test_a_part_of_a_column_alone_is_not_written(line):
    assert line.refusals(line.item("product", UPDATE, ["A"], first="Ada")) == ["target-field-untold"]


def test_a_record_is_deleted_by_its_key_as_the_column_has_it(line):
    (write,) = line.fold(line.item("product", DELETE, ["A"]))
    assert (write.kind, write.rows) == (WriteKind.DELETE, [["ERP-A"]])


def test_a_record_with_another_value_than_the_constant_is_refused():
    line = Line(head(FIELDS, "", 'sku = "sku", unit = { constant = "EUR" }, note = "note"'), POST)
    assert row(line, line.item("product", FULL, ["A"], unit="EUR", note="x")) == {"sku": "A", "note": "x"}
    assert line.refusals(line.item("product", FULL, ["A"], unit="USD", note="x")) == ["not-the-constant"]


def test_what_is_only_read_is_not_written():
    columns = 'sku = "sku", name = { column = "given", member = "a" }, note = { column = "note", nulls = [""] }'
    fields = FIELDS.replace('name = { type = "text", owner = "erp"', 'name = { type = "text", owner = "shop"')
    line = Line(head(fields, "", columns), shape("post", "sku", ("given", "json"), "note", unique=(("sku",),)))
    assert line.misfit() is None
    assert row(line, line.item("product", FULL, ["A"], note=None)) == {"sku": "A", "note": ""}


def test_a_column_from_which_two_fields_of_its_system_are_read_is_written_once():
    fields = FIELDS.replace('owner = "erp"', 'owner = "shop"')
    line = Line(head(fields, "", 'sku = "sku", name = "note", note = { column = "note", nulls = [""] }'), POST)
    assert row(line, line.item("product", FULL, ["A"], {"name": "x", "note": "x"})) == {"sku": "A", "note": "x"}


def test_a_column_of_another_type_is_told_before_anything_is_written():
    wrong = shape(
        "post", "sku", "given", "family", "contact", ("minor", "date"), "currency", "note", unique=(("sku",),)
    )
    misfit = Line(head(FIELDS, "", COLUMNS), wrong).misfit()
    assert misfit is not None
    assert misfit.code == "target-type-mismatch"
    assert "a decimal does not convert to a date" in misfit.cause
