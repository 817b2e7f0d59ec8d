"""How rows of a plain copy are laid out: what stands in for values that the copy cannot hold."""

import pytest

from cdcd.config_columns import UnfitValue
from cdcd.folding.copy_layout import CopyTable
from cdcd.model import ColumnShape, Relation, TableShape, WriteKind
from cdcd.resolve.plan import Route
from cdcd.values import ValueRefused

RELATION = Relation("item", ("id", "released", "price"), ("integer", "date", "decimal(12,4)"), (0,))
SHAPE = TableShape(
    "item",
    (
        ColumnShape("id", "integer(0,255)"),
        ColumnShape("released", "date(0001,9999)"),
        ColumnShape("price", "decimal(12,4)"),
    ),
    ("id",),
    (("id",),),
)


def converted(row: list, *unfit: tuple) -> list:
    table = CopyTable(Route(0, "erp", "shop", "item", "item", unfit=unfit), SHAPE)
    return table.writer(WriteKind.UPSERT, RELATION.columns, RELATION.types).converted(row)


def test_without_a_policy_a_value_that_does_not_fit_is_refused():
    with pytest.raises(ValueRefused, match="date"):
        converted([1, "infinity", "1.0000"])


def test_a_policy_puts_null_or_a_value_in_its_place():
    row = [1, "infinity", "NaN"]
    assert converted(row, ("released", "null"), ("price", UnfitValue("0"))) == [1, None, "0.0000"]
    assert converted(row, ("released", UnfitValue("1000-01-01")), ("price", "null")) == [1, "1000-01-01", None]


def test_a_value_that_fits_stays_and_a_key_has_no_policy():
    assert converted([1, "2026-11-21", "1.5000"], ("released", "null")) == [1, "2026-11-21", "1.5000"]
    with pytest.raises(ValueRefused, match="integer"):
        converted([256, None, None], ("id", "null"))


def test_a_stand_in_that_the_column_cannot_hold_is_a_reason_to_park_all():
    table = CopyTable(Route(0, "erp", "shop", "item", "item", unfit=(("released", UnfitValue("never")),)), SHAPE)
    assert "never" in table.layout(RELATION).misfit.cause
